"""Checks of contract 7: gradient accumulation."""

from __future__ import annotations

from typing import Any

import numpy as np

from kerasgd.conformance.checks import Comparisons, check, close, equal
from kerasgd.conformance.files import saved_and_loaded, unchanged
from kerasgd.conformance.subjects import Subject
from kerasgd.conformance.training import (
    APPLY,
    Problem,
    compiled,
    fit,
    fit_options,
    follows_reference,
    random_problem,
    reference_run,
    scalar,
    tensor,
    value,
    values,
    variables_of,
    ways_of_apply,
)


@check("7.1")
def mean_of_every_window(subject: Subject) -> Comparisons:
    """Weights change only at every third step."""
    yield from follows_reference(
        subject,
        random_problem(steps=8),
        learning_rate=0.25,
        momentum=0.5,
        gradient_accumulation_steps=3,
    )


@check("7.1")
def one_is_off(subject: Subject) -> Comparisons:
    """A window of one step means no accumulation; 2.0 is a whole number."""
    for steps, expected in ((None, [-1.0, -3.0]), (1, [-1.0, -3.0]), (2.0, [0.0, -1.5])):
        optimizer = subject(learning_rate=1.0, gradient_accumulation_steps=steps)
        run = APPLY.train(optimizer, scalar(0.0, [1.0, 2.0]))
        where = f"gradient_accumulation_steps={steps}"
        yield close(where, expected, [weights[0][0] for weights in run.weights])


@check("7.2")
def counts(subject: Subject) -> Comparisons:
    """7 steps in windows of 3 make 2 updates."""
    for steps in (None, 3):
        optimizer = subject(learning_rate=1.0, gradient_accumulation_steps=steps)
        APPLY.train(optimizer, scalar(0.0, [1.0] * 7))
        where = f"gradient_accumulation_steps={steps}"
        yield equal(where, 7 // (steps or 1), int(value(optimizer.iterations)))


@check("7.3", deviations=("D7",))
def constraints_wait(subject: Subject) -> Comparisons:
    """A weight that violates the constraint stays as it is until the update."""
    yield from follows_reference(
        subject,
        scalar(-4.0, [1.0] * 4, non_negative=(0,)),
        learning_rate=1.0,
        gradient_accumulation_steps=2,
    )


@check("7.3")
def decay_waits(subject: Subject) -> Comparisons:
    """Decay and velocity act only at updates."""
    yield from follows_reference(
        subject,
        scalar(8.0, [0.0, 0.0, 1.0, 0.0, 1.0]),
        learning_rate=1.0,
        momentum=0.5,
        weight_decay=0.5,
        gradient_accumulation_steps=2,
    )


# In each window the second variable has a gradient in other steps: the first, none, the second,
# both.
PATCHY = Problem(
    [[1.0], [2.0]],
    [
        [[1.0], [2.0]],
        [[3.0], None],
        [[1.0], None],
        [[0.0], None],
        [[5.0], None],
        [[1.0], [6.0]],
        [None, [4.0]],
        [[2.0], [1.0]],
    ],
)


@check("7.4", deviations=("D14",))
def none_counts_as_zero(subject: Subject) -> Comparisons:
    """No gradient is lost or kept for later; without any, neither decay nor velocity acts."""
    for momentum in (0.0, 0.5):
        yield from follows_reference(
            subject,
            PATCHY,
            ways_of_apply(),
            learning_rate=0.5,
            momentum=momentum,
            weight_decay=0.25,
            gradient_accumulation_steps=2,
        )


@check("7.4")
def none_beside_the_clips(subject: Subject) -> Comparisons:
    """A missing gradient adds nothing to a norm."""
    for clip in ("clipnorm", "clipvalue", "global_clipnorm"):
        yield from follows_reference(
            subject,
            PATCHY,
            ways_of_apply(),
            learning_rate=0.5,
            gradient_accumulation_steps=2,
            use_ema=True,
            ema_momentum=0.5,
            **{clip: 1.0},
        )


@check("7.5")
def window_over_two_fits(subject: Subject) -> Comparisons:
    """The third window spans two `fit()` calls of five steps, also with a file in between."""
    problem = random_problem(steps=10)
    first = Problem(problem.weights, problem.gradients[:5])
    second = Problem(problem.weights, problem.gradients[5:])
    arguments: dict[str, Any] = {
        "learning_rate": 0.25,
        "momentum": 0.5,
        "gradient_accumulation_steps": 2,
    }
    expected = reference_run(problem, **arguments)
    for name, options in fit_options().items():
        for between in (unchanged, saved_and_loaded):
            model = compiled(subject(**arguments), problem, **options)
            fit(model, first)
            model = between(model)
            fit(model, second)
            for i, variable in enumerate(model.trainable_variables):
                where = f"{name}, w{i}, {between.__name__}"
                yield close(where, expected.final[i], value(variable))


@check("7.5")
def window_over_epochs(subject: Subject) -> Comparisons:
    """Windows of two steps span epochs of three steps."""
    optimizer = subject(learning_rate=1.0, gradient_accumulation_steps=2)
    problem = scalar(0.0, [1.0, 2.0, 4.0])
    model = compiled(optimizer, problem)
    fit(model, problem, epochs=2)
    yield close("6 steps", [-7.0], values(model.trainable_variables)[0])


@check("7.5")
def nothing_is_carried_over(subject: Subject) -> Comparisons:
    """Each window starts empty."""
    optimizer = subject(learning_rate=1.0, gradient_accumulation_steps=2)
    variables = variables_of(scalar(0.0, []))
    moved = []
    for gradient in (2.0, 4.0, 0.0, 0.0):
        optimizer.apply([tensor([gradient])], variables)
        moved.append(float(np.squeeze(value(variables[0]))))
    yield close("w", [0.0, -3.0, -3.0, -3.0], moved)
