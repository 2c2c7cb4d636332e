"""Checks of contract 0 and 1: the order of a step, and the update rule."""

from __future__ import annotations

from functools import partial

import numpy as np

from kerasgd.conformance.checks import Comparisons, check, close, equal, refused, same_bits, warned
from kerasgd.conformance.subjects import Subject
from kerasgd.conformance.training import (
    Problem,
    follows_reference,
    random_problem,
    scalar,
    tensor,
    train_eagerly,
    value,
    values,
    variables_of,
    ways_of_apply,
)


@check("0")
def order_of_a_step(subject: Subject) -> Comparisons:
    """The order of the parts, with all settings: swapping any two would change the weights."""
    yield from follows_reference(
        subject,
        random_problem(steps=8, non_negative=(0,)),
        learning_rate=0.25,
        momentum=0.5,
        nesterov=True,
        weight_decay=0.125,
        clipnorm=1.0,
        use_ema=True,
        ema_momentum=0.75,
        ema_overwrite_frequency=2,
        loss_scale_factor=8.0,
        gradient_accumulation_steps=2,
    )


@check("1.1")
def plain(subject: Subject) -> Comparisons:
    """Rule 1.1."""
    yield from follows_reference(subject, random_problem(steps=4), learning_rate=0.3)


@check("1.2")
def with_momentum(subject: Subject) -> Comparisons:
    """Rule 1.2."""
    yield from follows_reference(subject, random_problem(steps=4), learning_rate=0.3, momentum=0.9)


@check("1.3")
def with_nesterov(subject: Subject) -> Comparisons:
    """Rule 1.3; without momentum it equals rule 1.1."""
    yield from follows_reference(
        subject, random_problem(steps=4), learning_rate=0.3, momentum=0.9, nesterov=True
    )
    yield from follows_reference(
        subject, random_problem(steps=4), ways_of_apply(), learning_rate=0.3, nesterov=True
    )


@check("1.4")
def cast_last_of_all(subject: Subject) -> Comparisons:
    """4 * 2^15 overflows float16; dividing by the loss scale 2^15 before the cast gives 4."""
    for momentum in (0.0, 0.5):
        optimizer = subject(learning_rate=0.5, momentum=momentum, loss_scale_factor=2.0**15)
        variables = variables_of(Problem([[1.0]], [], dtype="float16"))
        optimizer.apply([tensor([4.0 * 2**15])], variables)
        where = f"float32 gradient, float16 variable, momentum {momentum}"
        yield close(where, [-1.0], value(variables[0]))
    for dtype in ("float16", "bfloat16", "float64"):
        variables = variables_of(Problem([[1.0]], []))
        subject(learning_rate=0.5).apply([tensor([4.0], dtype)], variables)
        yield close(f"{dtype} gradient, float32 variable", [-1.0], value(variables[0]))


@check("1.5", deviations=("D20",))
def any_momentum(subject: Subject) -> Comparisons:
    """Integers are accepted, and so is 0."""
    for momentum, expected in ((0, -3.0), (1, -6.0), (2, -11.0)):
        run = train_eagerly(
            subject(learning_rate=1.0, momentum=momentum), scalar(0.0, [1.0, 1.0, 1.0])
        )
        yield close(f"momentum={momentum}", [expected], run.final[0])
    yield warned("momentum=1.5", lambda: subject(momentum=1.5), "momentum")
    yield warned("momentum=1", lambda: subject(momentum=1), "momentum", times=0)
    for refusable in (-0.1, np.nan, np.inf):
        yield refused(f"momentum={refusable}", partial(subject, momentum=refusable), "momentum")


@check("1.6")
def no_gradient_at_all(subject: Subject) -> Comparisons:
    """All None is an error at each step of a window; an empty list changes nothing."""
    for steps in (None, 2):
        optimizer = subject(learning_rate=1.0, gradient_accumulation_steps=steps)
        variables = variables_of(Problem([[1.0], [2.0]], []))
        where = f"gradient_accumulation_steps={steps}"

        nothing = partial(optimizer.apply, [None, None], variables)
        yield refused(f"{where}, at once", nothing, "radient")
        optimizer.apply([tensor([0.5]), tensor([0.5])], variables)
        yield refused(f"{where}, later", nothing, "radient")
        optimizer.apply([], [])
        optimizer.apply([tensor([0.5]), tensor([0.5])], variables)
        expected = [0.0, 1.0] if steps is None else [0.5, 1.5]
        yield close(f"{where}, weights", expected, np.ravel(values(variables)))
        yield equal(f"{where}, iterations", 2 // (steps or 1), int(value(optimizer.iterations)))


@check("1.6")
def one_gradient_missing(subject: Subject) -> Comparisons:
    """The variable is unchanged: neither decay nor velocity moves it."""
    problem = Problem(
        [[1.0], [2.0]], [[[1.0], [1.0]], [[1.0], None], [None, [1.0]], [[1.0], [1.0]]]
    )
    for momentum in (0.0, 0.5):
        yield from follows_reference(
            subject,
            problem,
            ways_of_apply(),
            learning_rate=0.5,
            momentum=momentum,
            weight_decay=0.25,
        )
    optimizer = subject(learning_rate=1.0, weight_decay=0.5)
    variables = variables_of(Problem([[1.0], [2.0]], []))
    optimizer.apply([tensor([1.0]), None], variables)
    yield same_bits("the variable without a gradient", [2.0], value(variables[1]))
