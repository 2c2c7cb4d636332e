"""Selections of variables, made before the optimizer is built (contract 3.2, 14.1)."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from kerasgd.errors import (
    ArgumentError,
    ArgumentTypeError,
    ArgumentValueError,
    Described,
    Element,
    StateError,
)
from kerasgd.functions import describe_result
from kerasgd.variables import checked_list, find_path, path_of

PATTERNS = "regular expressions, or {null}"
SELECT = "a layer or model, regular expressions, a list of variables, or a function of a variable"


class Caller(NamedTuple):
    """The method that a selection belongs to, for its error messages.

    Attributes:
        name: the name of the method.
        patterns: the argument that takes patterns.
        variables: the argument that takes variables.
        effect: completes the sentence "`dense/bias` ...".
    """

    name: str
    patterns: str
    variables: str
    effect: str


EXCLUDE = Caller(
    "exclude_from_weight_decay()", "var_names", "var_list", "is excluded from weight decay"
)
SET_GROUP = Caller("set_group()", "select", "select", "is in a group")


class Remembered(NamedTuple):
    """The description of a selected variable in a configuration.

    Attributes:
        place: its index among the variables that the optimizer was built with, or None.
        path: its path; None in older files.
        among: the number of variables that the optimizer was built with, or None.
    """

    place: int | None
    path: str | None
    among: int | None


@dataclass(frozen=True)
class Selection:
    """A selection of variables by one or more of these criteria.

    Attributes:
        caller: the method that the selection belongs to.
        variables: the selected variables themselves.
        layers: layers and models whose trainable variables are selected.
        patterns: regular expressions, searched in each variable's path.
        predicate: a function of a variable, or None.
        rank_below: selects variables with fewer dimensions than this; None selects none.
        remembered: the variables that a configuration names, until `resolved()` finds them.
        is_checked: whether it has selected variables before. If so it may now select none, because
            a file may be loaded into a model that trains other layers.
    """

    caller: Caller
    variables: Sequence[Any] = ()
    layers: Sequence[Any] = ()
    patterns: Sequence[str] = ()
    predicate: Callable[[Any], Any] | None = None
    rank_below: int | None = None
    remembered: Sequence[Remembered] = ()
    is_checked: bool = False

    def __bool__(self) -> bool:
        selects_some = self.variables or self.layers or self.patterns or self.remembered
        return bool(selects_some) or self.predicate is not None or self.rank_below is not None

    # -- selecting ---------------------------------------------------------------------------

    def resolved(self, variables: Sequence[Any]) -> Selection:
        """Resolve the selection to the variables that the optimizer is built with.

        Layers, the predicate and the variables that a configuration names become variables.

        Raises:
            ArgumentValueError: a pattern, a layer or the list of variables selects none (contract
                14.6), or the predicate fails; the error quotes three of the existing paths.
            StateError: a variable that a configuration names is not among them.
        """
        if variables and not self.is_checked:
            self._check_selecting(variables)
        known = [path_of(variable) for variable in variables]
        places = [self._place(remembered, known) for remembered in self.remembered]
        named = [
            *self.variables,
            *self._of_layers(),
            *[variables[i] for i in places if i is not None],
        ]
        if self.predicate is not None:
            named += self._chosen_by_predicate(variables)
        ids = set(map(id, named))
        kept = [variable for variable in variables if id(variable) in ids]
        return replace(
            self, variables=kept, layers=(), predicate=None, remembered=(), is_checked=True
        )

    def covers(self, variable: Any) -> bool:
        """Whether this variable is selected. Predicates and layers must be resolved before."""
        return (
            id(variable) in self._ids
            or any(re.search(pattern, path_of(variable)) for pattern in self.patterns)
            or (self.rank_below is not None and len(variable.shape) < self.rank_below)
        )

    @cached_property
    def _ids(self) -> set[int]:
        """The ids of the variables: a set, because there may be thousands, in many groups."""
        return set(map(id, self.variables))

    def _of_layers(self) -> list[Any]:
        return [variable for layer in self.layers for variable in layer.trainable_variables]

    def _check_selecting(self, variables: Sequence[Any]) -> None:
        paths = [path_of(variable) for variable in variables]
        for pattern in self.patterns:
            if not any(re.search(pattern, path) for path in paths):
                requirement = "regular expressions that each match the path of a variable"
                raise self._no_match_error(requirement, f'"{pattern}"', paths)
        for layer in self.layers:
            if not _have_one_in_common(layer.trainable_variables, variables):
                requirement = "a layer or model with a variable that the optimizer trains"
                if layer.weights and not layer.trainable_variables:
                    raise self._frozen_error(requirement, layer)
                raise self._no_match_error(requirement, f"`{layer.name}`", paths)
        if self.variables and not _have_one_in_common(self.variables, variables):
            requirement = "a list with a variable that the optimizer trains"
            quoted = _quoted([path_of(variable) for variable in self.variables])
            raise self._no_match_error(requirement, quoted, paths)

    def _frozen_error(self, requirement: str, layer: Any) -> ArgumentValueError:
        hint = (
            "All its variables are frozen: `trainable` is {false}. Leave out the call to "
            f"`{self.caller.name}`, or set `trainable` to {{true}}."
        )
        return ArgumentValueError(
            self.caller.variables, requirement, Described(f"`{layer.name}`"), hint
        )

    def _no_match_error(
        self, requirement: str, received: str, paths: Sequence[str]
    ) -> ArgumentValueError:
        is_pattern = received.startswith('"')
        argument = self.caller.patterns if is_pattern else self.caller.variables
        advice = f"Correct the call to `{self.caller.name}`. {_there(paths)}"
        return ArgumentValueError(argument, requirement, Described(received), advice)

    def _chosen_by_predicate(self, variables: Sequence[Any]) -> list[Any]:
        assert self.predicate is not None
        requirement = "a function of a variable that returns {true} or {false}"
        chosen = []
        for variable in variables:
            try:
                answer = self.predicate(variable)
            except Exception as error:
                fails = Described(f"one that fails for `{path_of(variable)}`: {str(error).strip()}")
                raise ArgumentValueError(self.caller.variables, requirement, fails) from error
            if not isinstance(answer, bool | np.bool_):
                words = describe_result(self.predicate, answer)
                other = Described(f"one that returns {words} for `{path_of(variable)}`")
                raise ArgumentValueError(self.caller.variables, requirement, other)
            if answer:
                chosen.append(variable)
        return chosen

    def _place(self, remembered: Remembered, known: Sequence[str]) -> int | None:
        """The current index of the variable; None if the optimizer no longer trains it."""
        place, path, among = remembered
        found = None if path is None else find_path(path, known)
        if found is not None:
            return found
        if path is not None and place is not None:
            # With as many variables as before, only names may have changed, so the index holds.
            # With another number, this variable is no longer trained.
            return place if among == len(known) else None
        if place is None or place >= len(known):
            name = f"`{path}`" if path is not None else f"variable {place}"
            raise StateError(
                f"{name} {self.caller.effect}, but the optimizer does not train it. {_there(known)}"
            )
        return place

    # -- configuration -----------------------------------------------------------------------

    def paths(self) -> list[str]:
        """The paths of the variables that were selected as objects."""
        named = [r.path for r in self.remembered if r.path is not None]
        objects = [*self.variables, *self._of_layers()]
        return sorted({*named, *[path_of(variable) for variable in objects]})

    def get_config(self, variables: Sequence[Any]) -> dict[str, Any]:
        """The selection as plain values; `variables` are those of `build()`, or empty before."""
        places = {id(variable): i for i, variable in enumerate(variables)}
        among = len(variables) or None
        objects = [*self.variables, *self._of_layers()]
        selected = {Remembered(places.get(id(v)), path_of(v), among) for v in objects}
        selected |= set(self.remembered)
        in_order = sorted(selected, key=lambda r: (r.place is None, r.place or 0, r.path or ""))
        config = {
            "indices": [r.place for r in in_order],
            "paths": [r.path for r in in_order],
            "among": [r.among for r in in_order],
            "patterns": list(self.patterns),
            "checked": self.is_checked,
        }
        return config if self.rank_below is None else {**config, "rank_below": self.rank_below}

    @classmethod
    def from_config(cls, config: Any, caller: Caller, key: str) -> Selection:
        """The inverse of `get_config()`; also reads older versions, which only have indices.

        Raises:
            ArgumentError: the configuration, which was found under `key`, is damaged.
        """
        if not _is_config(config):
            raise ArgumentValueError(key, "what `get_config()` returns", config)
        try:
            patterns = checked_patterns(config["patterns"], caller.patterns)
        except ArgumentError as error:
            requirement = f"with patterns that are {PATTERNS}"
            raise ArgumentValueError(key, requirement, config) from error
        nothing = [None] * len(config["indices"])
        columns = (config["indices"], config.get("paths", nothing), config.get("among", nothing))
        return cls(
            caller,
            patterns=patterns,
            rank_below=config.get("rank_below"),
            remembered=[Remembered(*row) for row in zip(*columns, strict=True)],
            is_checked=config.get("checked", True),
        )


# -- arguments ---------------------------------------------------------------------------------


def for_exclusion(var_list: Any, var_names: Any, rank_below: int | None) -> Selection:
    """The selection from the arguments of `exclude_from_weight_decay()`.

    Raises:
        ArgumentError: an argument is refused, or a pattern is not a valid regular expression.
    """
    layers = [var_list] if is_layer(var_list) else []
    variables = [] if var_list is None or layers else checked_list(var_list)
    patterns = checked_patterns(var_names, EXCLUDE.patterns)
    return Selection(EXCLUDE, variables, layers, patterns, rank_below=rank_below)


def for_group(select: Any) -> Selection:
    """The selection from the argument of `set_group()`.

    Raises:
        ArgumentError: it is refused, or a pattern is not a valid regular expression.
    """
    if is_layer(select):
        return Selection(SET_GROUP, layers=[select])
    if _are_texts(select):
        return Selection(SET_GROUP, patterns=checked_patterns(select, SET_GROUP.patterns, SELECT))
    if callable(select) and not isinstance(select, type):
        return Selection(SET_GROUP, predicate=select)
    variables = checked_list(select, SET_GROUP.variables, SELECT)
    if not variables:
        raise ArgumentValueError(SET_GROUP.variables, SELECT, select)
    return Selection(SET_GROUP, variables)


def is_layer(value: Any) -> bool:
    """Whether this is a layer or a model."""
    return hasattr(value, "trainable_variables") and not isinstance(value, type)


def _are_texts(value: Any) -> bool:
    if isinstance(value, str):
        return True
    is_list = isinstance(value, list | tuple | set) and len(value) > 0
    return is_list and any(isinstance(each, str) for each in value)


def checked_patterns(patterns: Any, argument: str, requirement: str = PATTERNS) -> list[str]:
    """Check regular expressions, and return them as a list.

    `requirement` describes the argument in errors, for one that also accepts other types.

    Raises:
        ArgumentError: the argument is invalid, or a pattern is not a valid regular
            expression.
    """
    if patterns is None:
        return []
    if isinstance(patterns, str):
        patterns = [patterns]
    if not isinstance(patterns, list | tuple | set):
        raise ArgumentTypeError(argument, requirement, patterns)
    found: list[str] = list(patterns)
    for index in range(len(found)):
        _check_pattern(found, index, argument, requirement)
    return found


def _check_pattern(patterns: Sequence[Any], index: int, argument: str, requirement: str) -> None:
    pattern = patterns[index]
    one_of_many = len(patterns) > 1
    received, element = (patterns, Element(index)) if one_of_many else (pattern, None)
    if not isinstance(pattern, str):
        raise ArgumentTypeError(argument, requirement, received, element=element)
    problem = "An empty pattern matches everything: to select all variables, write `.*`."
    try:
        re.compile(pattern)
    except re.error as error:
        problem = f"This is not a valid regular expression: {error}."
    else:
        if pattern:
            return
    raise ArgumentValueError(argument, requirement, received, problem, element)


# -- helpers -----------------------------------------------------------------------------------


def _is_config(config: Any) -> bool:
    keys = {"indices", "paths", "among", "patterns", "checked", "rank_below"}
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
        and ("rank_below" not in config or _is_count(config["rank_below"]))
    )


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _have_one_in_common(some: Sequence[Any], others: Sequence[Any]) -> bool:
    return not set(map(id, some)).isdisjoint(map(id, others))


def _quoted(paths: Sequence[str]) -> str:
    return ", ".join(f"`{path}`" for path in paths[:3])


def _there(paths: Sequence[str]) -> str:
    number = f"The {len(paths)} paths begin with" if len(paths) > 3 else "The paths are"
    return f"{number} {_quoted(paths)}."
