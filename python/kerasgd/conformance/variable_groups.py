"""Checks of contract 14.9 and 14.10: the resulting settings of variables, and rates by layer."""

from __future__ import annotations

from functools import partial
from typing import Any

import keras

import kerasgd
from kerasgd.conformance.checks import Comparisons, check, close, equal, only_of_kerasgd, refused
from kerasgd.conformance.groups import dense, nested_model
from kerasgd.conformance.learning_rate import HALVING_SCHEDULE
from kerasgd.conformance.subjects import Subject
from kerasgd.conformance.training import (
    Group,
    Problem,
    optimizer_for,
    tensor,
    variables_of,
)

# One of the two variables is in both groups.
SHOWN = Problem(
    [[0.0, 0.0], [[1.0, 2.0, 3.0]]],
    [],
    groups=[
        Group((0, 1), {"learning_rate_factor": 0.5, "momentum": 0.75}),
        Group((1,), {"learning_rate_factor": HALVING_SCHEDULE, "weight_decay": 0.25}),
    ],
)
COLUMNS = [
    "path",
    "shape",
    "parameters",
    "learning_rate_factor",
    "learning_rate",
    "momentum",
    "weight_decay",
    "groups",
]


def in_rows(rate: float, factors: list[float]) -> list[dict[str, Any]]:
    """The expected rows for `SHOWN`, with this rate and these factors."""
    of_variables: list[list[Any]] = [
        ["w0", (2,), 2, factors[0], rate * factors[0], 0.75, 0.0, [0]],
        ["w1", (1, 3), 3, factors[1], rate * factors[1], 0.75, 0.25, [0, 1]],
    ]
    return [dict(zip(COLUMNS, row, strict=True)) for row in of_variables]


def _same_rows(where: str, expected: list[dict[str, Any]], actual: Any) -> Comparisons:
    yield equal(f"{where}, rows", len(expected), len(actual))
    for wanted, got in zip(expected, actual, strict=True):
        yield equal(f"{where}, columns", COLUMNS, list(got))
        for column, entry in wanted.items():
            place = f"{where}, {column} of {wanted['path']}"
            if isinstance(entry, float):
                yield close(place, entry, got[column])
            else:
                yield equal(place, entry, got[column])


@check("14.9")
def shown_before_and_after(subject: Subject) -> Comparisons:
    """The rows before the optimizer is built, and after two steps of its schedules."""
    only_of_kerasgd(subject, "variable_groups")
    optimizer = optimizer_for(SHOWN, subject, {"learning_rate": HALVING_SCHEDULE})
    variables = variables_of(SHOWN)
    before = kerasgd.variable_groups(optimizer, variables)
    yield from _same_rows("before", in_rows(1.0, [0.5, 1.0]), before)
    yield equal("built by looking", False, optimizer.built)
    for _ in range(2):
        optimizer.apply([keras.ops.ones(v.shape) for v in variables], variables)
    after = kerasgd.variable_groups(optimizer, variables)
    yield from _same_rows("after 2 steps", in_rows(0.25, [0.5, 0.25]), after)
    optimizer.set_learning_rate_factor(0, 2.0)
    changed = kerasgd.variable_groups(optimizer, variables)
    yield from _same_rows("another factor", in_rows(0.25, [2.0, 0.25]), changed)


@check("14.9")
def what_is_shown_acts(subject: Subject) -> Comparisons:
    """A step with gradients of 1 moves each weight by its displayed rate."""
    only_of_kerasgd(subject, "variable_groups")
    model = nested_model()
    optimizer = subject(learning_rate=1.0).set_group(model.layers[0], learning_rate_factor=0.25)
    variables = model.trainable_variables
    shown = [row["learning_rate"] for row in kerasgd.variable_groups(optimizer, model)]
    optimizer.apply([tensor([[1.0]])] * len(variables), variables)
    moved = [1.0 - float(keras.ops.convert_to_numpy(v).item()) for v in variables]
    yield close("rates", shown, moved)
    yield close("rates by hand", [0.25, 0.25, 1.0], moved)


@check("14.10")
def earlier_layers_are_slower(subject: Subject) -> Comparisons:
    """With `decay` 1/2 each earlier layer has half the rate, also in a nested model."""
    only_of_kerasgd(subject, "layer_decay")
    model = nested_model()
    optimizer = subject(learning_rate=1.0)
    yield equal("the result is the optimizer", True, _decayed(optimizer, model) is optimizer)
    rows = kerasgd.variable_groups(optimizer, model)
    yield close("factors", [0.25, 0.5, 1.0], [row["learning_rate_factor"] for row in rows])
    variables = model.trainable_variables
    optimizer.apply([tensor([[1.0]])] * len(variables), variables)
    weights = [float(keras.ops.convert_to_numpy(v).item()) for v in variables]
    yield close("weights", [0.75, 0.5, 0.0], weights)


def _decayed(optimizer: Any, model: Any) -> Any:
    return kerasgd.layer_decay(optimizer, model, 0.5)


@check("14.10")
def layers_without_weights(subject: Subject) -> Comparisons:
    """Layers without weights do not count; a frozen layer does."""
    only_of_kerasgd(subject, "layer_decay")
    layers = [dense("first"), keras.layers.ReLU(), dense("frozen"), keras.layers.ReLU()]
    model = keras.Sequential([keras.Input((1,)), *layers, dense("last")])
    layers[2].trainable = False
    rows = kerasgd.variable_groups(_decayed(subject(), model), model)
    yield close("factors", [0.25, 1.0], [row["learning_rate_factor"] for row in rows])


@check("14.10")
def decays_are_checked(subject: Subject) -> Comparisons:
    """A decay must be above 0 and at most 1, and precede the optimizer's `build()`."""
    only_of_kerasgd(subject, "layer_decay")
    model = nested_model()
    for decay in (0, -0.5, 1.5, float("nan"), None, "1"):
        call = partial(kerasgd.layer_decay, subject(), model, decay)
        yield refused(f"decay={decay!r}", call, "decay")
    optimizer = subject()
    optimizer.build(model.trainable_variables)
    yield refused("built", partial(_decayed, optimizer, model), "layer_decay")
