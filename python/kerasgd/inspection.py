"""What can be said of an optimizer without changing it, and one like it with other settings.

R prints, compares and updates optimizers by these functions.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from kerasgd import arguments
from kerasgd import learning_rate as rates
from kerasgd.loss_scale_optimizer import LossScaleOptimizer
from kerasgd.sgd import SGD
from kerasgd.variables import check_available, path_of, shape_of, value_of


def settings(optimizer: SGD | LossScaleOptimizer) -> dict[str, Any]:
    """All arguments of the optimizer as they are now; a schedule or function as an object."""
    if isinstance(optimizer, LossScaleOptimizer):
        names = ["inner_optimizer", *arguments.LOSS_SCALE_RULES]
        return {name: getattr(optimizer, name) for name in names}
    return {
        name: optimizer.rate_setting() if name == "learning_rate" else getattr(optimizer, name)
        for name in arguments.RULES
    }


def changed_settings(optimizer: SGD | LossScaleOptimizer) -> dict[str, Any]:
    """The settings that differ from the defaults; the inner optimizer is no setting here."""
    parameters = inspect.signature(type(optimizer)).parameters
    defaults = {name: parameter.default for name, parameter in parameters.items()}
    if isinstance(optimizer, LossScaleOptimizer):
        defaults["name"] = "loss_scale_optimizer"
    return {
        name: value
        for name, value in settings(optimizer).items()
        if name != "inner_optimizer" and not same(value, defaults[name])
    }


def facts(optimizer: SGD | LossScaleOptimizer) -> dict[str, Any]:
    """How far the optimizer is, and what it holds. Counts are floats, exact above 2^31 in R."""
    if isinstance(optimizer, LossScaleOptimizer):
        return facts(optimizer.inner_optimizer) | _scale(optimizer)
    slots = optimizer._state.slots if optimizer._state is not None else []
    beside_weights = [
        v for s in slots for v in (s.velocity, s.average, s.accumulator) if v is not None
    ]
    steps = int(value_of(optimizer._iterations, optimizer))
    return {
        "built": optimizer.built,
        "steps": float(steps),
        "updates": float(steps // optimizer.window),
        "rate": _rate_now(optimizer),
        "variables": float(len(slots)),
        "weights": float(sum(_size(s.variable) for s in slots)),
        "bytes": float(sum(_bytes(v) for v in beside_weights)),
        "use_ema": optimizer.use_ema,
        "swapped": optimizer._swapped is not None,
        "patterns": list(optimizer._exclusions.patterns),
        "excluded": [path_of(v) for v in optimizer._exclusions.variables],
    }


def _scale(optimizer: LossScaleOptimizer) -> dict[str, float]:
    """The loss scale now, and after how many finite steps in a row it doubles."""
    # What a file held waits in `_pending` until the optimizer is built.
    held: Mapping[str, Any] = _values(optimizer) or optimizer._pending or {}
    scale = float(held.get("dynamic_scale", optimizer.initial_scale))
    finite_steps = int(held.get("step_counter", 0))
    return {
        "scale": scale,
        "steps_to_growth": float(optimizer.dynamic_growth_steps - finite_steps),
    }


def _rate_now(optimizer: SGD) -> float | None:
    """The rate of the next step; None for a function, which to look at must not call."""
    rate = optimizer.rate_setting()
    if isinstance(rate, rates.Schedule):
        check_available([optimizer._iterations], optimizer)
        return float(keras.ops.convert_to_numpy(rate(optimizer._iterations)))
    return rate if isinstance(rate, float) else None


def _size(variable: Any) -> int:
    return math.prod(shape_of(variable))


def _bytes(variable: Any) -> int:
    bits = {"float64": 64, "float32": 32}.get(str(variable.dtype), 16)
    return _size(variable) * bits // 8


def updated(
    optimizer: SGD | LossScaleOptimizer, changes: Mapping[str, Any]
) -> SGD | LossScaleOptimizer:
    """A new optimizer, without state, that differs in these settings.

    Of a `LossScaleOptimizer` the inner optimizer is new as well, and takes the changes that are
    settings of its own.

    Raises:
        ArgumentError: as the constructor.
    """
    if isinstance(optimizer, LossScaleOptimizer):
        own = {k: v for k, v in changes.items() if k in settings(optimizer)}
        for_inner = {k: v for k, v in changes.items() if k not in own}
        inner = own.pop("inner_optimizer", optimizer.inner_optimizer)
        merged = settings(optimizer) | own | {"inner_optimizer": updated(inner, for_inner)}
        return type(optimizer)(**merged)
    new = type(optimizer)(**(settings(optimizer) | dict(changes)))
    exclusions = optimizer._exclusions
    new.exclude_from_weight_decay(list(exclusions.variables), list(exclusions.patterns))
    new._excluded_indices = list(optimizer._excluded_indices)
    return new


def differing_settings(
    one: SGD | LossScaleOptimizer, other: SGD | LossScaleOptimizer, tolerance: float
) -> list[str]:
    """The names of the settings in which two optimizers of one class differ."""
    others = settings(other)
    names = [
        name
        for name, value in settings(one).items()
        if name != "inner_optimizer" and not same(value, others[name], tolerance)
    ]
    if isinstance(one, SGD) and isinstance(other, SGD) and _exclusions(one) != _exclusions(other):
        names.append("weight decay exclusions")
    return names


def _exclusions(optimizer: SGD) -> tuple[list[str], list[str]]:
    exclusions = optimizer._exclusions
    return sorted(exclusions.patterns), sorted(path_of(v) for v in exclusions.variables)


def same(one: Any, other: Any, tolerance: float = 0.0) -> bool:
    """Whether two values of a setting are the same; schedules are if class and arguments are."""
    if isinstance(one, rates.Schedule) and type(one) is type(other):
        return same(one.get_config(), other.get_config(), tolerance)
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        keys_are = one.keys() == other.keys()
        return keys_are and all(same(one[key], other[key], tolerance) for key in one)
    if _is_number(one) and _is_number(other):
        return bool(abs(one - other) <= tolerance * abs(one))
    return type(one) is type(other) and bool(one == other)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def differing_state(
    one: SGD | LossScaleOptimizer, other: SGD | LossScaleOptimizer, tolerance: float
) -> dict[str, float | None]:
    """The mean relative difference of each piece of state that differs by more than `tolerance`.

    None stands for state that only one of the two has, or of another shape.
    """
    ours, theirs = _values(one), _values(other)
    differing: dict[str, float | None] = {}
    for role in sorted(ours.keys() | theirs.keys()):
        difference = _difference(ours.get(role), theirs.get(role))
        if difference is None or not difference <= tolerance:
            differing[role] = difference
    return differing


def _values(optimizer: SGD | LossScaleOptimizer) -> dict[str, Any]:
    values = {role: value_of(v, optimizer) for role, v in optimizer._by_role().items()}
    # The rate is a setting; its variable means nothing when the rate is a schedule.
    values.pop("learning_rate", None)
    return values


def _difference(one: Any, other: Any) -> float | None:
    if one is None or other is None or one.shape != other.shape:
        return None
    one, other = one.astype("float64"), other.astype("float64")
    differs = ~((one == other) | (np.isnan(one) & np.isnan(other)))
    if not differs.any():
        return 0.0
    size = np.abs(one[differs]).mean() or 1.0
    return float(np.abs(one[differs] - other[differs]).mean() / size)
