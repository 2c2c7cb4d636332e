"""Describes and compares optimizers, and creates one with other settings.

R uses these functions to print, compare and update optimizers.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

# The base class of ours; under mixed_float16, `compile()` wraps an SGD in Keras' own.
from keras.optimizers import LossScaleOptimizer as Wrapper

from kerasgd import arguments, watching
from kerasgd.files import state as saved_state
from kerasgd.files.saved import GROUP_FACTOR
from kerasgd.from_keras import from_keras
from kerasgd.groups import Group
from kerasgd.loss_scale_optimizer import LossScaleOptimizer
from kerasgd.r import transfer
from kerasgd.rules.learning_rate import Schedule
from kerasgd.sgd import SGD
from kerasgd.variables import check_available, path_of, shape_of, value_of


def settings(optimizer: SGD | Wrapper) -> dict[str, Any]:
    """The current arguments of the optimizer; a schedule or function as an object."""
    if isinstance(optimizer, Wrapper):
        names = ["inner_optimizer", *arguments.LOSS_SCALE_RULES]
        return {name: getattr(optimizer, name) for name in names}
    return {
        name: optimizer._rate.as_argument() if name == "learning_rate" else getattr(optimizer, name)
        for name in arguments.RULES
    }


def default_settings(optimizer: SGD | Wrapper) -> dict[str, Any]:
    """The defaults of the settings; a subclass may have its own, or hide them behind `**kwargs`."""
    if isinstance(optimizer, Wrapper):
        base, defaults = Wrapper, {"name": "loss_scale_optimizer"}
    else:
        base, defaults = SGD, {}
    return _defaults(base) | _defaults(type(optimizer)) | defaults


def _defaults(constructor: type) -> dict[str, Any]:
    return {
        name: parameter.default
        for name, parameter in inspect.signature(constructor).parameters.items()
        if parameter.default is not parameter.empty
    }


def changed_settings(optimizer: SGD | Wrapper) -> dict[str, Any]:
    """The settings that differ from the defaults, without the inner optimizer."""
    defaults = default_settings(optimizer)
    return {
        name: value
        for name, value in settings(optimizer).items()
        if name != "inner_optimizer" and not are_equal(value, defaults[name])
    }


def description(optimizer: SGD | Wrapper) -> dict[str, Any]:
    """The progress and the state of an optimizer. Counts are floats, exact above 2^31 in R."""
    if isinstance(optimizer, Wrapper):
        return description(optimizer.inner_optimizer) | _scale(optimizer)
    parameters = optimizer._state.parameters if optimizer._state is not None else []
    beside_weights = [
        v for s in parameters for v in (s.velocity, s.average, s.accumulator) if v is not None
    ]
    steps = int(value_of(optimizer._iterations, optimizer))
    return {
        "built": optimizer.built,
        "steps": float(steps),
        "updates": float(steps // optimizer.window - optimizer.skipped),
        "rate": _rate_now(optimizer),
        "variables": float(len(parameters)),
        "weights": float(sum(_size(s.variable) for s in parameters)),
        "bytes": float(sum(_bytes(v) for v in beside_weights)),
        "use_ema": optimizer.use_ema,
        "swapped": optimizer._swapped is not None,
        "patterns": list(optimizer._exclusions.patterns),
        "excluded": _excluded(optimizer),
        "rank_below": optimizer._exclusions.rank_below,
        "groups": [_group(group, optimizer) for group in optimizer.groups],
        "left_out": list(optimizer._left_out),
        "statistics": _statistics(optimizer),
        "skipping": _skipping(optimizer),
    }


def _statistics(optimizer: SGD) -> dict[str, Any] | None:
    """The measured statistics and the number of measured updates; None without tracking."""
    if not optimizer._statistics_every:
        return None
    return {
        "per_variable": optimizer._statistics_per_variable,
        "every": float(optimizer._statistics_every),
        "measured": float(watching.measured(optimizer)),
    }


def _skipping(optimizer: SGD) -> dict[str, float] | None:
    """The counts of skipped updates; None if the optimizer does not skip updates."""
    if not optimizer._skips_nonfinite:
        return None
    return {
        "skipped": float(optimizer.skipped),
        "in_a_row": float(optimizer.skipped_in_a_row),
    }


def _excluded(optimizer: SGD) -> list[str]:
    """The known paths of the variables that are excluded from weight decay."""
    exclusions = optimizer._exclusions
    if not optimizer.built:
        return exclusions.paths()
    return [path_of(v) for v in optimizer._trainable_variables if exclusions.covers(v)]


def _group(group: Group, optimizer: SGD) -> dict[str, Any]:
    """The selection of a group, and the settings that it gives its variables."""
    selection = group.selection
    trained = optimizer._trainable_variables if optimizer.built else []
    return {
        "patterns": list(selection.patterns),
        "layers": [layer.name for layer in selection.layers],
        "function": selection.predicate,
        "variables": selection.paths(),
        # None while it is not known
        "size": float(sum(map(selection.covers, trained))) if optimizer.built else None,
        "settings": group.settings(),
    }


def _scale(optimizer: Wrapper) -> dict[str, float]:
    """The current loss scale, and the number of finite steps after which it doubles."""
    held = _values(optimizer)
    scale = float(held.get("dynamic_scale", optimizer.initial_scale))
    finite_steps = int(held.get("step_counter", 0))
    return {
        "scale": scale,
        "steps_to_growth": float(optimizer.dynamic_growth_steps - finite_steps),
    }


def _rate_now(optimizer: SGD) -> float | None:
    """The rate of the next step, or the last one of a function; None if it was never called."""
    rate = optimizer._rate.as_argument()
    if rate is not None and callable(rate) and not isinstance(rate, Schedule):
        return optimizer._rate.last
    if isinstance(rate, Schedule):
        check_available([optimizer._iterations], optimizer)
        return float(keras.ops.convert_to_numpy(rate(optimizer._iterations)))
    if not isinstance(rate, float):
        return None
    # The variable may have rounded a tiny number to 0.
    return rate if float(_as_array(optimizer._rate.variable)) else 0.0


def _size(variable: Any) -> int:
    return math.prod(shape_of(variable))


def _bytes(variable: Any) -> int:
    bits = {"float64": 64, "float32": 32}.get(str(variable.dtype), 16)
    return _size(variable) * bits // 8


def updated(
    optimizer: SGD | Wrapper, changes: Mapping[str, Any], keep_state: Any = False
) -> SGD | LossScaleOptimizer:
    """A new optimizer with these changes, and with the old state if `keep_state` is true.

    For a `LossScaleOptimizer` the inner optimizer is new too, and takes the changes to its own
    settings. Keras' wrapper becomes ours, which checks its settings.

    Raises:
        ArgumentError: as from the constructor, or `keep_state` is not True or False.
    """
    keeps = bool(arguments.check("keep_state", keep_state, arguments.flag()))
    ours = optimizer if isinstance(optimizer, SGD | LossScaleOptimizer) else from_keras(optimizer)
    return ours.update(keep_state=keeps, **changes)


def differing_settings(one: SGD | Wrapper, other: SGD | Wrapper, tolerance: float) -> list[str]:
    """The names of the settings in which two optimizers of the same class differ."""
    others = settings(other)
    names = [
        name
        for name, value in settings(one).items()
        if name != "inner_optimizer" and not are_equal(value, others[name], tolerance)
    ]
    if isinstance(one, SGD) and isinstance(other, SGD):
        if _exclusions(one) != _exclusions(other):
            names.append("weight decay exclusions")
        watched, others_watched = watching.get_config(one), watching.get_config(other)
        names += [
            f"settings of `{key}()`"
            for key in watching.KEYS
            if watched.get(key) != others_watched.get(key)
        ]
    return names


def _exclusions(optimizer: SGD) -> tuple[list[str], list[str], int | None]:
    exclusions = optimizer._exclusions
    return sorted(exclusions.patterns), exclusions.paths(), exclusions.rank_below


def are_equal(one: Any, other: Any, tolerance: float = 0.0) -> bool:
    """Whether two values of a setting are equal; schedules compare by class and arguments."""
    if isinstance(one, Schedule) and type(one) is type(other):
        return are_equal(one.get_config(), other.get_config(), tolerance)
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        keys_are = one.keys() == other.keys()
        return keys_are and all(are_equal(one[key], other[key], tolerance) for key in one)
    if _is_number(one) and _is_number(other):
        return bool(abs(one - other) <= tolerance * abs(one))
    return type(one) is type(other) and bool(one == other)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def differing_state(
    one: SGD | Wrapper, other: SGD | Wrapper, tolerance: float
) -> dict[str, float | None]:
    """The mean relative difference of each piece of state that differs by more than `tolerance`.

    None stands for state that only one optimizer has, or whose shapes differ.
    """
    ours, theirs = _values(one), _values(other)
    differing: dict[str, float | None] = {}
    for role in sorted(ours.keys() | theirs.keys()):
        difference = _difference(ours.get(role), theirs.get(role))
        if difference is None or not difference <= tolerance:
            differing[role] = difference
    return differing


def state_as_doubles(optimizer: SGD | Wrapper) -> dict[str, tuple[bytearray, list[float]]]:
    """All state by role, as the bytes of doubles in R's order (see `transfer`), and the shape."""
    return {
        role: (transfer.as_doubles(array), [float(n) for n in array.shape])
        for role, array in _values(optimizer).items()
    }


def _values(optimizer: SGD | Wrapper) -> dict[str, Any]:
    """All state as arrays, by role, including state that waits for `build()`."""
    if isinstance(optimizer, SGD | LossScaleOptimizer):
        held = saved_state.current(optimizer).values
    else:
        roles = ("dynamic_scale", "step_counter") if optimizer.built else ()
        held = {role: value_of(getattr(optimizer, role), optimizer) for role in roles}
    # Rate and factors are settings; with a schedule, the rate's variable has no meaning.
    return {
        role: array
        for role, array in held.items()
        if role not in saved_state.RATE and not role.startswith(GROUP_FACTOR)
    }


def _as_array(variable: Any) -> Any:
    return keras.ops.convert_to_numpy(variable)


def _difference(one: Any, other: Any) -> float | None:
    if one is None or other is None or one.shape != other.shape:
        return None
    one, other = one.astype("float64"), other.astype("float64")
    differs = ~((one == other) | (np.isnan(one) & np.isnan(other)))
    if not differs.any():
        return 0.0
    size = np.abs(one[differs]).mean() or 1.0
    return float(np.abs(one[differs] - other[differs]).mean() / size)
