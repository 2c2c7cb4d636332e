"""What Keras promises of any optimizer (contract 13.1), beyond the conformance checks."""

import shutil

import keras
import numpy as np
import pytest
from conftest import BACKEND, model_of_one_weight, numbers, weight

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


def test_state_goes_to_another_model():  # contract 13.1
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


def test_bad_gradients_change_nothing():  # contract 1.6, 12.7
    w = keras.Variable([1.0, 2.0], name="w")
    optimizer = kerasgd.SGD(0.5, momentum=0.5)
    for gradients, words in (
        ([None], "a gradient for at least one variable"),
        ([keras.ops.ones(3)], r"of shape \(2,\) for `w`"),
        ([[1.0]], r"of shape \(2,\) for `w`"),
        ([1.0], r"of shape \(2,\) for `w`"),
        ([keras.ops.ones(2), keras.ops.ones(2)], "one gradient for each variable, 1 in all"),
    ):
        with pytest.raises(kerasgd.ArgumentValueError, match=words):
            optimizer.apply(gradients, [w])
        assert not optimizer.built
    optimizer.apply([], [w])
    assert int(optimizer.iterations) == 0
    assert numbers(w) == [1.0, 2.0]


def test_a_failing_constraint_says_that_weights_may_have_changed():  # contract 12.7
    class Fails(keras.constraints.Constraint):
        def __call__(self, weights):
            raise OSError("no disk")

    w = keras.Variable([1.0], name="w")
    w.constraint = Fails()
    with pytest.raises(kerasgd.StateError, match=r"no disk.*may have changed"):
        kerasgd.SGD(0.5).apply([keras.ops.ones(1)], [w])


def test_integer_gradients_are_numbers():  # contract 1.4
    w = keras.Variable([1.0], name="w")
    optimizer = kerasgd.SGD(0.5, loss_scale_factor=4)
    optimizer.apply([keras.ops.convert_to_tensor([2], dtype="int32")], [w])
    assert numbers(w) == [0.75]


class Subclass(kerasgd.SGD):
    def __init__(self, **arguments):
        super().__init__(**arguments)


@pytest.mark.parametrize("optimizer", [kerasgd.SGD, Subclass, kerasgd.LossScaleOptimizer])
def test_a_class_is_no_optimizer(optimizer):  # contract 13.1: from 3.16 on Keras itself takes one
    with pytest.raises((TypeError, ValueError), match="optimizer"):
        model_of_one_weight(optimizer)


@pytest.mark.skipif(
    keras.__version__.startswith(tuple(f"3.{minor}." for minor in range(10, 16))),
    reason="this Keras refuses a class itself",
)
@pytest.mark.parametrize("optimizer", [kerasgd.SGD, Subclass])
def test_a_class_is_answered_with_the_call(optimizer):  # contract 13.1
    name = optimizer.__name__
    words = rf"^`optimizer` must be an optimizer, not the class {name}\. Call it: `{name}\(\)`\.$"
    with pytest.raises(kerasgd.ArgumentTypeError, match=words):
        model_of_one_weight(optimizer)


@pytest.mark.long
@pytest.mark.skipif(BACKEND != "torch", reason="a compiler of PyTorch")
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile() needs g++")
def test_a_step_compiled_by_torch():  # contract 13.1: as a file from JAX asks for it
    model = model_of_one_weight(kerasgd.SGD(0.5, momentum=0.5), jit_compile=True)
    model.fit(ONE, ONE, epochs=3, verbose=0)
    assert weight(model) == pytest.approx(momentum([1, 1, 1]), rel=1e-6)
