"""Clips by norm, of gradients of any magnitude, shape and dtype (contract 4)."""

import keras
import numpy as np
import pytest
from conftest import BACKEND, floatx
from watched import WAYS, steps_together, tensor

import kerasgd

# Several shapes of two sizes, and one that counts as large for XLA, not in order of size.
SHAPES = [(3,), (5,), (5000,), (3,), (), (5, 1), (1, 3)]
# Their squares underflow, nearly do so, are usual, overflow in their sum, or each overflow.
MAGNITUDES = {
    "float32": [1e-30, 1e-18, 1.0, 1e19, 1e30],
    "float64": [1e-300, 1e-160, 1.0, 1e160, 1e300],
}


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


def moved(cases, dtype, mode):
    """The movement of the variables in a step of rate 1, for each pair of gradients and arguments.

    The steps of all pairs are compiled together, since XLA takes long to start.
    """
    with floatx(dtype):
        steps = [new_step(gradients, dtype, **arguments) for gradients, arguments in cases]
        return [[-keras.ops.convert_to_numpy(w) for w in weights] for weights in after(steps, mode)]


def new_step(gradients, dtype, **arguments):
    """An optimizer, gradients as tensors and their variables."""
    variables = [keras.Variable(np.zeros(g.shape), dtype=dtype) for g in gradients]
    optimizer = kerasgd.SGD(1.0, **arguments)
    optimizer.build(variables)
    return optimizer, [keras.ops.convert_to_tensor(g, dtype) for g in gradients], variables


def after(steps, mode):
    """The weights after each of the steps."""
    if mode == "jit":
        import jax

        def stateless(given):
            return [
                optimizer.stateless_apply(*values)[0]
                for (optimizer, *_), values in zip(steps, given, strict=True)
            ]

        given = [
            ([v.value for v in optimizer.variables], gradients, [v.value for v in variables])
            for optimizer, gradients, variables in steps
        ]
        return jax.jit(stateless)(given)

    def step():
        for optimizer, gradients, variables in steps:
            optimizer.apply(gradients, variables)

    if mode in ("graph", "xla"):
        import tensorflow as tf

        step = tf.function(step, jit_compile=mode == "xla")
    step()
    return [variables for _, _, variables in steps]


def skip_without(dtype):
    if dtype == "float64" and BACKEND == "jax":
        pytest.skip("JAX has no float64 unless it is told so before it starts")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", MAGNITUDES)
def test_each_norm_is_clipped_at_any_magnitude(dtype, mode):  # contract 4.3
    skip_without(dtype)
    # Every second gradient is below the limit.
    factors = [1 if i % 2 else 0.125 for i in range(len(SHAPES))]
    gradients = [f * d for f, d in zip(factors, directions(), strict=True)]
    cases = [([m * g for g in gradients], {"clipnorm": m / 2}) for m in MAGNITUDES[dtype]]
    for magnitude, found in zip(MAGNITUDES[dtype], moved(cases, dtype, mode), strict=True):
        for x, factor, direction in zip(found, factors, directions(), strict=True):
            expected = min(factor, 1 / 2) * direction
            np.testing.assert_allclose(x / magnitude, expected, 1e-5, err_msg=f"{magnitude}")


# Norm of the gradient, limit, loss scale
FAR_APART = [(1e-15, 1e12, 1e-30), (1e-11, 1e12, 1e-30), (1e-11, 1e-20, 1.0), (1e30, 1e-20, 1.0)]


@pytest.mark.parametrize("clip", ["clipnorm", "global_clipnorm"])
@pytest.mark.parametrize("mode", MODES)
def test_norms_are_clipped_where_limit_and_loss_scale_are_far_from_them(mode, clip):  # contract 4.3
    cases = [
        ([norm * directions()[0]], {clip: limit, "loss_scale_factor": scale})
        for norm, limit, scale in FAR_APART
    ]
    results = moved(cases, "float32", mode)
    for (norm, limit, scale), (found,), case in zip(FAR_APART, results, FAR_APART, strict=True):
        expected = min(norm / scale, limit)
        np.testing.assert_allclose(found / expected, directions()[0], 1e-5, err_msg=f"{case}")


@pytest.mark.skipif(BACKEND == "torch", reason="nothing is compiled")
@pytest.mark.parametrize("clip", ["clipnorm", "global_clipnorm"])
def test_gradients_that_are_constants_of_a_compiled_step_are_clipped(clip):  # contract 4.3
    direction = directions()[0]
    magnitudes = MAGNITUDES["float32"]
    weights = [keras.Variable(np.zeros(direction.shape), dtype="float32") for _ in magnitudes]
    optimizers = [kerasgd.SGD(1.0, **{clip: magnitude / 2}) for magnitude in magnitudes]
    for optimizer, w in zip(optimizers, weights, strict=True):
        optimizer.build([w])
    if BACKEND == "jax":
        import jax

        found = jax.jit(lambda: _stateless_with_constants(optimizers, weights, direction))()
    else:
        import tensorflow as tf

        @tf.function(jit_compile=True)
        def step():
            for optimizer, w, magnitude in zip(optimizers, weights, magnitudes, strict=True):
                optimizer.apply([tf.constant(magnitude * direction, "float32")], [w])

        step()
        found = weights
    for w, magnitude in zip(found, magnitudes, strict=True):
        moved_by = keras.ops.convert_to_numpy(w) / magnitude
        np.testing.assert_allclose(moved_by, -direction / 2, 1e-5, err_msg=f"{magnitude}")


def _stateless_with_constants(optimizers, weights, direction):
    found = []
    for optimizer, w, magnitude in zip(optimizers, weights, MAGNITUDES["float32"], strict=True):
        state = [v.value for v in optimizer.variables]
        gradient = np.array(magnitude * direction, "float32")
        (moved,) = optimizer.stateless_apply(state, [gradient], [w.value])[0]
        found.append(moved)
    return found


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", MAGNITUDES)
def test_the_global_norm_is_clipped_at_any_magnitude(dtype, mode):  # contract 4.3
    skip_without(dtype)
    cases = [([m * d for d in directions()], {"global_clipnorm": m / 4}) for m in MAGNITUDES[dtype]]
    for magnitude, found in zip(MAGNITUDES[dtype], moved(cases, dtype, mode), strict=True):
        for x, direction in zip(found, directions(), strict=True):
            expected = direction / 4 / np.sqrt(len(SHAPES))
            np.testing.assert_allclose(x / magnitude, expected, 1e-5, err_msg=f"{magnitude}")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("clip", ["clipnorm", "global_clipnorm"])
@pytest.mark.parametrize("dtype", MAGNITUDES)
def test_gradients_below_the_limit_keep_every_bit(dtype, clip, mode):  # contract 4.4
    skip_without(dtype)
    cases = [([m * d for d in directions()], {clip: 10 * m}) for m in MAGNITUDES[dtype]]
    for (gradients, arguments), found in zip(cases, moved(cases, dtype, mode), strict=True):
        for x, gradient in zip(found, gradients, strict=True):
            np.testing.assert_array_equal(x, gradient.astype(dtype), f"{arguments}")


@pytest.mark.parametrize("mode", MODES)
def test_gradients_at_the_limit_keep_every_bit(mode):  # contract 4.4
    gradient = np.array([3.0, 4.0])
    cases = [([gradient], {clip: 5.0}) for clip in ("clipnorm", "global_clipnorm")]
    for (found,) in moved(cases, "float32", mode):
        np.testing.assert_array_equal(found, gradient)


@pytest.mark.parametrize("mode", MODES)
def test_empty_variables_have_norm_zero(mode):
    gradients = [np.zeros((0,)), np.array([6.0, 8.0]), np.zeros((2, 0))]
    cases = [(gradients, {clip: 5.0}) for clip in ("clipnorm", "global_clipnorm")]
    for found in moved(cases, "float32", mode):
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
    (after_step,) = after([(optimizer, gradients, variables)], mode)
    for weights in after_step:
        found = keras.ops.convert_to_numpy(keras.ops.cast(weights, "float32"))
        np.testing.assert_allclose(found, [3 * factor, 4 * factor], 4e-3)


@pytest.mark.parametrize("way", WAYS)
def test_a_nonfinite_gradient_makes_nan_of_all_that_share_its_norm(way):  # contract 4.5
    pairs = [
        (kerasgd.SGD(1.0, **{clip: 1.0}), [keras.Variable(np.zeros(shape)) for shape in SHAPES])
        for clip in ("clipnorm", "global_clipnorm")
    ]
    step = steps_together(way, pairs)
    for bad in (np.inf, -np.inf, np.nan):
        for _, variables in pairs:
            for variable in variables:
                variable.assign(np.zeros(variable.shape))
        gradients = directions()
        gradients[3] = np.array([1.0, bad, 1.0])
        step([[tensor(g) for g in gradients] for _ in pairs])
        each, together = [
            [bool(np.isnan(keras.ops.convert_to_numpy(v)).all()) for v in variables]
            for _, variables in pairs
        ]
        assert each == [i == 3 for i in range(len(SHAPES))]
        assert all(together)


@pytest.mark.skipif(BACKEND != "jax", reason="only JAX clips small and large gradients differently")
@pytest.mark.parametrize("largest_small", [0, 4096])
def test_each_norm_of_small_and_of_large_gradients_is_clipped(monkeypatch, largest_small):  # 4.3-5
    from kerasgd.backends import grouped_norms

    monkeypatch.setattr(grouped_norms, "SMALL", largest_small)
    magnitudes = MAGNITUDES["float32"]
    gradients = [[m * direction for direction in directions()] for m in magnitudes]
    bad = directions()
    bad[3] = np.array([1.0, np.inf, 1.0])
    cases = [(g, {"clipnorm": m / 2}) for g, m in zip(gradients, magnitudes, strict=True)]
    cases += [(g, {"clipnorm": 10 * m}) for g, m in zip(gradients, magnitudes, strict=True)]
    cases += [(g, {}) for g in gradients] + [(bad, {"clipnorm": 1.0})]
    *found, spoilt = moved(cases, "float32", "jit")
    for i, m in enumerate(magnitudes):
        clipped, kept, plain = found[i :: len(magnitudes)]
        for x, y, z, direction in zip(clipped, kept, plain, directions(), strict=True):
            np.testing.assert_allclose(x / m, direction / 2, 1e-5)
            np.testing.assert_array_equal(y, z)
    assert [bool(np.isnan(x).all()) for x in spoilt] == [i == 3 for i in range(len(SHAPES))]
