"""The gradients of a step in the order of the variables that the optimizer was built with."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from typing import Any

from kerasgd import gradients
from kerasgd.errors import StateError, in_words
from kerasgd.keras_internals import is_taken_away
from kerasgd.variables import path_of


def aligned(optimizer: Any, grads: list[Any], variables: Iterable[Any] | None) -> list[Any]:
    """The gradients in the order of `build()`, None where a variable has none.

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
    """Whether these are the variables of `build()`, in the same order."""
    built = optimizer._trainable_variables
    return len(variables) == len(built) and all(map(operator.is_, variables, built))


def index_of(optimizer: Any, variable: Any) -> int:
    """The place of a variable among those of `build()`.

    Raises:
        StateError: it is not among them.
    """
    try:
        return int(optimizer._trainable_variables_indices[optimizer._var_key(variable)])
    except KeyError:
        raise StateError(
            in_words(
                f"`{path_of(variable)}` is not among the variables that `{optimizer.name}` was "
                "built with. A new set of variables needs a new optimizer: {update} makes one with "
                "the same settings."
            )
        ) from None


def check_number(optimizer: Any, variables: Sequence[Any]) -> None:
    """Refuse values of more or fewer variables than the optimizer was built with.

    Raises:
        StateError: there are more or fewer.
    """
    built = len(optimizer._trainable_variables) if optimizer.built else len(variables)
    if len(variables) != built:
        raise StateError(
            f"`{optimizer.name}` was built with {built} trainable variables, and gets "
            f"{len(variables)}. A new set of variables needs a new optimizer: give `compile()` one."
        )


def check_is_traced_model(optimizer: Any) -> None:
    """Refuse a second model (13.4), of which only values reach `stateless_apply()`.

    While JAX' trainer has the values of the variables, those of another model keep theirs.

    Raises:
        StateError: the variables are those of another model.
    """
    if not is_taken_away(optimizer._iterations):
        return
    strangers = [v for v in optimizer._trainable_variables if not is_taken_away(v)]
    if strangers:
        raise StateError(
            in_words(
                f"`{optimizer.name}` trains another model already, the one of "
                f"`{path_of(strangers[0])}`. Another model needs an optimizer of its own: "
                "{update} makes one with the same settings."
            )
        )
