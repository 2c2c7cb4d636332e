"""The variables of a model, as arguments and in messages."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from kerasgd.errors import ArgumentTypeError, Element, StateError
from kerasgd.keras_internals import is_taken_away


def path_of(variable: Any) -> str:
    """A variable's path; a plain TensorFlow variable has only a name."""
    return str(variable.path if hasattr(variable, "path") else variable.name)


def _same(one: str, other: str) -> bool:
    return one == other


def _one_ends_with_the_other(one: str, other: str) -> bool:
    return f"/{one}".endswith(f"/{other}") or f"/{other}".endswith(f"/{one}")


def _same_inside_the_model(one: str, other: str) -> bool:
    return one.count("/") > 1 and one.partition("/")[2] == other.partition("/")[2]


# Ways in which two paths may be those of one variable, the surest first: `load_model()` drops the
# name of the outer model, and Keras numbers models without a name.
ALIKE: Sequence[Callable[[str, str], bool]] = (
    _same,
    _one_ends_with_the_other,
    _same_inside_the_model,
)


def find_path(path: str, paths: Sequence[str]) -> int | None:
    """Where the variable of this path is among `paths`; None if it is not, or nobody can tell."""
    for alike in ALIKE:
        found = [i for i, other in enumerate(paths) if alike(path, other)]
        if found:
            return found[0] if len(found) == 1 else None
    return None


def value_of(variable: Any, optimizer: Any) -> np.ndarray[Any, Any]:
    """The value of a variable that the optimizer keeps.

    Raises:
        StateError: JAX's trainer holds the value, or JAX has deleted it.
    """
    check_available([variable], optimizer)
    value: np.ndarray[Any, Any] = keras.ops.convert_to_numpy(variable)
    return value


def as_numpy(values: Any) -> np.ndarray[Any, Any]:
    """The numbers of a variable or tensor; those of bfloat16 as float32, which holds them all."""
    if keras.backend.standardize_dtype(values.dtype) == "bfloat16":
        values = keras.ops.cast(values, "float32")  # NumPy has no bfloat16
    array: np.ndarray[Any, Any] = keras.ops.convert_to_numpy(values)
    return array


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


def check_can_be_set(variable: Any, setting: str) -> None:
    """Refuse to set a number that the trainer would overwrite with its own.

    Raises:
        StateError: JAX's trainer holds the value.
    """
    if is_taken_away(variable):
        raise StateError(
            f"`{setting}` cannot be set while `fit()` on JAX holds the variables: it would be "
            "lost. Set it in a callback, through `self.model.optimizer`."
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
    # What was given, so that the error has it; of an iterator there is only the list.
    check_variables(variables if isinstance(variables, list) else found, argument, requirement)
    return found


def check_variables(values: list[Any], argument: str, requirement: str) -> None:
    """Refuse a list with something else than variables in it.

    Raises:
        ArgumentTypeError: there is such an element; the error names the first one.
    """
    for index, value in enumerate(values):
        if not is_variable(value):
            raise ArgumentTypeError(argument, requirement, values, element=Element(index))


def listed(variables: Any, argument: str, requirement: str, hint: str | None = None) -> list[Any]:
    """An argument that must be a list of variables, as a list; its elements are not checked.

    Raises:
        ArgumentTypeError: it is not a list. (Iterating over a JAX variable never ends.)
    """
    is_list = isinstance(variables, Iterable) and not isinstance(variables, str | bytes | Mapping)
    if not is_list or hasattr(variables, "shape"):
        if hint is None and is_variable(variables):
            hint = "Put a single variable into a list."
        elif hint is None and hasattr(variables, "trainable_variables"):
            hint = "Pass its `trainable_variables`."
        raise ArgumentTypeError(argument, requirement, variables, hint)
    held: list[Any] = list(variables)
    return held
