"""The learning rate: a number, a schedule or a function, and its value at one step (contract 2)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from kerasgd import arguments
from kerasgd.backends.base import Backend
from kerasgd.errors import ArgumentError, Described, LearningRateError, StateError, in_words
from kerasgd.functions import (
    ForeignFunction,
    describe_failure,
    describe_result,
)
from kerasgd.keras_internals import is_being_saved
from kerasgd.state import Tensor

Schedule = keras.optimizers.schedules.LearningRateSchedule


def of_schedule(schedule: Callable[[Any], Tensor], step: Any, backend: Backend) -> Tensor:
    """The rate that the schedule has for this step, checked where it can be seen (2.8).

    Raises:
        LearningRateError: it is negative or not finite.
    """
    rate = schedule(step)
    if backend.is_eager():
        value = float(keras.ops.convert_to_numpy(rate))
        if not (np.isfinite(value) and value >= 0):
            at = int(keras.ops.convert_to_numpy(step))
            raise LearningRateError(
                "learning_rate",
                "a schedule of finite numbers >= 0",
                Described(f"one that gives {value:g} at step {at}"),
            )
    return rate


class RateNow:
    """The rate of an optimizer as a function, for steps that ask for it each time they run.

    Two of them are equal if their optimizers are, so that a graph asks once a run.
    """

    description = "a function"

    def __init__(self, optimizer: Any) -> None:
        self.optimizer = optimizer

    def __call__(self) -> float:
        """The rate of the step that runs."""
        rate: float = self.optimizer.evaluate_rate()
        return rate

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RateNow) and other.optimizer is self.optimizer

    def __hash__(self) -> int:
        return id(self.optimizer)


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
    return LearningRateError("learning_rate", requirement, Described(description))


def exact(given: float | None, stored: Any) -> float:
    """The rate as a Python float that is not `0.10000000149` where 0.1 was meant (2.6).

    `given` is the number last set through the optimizer, if it still is what the variable holds;
    else it is the shortest number that the variable's dtype rounds to the same value.
    """
    value = np.asarray(stored)[()]
    if given is not None and value.dtype.type(given) == value:
        return given
    return float(str(value))


class InThisSession(str):
    """Stands in a configuration for a rate function that Keras does not know by name.

    A model can be cloned with it, and described by `to_json()`; what is written to a file is
    refused, since the function could not be read back (9.3).
    """

    function: Callable[[], object]


def to_config(rate: Any) -> Any:
    """What a configuration holds for a schedule or a function.

    Raises:
        StateError: it is a function that is not registered, and a file is being written.
    """
    if isinstance(rate, Schedule) or is_registered(rate):
        return keras.saving.serialize_keras_object(rate)
    if is_being_saved():
        raise _cannot_be_saved(rate)
    stand_in = InThisSession(f"<{getattr(rate, '__name__', 'function')} of this session>")
    stand_in.function = rate
    return stand_in


def _cannot_be_saved(function: object) -> StateError:
    if isinstance(function, ForeignFunction):
        return StateError(
            in_words(
                "A `learning_rate` that is a function cannot be saved. Give a learning-rate "
                "schedule instead: {function_schedule} makes one of a function of the step. Or "
                "give a number, and the function to the callback {rate_callback}."
            )
        )
    return StateError(
        "A `learning_rate` that is a function cannot be saved, unless Keras knows it by name: "
        "register it with `keras.saving.register_keras_serializable()`, give a learning-rate "
        "schedule instead, or set `learning_rate` to a number before saving."
    )


def is_registered(function: Callable[[], object]) -> bool:
    """Whether Keras can find this function again by its name."""
    known = function if hasattr(function, "__name__") else type(function)
    name = keras.saving.get_registered_name(known)
    return bool(keras.saving.get_registered_object(name) is known)


def check_can_be_saved(rate: Any) -> None:
    """Refuse to save a function that could not be read back.

    Raises:
        StateError: the rate is one.
    """
    is_function = callable(rate) and not isinstance(rate, Schedule | keras.Variable)
    if is_function and not is_registered(rate):
        raise _cannot_be_saved(rate)


def from_config(value: Any, custom_objects: Any) -> Any:
    """The rate that a configuration holds: the reverse of `to_config()`."""
    if isinstance(value, InThisSession):
        return value.function
    if isinstance(value, dict):
        try:
            return keras.saving.deserialize_keras_object(value, custom_objects=custom_objects)
        except ArgumentError:
            raise
        except Exception as error:
            raise StateError(f"The `learning_rate` of this file cannot be read: {error}") from error
    return value
