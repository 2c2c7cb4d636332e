"""Checks of contract 9.4 and 9.4b: state that is loaded into an optimizer.

A step with a gradient of zero reveals a velocity: it moves a weight by the velocity times the
momentum.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import keras
import numpy as np

import kerasgd
from kerasgd.conformance.checks import (
    Comparisons,
    check,
    close,
    equal,
    only_of_kerasgd,
    refused,
    same_bits,
    warned,
)
from kerasgd.conformance.files import folder, state_of
from kerasgd.conformance.subjects import Subject
from kerasgd.conformance.training import (
    APPLY,
    Problem,
    random_problem,
    scalar,
    tensor,
    value,
    values,
    variables_of,
)
from kerasgd.reference import Array

MOMENTUM: dict[str, Any] = {"learning_rate": 0.5, "momentum": 0.5}
ALL_STATE: dict[str, Any] = {
    **MOMENTUM,
    "use_ema": True,
    "ema_momentum": 0.5,
    "gradient_accumulation_steps": 4,
}

# The problem of all checks without a model; its first and third variable have the same shape.
THREE = random_problem(steps=12, shapes=((3,), (2, 2), (3,)))
# The step of the interruption, in the middle of a window of four.
INTERRUPTED = 6


def do_steps(optimizer: Any, variables: Sequence[Any], gradients: Sequence[Sequence[Any]]) -> None:
    """Take a step with each of the gradients."""
    for step in gradients:
        optimizer.apply([tensor(gradient) for gradient in step], variables)


def carried_on(optimizer: Any, variables: Sequence[Any]) -> list[Array]:
    """The movement of each variable in a step with zero gradient: momentum times velocity."""
    for variable in variables:
        variable.assign(np.zeros(variable.shape))
    optimizer.apply([tensor(np.zeros(variable.shape)) for variable in variables], variables)
    return values(variables)


def copied(variables: Sequence[Any], names: Sequence[str]) -> list[Any]:
    """New variables with the same values."""
    return [
        keras.Variable(v, dtype="float32", name=name)
        for v, name in zip(values(variables), names, strict=True)
    ]


def each_same(where: str, expected: Sequence[Any], actual: Sequence[Any]) -> Comparisons:
    """Whether lists of arrays agree bit for bit."""
    yield equal(f"{where}, number", len(expected), len(actual))
    for i, (one, other) in enumerate(zip(expected, actual, strict=False)):
        yield same_bits(f"{where}, {i}", one, other)


def keeping(load: Callable[[], Any]) -> tuple[Callable[[], None], list[Any]]:
    """A function that calls `load`, and the list that then holds its result."""
    results: list[Any] = []
    return lambda: results.append(load()), results


# State belongs to a variable -------------------------------------------------------------------


@check("9.4")
def other_order(subject: Subject) -> Comparisons:
    """The same two variables in another order keep their own velocities."""
    problem = Problem([[0.0], [0.0]], [[[1.0], [2.0]]])
    saved, variables = subject(learning_rate=1.0, momentum=0.5), variables_of(problem)
    do_steps(saved, variables, problem.gradients)
    other = subject(learning_rate=1.0, momentum=0.5)
    other.build(variables[::-1])
    other.load_own_variables(state_of(saved))
    other.apply([tensor([0.0]), tensor([0.0])], variables[::-1])
    yield close("other order", [-1.5, -3.0], np.ravel(values(variables)))


@check("9.4")
def other_paths(subject: Subject) -> Comparisons:
    """Variables with other paths, but the same number and shapes, are paired in order."""
    saved, variables = subject(**MOMENTUM), variables_of(THREE)
    do_steps(saved, variables, THREE.gradients)
    renamed = copied(variables, ["one", "two", "three"])
    other = subject(**MOMENTUM)
    other.build(renamed)
    other.load_own_variables(state_of(saved))
    expected = carried_on(saved, variables)
    yield from each_same("remaining velocity", expected, carried_on(other, renamed))


@check("9.4")
def others_removed(subject: Subject) -> Comparisons:
    """The remaining variables continue unaffected, also in the middle of a window."""
    optimizer, variables = subject(**ALL_STATE), variables_of(THREE)
    do_steps(optimizer, variables, THREE.gradients[:INTERRUPTED])
    left = copied([variables[2], variables[1]], ["w2", "w1"])
    other = subject(**ALL_STATE)
    other.build(left)
    other.load_own_variables(state_of(optimizer))
    rest = THREE.gradients[INTERRUPTED:]
    do_steps(optimizer, variables, rest)
    do_steps(other, left, [[gradients[2], gradients[1]] for gradients in rest])
    for what in ("weight", "average"):
        if what == "average":
            optimizer.finalize_variable_values(variables)
            other.finalize_variable_values(left)
        yield same_bits(f"{what} of w2", value(variables[2]), value(left[0]))
        yield same_bits(f"{what} of w1", value(variables[1]), value(left[1]))


@check("9.4")
def others_added(subject: Subject) -> Comparisons:
    """A new variable starts without velocity; the others keep theirs."""
    saved, variables = subject(**MOMENTUM), variables_of(THREE)
    do_steps(saved, variables, THREE.gradients)
    expected = carried_on(saved, variables)
    more = [keras.Variable(np.ones(3), dtype="float32", name="new"), *variables]
    other = subject(**MOMENTUM)
    other.build(more)
    other.load_own_variables(state_of(saved))
    moved = carried_on(other, more)
    yield same_bits("the new one", np.zeros(3), moved[0])
    # `saved` has taken one more step, which halved its velocities
    for name, one, two in zip(("w0", "w1", "w2"), expected, moved[1:], strict=True):
        yield same_bits(name, 0.5 * one, two)


@check("9.4")
def of_an_unbuilt_optimizer(subject: Subject) -> Comparisons:
    """State of an unbuilt optimizer restores the rate and the count; training then works."""
    saved = subject(learning_rate=0.25, momentum=0.5)
    optimizer, problem = subject(learning_rate=0.5, momentum=0.5), scalar(0.0, [1.0, 1.0])
    APPLY.train(optimizer, problem)
    optimizer.load_own_variables(state_of(saved))
    yield close("rate", 0.25, value(optimizer.learning_rate))
    yield equal("iterations", 0, int(value(optimizer.iterations)))


# Strict loading --------------------------------------------------------------------------------


def restored(subject: Subject, saved: Any, variables: list[Any]) -> Any:
    """An optimizer for these variables with the settings and the state of `saved`.

    This uses kerasgd's functions for its own classes, and Keras' interface for other classes.
    """
    if not subject.is_of_kerasgd:
        optimizer = subject.optimizer.from_config(saved.get_config())
        optimizer.build(variables)
        optimizer.load_own_variables(state_of(saved))
        return optimizer
    with folder() as path:
        file = str(path / "optimizer")
        kerasgd.save_optimizer(saved, file)
        return kerasgd.load_optimizer(file, variables)


def _stepped(subject: Subject, *shapes: tuple[int, ...], **arguments: Any) -> tuple[Any, list[Any]]:
    """An optimizer that has taken two steps, and its variables."""
    problem = random_problem(steps=2, shapes=shapes)
    optimizer, variables = subject(**arguments), variables_of(problem)
    do_steps(optimizer, variables, problem.gradients)
    return optimizer, variables


@check("9.4b")
def state_that_fits(subject: Subject) -> Comparisons:
    """The optimizer continues bit for bit, also in the middle of a window."""
    optimizer, variables = subject(**ALL_STATE), variables_of(THREE)
    do_steps(optimizer, variables, THREE.gradients[:INTERRUPTED])
    copies = copied(variables, ["w0", "w1", "w2"])
    other = restored(subject, optimizer, copies)
    for one, its in ((optimizer, variables), (other, copies)):
        do_steps(one, its, THREE.gradients[INTERRUPTED:])
        one.finalize_variable_values(its)
    yield from each_same("weights", values(variables), values(copies))


@check("9.4b")
def state_that_does_not_fit(subject: Subject) -> Comparisons:
    """The error names the difference, and the variables are unchanged."""
    for name, shapes, naming in (
        ("another shape", ((4,), (2,)), "shape"),
        ("fewer variables", ((3,),), "variables"),
        ("more variables", ((3,), (2,), (2,)), "variables"),
    ):
        saved, _ = _stepped(subject, (3,), (2,), **ALL_STATE)
        variables = variables_of(random_problem(steps=0, shapes=shapes))
        before = values(variables)
        yield refused(name, partial(restored, subject, saved, variables), naming)
        yield from each_same(f"{name}, weights", before, values(variables))


@check("9.4b")
def leniently_on_request(subject: Subject) -> Comparisons:
    """`strict=False` leaves out state that does not fit, with one warning."""
    only_of_kerasgd(subject, "load_optimizer")
    saved, variables = _stepped(subject, (3,), (2,), **MOMENTUM)
    [kept] = variables_of(random_problem(steps=0, shapes=((3,),)))
    with folder() as path:
        file = str(path / "optimizer")
        kerasgd.save_optimizer(saved, file)
        load, loaded = keeping(partial(kerasgd.load_optimizer, file, [kept], strict=False))
        yield warned("strict=False", load, "w1")
    expected = carried_on(saved, variables)[:1]
    yield from each_same("remaining velocity", expected, carried_on(loaded[0], [kept]))
