"""Which variables weight decay leaves alone (contract 3.2 to 3.4)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from kerasgd.errors import ArgumentTypeError, ArgumentValueError, Element, StateError
from kerasgd.foreign import Unrepresentable
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
        for index in range(len(self.patterns)):
            _check_pattern(self.patterns, index)

    def check_selecting(self, variables: Sequence[Any]) -> None:
        """Refuse a pattern, or a list, that selects none of the variables (contract 14.6).

        Raises:
            ArgumentValueError: there is one; the error quotes three of the paths that there are.
        """
        paths = [path_of(variable) for variable in variables]
        for pattern in self.patterns if paths else []:
            if not any(re.search(pattern, path) for path in paths):
                requirement = "regular expressions that are found in the path of a variable"
                quoted = Unrepresentable(f'"{pattern}"')
                raise ArgumentValueError("var_names", requirement, quoted, _advice(paths))
        if paths and self.variables and not _have_one_in_common(self.variables, variables):
            requirement = "a list with variables that the optimizer trains"
            quoted = Unrepresentable(_quoted([path_of(v) for v in self.variables]))
            raise ArgumentValueError("var_list", requirement, quoted, _advice(paths))

    def keep_only(self, variables: Sequence[Any]) -> None:
        """Forget excluded variables that the optimizer does not train."""
        self.variables = [v for v in self.variables if _have_one_in_common([v], variables)]

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


_PATTERNS = "regular expressions, or {null}"


def _patterns(var_names: Any) -> list[str]:
    if var_names is None:
        return []
    if isinstance(var_names, str):
        return [var_names]
    if isinstance(var_names, list | tuple | set):
        return list(var_names)
    raise ArgumentTypeError("var_names", _PATTERNS, var_names)


def _check_pattern(patterns: Sequence[Any], index: int) -> None:
    pattern = patterns[index]
    one_of_many = len(patterns) > 1
    received, element = (patterns, Element(index)) if one_of_many else (pattern, None)
    if not isinstance(pattern, str):
        raise ArgumentTypeError("var_names", _PATTERNS, received, element=element)
    problem = "An empty pattern is found everywhere: to exclude all variables, write `.*`."
    try:
        re.compile(pattern)
    except re.error as error:
        problem = f"{error}."
    else:
        if pattern:
            return
    raise ArgumentValueError("var_names", _PATTERNS, received, problem, element)


def _have_one_in_common(some: Sequence[Any], others: Sequence[Any]) -> bool:
    return any(one is other for one in some for other in others)


def _quoted(paths: Sequence[str]) -> str:
    return ", ".join(f"`{path}`" for path in paths[:3])


def _advice(paths: Sequence[str]) -> str:
    """Says where the argument was given, and quotes three of the paths that it could name."""
    number = f"The {len(paths)} paths begin with" if len(paths) > 3 else "The paths are"
    return f"Mend the call of `exclude_from_weight_decay()`. {number} {_quoted(paths)}."
