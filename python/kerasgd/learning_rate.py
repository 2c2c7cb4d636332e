"""The learning rate: a number, a schedule or a function, and its value at one step (contract 2)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from kerasgd import arguments
from kerasgd.backends import Backend, Tensor
from kerasgd.errors import LearningRateError, StateError, in_words
from kerasgd.foreign import (
    ForeignFunction,
    Unrepresentable,
    describe_failure,
    describe_result,
)

Schedule = keras.optimizers.schedules.LearningRateSchedule


def at_step(rate: Any, iterations: Any, backend: Backend) -> Tensor | float:
    """The rate of the step that begins: a function is called exactly once."""
    if isinstance(rate, Schedule):
        return rate(iterations)
    if isinstance(rate, keras.Variable):
        return keras.ops.convert_to_tensor(rate)
    return backend.call_each_time(_Checked(rate))


class _Checked:
    """A rate function whose value is checked (2.4).

    Two of them are equal if their functions are, so that a graph asks each function once a run.
    """

    description = "a function"

    def __init__(self, function: Callable[[], object]) -> None:
        self.function = function

    def __call__(self) -> float:
        return value_of(self.function)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Checked) and other.function is self.function

    def __hash__(self) -> int:
        return id(self.function)


def value_of(function: Callable[[], object]) -> float:
    """What the function returns, as one finite number >= 0.

    Raises:
        LearningRateError: it failed (the original error is its cause), or returned something else.
    """
    try:
        value = function()
    except Exception as error:
        refusal = _refused(f"one that fails{describe_failure(function, error)}")
        refusal.original = error
        raise refusal from error
    try:
        return arguments.RATE.convert(value)
    except (TypeError, ValueError, OverflowError):
        raise _refused(f"one that returns {describe_result(function, value)}") from None


def _refused(description: str) -> LearningRateError:
    requirement = "a function that returns a finite number >= 0"
    return LearningRateError("learning_rate", requirement, Unrepresentable(description))


def exact(given: float | None, stored: Any) -> float:
    """The rate as a Python float that is not `0.10000000149` where 0.1 was meant (2.6).

    `given` is the number last set through the optimizer, if it still is what the variable holds;
    else it is the shortest number that the variable's dtype rounds to the same value.
    """
    value = np.asarray(stored)[()]
    if given is not None and value.dtype.type(given) == value:
        return given
    return float(str(value))


def serialized(function: Callable[[], object]) -> Any:
    """What a file holds for a rate function: the name it is registered under, if it is.

    Raises:
        StateError: it is not registered, so that the file could not be loaded again.
    """
    if isinstance(function, ForeignFunction):
        raise StateError(
            in_words(
                "A `learning_rate` that is a function cannot be saved. Give a learning-rate "
                "schedule instead: {function_schedule} makes one of a function of the step. Or "
                "give a number, and the function to the callback {rate_callback}."
            )
        )
    known = function if hasattr(function, "__name__") else type(function)
    name = keras.saving.get_registered_name(known)
    if keras.saving.get_registered_object(name) is not known:
        raise StateError(
            "A `learning_rate` that is a function cannot be saved, unless Keras knows it by name: "
            "register it with `keras.saving.register_keras_serializable()`, give a learning-rate "
            "schedule instead, or set `learning_rate` to a number before saving."
        )
    return keras.saving.serialize_keras_object(function)
