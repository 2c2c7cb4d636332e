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
        StateError: JAX's trainer holds it, or JAX has deleted it.
    """
    check_at_hand([variable], optimizer)
    value: np.ndarray[Any, Any] = keras.ops.convert_to_numpy(variable)
    return value


def check_at_hand(variables: Iterable[Any], optimizer: Any) -> None:
    """Refuse variables whose values are not there. (Keras would show their first ones.)

    Raises:
        StateError: JAX's trainer holds them, or JAX has deleted them.
    """
    if any(map(is_taken_away, variables)):
        raise StateError(
            f"The state of `{optimizer.name}` is not at hand: JAX's `fit()` holds it while it "
            "trains, and loses it, with the weights, in a step that is interrupted or fails. In a "
            "callback use the optimizer of `self.model`, which brings the state back. After an "
            "interrupt load weights and state from a file, or make model and optimizer anew."
        )


def is_variable(x: Any) -> bool:
    """Whether this is a variable of Keras or TensorFlow, and no tensor, array or optimizer."""
    return hasattr(x, "assign") and hasattr(x, "shape")


def checked_list(var_list: Any) -> list[Any]:
    """The variables that an argument `var_list` has.

    Raises:
        ArgumentTypeError: it is no list, or holds something else.
    """
    requirement = "a list of variables, or {null}"
    is_list = isinstance(var_list, Iterable) and not isinstance(var_list, str | Mapping)
    if not is_list or hasattr(var_list, "shape"):
        raise ArgumentTypeError("var_list", requirement, var_list)
    variables = list(var_list)
    for variable in variables:
        if not is_variable(variable):
            raise ArgumentTypeError("var_list", requirement, variable)
    return variables
