"""Learning rates that are schedules or functions, in configurations (contract 9.3)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras

from kerasgd.errors import ArgumentError, StateError, in_words
from kerasgd.functions import ForeignFunction
from kerasgd.keras_internals import is_being_saved
from kerasgd.rules.learning_rate import Schedule


class InThisSession(str):
    """A placeholder in a configuration for an object that a file cannot hold (contract 9.3, 14.8).

    It keeps `clone_model()` and `to_json()` working.

    Attributes:
        value: the object.
    """

    value: Any

    @classmethod
    def of(cls, description: str, value: Any) -> InThisSession:
        """A placeholder for this object, with a description that `to_json()` shows."""
        stand_in = cls(f"<{description} of this session>")
        stand_in.value = value
        return stand_in


def to_config(rate: Any) -> Any:
    """Convert a schedule or a function to its form in a configuration.

    Raises:
        StateError: the rate is a function that is not registered, and a file is being written.
    """
    if isinstance(rate, Schedule) or is_registered(rate):
        return keras.saving.serialize_keras_object(rate)
    if is_being_saved():
        raise _unsavable_rate_error(rate)
    return InThisSession.of(getattr(rate, "__name__", "function"), rate)


def _unsavable_rate_error(function: object) -> StateError:
    if isinstance(function, ForeignFunction):
        return StateError(
            in_words(
                "A `learning_rate` that is a function cannot be saved. Use a learning-rate "
                "schedule instead: {function_schedule} makes one from a function of the step. Or "
                "use a number, and pass the function to the callback {rate_callback}."
            )
        )
    return StateError(
        "A `learning_rate` that is a function cannot be saved unless it is registered with Keras. "
        "Register it with `keras.saving.register_keras_serializable()`, use a learning-rate "
        "schedule instead, or set `learning_rate` to a number before saving."
    )


def is_registered(function: Callable[[], object]) -> bool:
    """Whether Keras can find this function by its registered name."""
    known = function if hasattr(function, "__name__") else type(function)
    name = keras.saving.get_registered_name(known)
    return bool(keras.saving.get_registered_object(name) is known)


def check_can_be_saved(rate: Any) -> None:
    """Refuse to save a function that cannot be restored.

    Raises:
        StateError: the rate is such a function.
    """
    is_function = callable(rate) and not isinstance(rate, Schedule | keras.Variable)
    if is_function and not is_registered(rate):
        raise _unsavable_rate_error(rate)


def from_config(value: Any, custom_objects: Any) -> Any:
    """The rate in a configuration: the inverse of `to_config()`."""
    if isinstance(value, InThisSession):
        return value.value
    if isinstance(value, dict):
        try:
            return keras.saving.deserialize_keras_object(value, custom_objects=custom_objects)
        except ArgumentError:
            raise
        except Exception as error:
            raise StateError(f"The `learning_rate` of this file cannot be read: {error}") from error
    return value
