"""The variables of a model, as arguments and in messages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from kerasgd.errors import ArgumentTypeError, Element


def path_of(variable: Any) -> str:
    """A variable's path; a plain TensorFlow variable has only a name."""
    return str(variable.path if hasattr(variable, "path") else variable.name)


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
    check_variables(variables, "var_list", requirement)
    return variables


def check_variables(values: list[Any], argument: str, requirement: str) -> None:
    """Refuse a list with something else than variables in it.

    Raises:
        ArgumentTypeError: there is such an element; the error names the first one.
    """
    for index, value in enumerate(values):
        if not is_variable(value):
            raise ArgumentTypeError(argument, requirement, values, element=Element(index))
