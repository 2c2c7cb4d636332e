"""The settings of each variable, before training and after (contract 14.9)."""

import doctest
import sys

import keras
import numpy as np
import pytest
from conftest import BACKEND

import kerasgd

ROWS = np.ones((4, 3), "float32")


def small_model():
    layers = [keras.layers.Dense(2, name="base"), keras.layers.Dense(1, name="head")]
    return keras.Sequential([keras.Input((3,)), *layers])


def grouped(rate=0.1, **arguments):
    optimizer = kerasgd.SGD(rate, momentum=0.9, weight_decay=0.01, **arguments)
    optimizer.set_group("base", learning_rate_factor=0.1)
    optimizer.set_group("bias", momentum=0, weight_decay=None)
    optimizer.exclude_from_weight_decay(var_names="head/kernel")
    return optimizer


def keras_wrapper(optimizer):
    return keras.optimizers.LossScaleOptimizer(optimizer)


WRAPS = [lambda optimizer: optimizer, kerasgd.LossScaleOptimizer, keras_wrapper]


def test_doctests():
    result = doctest.testmod(sys.modules["kerasgd.variable_groups"])
    assert result.attempted > 0
    assert result.failed == 0


@pytest.mark.parametrize("wrap", WRAPS)
@pytest.mark.parametrize("built", [False, True])
def test_each_trainable_variable_has_a_row(wrap, built):
    model, optimizer = small_model(), wrap(grouped())
    if built:
        optimizer.build(model.trainable_variables)
    rows = kerasgd.variable_groups(optimizer, model)
    names = [row.pop("path").rpartition("/")[0].rpartition("/")[2] for row in rows]
    assert names == ["base", "base", "head", "head"]
    columns = [
        "shape", "parameters", "learning_rate_factor", "learning_rate", "momentum", "weight_decay",
        "groups",
    ]  # fmt: skip
    expected = [
        [(3, 2), 6, 0.1, 0.1 * 0.1, 0.9, 0.01, [0]],
        [(2,), 2, 0.1, 0.1 * 0.1, 0.0, 0.0, [0, 1]],
        [(2, 1), 2, 1.0, 0.1, 0.9, 0.0, []],
        [(1,), 1, 1.0, 0.1, 0.0, 0.0, [1]],
    ]
    assert rows == [dict(zip(columns, row, strict=True)) for row in expected]
    assert optimizer.built == built


def test_before_build_nothing_is_changed():
    model, optimizer = small_model(), grouped()
    config = optimizer.get_config()
    kerasgd.variable_groups(optimizer, model)
    assert optimizer.get_config() == config
    assert len(optimizer.variables) == 2
    optimizer.set_group("head", learning_rate_factor=2)  # still possible before `build()`


@pytest.mark.parametrize("built", [False, True])
def test_some_of_the_variables_may_be_asked_for(built):
    model, optimizer = small_model(), kerasgd.SGD().set_group("kernel", learning_rate_factor=0.5)
    if built:
        optimizer.build(model.trainable_variables)
    for part in (model.layers[-1], model.layers[-1].trainable_variables):
        rows = kerasgd.variable_groups(optimizer, part)
        assert [row["groups"] for row in rows] == [[0], []]


class Sixths(keras.optimizers.schedules.LearningRateSchedule):
    def __call__(self, step):
        return keras.ops.cast(step, "float32") / 4


@pytest.mark.parametrize("window", [None, 2])
def test_rates_are_those_of_the_next_step(window):
    w = keras.Variable([1.0], name="w")
    rate = keras.optimizers.schedules.PiecewiseConstantDecay([1], [1.0, 0.5])
    optimizer = kerasgd.SGD(rate, gradient_accumulation_steps=window)
    optimizer.set_group("w", learning_rate_factor=Sixths())
    seen = []
    for _ in range(4):
        (row,) = kerasgd.variable_groups(optimizer, [w])
        seen.append((row["learning_rate_factor"], row["learning_rate"]))
        optimizer.apply([keras.ops.ones(1)], [w])
    assert seen == [(0.0, 0.0), (0.25, 0.25), (0.5, 0.25), (0.75, 0.375)]


def test_a_function_is_not_called_for_it_once_a_step_was_done():  # contract 2.3
    calls = []
    w = keras.Variable([1.0], name="w")
    optimizer = kerasgd.SGD(lambda: calls.append(1) or 0.5)
    optimizer.apply([keras.ops.ones(1)], [w])
    (row,) = kerasgd.variable_groups(optimizer, [w])
    assert row["learning_rate"] == 0.5
    assert len(calls) == 1


def test_changes_in_training_are_shown():
    model, optimizer = small_model(), grouped()
    optimizer.build(model.trainable_variables)
    optimizer.learning_rate = 0.2
    optimizer.set_learning_rate_factor("base", 0.3)
    rows = kerasgd.variable_groups(optimizer, model)
    assert (rows[0]["learning_rate_factor"], rows[0]["learning_rate"]) == (0.3, 0.2 * 0.3)
    assert rows[2]["learning_rate"] == 0.2


def test_what_was_frozen_since_build_has_no_row():
    model, optimizer = small_model(), grouped()
    optimizer.build(model.trainable_variables)
    model.layers[0].trainable = False
    assert len(kerasgd.variable_groups(optimizer, model)) == 2


@pytest.mark.parametrize(
    ("optimizer", "words"),
    [
        (keras.optimizers.Adam(), "Adam"),
        (keras_wrapper(keras.optimizers.Adam()), "Adam"),
        (keras.optimizers.SGD(), r"`kerasgd.from_keras\(\)` converts"),
        (kerasgd.SGD, "the class SGD"),
        ("sgd", "'sgd'"),
        (None, "None"),
    ],
)
def test_another_optimizer_is_refused_by_name(optimizer, words):
    for call in (
        lambda: kerasgd.variable_groups(optimizer, small_model()),
        lambda: kerasgd.layer_decay(optimizer, small_model(), 0.5),
    ):
        with pytest.raises(kerasgd.ArgumentTypeError, match=words) as caught:
            call()
        assert caught.value.argument == "optimizer"


@pytest.mark.parametrize("bad", [None, 3, "base", {}, keras.Variable(1.0), [3], keras.Model])
def test_what_is_no_model_is_refused(bad):
    with pytest.raises(kerasgd.ArgumentTypeError) as caught:
        kerasgd.variable_groups(kerasgd.SGD(), bad)
    assert caught.value.argument == "model"


def test_a_model_without_variables_is_refused():
    model = keras.Sequential([keras.layers.Dense(1)], name="mine")
    for call in (kerasgd.variable_groups, lambda *given: kerasgd.layer_decay(*given, 0.5)):
        with pytest.raises(kerasgd.StateError, match="`mine` has no variables yet"):
            call(kerasgd.SGD(), model)


def test_variables_of_another_model_are_refused_after_build():
    optimizer = kerasgd.SGD()
    optimizer.build(small_model().trainable_variables)
    with pytest.raises(kerasgd.StateError, match="is not among the variables"):
        kerasgd.variable_groups(optimizer, small_model())


@pytest.mark.skipif(BACKEND != "jax", reason="JAX's trainer takes the values away")
def test_in_fit_it_goes_through_the_model_of_the_callback():
    model, optimizer = small_model(), grouped()
    model.compile(optimizer, "mse")
    seen = []

    class Reads(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            if batch == 1:
                with pytest.raises(kerasgd.StateError, match="unavailable"):
                    kerasgd.variable_groups(optimizer, model.trainable_variables)
                seen.append(kerasgd.variable_groups(self.model.optimizer, self.model))

    model.fit(ROWS, ROWS[:, :1], batch_size=1, callbacks=[Reads()], verbose=0)
    assert seen == [kerasgd.variable_groups(optimizer, model)]
