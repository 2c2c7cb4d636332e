"""find_learning_rate() suggests rates that work, and leaves everything unchanged."""

import random

import keras
import numpy as np
import pytest
from conftest import BACKEND

import kerasgd
from kerasgd.tools import find_learning_rate
from kerasgd.tools.learning_rate_finder import suggestions

RNG = np.random.default_rng(0)
X = RNG.normal(size=(96, 4)).astype("float32")
Y = (X @ [[1.0], [-2.0], [0.5], [3.0]]).astype("float32")
OPTIMIZERS = {
    "ours": lambda: kerasgd.SGD(0.1, momentum=0.9, use_ema=True),
    "ours with a schedule": lambda: kerasgd.SGD(kerasgd.schedules.CosineDecay(0.1, 100)),
    "ours with groups": lambda: kerasgd.SGD(0.1).set_group("bias", learning_rate_factor=0.5),
    "our loss scale": lambda: kerasgd.LossScaleOptimizer(kerasgd.SGD(0.1, momentum=0.9)),
    "Adam": lambda: keras.optimizers.Adam(1e-3),
}


def compiled(optimizer, **arguments):
    """A model with all that training changes: dropout, batch normalisation, a metric."""
    keras.utils.set_random_seed(1)
    layers = keras.layers
    model = keras.Sequential(
        [
            layers.Input((4,)),
            layers.Dense(8, activation="relu"),
            layers.BatchNormalization(),
            layers.Dropout(0.2),
            layers.Dense(1),
        ]
    )
    model.compile(optimizer, loss="mse", metrics=["mae"], **arguments)
    return model


def everything(model):
    """The bytes of everything that must not change. (Metrics created by the first batch hold 0.)"""
    variables = [*model.variables, *model.metrics_variables, *model.optimizer.variables]
    found = [keras.ops.convert_to_numpy(v).tobytes() for v in variables]
    found = [value for value in found if any(value)]
    found += [repr(random.getstate()), repr(np.random.get_state())]
    if BACKEND == "torch":
        import torch

        found.append(torch.get_rng_state().numpy().tobytes())
    return [model.optimizer.built, id(model.optimizer), model.stop_training, *found]


@pytest.mark.parametrize("is_built", [True, False], ids=["built", "not built"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_everything_is_put_back(optimizer, is_built):  # contract 17.1
    model = compiled(optimizer())
    if is_built:
        model.fit(X, Y, batch_size=16, verbose=0)
    before = everything(model)
    search = find_learning_rate(model, X, Y, batch_size=16, steps=30)
    assert everything(model) == before
    assert 10 < len(search.rows) <= 30


@pytest.mark.parametrize("epochs_before", [0, 2])
@pytest.mark.parametrize("optimizer", ["ours", "Adam"])
def test_training_goes_on_as_if_there_had_been_no_search(optimizer, epochs_before):  # 17.1
    weights = []
    for searches in (False, True):
        model = compiled(OPTIMIZERS[optimizer]())
        if epochs_before:  # the first `fit()` draws a batch more, to build the metrics
            model.fit(X, Y, batch_size=16, epochs=epochs_before, verbose=0)
        if searches:
            find_learning_rate(model, X, Y, batch_size=16, steps=20)
        model.fit(X, Y, batch_size=16, epochs=2, verbose=0)
        weights.append(model.get_weights())
    for without, with_search in zip(*weights, strict=True):
        np.testing.assert_array_equal(without, with_search)


def test_losses_of_several_outputs_are_reported_as_without_a_search():  # contract 17.1
    found = []
    for searches in (False, True):
        keras.utils.set_random_seed(1)
        inputs = keras.Input((4,))
        outputs = [keras.layers.Dense(1, name=name)(inputs) for name in ("a", "b")]
        model = keras.Model(inputs, outputs)
        model.compile(kerasgd.SGD(0.01), loss=["mse", "mae"])
        if searches:
            for _ in range(2):
                find_learning_rate(model, X, [Y, Y], batch_size=16, steps=10)
        history = model.fit(X, [Y, Y], batch_size=16, epochs=2, verbose=0).history
        names = [metric.name for metric in model.metrics]
        found.append((history, names, model.evaluate(X, [Y, Y], verbose=0)))
    assert found[0] == found[1]
    assert min(found[0][0]["a_loss"]) > 0


class Failing(keras.utils.PyDataset):
    """Data in which one batch fails."""

    def __init__(self, error):
        super().__init__()
        self.error = error

    def __len__(self):
        return 6

    def __getitem__(self, index):
        if index == 3:
            raise self.error
        return X[:16], Y[:16]


@pytest.mark.parametrize("error", [ValueError("no such batch"), KeyboardInterrupt()], ids=repr)
def test_everything_is_put_back_after_an_error(error):  # contract 17.1
    model = compiled(OPTIMIZERS["ours"]())
    model.fit(X, Y, batch_size=16, verbose=0)
    before = everything(model)
    with pytest.raises((Exception, KeyboardInterrupt)):  # TensorFlow has an error of its own
        find_learning_rate(model, Failing(error), steps=30)
    assert everything(model) == before
    model.fit(X, Y, batch_size=16, verbose=0)


def test_rows_are_those_of_training_with_these_rates():  # contract 17.1, 17.2
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1, use_bias=False)])
    model.set_weights([np.zeros((4, 1))])
    model.compile(kerasgd.SGD(0.5), loss="mse")
    search = find_learning_rate(
        model, X, Y, lowest_rate=1e-3, highest_rate=0.1, steps=12, batch_size=16, shuffle=False
    )
    w, average = np.zeros((4, 1)), 0.0
    for i, row in enumerate(search.rows):
        x, y = (data[16 * (i % 6) : 16 * (i % 6 + 1)].astype("float64") for data in (X, Y))
        error = x @ w - y
        rate, loss = 1e-3 * 100 ** (i / 11), np.mean(error**2)
        average = 0.9 * average + 0.1 * loss
        assert row["step"] == i
        np.testing.assert_allclose(row["learning_rate"], rate, rtol=1e-12)
        np.testing.assert_allclose(row["loss"], loss, rtol=1e-4)
        np.testing.assert_allclose(row["smoothed_loss"], average / (1 - 0.9 ** (i + 1)), rtol=1e-4)
        w = w - rate * 2 / 16 * x.T @ error
    assert len(search.rows) == 12


def test_it_stops_where_the_loss_explodes():  # contract 17.1
    search = find_learning_rate(compiled(kerasgd.SGD()), X, Y, highest_rate=1e6, batch_size=16)
    assert len(search.rows) < 100
    smoothed = [row["smoothed_loss"] for row in search.rows]
    assert not np.isfinite(smoothed[-1]) or smoothed[-1] > 4 * min(smoothed)
    assert all(value <= 4 * min(smoothed[: i + 1]) for i, value in enumerate(smoothed[:-1]))


def rows_of(losses, lowest=1e-4):
    return [
        {"learning_rate": lowest * 1.2**i, "loss": loss, "smoothed_loss": loss}
        for i, loss in enumerate(losses)
    ]


def test_progress_is_told_after_each_batch():  # contract 17.2
    told = []
    search = find_learning_rate(
        compiled(kerasgd.SGD()),
        X,
        Y,
        batch_size=16,
        steps=12,
        progress=lambda *numbers: told.append(numbers),
    )
    assert told == [(i + 1, 12) for i in range(len(search.rows))]


def test_everything_is_put_back_after_an_error_in_progress():  # contract 17.1
    def stop(done, steps):
        if done == 5:
            raise KeyboardInterrupt

    model = compiled(OPTIMIZERS["ours"]())
    model.fit(X, Y, batch_size=16, verbose=0)
    before = everything(model)
    with pytest.raises(KeyboardInterrupt):
        find_learning_rate(model, X, Y, batch_size=16, progress=stop)
    assert everything(model) == before


def test_a_second_interrupt_does_not_keep_things_from_being_put_back(monkeypatch):  # contract 17.1
    model = compiled(OPTIMIZERS["ours"]())
    model.fit(X, Y, batch_size=16, verbose=0)
    before = everything(model)
    set_state, calls = np.random.set_state, []

    def interrupted(state):
        calls.append(state)
        if len(calls) == 1:
            raise KeyboardInterrupt
        set_state(state)

    monkeypatch.setattr(np.random, "set_state", interrupted)
    with pytest.raises(KeyboardInterrupt):
        find_learning_rate(model, X, Y, batch_size=16, steps=12, highest_rate=1e-6)
    assert everything(model) == before


def test_suggestions_of_a_loss_that_falls():  # contract 17.2
    # Constant for 30 batches, then a fall over the logarithm that is steepest in its middle.
    fall = 1 / (1 + np.exp(-(np.arange(60) - 45) / 3))
    losses = np.concatenate([2 - fall, [1.5, 3.0]])
    found = suggestions(rows_of(losses))
    np.testing.assert_allclose(found["steepest"], 1e-4 * 1.2**45, rtol=1e-9)
    begins = 1e-4 * 1.2 ** int(np.flatnonzero(losses < 2 - 1e-4)[0])
    assert found["minimum"] == pytest.approx(max(1e-4 * 1.2**59 / 10, begins), rel=0.5)


@pytest.mark.parametrize(
    "losses",
    [[1.0] * 50, list(np.linspace(1, 2, 50)), [1.0, np.nan]],
    ids=["level", "rises", "nothing"],
)
def test_nothing_is_suggested_where_the_loss_does_not_fall(losses):  # contract 17.3
    assert suggestions(rows_of(losses)) == {}


def test_an_easy_first_batch_hides_no_fall():  # contract 17.2
    # The first averages are of few losses, so one loss of 0 makes them low.
    fall = 1 / (1 + np.exp(-(np.arange(60) - 45) / 3))
    losses = 2 - fall
    found = suggestions(rows_of(losses))
    losses[0] = 0.0
    rows = rows_of(losses)
    rows[0]["loss"] = 2.0  # removes the noise that this loss would add
    assert suggestions(rows) == found != {}


@pytest.mark.parametrize("scale", [1e-20, 1, 1e20])
def test_rounding_is_no_fall(scale):  # contract 17.3
    losses = scale * (1 - 3e-7 * np.arange(3)[np.arange(60) // 20])
    assert suggestions(rows_of(losses)) == {}


def test_noise_is_no_fall():  # contract 17.3
    wrong = 0
    for seed in range(200):
        average, rows = 0.0, rows_of(np.random.default_rng(seed).normal(1, 0.3, size=100))
        for i, row in enumerate(rows):
            average = 0.9 * average + 0.1 * row["loss"]
            row["smoothed_loss"] = average / (1 - 0.9 ** (i + 1))
        wrong += suggestions(rows) != {}
    assert wrong <= 12


def test_no_suggestion_is_said_in_words():  # contract 17.3
    model = compiled(kerasgd.SGD())
    search = find_learning_rate(
        model, X, Y, lowest_rate=1e-12, highest_rate=1e-10, steps=20, batch_size=16
    )
    assert search.suggestion == {}
    assert str(search) == "20 batches with rates from 1e-12 to 1e-10: no rate made the loss fall."


def test_a_suggested_rate_trains():  # contract 17.3
    model = compiled(kerasgd.SGD())
    search = find_learning_rate(model, X, Y, batch_size=16)
    before = model.evaluate(X, Y, verbose=0)[0]
    model.optimizer.learning_rate = search.suggestion["steepest"]
    model.fit(X, Y, batch_size=16, epochs=5, verbose=0)
    assert model.evaluate(X, Y, verbose=0)[0] < before / 2


REFUSED = {
    "lowest_rate": (
        {"lowest_rate": 0},
        "`lowest_rate` must be a number from 1e-37 to 1e+38, not 0.",
    ),
    "order": (
        {"lowest_rate": 1, "highest_rate": 0.5},
        "`highest_rate` must be larger than `lowest_rate`, which is 1, not 0.5.",
    ),
    "steps": ({"steps": 9}, "`steps` must be a whole number from 10 to 2147483647, not 9."),
    "epochs": (
        {"epochs": 2},
        "`epochs` is not an argument of `find_learning_rate()`. Set `steps` to the number of "
        "batches.",
    ),
    "validation": (
        {"validation_split": 0.5},
        "`validation_split` is not an argument of `find_learning_rate()`. Leave it out: the search "
        "does not validate.",
    ),
    "callbacks": (
        {"callbacks": []},
        "`callbacks` is not an argument of `find_learning_rate()`. Leave it out: only the search's "
        "own callback runs.",
    ),
    "batch size": (
        {"batch_size": 2.5},
        "`batch_size` must be a whole number from 1 to 2147483647, or None, not 2.5. "
        "Round it up with `math.ceil()`.",
    ),
    "unknown": (
        {"batchsize": 16},
        "`batchsize` is not an argument of `find_learning_rate()`. Did you mean `batch_size`?",
    ),
    "progress": (
        {"progress": True},
        "`progress` must be a function of two numbers, or None, not True.",
    ),
}


@pytest.mark.parametrize(("arguments", "message"), REFUSED.values(), ids=REFUSED)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(kerasgd.ArgumentError) as refusal:
        find_learning_rate(compiled(kerasgd.SGD()), X, Y, **arguments)
    assert str(refusal.value) == message


def test_what_cannot_be_searched_is_refused():  # contract 17.1
    model = compiled(kerasgd.SGD())
    with pytest.raises(kerasgd.ArgumentTypeError, match="A generator gives its data only once"):
        find_learning_rate(model, (batch for batch in [(X, Y)]))
    with pytest.raises(kerasgd.ArgumentTypeError, match="`model` must be a compiled model"):
        find_learning_rate(kerasgd.SGD(), X, Y)
    with pytest.raises(kerasgd.StateError, match=r"not compiled: call `compile\(\)` first"):
        find_learning_rate(keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)]), X, Y)
    scheduled = keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(0.1, 10))
    with pytest.raises(kerasgd.StateError, match="of this Adam is a schedule"):
        find_learning_rate(compiled(scheduled), X, Y)
    unbuilt = keras.Sequential([keras.layers.Dense(1)])
    unbuilt.compile(kerasgd.SGD(), loss="mse")
    with pytest.raises(kerasgd.StateError, match="has no variables yet"):
        find_learning_rate(unbuilt, X, Y)


@pytest.mark.parametrize("loss", [0.0, 1.0, 1 / 3, -1e20])
def test_a_loss_that_stays_suggests_nothing(loss):  # contract 17.3
    model = compiled(kerasgd.SGD())
    model.compile(kerasgd.SGD(), loss=lambda y, output: 0 * output + loss)
    search = find_learning_rate(model, X, Y, batch_size=16, steps=40)
    assert [row["loss"] for row in search.rows] == pytest.approx([loss] * 40)
    assert search.suggestion == {}
