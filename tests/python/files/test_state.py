"""State comes back by variable; a model always loads (contract 9.1 to 9.4d)."""

import copy
import pickle
import warnings

import keras
import numpy as np
import pytest
from conftest import BACKEND, numbers

import kerasgd
from kerasgd.files.state import load_strictly

X = np.linspace(-1, 1, 12, dtype="float32").reshape(4, 3)
Y = np.linspace(1, -1, 8, dtype="float32").reshape(4, 2)
EVERYTHING = {
    "momentum": 0.9,
    "weight_decay": 0.01,
    "use_ema": True,
    "ema_momentum": 0.5,
    "gradient_accumulation_steps": 3,
}


def network(optimizer, units=(3, 2), names=("first", "second")):
    keras.utils.set_random_seed(1)
    layers = [keras.layers.Dense(n, name=name) for n, name in zip(units, names, strict=True)]
    model = keras.Sequential([keras.Input((3,)), *layers])
    model.compile(optimizer, loss="mse")
    return model


def fit(model, epochs=1, x=X, y=Y):
    model.fit(x, y, batch_size=2, epochs=epochs, shuffle=False, verbose=0)
    return model


def by_path(values, model):
    """A list for each trainable variable, by the last two parts of its path."""
    paths = ["/".join(v.path.split("/")[-2:]) for v in model.trainable_variables]
    return dict(zip(paths, [None if v is None else numbers(v) for v in values], strict=True))


def velocities(model):
    return by_path(model.optimizer.momentums, model)


def left_out(caught):
    """The warnings about state that was left out."""
    return [str(w.message) for w in caught if "State left out" in str(w.message)]


def quietly(function, *args):
    """The result of the call, and its warnings about state that was left out."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        return function(*args), left_out(caught)


@pytest.fixture
def file(tmp_path):
    return str(tmp_path / "model.keras")


@pytest.fixture
def weights_file(tmp_path):
    return str(tmp_path / "model.weights.h5")


@pytest.mark.parametrize("settings", [{"momentum": 0.9}, EVERYTHING], ids=["momentum", "all"])
def test_loading_weights_into_a_fresh_model_restores_the_optimizer(settings, weights_file):
    # contract 9.4a, 9.1: after 2 steps; with accumulation in the middle of a window
    model = fit(network(kerasgd.SGD(0.1, **settings)))
    model.save_weights(weights_file)
    again = network(kerasgd.SGD(0.1, **settings))
    _, said = quietly(again.load_weights, weights_file)
    assert said == []
    assert int(again.optimizer._iterations) == 2
    fit(model, 2)
    fit(again, 2)
    for one, other in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_renumbered_layers_are_paired_in_order(weights_file):  # contract 9.4
    model = fit(network(kerasgd.SGD(0.1, momentum=0.9), names=("dense", "dense_1")))
    model.save_weights(weights_file)
    # `dense_1` is the name of the other layer here, and the shapes differ.
    again = network(kerasgd.SGD(0.1, momentum=0.9), names=("dense_1", "dense_2"))
    again.build_from_config({"input_shape": (None, 3)})
    again.load_weights(weights_file)
    again.optimizer.build(again.trainable_variables)
    assert list(velocities(again).values()) == list(velocities(model).values())


@pytest.mark.parametrize("when", ["before save", "before load"])
def test_a_layer_frozen_after_training_is_left_out_with_one_warning(when, file, weights_file):
    # contract 9.4, 9.4a
    model = fit(network(kerasgd.SGD(0.1, momentum=0.9)))
    before = velocities(model)
    if when == "before save":
        model.layers[0].trainable = False
        model.save(file)
        again, said = quietly(keras.saving.load_model, file)
    else:
        model.save_weights(weights_file)
        again = network(kerasgd.SGD(0.1, momentum=0.9))
        again.layers[0].trainable = False
        again.optimizer.build(again.trainable_variables)
        _, said = quietly(again.load_weights, weights_file)
    (warning,) = said
    assert "the velocity of 2 variables that `SGD` does not train" in warning
    assert "first/kernel`" in warning
    after = velocities(again)
    assert after == {path: before[path] for path in ("second/kernel", "second/bias")}
    assert again.optimizer._left_out
    fit(again)


def test_a_layer_unfrozen_after_training_starts_fresh(file, weights_file):  # contract 9.4, 5.1
    settings = {"momentum": 0.9, "use_ema": True, "ema_momentum": 0.5}
    model = network(kerasgd.SGD(0.1, **settings))
    model.layers[0].trainable = False
    fit(model).save_weights(weights_file)
    before = velocities(model)
    again = network(kerasgd.SGD(0.1, **settings))
    again.optimizer.build(again.trainable_variables)
    _, said = quietly(again.load_weights, weights_file)
    assert said == []
    after = velocities(again)
    assert {path: after[path] for path in before} == before
    assert not np.any(after["first/kernel"])
    # Its average starts at the loaded weights, not at the initial weights of the new model.
    averages = by_path([s.average for s in again.optimizer.state().parameters], again)
    assert averages["first/kernel"] == numbers(again.layers[0].kernel)


def test_a_frozen_and_an_unfrozen_layer_of_one_shape_are_not_confused(weights_file):  # contract 9.4
    def model_with(frozen):
        model = network(kerasgd.SGD(0.1, momentum=0.9), (3, 3, 3), ("dense", "dense_1", "dense_2"))
        model.layers[frozen].trainable = False
        return model

    y = np.ones((4, 3), "float32")
    model = fit(model_with(2), y=y)
    model.save_weights(weights_file)
    before = velocities(model)
    again = model_with(0)
    _, said = quietly(lambda: (again.load_weights(weights_file), fit_nothing(again)))
    after = velocities(again)
    assert len(said) == 1
    assert after["dense_1/kernel"] == before["dense_1/kernel"]
    assert not np.any(after["dense_2/kernel"])


def fit_nothing(model):
    model.optimizer.build(model.trainable_variables)


def test_a_frozen_trained_base_inside_a_new_model_keeps_its_state(file):  # contract 9.4a
    base = fit(network(kerasgd.SGD(0.1, momentum=0.9)))
    base.trainable = False
    model = keras.Sequential([keras.Input((3,)), base, keras.layers.Dense(2, name="head")])
    model.compile(kerasgd.SGD(0.1, momentum=0.9), loss="mse")
    fit(model).save(file)
    again, said = quietly(keras.saving.load_model, file)
    assert said == []
    assert velocities(again) == velocities(model)
    # After it is unfrozen, the base continues from its state.
    inner = again.layers[0]
    for layer in inner.layers:
        layer.trainable = True
    fit_nothing(inner)
    assert numbers(inner.optimizer.momentums[0]) == numbers(base.optimizer.momentums[0])


@keras.saving.register_keras_serializable("test_loading")
class TwoOptimizers(keras.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.one = keras.layers.Dense(2, name="one")
        self.other = keras.layers.Dense(2, name="other")

    def call(self, x):
        return self.one(x) + self.other(x)

    def compile(self, first, second):
        super().compile()
        self.first, self.second = first, second

    def get_compile_config(self):
        return {
            "first": keras.saving.serialize_keras_object(self.first),
            "second": keras.saving.serialize_keras_object(self.second),
        }

    def compile_from_config(self, config):
        self.compile(**{k: keras.saving.deserialize_keras_object(v) for k, v in config.items()})


@pytest.mark.parametrize("kind", ["file", "weights_file"])
def test_a_model_with_two_optimizers_loads_both(kind, request):  # contract 9.4a
    path = request.getfixturevalue(kind)
    model = TwoOptimizers()
    model(X)
    model.compile(kerasgd.SGD(0.5, momentum=0.9), kerasgd.SGD(0.25, momentum=0.5))
    parts = {"first": model.one, "second": model.other}
    for name, layer in parts.items():
        ones = [keras.ops.ones(v.shape) for v in layer.trainable_variables]
        getattr(model, name).apply(ones, layer.trainable_variables)
    if kind == "file":
        model.save(path)
        again = keras.saving.load_model(path)
    else:
        model.save_weights(path)
        again = TwoOptimizers()
        again(X)
        again.compile(kerasgd.SGD(0.5, momentum=0.9), kerasgd.SGD(0.25, momentum=0.5))
        again.load_weights(path)
    again.first.build(again.one.trainable_variables)
    again.second.build(again.other.trainable_variables)
    assert float(again.first.momentums[0][0, 0]) == -0.5
    assert float(again.second.momentums[0][0, 0]) == -0.25


@pytest.mark.parametrize("theirs", ["adam", "sgd"])
@pytest.mark.parametrize("built", [False, True])
def test_state_of_another_class_is_left_out(theirs, built, weights_file):  # contract 9.4a, 9.4c
    model = fit(network(theirs))
    model.save_weights(weights_file)
    again = network(kerasgd.SGD(0.1, momentum=0.9))
    if built:
        fit_nothing(again)
    _, said = quietly(again.load_weights, weights_file)
    (warning,) = said
    assert "kerasgd did not save" in warning
    assert "`kerasgd.from_keras()`" in warning
    assert again.optimizer._left_out
    assert int(again.optimizer._iterations) == 0
    for one, other in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    fit(again)


def test_loading_weights_without_an_optimizer_does_not_warn(weights_file):  # contract 9.4a
    keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]).save_weights(weights_file)
    again = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    again.compile(kerasgd.SGD(momentum=0.9), "mse")
    _, said = quietly(again.load_weights, weights_file)
    assert said == []


def test_mixed_precision_loads_under_another_policy(file):  # contract 9.4a, 6.2
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = fit(network(kerasgd.SGD(0.1, momentum=0.9)))
        model.save(file)
    finally:
        keras.config.set_dtype_policy("float32")
    again, said = quietly(keras.saving.load_model, file)
    assert "the dynamic loss scale" in said[-1]
    assert velocities(again) == by_path(model.optimizer.inner_optimizer.momentums, model)
    assert np.any(velocities(again)["first/kernel"])
    fit(again)


@pytest.mark.parametrize("direction", ["into the wrapper", "out of the wrapper"])
def test_state_moves_between_wrapped_and_plain_optimizers(direction, weights_file):  # contract 9.4a
    plain, scaled = kerasgd.SGD(0.1, momentum=0.9), kerasgd.SGD(0.1, momentum=0.9)
    scaled = kerasgd.LossScaleOptimizer(scaled, 4)
    saved, into = (plain, scaled) if direction == "into the wrapper" else (scaled, plain)
    model = fit(network(saved))
    model.save_weights(weights_file)
    again = network(into)
    _, said = quietly(again.load_weights, weights_file)
    assert len(said) == (direction == "out of the wrapper")
    fit_nothing(again)
    inner = [getattr(m.optimizer, "inner_optimizer", m.optimizer) for m in (model, again)]
    assert int(inner[1].iterations) == 2
    assert by_path(inner[1].momentums, again) == by_path(inner[0].momentums, model)
    fit(again)


def test_a_plain_file_loads_under_mixed_precision(weights_file):  # contract 9.4a, 6.2
    model = fit(network(kerasgd.SGD(0.1, momentum=0.9)))
    model.save_weights(weights_file)
    keras.config.set_dtype_policy("mixed_float16")
    try:
        again = network(kerasgd.SGD(0.1, momentum=0.9))
        quietly(again.load_weights, weights_file)
        inner = again.optimizer.inner_optimizer
        inner.build(again.trainable_variables)
    finally:
        keras.config.set_dtype_policy("float32")
    assert by_path(inner.momentums, again) == velocities(model)


@pytest.mark.parametrize("replaced", ["schedule by number", "number by schedule"])
def test_legacy_files_after_the_rate_was_replaced(replaced, tmp_path):  # contract 9.4a, 2.7
    path = str(tmp_path / "model.h5")
    schedule = keras.optimizers.schedules.ExponentialDecay(0.1, 2, 0.5)
    first, second = (schedule, 0.05) if replaced == "schedule by number" else (0.05, schedule)
    optimizer = kerasgd.SGD(first, momentum=0.9, use_ema=True)
    model = network(optimizer)
    model.compile(optimizer, loss=keras.losses.MeanSquaredError(), run_eagerly=BACKEND != "jax")
    if BACKEND == "jax":  # whose step is always compiled
        optimizer.build(model.trainable_variables)
        optimizer.learning_rate = second
        fit(model)
    else:
        fit(model)
        optimizer.learning_rate = second
        fit(model)
    model.save(path)
    again, said = quietly(keras.saving.load_model, path)
    fit_nothing(again)
    assert said == []
    assert velocities(again) == velocities(model)
    assert float(again.optimizer.learning_rate) == float(model.optimizer.learning_rate)


@pytest.mark.parametrize("settings", [{"momentum": 0.9}, EVERYTHING], ids=["momentum", "all"])
def test_legacy_files_continue(settings, tmp_path):  # contract 9.4a
    path = str(tmp_path / "model.h5")
    model = network(kerasgd.SGD(0.1, **settings))
    model.compile(kerasgd.SGD(0.1, **settings), loss=keras.losses.MeanSquaredError())
    fit(model).save(path)
    again = keras.saving.load_model(path)
    assert int(again.optimizer._iterations) == 2
    fit(model, 2)
    fit(again, 2)
    for one, other in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.skipif(BACKEND == "torch", reason="Keras' float8 does not train on PyTorch's CPU")
def test_float8_variables_come_back_in_another_order(file):  # contract 9.4, 9.4a
    model = network(kerasgd.SGD(0.1, momentum=0.9))
    model.quantize("float8")
    model.compile(kerasgd.SGD(0.1, momentum=0.9), loss="mse")
    fit(model).save(file)
    again, said = quietly(keras.saving.load_model, file)
    # Keras 3.15 lists the variables in another order and without the name of the model.
    assert said == []
    before = velocities(model)
    assert before["first/kernel"] is not None
    assert velocities(again) == before


def test_a_model_quantized_to_int8_loads(file):  # contract 9.4a
    model = fit(network(kerasgd.SGD(0.1, momentum=0.9)))
    model.quantize("int8")
    model.save(file)
    again, _ = quietly(keras.saving.load_model, file)
    np.testing.assert_allclose(again.predict(X, verbose=0), model.predict(X, verbose=0), rtol=1e-5)


def test_skip_mismatch_leaves_out_weights_not_state(weights_file):  # contract 9.4d
    model = fit(network(kerasgd.SGD(0.1, momentum=0.9)))
    model.save_weights(weights_file)
    again = network(kerasgd.SGD(0.1, momentum=0.9), units=(3, 4))
    _, said = quietly(lambda: again.load_weights(weights_file, skip_mismatch=True))
    _, later = quietly(fit_nothing, again)
    assert len(said + later) == 1
    assert "whose shape was" in (said + later)[0]
    after = velocities(again)
    assert after["first/kernel"] == velocities(model)["first/kernel"]
    assert not np.any(after["second/kernel"])


@pytest.mark.parametrize("built", [False, True])
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"momentum": 0}, "the velocity of 4 variables, because `momentum` is now 0.0"),
        ({"use_ema": False}, "the average of 4 variables, because `use_ema` is now False"),
        (
            {"gradient_accumulation_steps": None},
            "the accumulator of 4 variables, because `gradient_accumulation_steps` is now None",
        ),
        ({"gradient_accumulation_steps": 5}, "accumulation window of 3 steps"),
    ],
)
def test_state_of_other_arguments_is_left_out(change, words, built, weights_file):
    # contract 9.4a
    fit(network(kerasgd.SGD(0.1, **EVERYTHING))).save_weights(weights_file)
    again = network(kerasgd.SGD(0.1, **{**EVERYTHING, **change}))
    if built:
        fit_nothing(again)
    _, said = quietly(lambda: (again.load_weights(weights_file), fit_nothing(again)))
    (warning,) = said
    assert words in warning
    fit(again)


def test_state_that_the_file_lacks_starts_fresh(weights_file):  # contract 9.4a
    fit(network(kerasgd.SGD(0.1))).save_weights(weights_file)
    again = network(kerasgd.SGD(0.1, **EVERYTHING))
    _, said = quietly(lambda: (again.load_weights(weights_file), fit_nothing(again)))
    assert said == []
    assert not np.any(velocities(again)["first/kernel"])
    fit(again)


# -- copies without a file -------------------------------------------------------------------------


@pytest.mark.parametrize("built", [False, True])
def test_copies_keep_a_rate_function(built):  # contract 9.3
    rate = iter([0.5, 0.25, 0.125, 0.0625])
    optimizer = kerasgd.SGD(lambda: next(rate), momentum=0.5)
    w = keras.Variable([0.0])
    if built:
        optimizer.apply([keras.ops.ones(1)], [w])
    again = copy.deepcopy(optimizer)
    new = keras.Variable(numbers(w))
    again.apply([keras.ops.ones(1)], [new])
    expected = -0.5 + (0.5 * -0.5 - 0.25) if built else -0.5
    assert numbers(new) == [expected]


def test_a_model_with_a_rate_function_can_be_cloned_and_described():  # contract 9.3
    model = network(kerasgd.SGD(lambda: 0.125))
    assert "of this session" in model.to_json()
    again = keras.models.clone_model(model)
    assert float(again.optimizer.learning_rate) == 0.125


@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_a_file_with_a_rate_function_is_refused(suffix, tmp_path):  # contract 9.3
    path = tmp_path / f"model.{suffix}"
    with pytest.raises(kerasgd.StateError, match="Register it with"):
        network(kerasgd.SGD(lambda: 0.1)).save(path)


def test_weights_of_a_model_with_a_rate_function_can_be_saved(weights_file):  # contract 9.3
    network(kerasgd.SGD(lambda: 0.1)).save_weights(weights_file)


@pytest.mark.parametrize("way", ["deepcopy", "clone", "save"])
def test_objects_excluded_before_the_first_step_are_kept(way, file):  # contract 14.8, 3.3
    optimizer = kerasgd.SGD(1.0, weight_decay=0.5)
    model = network(optimizer)
    optimizer.exclude_from_weight_decay([model.layers[0].kernel])
    if way == "deepcopy":
        again, trained = copy.deepcopy(optimizer), model.trainable_variables
    elif way == "clone":
        clone = keras.models.clone_model(model)
        again, trained = clone.optimizer, clone.trainable_variables
    else:
        model.save(file)
        loaded = keras.saving.load_model(file)
        again, trained = loaded.optimizer, loaded.trainable_variables
    before = [np.array(numbers(v)) for v in trained]
    again.apply([keras.ops.zeros(v.shape) for v in trained], trained)
    factors = [1, 0.5, 0.5, 0.5]
    for value, factor, variable in zip(before, factors, trained, strict=True):
        np.testing.assert_allclose(numbers(variable), factor * value, rtol=1e-6)


# -- state as arrays, without a model --------------------------------------------------------------

SETTINGS = {
    "momentum": 0.9,
    "nesterov": True,
    "weight_decay": 0.01,
    "global_clipnorm": 0.5,
    "use_ema": True,
    "ema_momentum": 0.9,
    "ema_overwrite_frequency": 2,
    "gradient_accumulation_steps": 2,
}


def variables():
    return [keras.Variable([1.0, 2.0], name="a"), keras.Variable([[3.0]], name="b")]


def train(optimizer, trained, steps, first=0):
    for t in range(first, first + steps):
        gradients = [np.array([1.0, -2.0]) / (t + 1), np.array([[0.5 * t]])]
        optimizer.apply([keras.ops.convert_to_tensor(g, "float32") for g in gradients], trained)


def schedule():
    return keras.optimizers.schedules.InverseTimeDecay(0.3, 3, 0.5)


@pytest.fixture(params=["plain", "dynamic scale"])
def make(request):
    def plain(**changes):
        return kerasgd.SGD(schedule(), **{**SETTINGS, **changes})

    def scaled(**changes):
        return kerasgd.LossScaleOptimizer(plain(**changes), 4, 3)

    return plain if request.param == "plain" else scaled


def after_seven_steps(optimizer):
    trained = variables()
    train(optimizer, trained, 7)
    return [numbers(v) for v in trained]


@pytest.mark.parametrize("interrupted", [0, 2, 3])
def test_a_pickled_optimizer_continues(make, interrupted):  # contract 9.5
    optimizer, trained = make(), variables()
    train(optimizer, trained, interrupted)
    again = pickle.loads(pickle.dumps(pickle.loads(pickle.dumps(optimizer))))
    assert type(again) is type(optimizer)
    assert again.get_config() == optimizer.get_config()
    train(again, trained, 7 - interrupted, first=interrupted)
    assert [numbers(v) for v in trained] == after_seven_steps(make())


def test_training_continues_bit_for_bit(make):  # contract 9.1
    optimizer, trained = make(), variables()
    train(optimizer, trained, 3)
    stores = states_of(optimizer)
    again = make()
    again.build(trained)
    for own, store in zip(parts_of(again), stores, strict=True):
        own.load_own_variables(store)
    train(again, trained, 4, first=3)
    assert [numbers(v) for v in trained] == after_seven_steps(make())


def parts_of(optimizer):
    inner = getattr(optimizer, "inner_optimizer", None)
    return [optimizer] if inner is None else [optimizer, inner]


def states_of(optimizer):
    stores = []
    for part in parts_of(optimizer):
        stores.append({})
        part.save_own_variables(stores[-1])
    return stores


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"momentum": 0}, "`momentum`"),
        ({"use_ema": False}, "`use_ema`"),
        ({"gradient_accumulation_steps": None}, "`gradient_accumulation_steps`"),
    ],
    ids=["momentum", "use_ema", "gradient_accumulation_steps"],
)
@pytest.mark.parametrize("direction", ["lacks", "has"])
def test_state_of_other_arguments_is_refused(change, words, direction):  # contract 9.4b
    saved, into = kerasgd.SGD(**SETTINGS), kerasgd.SGD(**{**SETTINGS, **change})
    if direction == "has":
        saved, into = into, saved
    trained = variables()
    train(saved, trained, 2)
    (store,) = states_of(saved)
    into.build(trained)
    before = [numbers(v) for v in into.variables]
    with pytest.raises(kerasgd.StateError, match=words):
        load_strictly(into, store)
    assert [numbers(v) for v in into.variables] == before


def test_state_of_other_variables_is_refused():  # contract 9.4b
    saved, trained = kerasgd.SGD(momentum=0.9), variables()
    train(saved, trained, 1)
    (store,) = states_of(saved)
    other = kerasgd.SGD(momentum=0.9)
    other.build(trained[:1])
    with pytest.raises(kerasgd.StateError, match=r"2 variables, but `SGD` has 1.*`b`"):
        load_strictly(other, store)
    other = kerasgd.SGD(momentum=0.9)
    other.build([keras.Variable([1.0, 2.0, 3.0], name="c"), trained[1]])
    with pytest.raises(kerasgd.StateError, match=r"`c` has shape \(3,\).*`a` of shape \(2,\)"):
        load_strictly(other, store)
    foreign = {"0": np.zeros(())}
    with pytest.raises(kerasgd.StateError, match="kerasgd did not save it"):
        load_strictly(other, foreign)


def test_state_of_an_unbuilt_optimizer_restores_its_counters():  # contract 9.4
    (store,) = states_of(kerasgd.SGD(0.125, momentum=0.9))
    optimizer, trained = kerasgd.SGD(0.5, momentum=0.9), variables()
    train(optimizer, trained, 2)
    velocity = numbers(optimizer.momentums[0])
    optimizer.load_own_variables(store)
    assert float(optimizer.learning_rate) == 0.125
    assert int(optimizer.iterations) == 0
    assert numbers(optimizer.momentums[0]) == velocity
