"""Clips by norm, of gradients of any magnitude, shape and dtype (contract 4)."""

import keras
import numpy as np
import pytest
from conftest import BACKEND, floatx

import kerasgd

# Several shapes of two sizes, and one that counts as large for XLA, not in order of size.
SHAPES = [(3,), (5,), (5000,), (3,), (), (5, 1), (1, 3)]
MAGNITUDES = {
    "float32": [1e-30, 1e-18, 1e-9, 1.0, 1e15, 1e19, 1e30],
    "float64": [1e-300, 1e-160, 1e-30, 1.0, 1e100, 1e160, 1e300],
}
CASES = [(dtype, magnitude) for dtype, those in MAGNITUDES.items() for magnitude in those]


def directions(seed=0):
    """A gradient of norm 1 for each shape."""
    generator = np.random.default_rng(seed)
    drawn = [generator.normal(size=shape) for shape in SHAPES]
    return [x / np.sqrt(np.sum(np.square(x))) for x in drawn]


MODES = {
    "tensorflow": ["eager", "graph", "xla"],
    "jax": ["eager", "jit"],
    "torch": ["eager"],
}[BACKEND]


def moved(gradients, dtype, mode="eager", **arguments):
    """The movement of variables in one step of rate 1 with these gradients."""
    with floatx(dtype):
        variables = [keras.Variable(np.zeros(g.shape), dtype=dtype) for g in gradients]
        optimizer = kerasgd.SGD(1.0, **arguments)
        optimizer.build(variables)
        tensors = [keras.ops.convert_to_tensor(g, dtype) for g in gradients]
        weights = after_step(optimizer, tensors, variables, mode)
        return [-keras.ops.convert_to_numpy(w) for w in weights]


def after_step(optimizer, gradients, variables, mode):
    if mode == "jit":
        import jax

        values = [[v.value for v in those] for those in (optimizer.variables, variables)]
        return jax.jit(optimizer.stateless_apply)(values[0], gradients, values[1])[0]

    def step():
        optimizer.apply(gradients, variables)

    if mode in ("graph", "xla"):
        import tensorflow as tf

        step = tf.function(step, jit_compile=mode == "xla")
    step()
    return variables


def skip_without(dtype):
    if dtype == "float64" and BACKEND == "jax":
        pytest.skip("JAX has no float64 unless it is told so before it starts")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("dtype", "magnitude"), CASES)
def test_each_norm_is_clipped_at_any_magnitude(dtype, magnitude, mode):  # contract 4.3
    skip_without(dtype)
    # Every second gradient is below the limit.
    factors = [magnitude * (1 if i % 2 else 0.125) for i in range(len(SHAPES))]
    gradients = [f * d for f, d in zip(factors, directions(), strict=True)]
    limit = magnitude / 2
    found = moved(gradients, dtype, mode, clipnorm=limit)
    for x, factor, direction in zip(found, factors, directions(), strict=True):
        np.testing.assert_allclose(x / magnitude, min(factor, limit) / magnitude * direction, 1e-5)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("dtype", "magnitude"), CASES)
def test_the_global_norm_is_clipped_at_any_magnitude(dtype, magnitude, mode):  # contract 4.3
    skip_without(dtype)
    gradients = [magnitude * direction for direction in directions()]
    found = moved(gradients, dtype, mode, global_clipnorm=magnitude / 4)
    for x, direction in zip(found, directions(), strict=True):
        np.testing.assert_allclose(x / magnitude, direction / 4 / np.sqrt(len(SHAPES)), 1e-5)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("clip", ["clipnorm", "global_clipnorm"])
@pytest.mark.parametrize(("dtype", "magnitude"), CASES)
def test_gradients_below_the_limit_keep_every_bit(dtype, magnitude, clip, mode):  # contract 4.4
    skip_without(dtype)
    gradients = [magnitude * direction for direction in directions()]
    plain = moved(gradients, dtype, mode)
    clipped = moved(gradients, dtype, mode, **{clip: 10 * magnitude})
    for x, y in zip(plain, clipped, strict=True):
        np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("clip", ["clipnorm", "global_clipnorm"])
def test_gradients_at_the_limit_keep_every_bit(clip, mode):  # contract 4.4
    (found,) = moved([np.array([3.0, 4.0])], "float32", mode, **{clip: 5.0})
    np.testing.assert_array_equal(found, [3.0, 4.0])


@pytest.mark.parametrize("mode", MODES)
def test_empty_variables_have_norm_zero(mode):
    gradients = [np.zeros((0,)), np.array([6.0, 8.0]), np.zeros((2, 0))]
    each = moved(gradients, "float32", mode, clipnorm=5.0)
    together = moved(gradients, "float32", mode, global_clipnorm=5.0)
    for found in (each, together):
        assert [x.shape for x in found] == [(0,), (2,), (2, 0)]
        np.testing.assert_allclose(found[1], [3.0, 4.0], 1e-6)


@pytest.mark.parametrize("mode", MODES)
def test_the_global_norm_spans_several_dtypes(mode):  # contract 4.3
    dtypes = ["float16", "bfloat16", "float32"] + ["float64"] * (BACKEND != "jax")
    variables = [keras.Variable([0.0, 0.0], dtype=dtype) for dtype in dtypes]
    gradients = [keras.ops.convert_to_tensor([3.0, 4.0], dtype) for dtype in dtypes]
    optimizer = kerasgd.SGD(1.0, global_clipnorm=2.5)
    optimizer.build(variables)
    factor = -2.5 / (5 * np.sqrt(len(dtypes)))
    for weights in after_step(optimizer, gradients, variables, mode):
        found = keras.ops.convert_to_numpy(keras.ops.cast(weights, "float32"))
        np.testing.assert_allclose(found, [3 * factor, 4 * factor], 4e-3)


@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("mode", MODES)
def test_a_nonfinite_gradient_makes_nan_of_all_that_share_its_norm(bad, mode):  # contract 4.5
    gradients = directions()
    gradients[3] = np.array([1.0, bad, 1.0])
    each = moved(gradients, "float32", mode, clipnorm=1.0)
    assert [bool(np.isnan(x).all()) for x in each] == [i == 3 for i in range(len(SHAPES))]
    together = moved(gradients, "float32", mode, global_clipnorm=1.0)
    assert all(np.isnan(x).all() for x in together)
