"""Converts an optimizer to a JSON-compatible configuration and back, and copies it with changes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kerasgd import arguments, watching
from kerasgd import groups as groups_of_variables
from kerasgd.files import rates
from kerasgd.keras_internals import is_taken_away
from kerasgd.selection import EXCLUDE, Selection

# The keys of a configuration that are not arguments.
EXCLUSIONS = "weight_decay_exclusions"
GROUPS = groups_of_variables.KEY
BEYOND_ARGUMENTS = {EXCLUSIONS, GROUPS, *watching.KEYS}


def of(optimizer: Any, rate: Any) -> dict[str, Any]:
    """The configuration of an optimizer, with `rate` as its learning rate."""
    config = {
        argument: getattr(optimizer, argument)
        for argument in arguments.RULES
        if argument != "learning_rate"
    }
    config["learning_rate"] = rate if isinstance(rate, float) else rates.to_config(rate)
    built_with = optimizer._trainable_variables
    if optimizer._exclusions:
        config[EXCLUSIONS] = optimizer._exclusions.get_config(built_with)
    if optimizer.groups:
        config[GROUPS] = [group.get_config(built_with) for group in optimizer.groups]
    return config | watching.get_config(optimizer)


def to_optimizer(
    optimizer_class: type, config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None
) -> Any:
    """Create an optimizer of this class from a configuration."""
    beyond = {key: config[key] for key in BEYOND_ARGUMENTS if key in config}
    given = {key: value for key, value in config.items() if key not in beyond}
    if "learning_rate" in given:
        given["learning_rate"] = rates.from_config(given["learning_rate"], custom_objects)
    optimizer: Any = optimizer_class(**given)
    if beyond.get(EXCLUSIONS) is not None:
        optimizer._exclusions = Selection.from_config(beyond[EXCLUSIONS], EXCLUDE, EXCLUSIONS)
    if beyond.get(GROUPS) is not None:
        optimizer._groups = groups_of_variables.all_from_config(
            optimizer, beyond[GROUPS], custom_objects
        )
    watching.set_from_config(optimizer, {key: beyond[key] for key in watching.KEYS & beyond.keys()})
    return optimizer


def with_changes(optimizer: Any, changes: Mapping[str, Any]) -> Any:
    """A new, unbuilt optimizer with the settings of this one and these changes."""
    if is_taken_away(optimizer._rate.variable) and optimizer._rate.given is not None:
        # A failed step of JAX's `fit()` lost the variable, but the number set last is known.
        config = of(optimizer, optimizer._rate.given)
    else:
        config = {**optimizer.get_config(), "learning_rate": optimizer._rate.as_argument()}
    kept = {name: value for name, value in config.items() if name not in BEYOND_ARGUMENTS}
    new: Any = type(optimizer)(**{**kept, **changes})
    new._exclusions = optimizer._exclusions
    if optimizer.built and optimizer._exclusions:
        new._exclusions = Selection.from_config(config[EXCLUSIONS], EXCLUDE, EXCLUSIONS)
    new._groups = tuple(group.of(new) for group in optimizer.groups)
    watching.set_from_config(new, watching.get_config(optimizer))
    return new
