"""The learning rate: a number, a schedule or a function, and its value at one step (contract 2)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from kerasgd import arguments
from kerasgd.errors import Described, LearningRateError
from kerasgd.functions import describe_failure, describe_result
from kerasgd.rules.precision import scalar
from kerasgd.state import Tensor

Schedule = keras.optimizers.schedules.LearningRateSchedule


def of_schedule(
    schedule: Callable[[Any], Tensor], step: Any, is_eager: bool, argument: str = "learning_rate"
) -> Tensor:
    """The rate of a schedule at this step, checked in eager code (contract 2.8).

    Raises:
        LearningRateError: the rate is negative or not finite.
    """
    rate = schedule(step)
    if is_eager:
        value = float(keras.ops.convert_to_numpy(rate))
        if not (np.isfinite(value) and value >= 0):
            at = int(keras.ops.convert_to_numpy(step))
            raise LearningRateError(
                argument,
                "a schedule of finite numbers >= 0",
                Described(f"one that gives {value:g} at step {at}"),
            )
    return rate


def of_group(rate: Tensor, factor: Tensor) -> Tensor:
    """The rate of a group: ``learning_rate * learning_rate_factor`` (contract 14.3)."""
    # In eager code the rate may be a number; a schedule may return a number or another dtype.
    if keras.ops.is_tensor(rate) and getattr(factor, "dtype", None) != rate.dtype:
        factor = scalar(factor, rate.dtype)
    return rate * factor


def value_of(function: Callable[[], object]) -> float:
    """The value that the function returns, which must be one finite number >= 0.

    Raises:
        LearningRateError: the function failed (its error is the cause), or returned something else.
    """
    try:
        value = function()
    except Exception as error:
        refusal = _refusal(f"one that fails{describe_failure(function, error)}")
        refusal.original = error
        raise refusal from error
    try:
        return arguments.RATE.convert(value)
    except (TypeError, ValueError, OverflowError):
        raise _refusal(f"one that returns {describe_result(function, value)}") from None


def _refusal(description: str) -> LearningRateError:
    requirement = "a function that returns a finite number >= 0"
    return LearningRateError("learning_rate", requirement, Described(description))


def exact(given: float | None, stored: Any) -> float:
    """The rate as an exact Python float: 0.1 rather than 0.10000000149 (2.6).

    This is `given`, the number last set through the optimizer, if the variable still holds it;
    otherwise it is the shortest number that rounds to the variable's value.
    """
    value = np.asarray(stored)[()]
    if given is not None and value.dtype.type(given) == value:
        return given
    return float(str(value))
