"""Statistics and skipped updates of an optimizer, also in files (contract 15, 16)."""

import copy
import json
import pickle
import warnings

import keras
import numpy as np
import pytest
from bad_inputs import WALK
from conftest import BACKEND, numbers
from watched import tensor

import kerasgd
from kerasgd import watching

CONFIG = {"track_statistics": {"per_variable": True, "every": 3}, "skip_nonfinite": True}


def watched(**arguments):
    return kerasgd.SGD(0.5, **arguments).track_statistics(True, 3).skip_nonfinite()


def variable():
    return keras.Variable([1.0, 2.0], name="w")


def do(optimizer, w, *gradients):
    for gradient in gradients:
        optimizer.apply([tensor([gradient, 1.0])], [w])
    return optimizer


def test_statistics_have_these_fields():  # contract 15.2
    optimizer = kerasgd.SGD(0.5).track_statistics(per_variable=True)
    do(optimizer, variable(), np.nan)
    found = optimizer.statistics
    of_variable = found.pop("variables")
    assert list(found) == [
        "learning_rate",
        "gradient_norm",
        "clip_coefficient",
        "update_norm",
        "weight_norm",
        "update_ratio",
        "nonfinite",
        "loss_scale",
        "updates",
    ]
    whole = {name for name, value in found.items() if type(value) is int}
    assert whole == {"nonfinite", "updates"}
    assert [type(value) for value in of_variable[0].values()] == [str, *[float] * 4, int]
    names = ["path", "gradient_norm", "update_norm", "weight_norm", "update_ratio", "nonfinite"]
    assert list(of_variable[0]) == names
    assert of_variable[0]["path"] == "w"


def test_variables_are_told_only_if_wanted():  # contract 15.1
    optimizer = do(kerasgd.SGD(0.5).track_statistics(), variable(), 1.0)
    assert "variables" not in optimizer.statistics


def test_there_are_no_statistics_before_the_first_measured_update():  # contract 15.1
    optimizer, w = watched(), variable()
    assert optimizer.statistics is None
    assert do(optimizer, w, 1.0, 1.0).statistics is None
    assert do(optimizer, w, 1.0).statistics["updates"] == 3


def test_statistics_need_the_call():  # contract 15.1
    for optimizer in (kerasgd.SGD(), kerasgd.LossScaleOptimizer(kerasgd.SGD())):
        with pytest.raises(kerasgd.StateError, match=r"Call `track_statistics\(\)` before"):
            optimizer.statistics  # noqa: B018


@pytest.mark.parametrize("call", ["track_statistics", "skip_nonfinite"])
def test_calls_come_before_the_first_step(call):  # contract 15.1, 16.1
    optimizer = kerasgd.SGD()
    assert getattr(optimizer, call)() is optimizer
    optimizer.build([variable()])
    words = rf"`SGD` is already built\. Call `{call}\(\)` before the first step"
    with pytest.raises(kerasgd.StateError, match=words):
        getattr(optimizer, call)()


def test_the_last_call_decides():  # contract 15.1
    optimizer = kerasgd.SGD().track_statistics(True, 5).track_statistics(every=2)
    assert optimizer.get_config()["track_statistics"] == {"per_variable": False, "every": 2}


def test_nonfinite_elements_are_told_by_kind():  # contract 16.2
    variables = [keras.Variable(np.zeros((2, 2), "float32"), name=name) for name in "ab"]
    optimizer = kerasgd.SGD(0.5).skip_nonfinite()
    bad = [[np.nan, 1.0], [np.inf, -np.inf]]
    optimizer.apply([tensor(np.ones((2, 2))), tensor(bad)], variables)
    optimizer.apply([tensor(np.ones((2, 2)))] * 2, variables)
    assert watching.nonfinite(optimizer) == {"b": (1, 2)}


# -- a dynamic loss scale ----------------------------------------------------------------------


def test_a_dynamic_loss_scale_skips_already():  # contract 16.1, 6.3
    words = r"already skips steps .* not finite: leave out `skip_nonfinite\(\)`"
    skipping = kerasgd.SGD().skip_nonfinite()
    with pytest.raises(kerasgd.StateError, match=words):
        kerasgd.LossScaleOptimizer(skipping)
    with pytest.raises(kerasgd.StateError, match=words):
        kerasgd.LossScaleOptimizer(kerasgd.SGD()).skip_nonfinite()
    inner = kerasgd.SGD()
    wrapped = kerasgd.LossScaleOptimizer(inner)
    with pytest.raises(kerasgd.StateError, match=words):
        wrapped.inner_optimizer = skipping
    with pytest.raises(kerasgd.StateError, match=words):
        wrapped.update(inner_optimizer=skipping)
    inner.skip_nonfinite()
    w = variable()
    with pytest.raises(kerasgd.StateError, match=words):
        wrapped.apply([keras.ops.ones(2)], [w])
    assert numbers(w) == [1.0, 2.0]
    assert not wrapped.built


@pytest.mark.skipif(BACKEND == "jax", reason="Keras' own wrapper fails in eager code there")
def test_wrapped_by_keras_an_optimizer_sees_finite_gradients_only():  # contract 16.1
    # `compile()` puts this wrapper around any optimizer under mixed_float16.
    inner = kerasgd.SGD(0.5).skip_nonfinite().track_statistics()
    wrapped = keras.optimizers.LossScaleOptimizer(inner, initial_scale=2.0)
    w = variable()
    wrapped.build([w])
    for gradient in (np.nan, 2.0):
        wrapped.apply([tensor([gradient, gradient])], [w])
    # The scale is 1 by now.
    assert numbers(w) == [0.0, 1.0]
    assert (inner.skipped, inner.statistics["updates"]) == (0, 1)


def test_statistics_are_reached_through_the_wrapper():  # contract 15.1, 6.3
    w = variable()
    optimizer = kerasgd.LossScaleOptimizer(kerasgd.SGD(0.5), 4.0)
    assert optimizer.track_statistics(True) is optimizer
    optimizer.apply([tensor([4.0, 0.0])], [w])
    found = optimizer.statistics
    assert (found["gradient_norm"], found["loss_scale"], found["updates"]) == (1.0, 4.0, 1)
    assert len(found["variables"]) == 1


# -- configuration, copies and files -------------------------------------------------------------


def test_a_configuration_has_these_settings_if_they_are_on():  # contract 9.3, 15.1, 16.1
    assert not CONFIG.keys() & kerasgd.SGD().get_config().keys()
    config = json.loads(json.dumps(watched().get_config()))
    assert {key: config[key] for key in CONFIG} == CONFIG
    assert kerasgd.SGD.from_config(config).get_config() == config
    assert watched().update(momentum=0.5).get_config() == {**config, "momentum": 0.5}
    assert copy.deepcopy(watched()).get_config() == config


FLAGS, COUNTS = {"true", "false", "numpy true"}, {"one", "two as a float"}


@pytest.mark.parametrize("key", WALK)
def test_damaged_settings_are_refused_by_name(key):  # contract 9.3, 12
    def refused(argument, **changes):
        with pytest.raises(kerasgd.ArgumentError) as caught:
            kerasgd.SGD.from_config({**kerasgd.SGD().get_config(), **changes})
        assert caught.value.argument == argument

    value = WALK[key]
    if value is not None:
        refused("track_statistics", track_statistics=value)
    refused("track_statistics", track_statistics={"every": 1, "per_variable": True, "more": value})
    if key not in FLAGS:
        refused("skip_nonfinite", skip_nonfinite=value)
        refused("per_variable", track_statistics={"per_variable": value, "every": 1})
    if key not in COUNTS:
        refused("every", track_statistics={"per_variable": True, "every": value})


def through_pickle(optimizer, tmp_path):
    return pickle.loads(pickle.dumps(optimizer))


def through_copy(optimizer, tmp_path):
    return copy.deepcopy(optimizer)


def through_update(optimizer, tmp_path):
    return optimizer.update(keep_state=True)


def through_snapshot(optimizer, tmp_path):
    kerasgd.save_optimizer(optimizer, str(tmp_path / "optimizer"))
    return kerasgd.load_optimizer(str(tmp_path / "optimizer"))


WAYS_TO_COPY = [through_pickle, through_copy, through_update, through_snapshot]


@pytest.mark.parametrize("copied", WAYS_TO_COPY, ids=lambda way: way.__name__)
def test_counts_and_settings_come_back(copied, tmp_path):  # contract 16.1, 9.1, 9.3
    arguments = {"use_ema": True, "ema_momentum": 0.5, "ema_overwrite_frequency": 3}
    w, again = variable(), variable()
    optimizer = do(watched(**arguments), w, np.nan, 1.0, np.inf, np.nan)
    assert (optimizer.skipped, optimizer.skipped_in_a_row) == (3, 2)
    other = copied(optimizer, tmp_path)
    assert other.get_config() == optimizer.get_config()
    again.assign(w)
    other.build([again])
    assert (other.skipped, other.skipped_in_a_row) == (3, 2)
    # The third update done overwrites the weights, and the sixth attempt is measured.
    for each, its in ((optimizer, w), (other, again)):
        do(each, its, 1.0, 2.0)
        assert (each.skipped, each.skipped_in_a_row) == (3, 0)
        assert each.statistics["updates"] == 3
    assert numbers(w) == numbers(again)
    assert numbers(w) == numbers(optimizer.state().parameters[0].average)


@pytest.mark.parametrize("suffix", [".keras", ".weights.h5"])
def test_counts_come_back_from_keras_files(suffix, tmp_path):  # contract 16.1, 9.1
    model = model_of_two(watched())
    model.fit(X, X, batch_size=1, epochs=1, shuffle=False, verbose=0)
    counts = model.optimizer.skipped, model.optimizer.skipped_in_a_row
    assert counts == (2, 1)
    path = tmp_path / f"model{suffix}"
    if suffix == ".keras":
        model.save(path)
        again = keras.models.load_model(path)
        assert {key: again.optimizer.get_config()[key] for key in CONFIG} == CONFIG
    else:
        model.save_weights(path)
        again = model_of_two(watched())
        again.load_weights(path)
        again.optimizer.build(again.trainable_variables)
    assert (again.optimizer.skipped, again.optimizer.skipped_in_a_row) == counts
    assert int(again.optimizer.iterations) == 4


X = np.array([[1.0], [np.nan], [1.0], [np.inf]], "float32")


def model_of_two(optimizer):
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(optimizer, loss="mse")
    return model


def test_counts_without_a_place_are_told(tmp_path):  # contract 9.4d, 16.1
    w = variable()
    optimizer = do(watched(), w, np.nan, 1.0)
    plain = kerasgd.SGD(0.5)
    plain.build([w])
    store = {}
    optimizer.save_own_variables(store)
    with pytest.warns(
        kerasgd.KerasgdWarning, match="count of 1 skipped update, because `SGD` does"
    ):
        plain.load_own_variables(store)
    # There is no warning without skips, nor in the other direction.
    none_skipped = {}
    do(watched(), variable(), 1.0).save_own_variables(none_skipped)
    of_plain = {}
    do(kerasgd.SGD(0.5), variable(), 1.0).save_own_variables(of_plain)
    skipping = watched()
    skipping.build([w])
    with warnings.catch_warnings():
        warnings.simplefilter("error", kerasgd.KerasgdWarning)
        plain.load_own_variables(none_skipped)
        skipping.load_own_variables(of_plain)
    assert skipping.skipped == 0


@pytest.mark.parametrize("role", ["skipped", "skipped_in_a_row"])
@pytest.mark.parametrize("value", [-1, 2**31, 0.5, [1]])
def test_damaged_counts_are_refused(role, value):  # contract 9.4
    optimizer = do(watched(), variable(), 1.0)
    store = {}
    optimizer.save_own_variables(store)
    store[role] = np.asarray(value)
    with pytest.raises(kerasgd.StateError, match=f"damaged: `{role}`"):
        optimizer.load_own_variables(store)
    assert optimizer.skipped == 0


@pytest.mark.skipif(BACKEND != "jax", reason="JAX's trainer takes the values away")
def test_numbers_that_the_trainer_holds_are_not_told_as_old():  # contract 15.2, 16.1, 9.4
    errors = []

    class Reads(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            for name in ("statistics", "skipped", "skipped_in_a_row"):
                with pytest.raises(kerasgd.StateError, match="holds it during") as caught:
                    getattr(optimizer, name)
                errors.append(str(caught.value))

    optimizer = watched()
    ones = np.ones((2, 1))
    model_of_two(optimizer).fit(ones, ones, callbacks=[Reads()], verbose=0)
    assert len(errors) == 3


@pytest.mark.parametrize("name", ["skips_nonfinite", "statistics_every"])
def test_there_is_no_attribute_that_would_not_act(name):  # contract 13.3
    with pytest.raises(kerasgd.UnknownArgumentError, match=f"`{name}` is not an argument"):
        setattr(kerasgd.SGD(0.5), name, True)


@pytest.mark.parametrize("setting", ["skip_nonfinite", "track_statistics", "groups"])
def test_update_takes_arguments_only(setting):  # contract 12.6
    with pytest.raises(kerasgd.UnknownArgumentError, match=f"`{setting}` is not an argument"):
        kerasgd.SGD(0.5).update(**{setting: True})
