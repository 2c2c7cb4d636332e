"""The dynamic loss scale: when it doubles, halves and skips a step (contract 6.3)."""

import keras
import numpy as np
import pytest
from conftest import BACKEND, numbers

import kerasgd
from kerasgd.reference import ReferenceLossScale, ReferenceSGD

CONFIGURATIONS = {
    "plain": {},
    "everything": {
        "momentum": 0.9,
        "nesterov": True,
        "weight_decay": 0.1,
        "global_clipnorm": 0.5,
        "use_ema": True,
        "ema_momentum": 0.5,
        "ema_overwrite_frequency": 2,
        "gradient_accumulation_steps": 2,
    },
    "clipvalue": {"clipvalue": 0.3, "use_ema": True},
}


FIRST = [np.array([1.0, -2.0, 0.5]), np.array([[0.25], [4.0]])]


def gradients(steps):
    """Gradients scaled by the reference's scale; two steps are not finite."""
    generator = np.random.default_rng(3)
    for t in range(steps):
        drawn = [generator.normal(size=w.shape).astype("float32") for w in FIRST]
        if t in (2, 7):
            drawn[1][0] = np.inf if t == 2 else np.nan
        yield drawn


def eagerly(optimizer, variables):
    return lambda grads: optimizer.apply(grads, variables)


def compiled(optimizer, variables):
    optimizer.build(variables)
    if BACKEND == "tensorflow":
        import tensorflow as tf

        return tf.function(lambda grads: optimizer.apply(grads, variables))
    apply = optimizer.stateless_apply
    if BACKEND == "jax":
        import jax

        apply = jax.jit(apply)

    def step(grads):
        own, weights = ([v.value for v in vs] for vs in (optimizer.variables, variables))
        weights, own = apply(own, grads, weights)
        for variable, value in zip(
            [*variables, *optimizer.variables], [*weights, *own], strict=True
        ):
            variable.assign(value)

    return step


@pytest.mark.parametrize("way", [eagerly, compiled])
@pytest.mark.parametrize("key", CONFIGURATIONS)
def test_dynamic_scale_follows_the_reference(key, way):  # contract 6.3
    arguments = {"learning_rate": 0.1, **CONFIGURATIONS[key]}
    reference = ReferenceLossScale(ReferenceSGD(**arguments).build(FIRST), 8.0, 3)
    variables = [keras.Variable(w, dtype="float32") for w in FIRST]
    optimizer = kerasgd.LossScaleOptimizer(kerasgd.SGD(**arguments), 8.0, 3)
    step = way(optimizer, variables)
    for drawn in gradients(12):
        scale = reference.scale
        step([keras.ops.convert_to_tensor(scale * g) for g in drawn])
        reference.step([scale * g.astype("float64") for g in drawn])
        assert float(keras.ops.convert_to_numpy(optimizer.scale_loss(1.0))) == reference.scale
        for variable, expected in zip(variables, reference.inner.weights, strict=True):
            np.testing.assert_allclose(
                keras.ops.convert_to_numpy(variable), expected, rtol=0, atol=2e-6 * 4
            )
        assert int(optimizer.iterations) == reference.inner.iterations


def test_the_scale_never_becomes_zero_or_infinite():  # contract 6.3
    w = keras.Variable([1.0])
    for first, gradient in ((2.0**-125, np.inf), (2.0**125, 0.0)):
        optimizer = kerasgd.LossScaleOptimizer(kerasgd.SGD(), first, 1)
        for _ in range(4):
            optimizer.apply([keras.ops.convert_to_tensor([gradient], "float32")], [w])
        assert 0 < float(keras.ops.convert_to_numpy(optimizer.dynamic_scale)) < np.inf
        optimizer.apply([keras.ops.zeros(1)], [w])
        assert numbers(w) == [1.0]
