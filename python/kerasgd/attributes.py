"""Checks of an optimizer's attributes when they are set (contract 13.3)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kerasgd import arguments
from kerasgd.arguments import ArgumentRule
from kerasgd.errors import ReadOnlyError, StateError, UnknownArgumentError, in_words


def checked(
    optimizer: Any, name: str, value: object, rules: Mapping[str, ArgumentRule[Any]]
) -> object:
    """Check the new value of a setting, and return it converted.

    Raises:
        ArgumentError: the rule refuses the value, or another clip is set.
        StateError: the optimizer is built, and the setting would change.
    """
    attributes = vars(optimizer)
    value = arguments.check(name, value, rules[name])
    if not attributes.get("_constructed"):
        return value
    clips = {clip: attributes[clip] for clip in arguments.CLIPS if clip in attributes}
    if name in clips:
        arguments.check_one_clip({**clips, name: value})
    if attributes["built"] and value != attributes[name]:
        raise StateError(
            in_words(
                f"`{name}` cannot be changed once the optimizer is built: it is "
                f"{attributes[name]!r}. {{update}} creates an optimizer with another value."
            )
        )
    return value


def check_is_of_wrapper(optimizer: Any, name: str, value: object) -> None:
    """Refuse a setting of the inner optimizer, which would have no effect on the wrapper.

    Raises:
        UnknownArgumentError: the wrapper is constructed, and the setting would change.
    """
    # Keras sets `loss_scale_factor` to None, which is its value already.
    if vars(optimizer).get("_constructed") and value != vars(optimizer).get(name):
        hint = "`inner_optimizer` has it: {update} creates an optimizer with another value."
        raise UnknownArgumentError(name, value, type(optimizer).__name__, None, hint)


# The reason why an attribute cannot be set.
READ_ONLY = {
    "groups": "`set_group()` adds a group",
    "iterations": "it counts the updates",
    "skipped": "it counts the skipped updates",
    "skipped_in_a_row": "it counts the updates skipped in a row",
    "statistics": "it describes the last measured update",
    "variables": "`set_weights()` sets the values of the variables",
    "window": "it is the `gradient_accumulation_steps`",
}


def check_can_be_set(optimizer: Any, name: str) -> None:
    """Refuse an attribute that only shows the state or a setting.

    Raises:
        ReadOnlyError: it is such an attribute, and no subclass has made it settable.
    """
    if name not in READ_ONLY:
        return
    found = getattr(type(optimizer), name, None)
    if isinstance(found, property) and found.fset is None:
        raise ReadOnlyError(f"`{name}` cannot be set: {READ_ONLY[name]}.")


def check_known(optimizer: Any, name: str, value: object, known: Mapping[str, Any]) -> None:
    """Refuse a public attribute that nothing reads.

    Raises:
        UnknownArgumentError: there is no such attribute; the error suggests the closest argument.
    """
    if name.startswith("_") or not vars(optimizer).get("_constructed"):
        return
    if name not in vars(optimizer) and not hasattr(type(optimizer), name):
        arguments.check_no_unknown({name: value}, type(optimizer).__name__, known)
