"""Brings the gradients of a step into the order of the variables of `build()`."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from typing import Any

from kerasgd import gradients
from kerasgd.errors import StateError, in_words
from kerasgd.keras_internals import is_taken_away
from kerasgd.variables import path_of


def aligned(optimizer: Any, grads: list[Any], variables: Iterable[Any] | None) -> list[Any]:
    """The gradients in the order of `build()`; None for a variable without a gradient.

    The first step builds the optimizer.

    Raises:
        ArgumentError: a gradient does not fit its variable (see `gradients.check()`).
        StateError: a variable is not among those of `build()`.
    """
    if variables is None:
        variables = [parameter.variable for parameter in optimizer.state().parameters]
    variables = gradients.listed_variables(variables, grads)
    as_built = _is_built_with(optimizer, variables)
    if not as_built:
        gradients.check_variables(variables, grads)
    gradients.check(grads, variables)
    if optimizer.window == 1:
        gradients.warn_of_missing(grads, variables)
    optimizer.build(variables)
    if as_built or _is_built_with(optimizer, variables):
        return grads
    in_order: list[Any] = [None] * len(optimizer._trainable_variables)
    for gradient, variable in zip(grads, variables, strict=True):
        in_order[index_of(optimizer, variable)] = gradient
    return in_order


def _is_built_with(optimizer: Any, variables: Sequence[Any]) -> bool:
    """Whether `variables` are those of `build()`, in the same order."""
    built = optimizer._trainable_variables
    return len(variables) == len(built) and all(map(operator.is_, variables, built))


def index_of(optimizer: Any, variable: Any) -> int:
    """The index of a variable among those of `build()`.

    Raises:
        StateError: it is not among them.
    """
    try:
        return int(optimizer._trainable_variables_indices[optimizer._var_key(variable)])
    except KeyError:
        raise StateError(
            in_words(
                f"`{path_of(variable)}` is not among the variables that `{optimizer.name}` was "
                "built with. A new set of variables needs a new optimizer: {update} creates one "
                "with the same settings."
            )
        ) from None


def check_number(optimizer: Any, variables: Sequence[Any]) -> None:
    """Check that there are as many variables as the optimizer was built with.

    Raises:
        StateError: there are more or fewer.
    """
    built = len(optimizer._trainable_variables) if optimizer.built else len(variables)
    if len(variables) != built:
        raise StateError(
            f"`{optimizer.name}` was built with {built} trainable variables, but got "
            f"{len(variables)}. A new set of variables needs a new optimizer: pass one to "
            "`compile()`."
        )


def check_is_traced_model(optimizer: Any) -> None:
    """Refuse a second model (13.4), which `stateless_apply()` sees only as values.

    During `fit()`, JAX's trainer holds the values of the model that it trains. If the optimizer's
    variables still have their values, they belong to another model.

    Raises:
        StateError: the optimizer was built with the variables of another model.
    """
    if not is_taken_away(optimizer._iterations):
        return
    strangers = [v for v in optimizer._trainable_variables if not is_taken_away(v)]
    if strangers:
        raise StateError(
            in_words(
                f"`{optimizer.name}` already trains another model, the one with "
                f"`{path_of(strangers[0])}`. Each model needs its own optimizer: "
                "{update} creates one with the same settings."
            )
        )
