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
    # (A slice of a TensorFlow variable is a tensor that can be assigned to.)
    return hasattr(x, "assign") and hasattr(x, "trainable")


def shape_of(variable: Any) -> tuple[int, ...]:
    """A variable's shape; of one of TensorFlow without a fixed shape that of its value now."""
    shape = variable.shape
    if hasattr(shape, "is_fully_defined") and not shape.is_fully_defined():
        shape = variable.read_value().shape
    return tuple(int(size) for size in shape)


def checked_list(
    variables: Any,
    argument: str = "var_list",
    requirement: str = "a list of variables, or {null}",
) -> list[Any]:
    """The variables that an argument has.

    Raises:
        ArgumentTypeError: it is no list, or holds something else.
    """
    found = listed(variables, argument, requirement)
    check_variables(found, argument, requirement)
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
    """An argument that is to hold variables, as a list; what it holds is not looked at.

    Raises:
        ArgumentTypeError: it is no list. (To go through a variable of JAX would never end.)
    """
    is_list = isinstance(variables, Iterable) and not isinstance(variables, str | Mapping)
    if not is_list or hasattr(variables, "shape"):
        if hint is None and is_variable(variables):
            hint = "Put a single variable into a list."
        elif hint is None and hasattr(variables, "trainable_variables"):
            hint = "A model or a layer has them as `trainable_variables`."
        raise ArgumentTypeError(argument, requirement, variables, hint)
    held: list[Any] = list(variables)
    return held
