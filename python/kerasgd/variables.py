"""The variables of a model, as arguments and in messages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import keras
import numpy as np

from kerasgd.errors import ArgumentTypeError, StateError
from kerasgd.keras_internals import is_taken_away


def path_of(variable: Any) -> str:
    """A variable's path; a plain TensorFlow variable has only a name."""
    return str(variable.path if hasattr(variable, "path") else variable.name)


def value_of(variable: Any, optimizer: Any) -> np.ndarray[Any, Any]:
    """The value of a variable that the optimizer keeps.

    Raises:
        StateError: JAX's trainer holds the value, or JAX has deleted it.
    """
    check_available([variable], optimizer)
    value: np.ndarray[Any, Any] = keras.ops.convert_to_numpy(variable)
    return value


def check_available(variables: Iterable[Any], optimizer: Any) -> None:
    """Check that these variables have values. (Keras would return their initial values.)

    Raises:
        StateError: JAX's trainer holds the values, or JAX has deleted them.
    """
    if any(map(is_taken_away, variables)):
        raise StateError(
            f"The state of `{optimizer.name}` is unavailable: JAX's `fit()` holds it during "
            "training, and an interrupted step loses it together with the weights. In a callback, "
            "use `self.model.optimizer`, which restores the state. After an interrupt, load "
            "weights and state from a file, or create model and optimizer again."
        )


def is_variable(x: Any) -> bool:
    """Whether this is a variable of Keras or TensorFlow, and no tensor, array or optimizer."""
    # `assign` alone is not enough: a slice of a TensorFlow variable has it too.
    return hasattr(x, "assign") and hasattr(x, "trainable")


def shape_of(variable: Any) -> tuple[int, ...]:
    """A variable's shape; if TensorFlow does not know it, that of the current value."""
    shape = variable.shape
    if hasattr(shape, "is_fully_defined") and not shape.is_fully_defined():
        shape = variable.read_value().shape
    return tuple(int(size) for size in shape)


def checked_list(
    variables: Any,
    argument: str = "var_list",
    requirement: str = "a list of variables, or {null}",
) -> list[Any]:
    """An argument that must be a list of variables, as a list.

    Raises:
        ArgumentTypeError: it is not a list, or holds something else.
    """
    found = listed(variables, argument, requirement)
    for variable in found:
        if not is_variable(variable):
            raise ArgumentTypeError(argument, requirement, variable)
    return found


def listed(variables: Any, argument: str, requirement: str, hint: str | None = None) -> list[Any]:
    """An argument that must be a list of variables, as a list; its elements are not checked.

    Raises:
        ArgumentTypeError: it is not a list. (Iterating over a JAX variable never ends.)
    """
    is_list = isinstance(variables, Iterable) and not isinstance(variables, str | Mapping)
    if not is_list or hasattr(variables, "shape"):
        if hint is None and is_variable(variables):
            hint = "Put a single variable into a list."
        elif hint is None and hasattr(variables, "trainable_variables"):
            hint = "Pass its `trainable_variables`."
        raise ArgumentTypeError(argument, requirement, variables, hint)
    held: list[Any] = list(variables)
    return held
