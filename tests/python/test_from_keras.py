"""Keras' SGD is converted with its state (contract 9.4c)."""

import keras
import numpy as np
import pytest
from conftest import BACKEND, numbers

import kerasgd

SCHEDULE = keras.optimizers.schedules.InverseTimeDecay(0.5, 1, 0.5)
SETTINGS = [
    {},
    {"learning_rate": 0.1, "momentum": 0.5, "nesterov": True},
    {"momentum": 0.9, "weight_decay": 0.5, "global_clipnorm": 0.5},
    {"momentum": 0.5, "use_ema": True, "ema_momentum": 0.5, "ema_overwrite_frequency": 3},
    {"learning_rate": SCHEDULE, "clipvalue": 0.5},
]


def gradients(step):
    values = np.random.default_rng(step).normal(size=5).astype("float32")
    return [keras.ops.convert_to_tensor(values[:2]), keras.ops.convert_to_tensor(values[2:])]


def variables():
    return [keras.Variable([1.0, 2.0], name="a"), keras.Variable([3.0, 4.0, 5.0], name="b")]


def run(optimizer, trained, steps):
    for step in steps:
        optimizer.apply(gradients(step), trained)
    return [numbers(v) for v in trained]


@pytest.mark.parametrize("settings", SETTINGS)
def test_training_continues_as_it_would_with_keras(settings):
    trained, uninterrupted = variables(), variables()
    theirs = keras.optimizers.SGD(**settings)
    run(theirs, trained, range(4))
    ours = kerasgd.from_keras(theirs)
    assert int(ours.iterations) == 4
    result = run(ours, trained, range(4, 8))
    expected = run(keras.optimizers.SGD(**settings), uninterrupted, range(8))
    for one, other in zip(result, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-6)


@pytest.mark.parametrize("settings", SETTINGS)
def test_the_configuration_is_that_of_keras(settings):
    theirs = keras.optimizers.SGD(**settings)
    ours = kerasgd.from_keras(theirs)
    assert type(ours) is kerasgd.SGD
    assert ours.get_config() == {
        **theirs.get_config(),
        "learning_rate": ours.get_config()["learning_rate"],
    }
    if isinstance(settings.get("learning_rate"), float):
        assert ours.get_config()["learning_rate"] == settings["learning_rate"]


@pytest.mark.parametrize("steps", [3, 4])
def test_an_open_window_is_taken_over(steps):
    trained = variables()
    theirs = keras.optimizers.SGD(0.5, gradient_accumulation_steps=2)
    run(theirs, trained, range(steps))
    ours = kerasgd.from_keras(theirs)
    uninterrupted = variables()
    expected = run(kerasgd.SGD(0.5, gradient_accumulation_steps=2), uninterrupted, range(6))
    for one, other in zip(run(ours, trained, range(steps, 6)), expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-6)


def test_averages_begin_with_the_first_update():  # contract 5.1
    w = keras.Variable([1.0])
    settings = {"use_ema": True, "ema_momentum": 0.5, "gradient_accumulation_steps": 3}
    theirs = keras.optimizers.SGD(0.5, **settings)
    theirs.apply([keras.ops.ones(1)], [w])
    ours = kerasgd.from_keras(theirs)
    for _ in range(2):
        ours.apply([keras.ops.ones(1)], [w])
    assert numbers(w) == [0.5]
    ours.finalize_variable_values()
    assert numbers(w) == [0.5]


def test_exclusions_from_decay_are_taken_over():
    trained = variables()
    theirs = keras.optimizers.SGD(1.0, weight_decay=0.5)
    theirs.exclude_from_weight_decay(var_list=[trained[1]])
    theirs.build(trained)
    ours = kerasgd.from_keras(theirs)
    ours.apply([keras.ops.zeros(2), keras.ops.zeros(3)], trained)
    assert [numbers(v) for v in trained] == [[0.5, 1.0], [3.0, 4.0, 5.0]]


@pytest.mark.skipif(BACKEND == "jax", reason="Keras' wrapper cannot apply() on JAX")
def test_a_loss_scale_is_taken_over():
    theirs = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.5, momentum=0.5), 4, 3)
    trained = [keras.Variable([0.0])]
    theirs.build(trained)
    for _ in range(2):
        theirs.apply([4 * keras.ops.ones(1)], trained)
    ours = kerasgd.from_keras(theirs)
    assert isinstance(ours, kerasgd.LossScaleOptimizer)
    ours.build(trained)
    ours.apply([4 * keras.ops.ones(1)], trained)
    assert float(ours.dynamic_scale) == 8.0  # the third finite step in a row
    assert numbers(trained[0]) == [-0.5 - 0.75 - 0.875]


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (lambda: keras.optimizers.Adam(), "state of Adam means something else"),
        (lambda: kerasgd.SGD(), "already an optimizer of kerasgd"),
        (lambda: "sgd", "'sgd'"),
        (lambda: type("Mine", (keras.optimizers.SGD,), {})(), "state of Mine"),
    ],
)
def test_others_are_refused_by_name(other, words):
    with pytest.raises(kerasgd.ArgumentTypeError, match=words):
        kerasgd.from_keras(other())


def test_a_model_continues_with_ours(tmp_path):
    x, y = np.ones((4, 3), "float32"), np.ones((4, 2), "float32")
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), loss="mse")
    model.fit(x, y, verbose=0)
    model.save(tmp_path / "model.keras")
    model.fit(x, y, verbose=0)
    again = keras.saving.load_model(tmp_path / "model.keras")
    again.compile(kerasgd.from_keras(again.optimizer), loss="mse")
    again.fit(x, y, verbose=0)
    for one, other in zip(again.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-6)
