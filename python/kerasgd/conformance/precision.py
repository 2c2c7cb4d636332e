"""Checks of contract 8: precision."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import keras

from kerasgd.conformance.checks import FLOAT32_BOUND, Comparisons, check
from kerasgd.conformance.subjects import Subject
from kerasgd.conformance.training import (
    all_ways,
    follows_reference,
    random_problem,
    scalar,
    ways_of_apply,
)

# The distance from 1 to the next number.
EPSILON = {"bfloat16": 2.0**-7, "float16": 2.0**-10}


@check("8.1", deviations=("D13",))
def long_windows(subject: Subject) -> Comparisons:
    """The mean of 512 gradients of 1 is 1."""
    for dtype in EPSILON:
        yield from follows_reference(
            subject,
            scalar(0.0, [1.0] * 512, dtype=dtype),
            ways_of_apply()[::-1],
            bound=0.0,
            learning_rate=1.0,
            gradient_accumulation_steps=512,
        )


@check("8.1", deviations=("D13",))
def slow_averages(subject: Subject) -> Comparisons:
    """The average moves from 1 towards 2: after 300 updates by 1/100 it is 1.951."""
    for dtype, epsilon in EPSILON.items():
        yield from follows_reference(
            subject,
            scalar(1.0, [0.0, -1.0] + [0.0] * 299, dtype=dtype),
            ways_of_apply(),
            bound=epsilon / 2,  # the rounding when the average is written into the weight
            learning_rate=1.0,
            use_ema=True,
            ema_momentum=0.99,
        )


FIFTY_STEPS = {
    "learning_rate": 0.1,
    "momentum": 0.5,
    "nesterov": True,
    "weight_decay": 0.01,
    "clipnorm": 1.0,
    "use_ema": True,
    "ema_momentum": 0.9,
}


@check("8.2")
def fifty_steps_in_float32(subject: Subject) -> Comparisons:
    """Within 2e-6 of the largest weight."""
    problem = random_problem(steps=50)
    yield from follows_reference(subject, problem, all_ways(), FLOAT32_BOUND, **FIFTY_STEPS)


@check("8.2")
def fifty_steps_in_float64(subject: Subject) -> Comparisons:
    """Within 1e-12, if `floatx` is float64."""
    with float64():
        problem = random_problem(steps=50, dtype="float64")
        yield from follows_reference(subject, problem, all_ways(), 1e-12, **FIFTY_STEPS)


@contextlib.contextmanager
def float64() -> Iterator[None]:
    """Set Keras' `floatx` to float64, which also needs a setting of JAX."""
    keras.config.set_floatx("float64")
    with contextlib.ExitStack() as stack:
        if keras.config.backend() == "jax":
            import jax

            stack.enter_context(jax.enable_x64(True))
        yield


@check("8.2")
def fifty_steps_in_half_precision(subject: Subject) -> Comparisons:
    """Each step rounds the velocity and the weight by up to epsilon / 2 of the largest weight.

    With momentum 1/2, an error in the velocity moves the weight by twice that error in total, so a
    step contributes 3/2 epsilon. Rounding errors have both signs, so the actual error stays far
    below the sum, 75 epsilon.
    """
    for dtype, epsilon in EPSILON.items():
        problem = random_problem(steps=50, dtype=dtype)
        bound = 1.5 * 50 * epsilon
        yield from follows_reference(subject, problem, ways_of_apply()[1:], bound, **FIFTY_STEPS)


@check("8.2")
def small_steps_in_half_precision(subject: Subject) -> Comparisons:
    """A rate times 1/32768 would vanish in float16, so it must be computed in float32."""
    yield from follows_reference(
        subject,
        scalar(0.0, [2.0**-10, 2.0**-10], dtype="float16"),
        ways_of_apply(),
        bound=EPSILON["float16"],
        learning_rate=0.1,
        loss_scale_factor=2.0**15,
    )
