"""Checks of contract 18: a step that explains itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

import kerasgd
from kerasgd.conformance.checks import (
    FLOAT32_BOUND,
    Comparisons,
    NotTestedHere,
    check,
    close,
    equal,
    same_bits,
)
from kerasgd.conformance.subjects import Subject
from kerasgd.conformance.training import Problem, compiled, fit, reference_of, value, values

# The first step, which is taken before, and the explained step.
DONE = Problem([[1.0, 2.0]], [[[3.0, 4.0]]])
EXPLAINED = [6.0, 8.0]


def only_of_sgd(subject: Subject) -> None:
    """End the check for a class that is not an SGD."""
    if not issubclass(subject.optimizer, keras.optimizers.SGD):
        raise NotTestedHere("only steps of SGD can be explained")


def trained(subject: Subject, arguments: Mapping[str, Any]) -> Any:
    """A model that has taken its first step."""
    model = compiled(subject(**arguments), DONE)
    fit(model, DONE)
    return model


def explained(model: Any, **options: Any) -> dict[str, Any]:
    """The row of the one variable."""
    rows = kerasgd.tools.explain_step(model, *batch(), **options)
    if len(rows) != 1:
        raise ValueError(f"{len(rows)} rows for one variable")
    return rows[0]


def batch() -> tuple[Any, Any]:
    """The batch of the explained step, whose gradient equals its input."""
    return np.array([EXPLAINED]), np.zeros(1)


def norm(array: Any) -> float:
    """The L2 norm."""
    return float(np.sqrt(np.sum(np.square(array))))


@check("18.1")
def each_stage(subject: Subject) -> Comparisons:
    """Each stage, with a clip limit of 1, a momentum of 1/2 and a decay of 1/8."""
    only_of_sgd(subject)
    model = trained(
        subject,
        {
            "learning_rate": 0.5,
            "momentum": 0.5,
            "weight_decay": 0.25,
            "global_clipnorm": 1.0,
            "loss_scale_factor": 2.0,
        },
    )
    clipped = np.array([0.6, 0.8])
    velocity = -0.5 * clipped
    weights = 0.875 * np.array([1.0, 2.0]) + velocity
    new_velocity = 0.5 * velocity - 0.5 * clipped
    expected = {
        "gradient_norm": 20.0,
        "unscaled_norm": 10.0,
        "mean_norm": 10.0,
        "clip_coefficient": 0.1,
        "clipped_norm": 1.0,
        "decay_norm": norm(0.125 * weights),
        "velocity_norm_before": 0.5,
        "velocity_norm": norm(new_velocity),
        "change_norm": norm(new_velocity - 0.125 * weights),
        "constraint_norm": 0.0,
    }
    row = explained(model)
    for stage, number in expected.items():
        yield close(stage, number, np.nan if row[stage] is None else row[stage])
    yield equal("average_distance", None, row["average_distance"])
    yield equal("overwritten", False, row["overwritten"])


@check("18.1")
def constraint_and_average(subject: Subject) -> Comparisons:
    """A constraint sets negative weights to 0; the average overwrites the weights."""
    only_of_sgd(subject)
    problem = Problem([[1.0, 2.0]], [[[0.0, 0.0]]], non_negative=(0,))
    arguments = {"use_ema": True, "ema_momentum": 0.5, "ema_overwrite_frequency": 2}
    model = compiled(subject(learning_rate=0.25, **arguments), problem)
    model.train_on_batch(np.zeros((1, 2)), np.zeros(1))
    row = explained(model)
    # The rule leads to [-0.5, 0], the constraint to [0, 0], the average to half of [1, 2].
    yield close("constraint_norm", 0.5, row["constraint_norm"])
    yield close("change_norm", norm([0.5, 1.0]), row["change_norm"])
    yield close("average_distance", 0.0, row["average_distance"])
    yield equal("overwritten", True, row["overwritten"])


@check("18.1")
def nothing_is_changed(subject: Subject) -> Comparisons:
    """Training continues as it would without an explanation."""
    only_of_sgd(subject)
    outcomes = []
    for explains in (False, True):
        keras.utils.clear_session(free_memory=False)
        model = trained(subject, {"learning_rate": 0.5, "momentum": 0.5})
        if explains:
            explained(model, check=True)
        fit(model, DONE)
        outcomes.append(values([*model.trainable_variables, *model.optimizer.variables]))
    for i, (expected, actual) in enumerate(zip(*outcomes, strict=True)):
        yield same_bits(f"value {i}", expected, actual)


# The first weight violates the constraint, which Keras' own SGD applies before the update.
FORBIDDEN = Problem([[-1.0, 2.0]], [], non_negative=(0,))
CHECKED: dict[str, tuple[Problem, dict[str, Any]]] = {
    "momentum": (DONE, {"momentum": 0.5, "nesterov": True, "clipnorm": 1.0}),
    "averages": (DONE, {"use_ema": True, "ema_momentum": 0.5, "ema_overwrite_frequency": 2}),
    "constraint in a window": (FORBIDDEN, {"gradient_accumulation_steps": 2}),
}


@check("18.2")
def the_real_step(subject: Subject) -> Comparisons:
    """`check=True` compares the real step with the reference."""
    only_of_sgd(subject)
    for name, (problem, settings) in CHECKED.items():
        arguments = {"learning_rate": 0.5, **settings}
        model = compiled(subject(**arguments), problem)
        reference = reference_of(problem, arguments)
        for gradients in problem.gradients:
            model.train_on_batch(np.array(gradients), np.zeros(1))
            reference.step(gradients)
        # The explanation starts from the current weights.
        reference.weights[0] = value(model.trainable_variables[0])
        reference.step([np.array(EXPLAINED)])
        row = explained(model, check=True)
        model.train_on_batch(*batch())
        difference = np.max(np.abs(value(model.trainable_variables[0]) - reference.weights[0]))
        bound = FLOAT32_BOUND * np.max(np.abs(reference.weights[0]))
        yield close(f"{name}, bound", bound, row["bound"], bound=1e-6)
        yield equal(f"{name}, holds", bool(difference <= bound), row["holds"])


STAGES_OF_UPDATE = ("mean_norm", "clip_coefficient", "clipped_norm", "decay_norm", "change_norm")


@check("18.3")
def inside_a_window(subject: Subject) -> Comparisons:
    """The first step of a window has no later stages; the last one has the norm of the mean."""
    only_of_sgd(subject)
    model = compiled(subject(learning_rate=0.5, gradient_accumulation_steps=2), DONE)
    row = explained(model)
    yield equal("path", model.trainable_variables[0].path, row["path"])
    yield equal("shape", (2,), tuple(row["shape"]))
    yield close("first step, gradient_norm", 10.0, row["gradient_norm"])
    for stage in STAGES_OF_UPDATE:
        yield equal(f"first step, {stage}", None, row[stage])
    model.train_on_batch(np.array(DONE.gradients[0]), np.zeros(1))
    row = explained(model)
    yield close("last step, mean_norm", 7.5, row["mean_norm"] or np.nan)
    yield close("last step, change_norm", 3.75, row["change_norm"] or np.nan)
