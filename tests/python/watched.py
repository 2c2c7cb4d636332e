"""Compares the statistics and skipped updates of steps with the reference, in every way."""

import keras
import numpy as np
from conftest import BACKEND

from kerasgd.reference import SparseRows

# The ways to run a step. (`test_callbacks.py` tests `fit()`.)
WAYS = {
    "tensorflow": ["eager", "graph", "xla"],
    "jax": ["eager", "jit"],
    "torch": ["eager", "stateless"],
}[BACKEND]

# Each write rounds a float32 weight by up to half of this fraction.
EPSILON = 2.0**-23


def step_of(way, optimizer, variables):
    """A function that takes a step with given gradients, compiled once. It builds the optimizer."""
    optimizer.build(variables)
    if way == "eager":
        return lambda gradients: optimizer.apply(gradients, variables)
    if way in ("graph", "xla"):
        import tensorflow as tf

        return tf.function(lambda gs: optimizer.apply(gs, variables), jit_compile=way == "xla")
    return statelessly(optimizer, variables)


def steps_together(way, pairs):
    """A function that takes a step of each optimizer, with the gradients for each.

    TensorFlow compiles them together, since XLA takes long to start.
    """
    steps = [step_of("eager" if way in ("graph", "xla") else way, *pair) for pair in pairs]

    def step(gradients):
        for one, given in zip(steps, gradients, strict=True):
            one(given)

    if way in ("graph", "xla"):
        import tensorflow as tf

        return tf.function(step, jit_compile=way == "xla")
    return step


def statelessly(optimizer, variables):
    apply = optimizer.stateless_apply
    if BACKEND == "jax":
        import jax

        apply = jax.jit(apply)

    def step(gradients):
        held = [*variables, *optimizer.variables]
        new, state = apply(
            [v.value for v in optimizer.variables], gradients, [v.value for v in variables]
        )
        for variable, value in zip(held, [*new, *state], strict=True):
            variable.assign(value)

    return step


def program(optimizer, weights):
    """What XLA compiles a step of one variable into, as text."""
    gradient = keras.ops.ones(weights.shape)
    if BACKEND == "tensorflow":
        step = step_of("xla", optimizer, [weights])
        return step.experimental_get_compiler_ir([gradient])(stage="optimized_hlo")
    import jax

    optimizer.build([weights])

    def step(values, state, gradients):
        return optimizer.stateless_apply(state, gradients, values)

    state = [v.value for v in optimizer.variables]
    compiled = jax.jit(step, donate_argnums=(0, 1))
    return compiled.lower([weights.value], state, [gradient]).compile().as_text()


def copies_in(text, weights):
    """The lines of such a program that copy arrays of the shape of the weights."""
    array = f"f32[{','.join(map(str, weights.shape))}]"
    assert array in text
    return [line for line in text.splitlines() if " copy(" in line and array in line]


def tensor(gradient, dtype="float32"):
    """A gradient of the reference as a tensor of the backend."""
    if gradient is None:
        return None
    if isinstance(gradient, SparseRows):
        import tensorflow as tf

        return tf.IndexedSlices(
            tf.constant(gradient.values, dtype), tf.constant(gradient.indices, "int32")
        )
    return keras.ops.convert_to_tensor(gradient, dtype)


def single(values):
    """The nearest float32 numbers, as float64."""
    return np.asarray(values, "float32").astype("float64")


def assert_statistics(statistics, reference):
    """Check that the statistics equal the reference's, within the bound of contract 8.2."""
    if not reference.statistics:
        assert statistics is None
        return
    of_variables = statistics.get("variables")
    assert statistics.keys() - {"variables"} == reference.statistics.keys()
    assert_record(statistics, reference.statistics)
    if of_variables is not None:
        for ours, expected in zip(of_variables, reference.statistics_per_variable, strict=True):
            assert ours.keys() == expected.keys() | {"path"}
            assert_record(ours, expected)


def assert_record(ours, expected):
    weight_norm = expected["weight_norm"]
    # The change is a difference of weights. Decay, velocity, gradient and constraint each write a
    # weight at most once: four roundings, and one for the difference.
    rounding = {
        "update_norm": 2.5 * EPSILON * weight_norm,
        "update_ratio": 2.5 * EPSILON,
    }
    for name, value in expected.items():
        if name in ("nonfinite", "updates", "loss_scale"):
            assert ours[name] == value, name
        else:
            bound = 2e-6 * abs(value) + rounding.get(name, 0.0)
            np.testing.assert_allclose(ours[name], value, rtol=0, atol=bound, err_msg=name)
