"""explain_step() describes the next step, and changes nothing."""

import keras
import numpy as np
import pytest
from conftest import BACKEND

import kerasgd
from kerasgd.tools import explain_step

RNG = np.random.default_rng(0)
X = RNG.normal(size=(16, 4)).astype("float32")
Y = RNG.normal(size=(16, 1)).astype("float32")
EVERYTHING = {
    "momentum": 0.9,
    "nesterov": True,
    "weight_decay": 0.1,
    "global_clipnorm": 0.5,
    "use_ema": True,
    "ema_momentum": 0.5,
    "ema_overwrite_frequency": 2,
    "loss_scale_factor": 8.0,
}
OPTIMIZERS = {
    "plain": lambda: kerasgd.SGD(0.1),
    "everything": lambda: kerasgd.SGD(0.1, **EVERYTHING),
    "groups": lambda: (
        kerasgd.SGD(0.1, **EVERYTHING)
        .set_group("last", learning_rate_factor=0.5, momentum=0.0)
        .set_group("bias", weight_decay=None)
    ),
    "frozen": lambda: kerasgd.SGD(0.1, **EVERYTHING).set_group("first", learning_rate_factor=0),
    "window": lambda: kerasgd.SGD(0.1, momentum=0.9, gradient_accumulation_steps=2, clipvalue=0.1),
    "schedule": lambda: kerasgd.SGD(kerasgd.schedules.CosineDecay(0.1, 3), clipnorm=0.1),
    "dynamic scale": lambda: kerasgd.LossScaleOptimizer(
        kerasgd.SGD(0.1, **EVERYTHING | {"loss_scale_factor": None})
    ),
    "Keras": lambda: keras.optimizers.SGD(0.1, momentum=0.9, nesterov=True, weight_decay=0.1),
}


def compiled(optimizer):
    keras.utils.set_random_seed(1)
    layers = keras.layers
    limit = keras.constraints.MaxNorm(0.5)
    model = keras.Sequential(
        [
            layers.Input((4,)),
            layers.Dense(5, activation="relu", kernel_constraint=limit, name="first"),
            layers.BatchNormalization(),
            layers.Dropout(0.3),
            layers.Dense(1, name="last"),
        ]
    )
    model.compile(optimizer, loss="mse", metrics=["mae"])
    return model


def values(model):
    variables = [*model.variables, *model.metrics_variables, *model.optimizer.variables]
    found = [keras.ops.convert_to_numpy(v).tobytes() for v in variables]
    return [value for value in found if any(value)]


@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_it_is_what_the_next_step_does(optimizer):  # contract 18.1, 18.2
    model = compiled(optimizer())
    for _ in range(5):
        before = [np.array(w) for w in model.get_weights()]
        state = values(model)
        rows = explain_step(model, X, Y, check=True)
        assert values(model) == state
        assert all(row["holds"] for row in rows)
        model.train_on_batch(X, Y)
        trained = {v.path for v in model.trainable_variables}
        changes = [
            np.linalg.norm(np.array(now, "float64") - old)
            for now, old, v in zip(model.get_weights(), before, model.weights, strict=True)
            if v.path in trained
        ]
        assert [row["path"] for row in rows] == [v.path for v in model.trainable_variables]
        for row, change in zip(rows, changes, strict=True):
            expected = 0.0 if row["change_norm"] is None else row["change_norm"]
            np.testing.assert_allclose(change, expected, rtol=2e-5, atol=2e-6)


def one_weight(optimizer, weight=2.0, constraint=None):
    """A model whose gradient at x = 1, y = 0 is twice its weight."""
    layer = keras.layers.Dense(1, use_bias=False, kernel_constraint=constraint)
    model = keras.Sequential([keras.Input((1,)), layer])
    model.set_weights([np.full((1, 1), weight)])
    model.compile(optimizer, loss="mse")
    return model


ONE = np.ones((1, 1), "float32")


def test_each_stage_has_its_number():  # contract 18.1, 18.3
    optimizer = kerasgd.SGD(
        0.5,
        momentum=0.5,
        weight_decay=0.5,
        clipvalue=1.0,
        use_ema=True,
        ema_momentum=0.5,
        loss_scale_factor=4.0,
    )
    model = one_weight(optimizer, constraint=keras.constraints.MaxNorm(0.75))
    (row,) = explain_step(model, ONE, 0 * ONE)
    # The gradient is 4, scaled 16, clipped 1; 2 decays to 1.5, moves to 1, is constrained to 0.75.
    expected = {
        "gradient_norm": 16.0,
        "unscaled_norm": 4.0,
        "mean_norm": 4.0,
        "clip_coefficient": 0.25,
        "clipped_norm": 1.0,
        "decay_norm": 0.5,
        "velocity_norm_before": 0.0,
        "velocity_norm": 0.5,
        "change_norm": 1.25,
        "constraint_norm": 0.25,
        "average_distance": 0.0,
    }
    np.testing.assert_allclose([row[name] for name in expected], [*expected.values()], rtol=1e-6)
    assert (row["shape"], row["overwritten"]) == ((1, 1), False)
    assert not model.optimizer.built


def test_in_a_window_later_stages_are_none():  # contract 18.3
    model = one_weight(kerasgd.SGD(0.5, gradient_accumulation_steps=2))
    (row,) = explain_step(model, ONE, 0 * ONE)
    assert (row["gradient_norm"], row["unscaled_norm"]) == (4.0, 4.0)
    assert {row[name] for name in ("mean_norm", "change_norm", "overwritten")} == {None}
    model.train_on_batch(ONE, 0 * ONE)
    (row,) = explain_step(model, 3 * ONE, 0 * ONE)  # its gradient is 36
    assert (row["gradient_norm"], row["mean_norm"], row["change_norm"]) == (36.0, 20.0, 10.0)


@pytest.mark.parametrize(
    "optimizer",
    [
        lambda: kerasgd.LossScaleOptimizer(kerasgd.SGD(0.5), 4.0),
        lambda: kerasgd.SGD(0.5).skip_nonfinite(),
    ],
    ids=["dynamic scale", "skipping"],
)
def test_a_skipped_step_changes_nothing(optimizer):  # contract 18.2, 6.3, 16.1
    model = one_weight(optimizer())
    (row,) = explain_step(model, np.inf * ONE, ONE, check=True)
    assert not np.isfinite(row["gradient_norm"])
    assert (row["change_norm"], row["holds"], row["largest_difference"]) == (None, True, 0.0)


def test_where_keras_departs_it_says_so():  # contract 18.2, 7.3
    # Keras applies constraints at each step of a window.
    model = one_weight(
        keras.optimizers.SGD(0.5, gradient_accumulation_steps=2),
        constraint=keras.constraints.MaxNorm(1.0),
    )
    (row,) = explain_step(model, ONE, 0 * ONE, check=True)
    assert not row["holds"]
    assert row["largest_difference"] == pytest.approx(1.0)


@pytest.mark.skipif(BACKEND != "tensorflow", reason="sparse gradients")
def test_an_embedding():  # contract 18.1, 11.1
    model = keras.Sequential([keras.Input((2,), dtype="int32"), keras.layers.Embedding(3, 2)])
    model.compile(kerasgd.SGD(0.5, momentum=0.5, clipnorm=0.1), loss="mse")
    x = np.array([[0, 2], [2, 2]])
    (row,) = explain_step(model, x, np.ones((2, 2, 2), "float32"), check=True)
    assert row["holds"]
    assert row["clipped_norm"] == pytest.approx(0.1)


class OwnTrainStep(keras.Sequential):
    def train_step(self, *arguments):
        return super().train_step(*arguments)


def test_what_cannot_be_explained_is_refused():  # contract 18.1
    with pytest.raises(kerasgd.ArgumentTypeError, match="`model` must be a compiled model"):
        explain_step(keras.layers.Dense(1), ONE, ONE)
    with pytest.raises(kerasgd.StateError, match="The model is not compiled"):
        explain_step(keras.Sequential([keras.Input((1,))]), ONE, ONE)
    own = OwnTrainStep([keras.Input((1,)), keras.layers.Dense(1)])
    own.compile(kerasgd.SGD(), loss="mse")
    with pytest.raises(kerasgd.StateError, match=r"overrides `train_step\(\)`"):
        explain_step(own, ONE, ONE)
    with pytest.raises(kerasgd.StateError, match="Adam: only steps of SGD can be explained"):
        explain_step(one_weight(keras.optimizers.Adam()), ONE, ONE)


class Batches(keras.utils.PyDataset):
    def __len__(self):
        return 1

    def __getitem__(self, index):
        return ONE, ONE


@pytest.mark.parametrize("batches", [Batches(), iter([(ONE, ONE)])], ids=["dataset", "iterator"])
def test_one_batch_is_wanted(batches):  # contract 18.1
    with pytest.raises(kerasgd.ArgumentTypeError, match="`x` must be the inputs of one batch") as e:
        explain_step(one_weight(kerasgd.SGD()), batches)
    assert "pass the inputs of one of them" in str(e.value)
