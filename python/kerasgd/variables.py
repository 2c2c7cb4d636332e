"""The variables of a model, as arguments and in messages."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from kerasgd.errors import ArgumentTypeError


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
