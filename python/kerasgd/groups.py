"""Groups of variables with a rate factor, momentum and weight decay of their own (contract 14)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import keras
import numpy as np

from kerasgd import arguments
from kerasgd.errors import (
    ArgumentValueError,
    IncompleteCallError,
    ReadOnlyError,
    StateError,
    UnknownArgumentError,
    in_words,
)
from kerasgd.files import rates
from kerasgd.keras_internals import is_being_saved, is_taken_away
from kerasgd.rules import learning_rate as rate_rule
from kerasgd.selection import SET_GROUP, Selection
from kerasgd.settings import GroupSettings
from kerasgd.state import Tensor
from kerasgd.variables import check_can_be_set, value_of

FACTOR = "learning_rate_factor"
# The key of the groups in a configuration.
KEY = "groups"
# The reason why a group cannot have an argument of the optimizer.
_OF_ALL_GRADIENTS = "A clip applies to all gradients: the groups share it."
_OF_THE_MODEL = "The average is taken of the whole model."
_OF_THE_STEP = "It applies to the step, which all variables share."
REASONS = {
    "learning_rate": f"Groups share the rate of the optimizer; `{FACTOR}` multiplies it.",
    "nesterov": "The rule is the same for all variables.",
    "clipnorm": _OF_ALL_GRADIENTS,
    "clipvalue": _OF_ALL_GRADIENTS,
    "global_clipnorm": _OF_ALL_GRADIENTS,
    "use_ema": _OF_THE_MODEL,
    "ema_momentum": _OF_THE_MODEL,
    "ema_overwrite_frequency": _OF_THE_MODEL,
    "loss_scale_factor": _OF_THE_STEP,
    "gradient_accumulation_steps": _OF_THE_STEP,
    "name": "A group is identified by its number or by the pattern that selects it.",
}


class Group:
    """Variables that `set_group()` selected, and the settings that it gave them.

    Each variable of the group is updated with its own rate, from the optimizer's current
    `learning_rate`::

        rate = learning_rate * learning_rate_factor
        w <- w - rate * weight_decay * w, then the rule of `SGD` with this rate and momentum

    If the factor is 0, neither the variable nor its velocity changes.

    Attributes:
        selection: the selected variables.

    Example:
        >>> import kerasgd
        >>> optimizer = kerasgd.SGD(0.1).set_group("base", learning_rate_factor=0)
        >>> optimizer.groups[0].learning_rate_factor = 0.5
        >>> optimizer.groups[0].learning_rate_factor, optimizer.groups[0].momentum
        (0.5, None)
    """

    __slots__ = ("_factor", "_momentum", "_optimizer", "_variable", "_weight_decay", "selection")

    def __init__(self, optimizer: Any, selection: Selection, settings: Mapping[str, Any]) -> None:
        self._optimizer = optimizer
        self.selection = selection
        self._momentum: float | None = settings.get("momentum")
        self._weight_decay: float | None = None
        if "weight_decay" in settings:
            self._weight_decay = settings["weight_decay"] or 0.0
        # A number, a schedule, or None.
        self._factor: Any = settings.get(FACTOR)
        # Compiled steps read a factor that is a number from this variable.
        self._variable: Any = None

    @property
    def momentum(self) -> float | None:
        """The momentum; None if the group does not set it."""
        return self._momentum

    @momentum.setter
    def momentum(self, momentum: object) -> None:
        raise _fixed_setting_error("momentum")

    @property
    def weight_decay(self) -> float | None:
        """The weight decay, 0 for none; None if the group does not set it."""
        return self._weight_decay

    @weight_decay.setter
    def weight_decay(self, weight_decay: object) -> None:
        raise _fixed_setting_error("weight_decay")

    @property
    def learning_rate_factor(self) -> Any:
        """The factor of the rate: a number or a schedule; None if the group does not set it.

        It can be set during training; a number that replaces a number takes effect at once.

        Raises:
            StateError: the new factor would have no effect.
        """
        if self._variable is None or isinstance(self._factor, rate_rule.Schedule):
            return self._factor
        return rate_rule.exact(self._factor, value_of(self._variable, self._optimizer))

    @learning_rate_factor.setter
    def learning_rate_factor(self, factor: Any) -> None:
        self.set_factor(factor, FACTOR)

    def set_factor(self, factor: Any, argument: str) -> None:
        """Change the factor; errors name it `argument`."""
        factor = arguments.check(argument, factor, arguments.GROUP_RULES[FACTOR])
        if self._optimizer.built:
            self._check_can_follow(factor)
        self._factor = factor
        if self._variable is not None and isinstance(factor, float):
            self._variable.assign(factor)

    def _check_can_follow(self, factor: object) -> None:
        if self._variable is None:
            raise StateError(
                f"This group has no `{FACTOR}` to change. Give it one in `set_group()`, such as "
                "1, before the optimizer is built."
            )
        check_can_be_set(self._variable, FACTOR)
        both_are_numbers = isinstance(factor, float) and isinstance(self._factor, float)
        if self._optimizer._rate.is_compiled and not both_are_numbers:
            raise StateError(
                in_words(
                    f"A compiled training step would ignore this change: now a `{FACTOR}` that is "
                    "a number can only be replaced by another number. To change it otherwise, "
                    "create an optimizer with {update}, call `set_group()` on it, and pass it to "
                    "`compile()`."
                )
            )

    def has_factor(self) -> bool:
        """Whether the group sets a factor."""
        return self._factor is not None

    def build(self) -> None:
        """Create the variable of the factor."""
        if self._factor is not None:
            # An initializer, because a traced step would repeat an assignment at every step.
            value = 1.0 if self._is_scheduled() else self._factor
            initializer = keras.initializers.Constant(value)
            self._variable = self._optimizer._add_numbers(
                FACTOR, dtype=keras.config.floatx(), initializer=initializer
            )

    def _is_scheduled(self) -> bool:
        return isinstance(self._factor, rate_rule.Schedule)

    @property
    def variable(self) -> Any:
        """The variable of the factor if it is a number, else None."""
        return None if self._is_scheduled() else self._variable

    def was_loaded(self) -> None:
        """Use the number that a file has assigned to the variable."""
        if self.variable is not None:
            self._factor = rate_rule.exact(self._factor, keras.ops.convert_to_numpy(self._variable))

    def factor_at(self, step: Any, is_eager: bool) -> Tensor:
        """The factor of the rate at this step."""
        if self._is_scheduled():
            return rate_rule.of_schedule(self._factor, step, is_eager, FACTOR)
        factor: Tensor = self._optimizer.backend.read_rate(self._variable)
        return factor

    def factor_of_next_step(self) -> float:
        """The factor of the next step, as a number."""
        factor = self.learning_rate_factor
        if isinstance(factor, float):
            return factor
        steps = self._optimizer._iterations
        return float(keras.ops.convert_to_numpy(self.factor_at(steps, is_eager=True)))

    def settings(self) -> dict[str, Any]:
        """The settings that the group gives its variables."""
        # A failed step of JAX's `fit()` loses the variable, but the number set last is known.
        is_lost = self._variable is not None and is_taken_away(self._variable)
        all_of_them = {
            FACTOR: self._factor if is_lost else self.learning_rate_factor,
            "momentum": self.momentum,
            "weight_decay": self.weight_decay,
        }
        return {name: value for name, value in all_of_them.items() if value is not None}

    def of(self, optimizer: Any) -> Group:
        """A copy of the group for another optimizer, which is not built yet."""
        selection = self.selection
        if self._optimizer.built:
            # By path, because the new optimizer may train another model.
            config = selection.get_config(self._optimizer._trainable_variables)
            selection = Selection.from_config(config, SET_GROUP, KEY)
        return Group(optimizer, selection, self.settings())

    # -- configuration -----------------------------------------------------------------------

    def get_config(self, variables: Sequence[Any]) -> dict[str, Any]:
        """The group as JSON-compatible values."""
        config = self.settings()
        if FACTOR in config and not isinstance(config[FACTOR], float):
            config[FACTOR] = rates.to_config(config[FACTOR])
        return {"select": selection_to_config(self.selection, variables), **config}


def _fixed_setting_error(name: str) -> ReadOnlyError:
    return ReadOnlyError(
        f"`{name}` of a group cannot be changed; `{FACTOR}` can. Call `set_group()` with another "
        f"`{name}` before the optimizer is built."
    )


def selection_to_config(selection: Selection, variables: Sequence[Any]) -> Any:
    """The selection of a group in the form that a configuration holds.

    Raises:
        StateError: it cannot be saved, and a file is being written.
    """
    what = _without_paths(selection)
    if what is None:
        return selection.get_config(variables)
    if is_being_saved():
        raise unsavable_group_error(what)
    return rates.InThisSession.of(what, selection)


def _without_paths(selection: Selection) -> str | None:
    """A description of the part of a selection that a file cannot hold before `build()`."""
    if selection.is_checked:
        return None
    if selection.predicate is not None:
        return "a function"
    if selection.layers:
        return f"the layer `{selection.layers[0].name}`"
    return "a list of variables" if selection.variables else None


def unsavable_group_error(what: str) -> StateError:
    """The error for a group whose variables a file cannot name."""
    return StateError(
        f"A group that was selected by {what} cannot be saved before the optimizer is built. "
        "Select it by a regular expression, or save after the first step or after `build()`."
    )


def check_can_be_saved(groups: Sequence[Group]) -> None:
    """Refuse to save groups whose variables a file cannot name.

    Raises:
        StateError: there is such a group.
    """
    for group in groups:
        what = _without_paths(group.selection)
        if what is not None:
            raise unsavable_group_error(what)


def from_config(optimizer: Any, config: Any, custom_objects: Any = None) -> Group:
    """The inverse of `Group.get_config()`.

    Raises:
        ArgumentError: the configuration is damaged.
    """
    if not (isinstance(config, dict) and "select" in config and config.keys() <= _CONFIG_KEYS):
        raise ArgumentValueError(KEY, "what `get_config()` returns", config)
    config = dict(config)
    select = config.pop("select")
    if isinstance(select, rates.InThisSession):
        selection = select.value
    else:
        selection = Selection.from_config(select, SET_GROUP, KEY)
    if FACTOR in config:
        config[FACTOR] = rates.from_config(config[FACTOR], custom_objects)
    return Group(optimizer, selection, arguments.check_all(config, arguments.GROUP_RULES))


def all_from_config(optimizer: Any, configs: Any, custom_objects: Any = None) -> tuple[Group, ...]:
    """The groups in a configuration.

    Raises:
        ArgumentError: the configuration is damaged.
    """
    if not isinstance(configs, list | tuple):
        raise ArgumentValueError(KEY, "what `get_config()` returns", configs)
    return tuple(from_config(optimizer, config, custom_objects) for config in configs)


_CONFIG_KEYS = {"select", FACTOR, "momentum", "weight_decay"}


# -- arguments ---------------------------------------------------------------------------------


def checked_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Check the settings of a group, and return them converted.

    Raises:
        UnknownArgumentError: a group has no such setting; the error says why.
        ArgumentError: no setting is given, or a value is refused.
    """
    for name, value in settings.items():
        if name in REASONS:
            raise UnknownArgumentError(name, value, "`set_group()`", None, REASONS[name])
    unknown = {k: v for k, v in settings.items() if k not in arguments.GROUP_RULES}
    arguments.check_no_unknown(unknown, "`set_group()`", arguments.GROUP_RULES)
    if not settings:
        needed = "at least one of `learning_rate_factor`, `momentum` and `weight_decay`"
        raise IncompleteCallError("set_group()", needed)
    checked: dict[str, Any] = arguments.check_all(settings, arguments.GROUP_RULES)
    if "momentum" in checked:
        arguments.warn_of_divergence(checked["momentum"])
    return checked


def find(groups: Sequence[Group], which: Any, first: int = 0) -> Group:
    """A group by its number, or by the pattern that selects it.

    Args:
        groups: the groups of an optimizer.
        which: the number or the pattern.
        first: the number of the first group, which is 1 for R.

    Raises:
        ArgumentError: there is no such group.
        StateError: there are no groups.
    """
    last = first + len(groups) - 1
    numbers = f"{first} to {last}" if last > first else str(first)
    requirement = f"the number of a group ({numbers}), or the pattern that selects it"
    if not groups:
        raise StateError("There are no groups. Call `set_group()` before the first step.")
    if isinstance(which, str):
        found = [group for group in groups if which in group.selection.patterns]
        if len(found) == 1:
            return found[0]
        hint = "More than one group has this pattern: use a number." if found else None
        raise ArgumentValueError("group", requirement, which, hint)
    rule = arguments.number_between(first, last, requirement)
    number: Any = arguments.check("group", which, rule)
    return groups[int(number) - first]


# -- settings of a variable --------------------------------------------------------------------


def resolve(
    groups: Sequence[Group], exclusions: Selection, variables: Sequence[Any]
) -> tuple[list[Selection], Selection]:
    """Resolve the selections to variables that the optimizer is built with.

    Raises:
        ArgumentError: a selection selects no variable.
    """
    of_groups = [group.selection.resolved(variables) for group in groups]
    return of_groups, exclusions.resolved(variables)


def settings_of(
    optimizer: Any, selections: Sequence[Selection], exclusions: Selection, variable: Any
) -> GroupSettings:
    """The settings of a variable, each from the last group that sets it (contract 14.4).

    The selections of the groups and the exclusions must be resolved.
    """
    settings = GroupSettings(optimizer.momentum, optimizer.weight_decay or 0.0)
    number = 0  # the index among the groups that have a factor
    for group, selection in zip(optimizer.groups, selections, strict=True):
        has_factor = group.has_factor()
        if selection.covers(variable):
            settings = replace(
                settings,
                momentum=settings.momentum if group.momentum is None else group.momentum,
                weight_decay=(
                    settings.weight_decay if group.weight_decay is None else group.weight_decay
                ),
                factor_index=number if has_factor else settings.factor_index,
            )
        number += has_factor
    if exclusions.covers(variable):
        settings = replace(settings, weight_decay=0.0)
    return settings


def with_factor(groups: Iterable[Group]) -> list[Group]:
    """The groups that have a factor, in the order of `GroupSettings.factor_index`."""
    return [group for group in groups if group.has_factor()]


def factor_of_last_update(optimizer: Any, factor: int | None) -> float:
    """The factor of the last update, or of the first one if there was none."""
    if factor is None:
        return 1.0
    steps = int(value_of(optimizer._iterations, optimizer))
    last = max(steps // optimizer.window * optimizer.window - 1, 0)
    value = with_factor(optimizer.groups)[factor].factor_at(np.int32(last), is_eager=True)
    return float(keras.ops.convert_to_numpy(value))
