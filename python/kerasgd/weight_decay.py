"""Which variables weight decay leaves alone (contract 3.2 to 3.4)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from kerasgd.errors import ArgumentTypeError, ArgumentValueError, StateError
from kerasgd.variables import checked_list, find_path, path_of


class Exclusions:
    """Variables excluded from weight decay: by object, or by a pattern found in the path.

    Args:
        variables: the variables themselves.
        patterns: regular expressions, searched in each variable's path.
        paths: the whole paths of variables, which stand for variables in a file that was written
            before the optimizer was built.

    Raises:
        ArgumentError: something else was given, or a pattern is no regular expression.
    """

    def __init__(self, variables: Any = None, patterns: Any = None, paths: Any = ()) -> None:
        self.paths = tuple(paths)
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

    def find_paths(self, variables: Sequence[Any]) -> None:
        """Exclude the variables that a file knows by their paths.

        Raises:
            StateError: a path is not found.
        """
        known = [path_of(variable) for variable in variables]
        for path in self.paths:
            index = find_path(path, known)
            if index is None:
                raise StateError(
                    f"`{path}` is excluded from weight decay, and the optimizer trains no such "
                    f"variable. It trains {', '.join(f'`{other}`' for other in known[:3])}"
                    f"{', ...' if len(known) > 3 else '.'}"
                )
            self.variables.append(variables[index])
        self.paths = ()

    def copy(self) -> Exclusions:
        """The same exclusions."""
        return Exclusions(list(self.variables), list(self.patterns), self.paths)

    def get_config(self, variables: Sequence[Any]) -> dict[str, Any]:
        """The exclusions in plain values; objects by their index in `variables`, those of build().

        Before `build()` objects are known by their paths.
        """
        own = {id(variable): i for i, variable in enumerate(variables)}
        indices = {own[id(v)] for v in self.variables if id(v) in own}
        unknown = [path_of(v) for v in self.variables if id(v) not in own]
        config = {"indices": sorted(indices), "patterns": list(self.patterns)}
        paths = sorted({*unknown, *self.paths})
        return {**config, "paths": paths} if paths else config


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
