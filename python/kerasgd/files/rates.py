"""How a configuration holds a learning rate that is a schedule or a function (contract 9.3)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras

from kerasgd.errors import ArgumentError, StateError, in_words
from kerasgd.functions import ForeignFunction
from kerasgd.keras_internals import is_being_saved
from kerasgd.rules.learning_rate import Schedule


class InThisSession(str):
    """Stands in a configuration for an object that a file cannot hold (contract 9.3, 14.8).

    A model can be cloned with it, and described by `to_json()`.

    Attributes:
        value: the object.
    """

    value: Any

    @classmethod
    def of(cls, description: str, value: Any) -> InThisSession:
        """A stand-in for this object, which is described for `to_json()`."""
        stand_in = cls(f"<{description} of this session>")
        stand_in.value = value
        return stand_in


def to_config(rate: Any) -> Any:
    """A schedule or a function as a configuration holds it.

    Raises:
        StateError: it is a function that is not registered, and a file is being written.
    """
    if isinstance(rate, Schedule) or is_registered(rate):
        return keras.saving.serialize_keras_object(rate)
    if is_being_saved():
        raise _cannot_be_saved(rate)
    return InThisSession.of(getattr(rate, "__name__", "function"), rate)


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
        return value.value
    if isinstance(value, dict):
        try:
            return keras.saving.deserialize_keras_object(value, custom_objects=custom_objects)
        except ArgumentError:
            raise
        except Exception as error:
            raise StateError(f"The `learning_rate` of this file cannot be read: {error}") from error
    return value
