"""Calls a Python function for R, and returns its value, error and warnings as data.

An exception that passes through reticulate loses its fields and, in old versions, its class; a
warning reaches only the console. So nothing is raised here: an `Outcome` holds all three. A call
without error and warning returns its bare value, because R reads attributes slowly.
"""

from __future__ import annotations

import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field

from kerasgd.errors import (
    ArgumentError,
    Element,
    IncompleteCallError,
    NonfiniteGradientError,
    StateError,
    UnknownArgumentError,
    describe,
    element_of,
)

# Python hides these warnings from users, and so does R.
FOR_DEVELOPERS = (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning)


@dataclass
class Outcome:
    """The outcome of a call with an error or a warning.

    Attributes:
        value: the returned value; None after an error.
        error: the error's fields as plain strings (see `fields_of()`), or None.
        exception: the exception itself, or None.
        warnings: the text of each distinct warning.
    """

    value: object = None
    error: dict[str, str | None] | None = None
    exception: Exception | None = None
    warnings: list[str] = field(default_factory=list)


def call(function: Callable[..., object], /, *args: object, **kwargs: object) -> object:
    """Run ``function(*args, **kwargs)``: its value, or an `Outcome` if it failed or warned."""
    error = None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            value = function(*args, **kwargs)
        except Exception as exception:
            error, value = exception, None
    if error is None and not caught:
        return value
    messages = [str(w.message) for w in caught if not issubclass(w.category, FOR_DEVELOPERS)]
    return Outcome(
        value,
        error=None if error is None else fields_of(error),
        exception=error,
        warnings=list(dict.fromkeys(messages)),
    )


def set_attribute(x: object, name: str, value: object) -> object:
    """Set an attribute, with one argument fewer for R to convert than ``call(setattr, ...)``."""
    return call(setattr, x, name, value)


def fields_of(exception: BaseException) -> dict[str, str | None]:
    """The exception's data as plain strings, which R can hold."""
    fields: dict[str, str | None] = {
        "kind": kind_of(exception),
        "type": type(exception).__name__,
        "message": str(exception),
        "traceback": "".join(traceback.format_exception(exception)),
    }
    if isinstance(exception, ArgumentError):
        fields |= {
            "argument": exception.argument,
            "requirement": exception.requirement,
            "received": describe(exception.received),
            "hint": exception.hint,
            "suggestion": getattr(exception, "suggestion", None),
        }
        if exception.element is not None:
            fields |= _fields_of_element(exception.element, exception.received)
    return fields


def nonfinite_gradients(exception: NonfiniteGradientError) -> dict[str, object]:
    """The place and the cause of the stop, as columns of floats, which are exact in R."""
    counts = list(exception.variables.values())
    return {
        "epoch": float(exception.epoch),
        "batch": float(exception.batch),
        "loss": exception.loss,
        "path": list(exception.variables),
        "nan": [float(nan) for nan, _ in counts],
        "infinite": [float(infinite) for _, infinite in counts],
    }


def _fields_of_element(element: Element, values: object) -> dict[str, str | None]:
    """The elements that the message must name, and their values in Python's words."""
    fields: dict[str, str | None] = {
        "element": str(element.index),
        "element_received": describe(element_of(values, element.index)),
    }
    if element.larger_than is not None:
        fields |= {
            "larger_than": str(element.larger_than),
            "larger_than_received": describe(element_of(values, element.larger_than)),
        }
    return fields


def kind_of(exception: BaseException) -> str:
    """The R condition class for this exception."""
    if isinstance(exception, UnknownArgumentError):
        return "unknown_argument"
    if isinstance(exception, IncompleteCallError):
        return "incomplete_call"
    if isinstance(exception, ArgumentError):
        return "argument"
    if isinstance(exception, NonfiniteGradientError):
        return "nonfinite_gradient"
    if isinstance(exception, StateError):
        return "state"
    return "other"
