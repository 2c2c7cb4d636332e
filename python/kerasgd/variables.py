"""Variables as arguments, and their names in messages."""

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


# Tests of whether two paths belong to the same variable, the most reliable first: `load_model()`
# drops the name of the outer model, and Keras numbers models without a name.
ALIKE: Sequence[Callable[[str, str], bool]] = (
    _same,
    _one_ends_with_the_other,
    _same_inside_the_model,
)


def find_path(path: str, paths: Sequence[str]) -> int | None:
    """The index in `paths` of the variable with this path; None if it is missing or ambiguous."""
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
    value: np.ndarray[Any, Any] = variable.numpy()  # much quicker than `convert_to_numpy()`
    return value


def as_numpy(values: Any) -> np.ndarray[Any, Any]:
    """The values of a variable or tensor; bfloat16 becomes float32, which is exact."""
    if keras.backend.standardize_dtype(values.dtype) == "bfloat16":
        values = keras.ops.cast(values, "float32")  # NumPy has no bfloat16
    array: np.ndarray[Any, Any] = keras.ops.convert_to_numpy(values)
    return array


def check_available(variables: Iterable[Any], optimizer: Any) -> None:
    """Check that these variables have values. (Otherwise Keras would return initial values.)

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
    """Refuse to set a variable that the trainer would overwrite.

    Raises:
        StateError: JAX's trainer holds the value.
    """
    if is_taken_away(variable):
        raise StateError(
            f"`{setting}` cannot be set while `fit()` on JAX holds the variables: it would be "
            "lost. Set it in a callback, through `self.model.optimizer`."
        )


def is_variable(x: Any) -> bool:
    """Whether `x` is a variable of Keras or TensorFlow, not a tensor, array or optimizer."""
    # `assign` alone is not enough, because a slice of a TensorFlow variable has it too.
    return hasattr(x, "assign") and hasattr(x, "trainable")


def shape_of(variable: Any) -> tuple[int, ...]:
    """A variable's shape; the shape of its value if TensorFlow does not know the static shape."""
    shape = variable.shape
    if hasattr(shape, "is_fully_defined") and not shape.is_fully_defined():
        shape = variable.read_value().shape
    return tuple(int(size) for size in shape)


def checked_list(
    variables: Any,
    argument: str = "var_list",
    requirement: str = "a list of variables, or {null}",
) -> list[Any]:
    """Check an argument that must be a list of variables, and return it as a list.

    Raises:
        ArgumentTypeError: it is not a list, or an element is not a variable.
    """
    found = listed(variables, argument, requirement)
    # The error shows the user's list; an iterator has been consumed, so only `found` is left.
    check_variables(variables if isinstance(variables, list) else found, argument, requirement)
    return found


def check_variables(values: list[Any], argument: str, requirement: str) -> None:
    """Check that all elements of a list are variables.

    Raises:
        ArgumentTypeError: an element is not; the error names the first one.
    """
    for index, value in enumerate(values):
        if not is_variable(value):
            raise ArgumentTypeError(argument, requirement, values, element=Element(index))


def listed(variables: Any, argument: str, requirement: str, hint: str | None = None) -> list[Any]:
    """Convert an argument that must be a list of variables to a list, without checking elements.

    Raises:
        ArgumentTypeError: it is not a list. (Iterating over a JAX variable would never end.)
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
