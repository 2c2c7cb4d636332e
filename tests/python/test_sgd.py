"""The optimizer in Keras, its configuration and `update()` (contract 9.3, 13.1, 13.4)."""

import json
import pickle
import shutil

import keras
import numpy as np
import pytest
from conftest import BACKEND, WAYS_TO_COMPILE, fit_ones, model_of_one_weight, numbers, weight

import kerasgd

ONE = np.ones((1, 1))


def momentum(gradients, rate=0.5, decay=0.5):
    w = v = 0.0
    for g in gradients:
        v = decay * v - rate * g
        w += v
    return w


def test_train_on_batch():  # contract 13.1
    model = model_of_one_weight(kerasgd.SGD(0.5, momentum=0.5))
    for g in (1, 2, 3):
        model.train_on_batch(g * ONE, ONE)
    assert weight(model) == pytest.approx(momentum([1, 2, 3]), rel=1e-6)
    assert int(model.optimizer.iterations) == 3


def test_state_can_be_copied_to_another_model():  # contract 13.1
    first = model_of_one_weight(kerasgd.SGD(0.5, momentum=0.5))
    first.fit(ONE, ONE, epochs=2, verbose=0)
    second = model_of_one_weight(kerasgd.SGD(0.5, momentum=0.5))
    second.optimizer.build(second.trainable_variables)
    second.set_weights(first.get_weights())
    state = [keras.ops.convert_to_numpy(v) for v in first.optimizer.variables]
    second.optimizer.set_weights(state)
    second.fit(ONE, ONE, verbose=0)
    assert weight(second) == pytest.approx(momentum([1, 1, 1]), rel=1e-6)
    assert weight(first) == pytest.approx(momentum([1, 1]), rel=1e-6)


def test_an_optimizer_does_not_train_the_variables_of_another_model():  # contract 13.1, 12.7
    optimizer = kerasgd.SGD(0.5)
    w, other = keras.Variable([1.0], name="w"), keras.Variable([2.0], name="other")
    optimizer.apply([keras.ops.ones(1)], [w])
    with pytest.raises(kerasgd.StateError, match="`other` is not among the variables"):
        optimizer.apply([keras.ops.ones(1)], [other])
    assert float(other.numpy()[0] if hasattr(other, "numpy") else other[0]) == 2.0
    assert int(optimizer.iterations) == 1


def test_a_failing_constraint_says_that_weights_may_have_changed():  # contract 12.7
    class Fails(keras.constraints.Constraint):
        def __call__(self, weights):
            raise OSError("no disk")

    w = keras.Variable([1.0], name="w")
    w.constraint = Fails()
    with pytest.raises(kerasgd.StateError, match=r"no disk.*may have changed"):
        kerasgd.SGD(0.5).apply([keras.ops.ones(1)], [w])


class Subclass(kerasgd.SGD):
    def __init__(self, **arguments):
        super().__init__(**arguments)


@pytest.mark.parametrize("optimizer", [kerasgd.SGD, Subclass, kerasgd.LossScaleOptimizer])
def test_compile_refuses_a_class(optimizer):  # contract 13.1: from 3.16 on Keras itself takes one
    with pytest.raises((TypeError, ValueError), match="optimizer"):
        model_of_one_weight(optimizer)


@pytest.mark.skipif(
    keras.__version__.startswith(tuple(f"3.{minor}." for minor in range(10, 16))),
    reason="this Keras refuses a class itself",
)
@pytest.mark.parametrize("optimizer", [kerasgd.SGD, Subclass])
def test_the_refusal_of_a_class_names_the_call(optimizer):  # contract 13.1
    name = optimizer.__name__
    words = rf"^`optimizer` must be an optimizer, not the class {name}\. Call it: `{name}\(\)`\.$"
    with pytest.raises(kerasgd.ArgumentTypeError, match=words):
        model_of_one_weight(optimizer)


@pytest.mark.long
@pytest.mark.skipif(BACKEND != "torch", reason="a compiler of PyTorch")
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile() needs g++")
def test_a_step_compiled_by_torch():  # contract 13.1: files from JAX set `jit_compile`
    model = model_of_one_weight(kerasgd.SGD(0.5, momentum=0.5), jit_compile=True)
    model.fit(ONE, ONE, epochs=3, verbose=0)
    assert weight(model) == pytest.approx(momentum([1, 1, 1]), rel=1e-6)


@pytest.mark.parametrize("options", WAYS_TO_COMPILE)
@pytest.mark.parametrize("wrap", [lambda o: o, kerasgd.LossScaleOptimizer])
def test_a_second_model_is_refused_at_its_first_step(wrap, options):  # contract 13.4
    optimizer = wrap(kerasgd.SGD(0.5, momentum=0.5))
    fit_ones(model_of_one_weight(optimizer, **options), 1)
    second = model_of_one_weight(optimizer, **options)
    with pytest.raises(kerasgd.StateError, match=r"`optimizer.update\(\)`"):
        fit_ones(second, 1)
    if BACKEND != "jax":  # JAX' trainer loses the weights of a failed first step
        assert weight(second) == 0.0
    third = model_of_one_weight(optimizer.update(), **options)
    assert fit_ones(third, 1) == -0.5


def test_update_keeps_the_state_if_asked():
    w = keras.Variable([0.0])
    optimizer = kerasgd.SGD(0.5, momentum=0.5)
    optimizer.apply([keras.ops.ones(1)], [w])
    changed = optimizer.update(learning_rate=0.25, keep_state=True)
    changed.apply([keras.ops.ones(1)], [w])
    assert numbers(w) == [-0.5 + (0.5 * -0.5 - 0.25)]
    assert int(changed.iterations) == 2
    fresh = optimizer.update(weight_decay=0.5)
    assert int(fresh.iterations) == 0
    assert fresh.get_config() == {**optimizer.get_config(), "weight_decay": 0.5}


def test_configuration_comes_back_exactly():  # contract 9.3
    given = {
        "learning_rate": 0.1,
        "momentum": 0.9,
        "nesterov": True,
        "weight_decay": 0.01,
        "global_clipnorm": 0.5,
        "use_ema": True,
        "ema_momentum": 0.9,
        "ema_overwrite_frequency": 2,
        "gradient_accumulation_steps": 2,
        "name": "mine",
        "loss_scale_factor": 1 / 3,
    }
    config = json.loads(json.dumps(kerasgd.SGD(**given).get_config()))
    assert {name: config[name] for name in given} == given
    assert kerasgd.SGD.from_config(config).get_config() == config


def test_only_registered_functions_are_saved():  # contract 9.3
    with pytest.raises(kerasgd.StateError, match="Register it with"):
        pickle.dumps(kerasgd.SGD(lambda: 0.1))
    config = kerasgd.SGD(tenth).get_config()
    assert kerasgd.SGD.from_config(config)._learning_rate is tenth


def test_rounding_is_no_clip():  # contract 15.2, 15.4
    keras.utils.set_random_seed(1)
    layers = [keras.layers.Dense(16, activation="relu") for _ in range(2)]
    model = keras.Sequential([keras.Input((4,)), *layers, keras.layers.Dense(1)])
    model.compile(kerasgd.SGD(0.01, global_clipnorm=1e6).track_statistics(), loss="mse")
    statistics = kerasgd.callbacks.Statistics()
    x = np.random.default_rng(1).normal(size=(150, 4))
    history = model.fit(x, x[:, :1], batch_size=10, epochs=5, callbacks=[statistics], verbose=0)
    assert {row["clip_coefficient"] for row in statistics.rows} == {1.0}
    assert history.history["clipped"] == [0.0] * 5


def test_a_configuration_cannot_name_any_function():  # contract 9.3, 12
    config = {**kerasgd.SGD().get_config(), "learning_rate": {"class_name": "os>system"}}
    with pytest.raises(kerasgd.KerasgdError, match="learning_rate"):
        kerasgd.SGD.from_config(config)


@keras.saving.register_keras_serializable("test_sgd")
def tenth():
    return 0.1


def test_weights_that_do_not_fit_are_refused():  # contract 9.4, 13.1
    optimizer, trained = kerasgd.SGD(momentum=0.9), [keras.Variable([1.0, 2.0])]
    optimizer.build(trained)
    weights = [numbers(v) for v in optimizer.variables]
    with pytest.raises(kerasgd.StateError, match="must have the shapes"):
        optimizer.set_weights([np.zeros(5)] * len(weights))
    optimizer.set_weights([np.ones(v.shape) for v in optimizer.variables])
    assert numbers(optimizer.momentums[0]) == [1.0, 1.0]
