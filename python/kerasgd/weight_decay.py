"""Which variables weight decay leaves alone (contract 3.2 to 3.4)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from kerasgd.errors import ArgumentTypeError, ArgumentValueError, StateError
from kerasgd.variables import checked_list, path_of


class Exclusions:
    """Variables excluded from weight decay: by object, or by a pattern found in the path.

    Args:
        variables: the variables themselves.
        patterns: regular expressions, searched in each variable's path.

    Raises:
        ArgumentError: something else was given, or a pattern is no regular expression.
    """

    def __init__(self, variables: Any = None, patterns: Any = None) -> None:
        self.variables = [] if variables is None else checked_list(variables)
        self.patterns = _patterns(patterns)
        for pattern in self.patterns:
            _check_pattern(pattern)

    def cover(self, variable: Any) -> bool:
        """Whether decay leaves this variable alone."""
        path = path_of(variable)
        return any(variable is excluded for excluded in self.variables) or any(
            re.search(pattern, path) for pattern in self.patterns
        )

    def get_config(self, variables: Sequence[Any]) -> dict[str, Any]:
        """The exclusions in plain values; objects by their index in `variables`, those of build().

        Raises:
            StateError: a variable is excluded as an object that is not among `variables`.
        """
        indices = []
        for excluded in self.variables:
            found = [i for i, variable in enumerate(variables) if variable is excluded]
            if not found:
                raise StateError(
                    f"`{path_of(excluded)}` is excluded from weight decay, but it is not (yet) a "
                    "variable of this optimizer, so that the exclusion cannot be saved. "
                    "Build the optimizer first, or exclude by name: `var_names`."
                )
            indices += found
        return {"indices": sorted(set(indices)), "patterns": list(self.patterns)}


def _patterns(var_names: Any) -> list[str]:
    if var_names is None:
        return []
    if isinstance(var_names, str):
        return [var_names]
    if isinstance(var_names, list | tuple | set):
        return list(var_names)
    raise ArgumentTypeError("var_names", "a list of strings, or {null}", var_names)


def _check_pattern(pattern: Any) -> None:
    requirement = "a list of regular expressions"
    if not isinstance(pattern, str):
        raise ArgumentTypeError("var_names", requirement, pattern)
    try:
        re.compile(pattern)
    except re.error as error:
        raise ArgumentValueError("var_names", requirement, pattern, f"{error}.") from None
