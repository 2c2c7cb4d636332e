"""Weight decay (contract 3): the formula, and which variables are left alone."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import keras

from kerasgd.errors import (
    ArgumentError,
    ArgumentTypeError,
    ArgumentValueError,
    Described,
    Element,
    StateError,
)
from kerasgd.rules.precision import scalar, wide
from kerasgd.state import Tensor
from kerasgd.variables import checked_list, find_path, path_of


def decay_factor(rate: Tensor | float, weight_decay: float, dtype: str) -> Tensor:
    """``learning_rate * weight_decay`` for weights of `dtype`, in `wide(dtype)`."""
    return scalar(rate, wide(dtype)) * weight_decay


def decayed(weights: Tensor, factor: Tensor) -> Tensor:
    """``w - learning_rate * weight_decay * w`` in the dtype of the weights (contract 3.1).

    `factor` is `decay_factor()`. The weights are not multiplied by ``1 - factor``, of which float32
    keeps little where it is close to 1.
    """
    ops = keras.ops
    in_wide = ops.cast(weights, factor.dtype)
    return ops.cast(in_wide - factor * in_wide, weights.dtype)


class Remembered(NamedTuple):
    """An excluded variable as a configuration knows it.

    Attributes:
        place: its index among the variables that the optimizer was built with, or None.
        path: its path; None in older files.
        among: how many variables the optimizer was built with, or None.
    """

    place: int | None
    path: str | None
    among: int | None


class Exclusions:
    """Variables excluded from weight decay: by object, or by a pattern found in the path.

    Args:
        variables: the variables themselves.
        patterns: regular expressions, searched in each variable's path.

    Attributes:
        remembered: the variables that a configuration names, until `resolved()` finds them.
        checked: whether these exclusions have selected variables before, so that they need not
            again: a file may be read into a model that trains other layers.

    Raises:
        ArgumentError: something else was given, or a pattern is no regular expression.
    """

    def __init__(self, variables: Any = None, patterns: Any = None) -> None:
        self.variables = [] if variables is None else checked_list(variables)
        self.patterns = _patterns(patterns)
        for index in range(len(self.patterns)):
            _check_pattern(self.patterns, index)
        self.remembered: list[Remembered] = []
        self.checked = False

    def copy(self) -> Exclusions:
        """The same exclusions."""
        return self._with(self.variables, self.remembered, self.checked)

    def _with(
        self, variables: Sequence[Any], remembered: Sequence[Remembered], checked: bool
    ) -> Exclusions:
        new = Exclusions(list(variables), list(self.patterns))
        new.remembered, new.checked = list(remembered), checked
        return new

    def resolved(self, variables: Sequence[Any]) -> Exclusions:
        """The exclusions among the variables that the optimizer is built with.

        Raises:
            ArgumentValueError: a pattern, or the list of variables, selects none (contract 14.6);
                the error quotes three of the paths that there are.
            StateError: a variable that a configuration names is not among them.
        """
        if not self.checked:
            self._check_selecting(variables)
        kept = [v for v in self.variables if _have_one_in_common([v], variables)]
        known = [path_of(variable) for variable in variables]
        places = [self._place(remembered, known) for remembered in self.remembered]
        return self._with([*kept, *[variables[i] for i in places if i is not None]], [], True)

    def _check_selecting(self, variables: Sequence[Any]) -> None:
        paths = [path_of(variable) for variable in variables]
        for pattern in self.patterns if paths else []:
            if not any(re.search(pattern, path) for path in paths):
                requirement = "regular expressions that are found in the path of a variable"
                quoted = Described(f'"{pattern}"')
                raise ArgumentValueError("var_names", requirement, quoted, _advice(paths))
        if paths and self.variables and not _have_one_in_common(self.variables, variables):
            requirement = "a list with variables that the optimizer trains"
            quoted = Described(_quoted([path_of(v) for v in self.variables]))
            raise ArgumentValueError("var_list", requirement, quoted, _advice(paths))

    def _place(self, remembered: Remembered, known: Sequence[str]) -> int | None:
        """Where the variable is now; None if it was trained once and is not any more."""
        place, path, among = remembered
        found = None if path is None else find_path(path, known)
        if found is not None:
            return found
        if path is not None and place is not None:
            # Layers may be numbered anew; where variables came or went, it is not trained now.
            return place if among == len(known) else None
        if place is None or place >= len(known):
            name = f"`{path}`" if path is not None else f"variable {place}"
            raise StateError(
                f"{name} is excluded from weight decay, but the optimizer does not train it. "
                f"{_there(known)}"
            )
        return place

    def cover(self, variable: Any) -> bool:
        """Whether decay leaves this variable alone."""
        path = path_of(variable)
        return any(variable is excluded for excluded in self.variables) or any(
            re.search(pattern, path) for pattern in self.patterns
        )

    def paths(self) -> list[str]:
        """The paths of the variables that are excluded as objects."""
        named = [r.path for r in self.remembered if r.path is not None]
        return sorted({*named, *[path_of(variable) for variable in self.variables]})

    def get_config(self, variables: Sequence[Any]) -> dict[str, Any]:
        """The exclusions in plain values; `variables` are those of `build()`, if it has been."""
        places = {id(variable): i for i, variable in enumerate(variables)}
        among = len(variables) or None
        excluded = {Remembered(places.get(id(v)), path_of(v), among) for v in self.variables}
        excluded |= set(self.remembered)
        in_order = sorted(excluded, key=lambda r: (r.place is None, r.place or 0, r.path or ""))
        return {
            "indices": [r.place for r in in_order],
            "paths": [r.path for r in in_order],
            "among": [r.among for r in in_order],
            "patterns": list(self.patterns),
            "checked": self.checked,
        }

    @classmethod
    def from_config(cls, config: Any) -> Exclusions:
        """The reverse of `get_config()`; also of older versions, which have indices only.

        Raises:
            ArgumentError: the configuration is damaged.
        """
        if not _is_config(config):
            requirement = "what `get_config()` gives"
            raise ArgumentValueError("weight_decay_exclusions", requirement, config)
        try:
            exclusions = cls(patterns=config["patterns"])
        except ArgumentError as error:
            requirement = f"with patterns that are {_PATTERNS}"
            raise ArgumentValueError("weight_decay_exclusions", requirement, config) from error
        nothing = [None] * len(config["indices"])
        columns = (config["indices"], config.get("paths", nothing), config.get("among", nothing))
        exclusions.remembered = [Remembered(*row) for row in zip(*columns, strict=True)]
        exclusions.checked = config.get("checked", True)
        return exclusions

    def __bool__(self) -> bool:
        return bool(self.variables or self.patterns or self.remembered)


def _is_config(config: Any) -> bool:
    keys = {"indices", "paths", "among", "patterns", "checked"}
    if not (isinstance(config, dict) and {"indices", "patterns"} <= config.keys() <= keys):
        return False
    columns = [config[key] for key in ("indices", "paths", "among") if key in config]
    if not all(isinstance(column, list) for column in [*columns, config["patterns"]]):
        return False
    return (
        len({len(column) for column in columns}) == 1
        and len(columns) in (1, 3)
        and all(place is None or _is_count(place) for place in config["indices"])
        and all(among is None or _is_count(among) for among in config.get("among", []))
        and all(path is None or isinstance(path, str) for path in config.get("paths", []))
        and (len(columns) == 3 or None not in config["indices"])
        and isinstance(config.get("checked", True), bool)
    )


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


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
    return f"Correct the call of `exclude_from_weight_decay()`. {_there(paths)}"


def _there(paths: Sequence[str]) -> str:
    number = f"The {len(paths)} paths begin with" if len(paths) > 3 else "The paths are"
    return f"{number} {_quoted(paths)}."
