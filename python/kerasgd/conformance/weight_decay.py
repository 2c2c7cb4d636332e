"""Checks of contract 3: weight decay, and exclusions from it."""

from __future__ import annotations

from functools import partial
from typing import Any

import keras
import numpy as np

from kerasgd.conformance.checks import Comparisons, check, close, refused
from kerasgd.conformance.files import saved_and_loaded
from kerasgd.conformance.subjects import Subject
from kerasgd.conformance.training import (
    Problem,
    follows_reference,
    output_as_loss,
    random_problem,
    values,
    variables_of,
)


@check("3.1")
def decoupled(subject: Subject) -> Comparisons:
    """Decay is independent of gradient and momentum; with accumulation it acts only at updates."""
    for steps in (None, 2):
        yield from follows_reference(
            subject,
            random_problem(steps=4),
            learning_rate=0.25,
            momentum=0.5,
            weight_decay=0.5,
            gradient_accumulation_steps=steps,
        )
    for decay in (-1, -0.1, np.nan, np.inf, True, "1"):
        yield refused(
            f"weight_decay={decay!r}", partial(subject, weight_decay=decay), "weight_decay"
        )


# With a rate of 1 and a zero gradient, a weight of 1 becomes 1/2, or stays 1 if it is excluded.


def halving(subject: Subject) -> Any:
    """An optimizer that halves weights by decay."""
    return subject(learning_rate=1.0, weight_decay=0.5)


def two_layers() -> Any:
    """Two layers whose kernels have the same name but different paths; all weights are 1."""
    model = keras.Sequential(
        [
            keras.Input((1,)),
            keras.layers.Dense(1, name="first", use_bias=False, kernel_initializer="ones"),
            keras.layers.Dense(1, name="second", use_bias=False, kernel_initializer="ones"),
        ]
    )
    return model


def decayed(optimizer: Any, variables: list[Any]) -> list[float]:
    """The weights after one step with zero gradients, from 1."""
    optimizer.apply([keras.ops.zeros(v.shape) for v in variables], variables)
    return [float(weights.item()) for weights in values(variables)]


@check("3.2", deviations=("D17",))
def excluded_by_path(subject: Subject) -> Comparisons:
    """A pattern is searched in the path, the same on every backend."""
    for pattern, expected in {
        "first/": [1.0, 0.5],
        "f.rst": [1.0, 0.5],
        "kernel": [1.0, 1.0],
        # not in the name, which is "kernel"
        "^kernel|second/": [0.5, 1.0],
    }.items():
        keras.utils.clear_session(free_memory=False)
        optimizer = halving(subject)
        optimizer.exclude_from_weight_decay(var_names=[pattern])
        yield close(pattern, expected, decayed(optimizer, two_layers().trainable_variables))


@check("3.2")
def excluded_by_object(subject: Subject) -> Comparisons:
    """Variables are excluded by object, or by object and by pattern together."""
    variables = variables_of(Problem([[1.0], [1.0], [1.0]], []))
    optimizer = halving(subject)
    optimizer.exclude_from_weight_decay(var_list=[variables[1]], var_names=["w2"])
    yield close("one by object, one by name", [0.5, 1.0, 1.0], decayed(optimizer, variables))


@check("3.2")
def second_call_replaces(subject: Subject) -> Comparisons:
    """A second call replaces the first."""
    variables = variables_of(Problem([[1.0], [1.0]], []))
    optimizer = halving(subject)
    optimizer.exclude_from_weight_decay(var_list=[variables[0]])
    optimizer.exclude_from_weight_decay(var_names=["w1"])
    yield close("the second call counts", [0.5, 1.0], decayed(optimizer, variables))


@check("3.2", deviations=("D17",))
def refused_once_built(subject: Subject) -> Comparisons:
    """Exclusions after `build()` are an error."""
    optimizer = halving(subject)
    optimizer.build(variables_of(Problem([[1.0]], [])))
    yield refused(
        "after build()", partial(optimizer.exclude_from_weight_decay, var_names=["w"]), "buil"
    )


@check("3.3", deviations=("D17",))
def exclusions_survive_saving(subject: Subject) -> Comparisons:
    """Exclusions by pattern and by object survive a `.keras` file and the configuration."""
    for by in ("name", "object"):
        keras.utils.clear_session(free_memory=False)
        model, optimizer = two_layers(), halving(subject)
        if by == "name":
            optimizer.exclude_from_weight_decay(var_names=["first/"])
        else:
            optimizer.exclude_from_weight_decay(var_list=[model.trainable_variables[0]])
        optimizer.build(model.trainable_variables)
        model.compile(optimizer=optimizer, loss=output_as_loss)
        loaded = saved_and_loaded(model)
        outcome = decayed(loaded.optimizer, loaded.trainable_variables)
        yield close(f"by {by}, loaded", [1.0, 0.5], outcome)
        again = subject.optimizer.from_config(optimizer.get_config())
        outcome = decayed(again, two_layers().trainable_variables)
        yield close(f"by {by}, from_config()", [1.0, 0.5], outcome)


@check("3.4", deviations=("D17",))
def everything_excluded(subject: Subject) -> Comparisons:
    """If every variable is excluded, nothing decays and nothing fails."""
    optimizer = halving(subject)
    optimizer.exclude_from_weight_decay(var_names=[".*"])
    variables = variables_of(Problem([[1.0], [1.0]], []))
    yield close("all", [1.0, 1.0], decayed(optimizer, variables))
