"""The one table of argument rules (contract 12), for Python and for R.

`RULES` says for each argument what is accepted and turns it into the one form that the rest of the
package knows: numbers become `float`, whole numbers `int`, flags `bool`. `check()` applies one
rule, `check_all()` those of a call, `check_sgd()` also what holds between the arguments of `SGD`.
"""

from __future__ import annotations

import csv
import difflib
import functools
import inspect
import math
import numbers
import sys
import types
import warnings
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any, Generic, TypeVar

import keras
import numpy as np

from kerasgd import limits
from kerasgd.errors import (
    ArgumentTypeError,
    ArgumentValueError,
    Element,
    KerasgdWarning,
    UnknownArgumentError,
)
from kerasgd.functions import ForeignFunction
from kerasgd.variables import as_numpy

LARGEST_WHOLE_NUMBER = 2**31 - 1
CLIPS = ("clipnorm", "clipvalue", "global_clipnorm")

Value = TypeVar("Value")


@dataclass(frozen=True)
class ArgumentRule(Generic[Value]):
    """What an argument must be, in words, and the function that makes it so.

    Attributes:
        requirement: completes the sentence '`x` must be ...'; a template (see `errors`).
        convert: returns the value in its one form. It raises `TypeError` for something of the wrong
            kind and `ValueError` for a wrong value; a message, if any, becomes the hint.
    """

    requirement: str
    convert: Callable[[object], Value]


class ElementError(ValueError):
    """Raised by a rule for several values.

    Attributes:
        element: the element that is refused.
        reason: the `TypeError` or `ValueError` that says why.
    """

    def __init__(self, element: Element, reason: Exception) -> None:
        self.element = element
        self.reason = reason
        super().__init__(element, reason)


def as_number(value: object) -> float:
    """A Python, NumPy or R number, or a 0-d array of any backend, as a `float`."""
    if _is_array(value) and getattr(value, "shape", None) == ():
        value = _only_element(value)
    if isinstance(value, bool | np.bool_) or not _is_real(value):
        raise TypeError
    return float(value)  # type: ignore[arg-type]


def _is_array(value: object) -> bool:
    return hasattr(value, "__array__") and not isinstance(value, type)


def _only_element(array: Any) -> object:
    if keras.ops.is_tensor(array) or isinstance(array, keras.Variable):
        array = as_numpy(array)
    element: object = np.asarray(array)[()]
    return element


def _is_real(value: object) -> bool:
    # bfloat16 scalars (ml_dtypes) are no numbers.Real, but know how to become a float.
    return isinstance(value, numbers.Real) or (
        isinstance(value, np.generic)
        and not isinstance(value, np.character | np.complexfloating)
        and hasattr(value, "__float__")
    )


def number(requirement: str, accepts: Callable[[float], bool]) -> ArgumentRule[float]:
    """A finite number for which `accepts` holds."""

    def convert(value: object) -> float:
        result = as_number(value)
        if not (math.isfinite(result) and accepts(result)):
            raise ValueError
        return result

    return ArgumentRule(requirement, convert)


def whole_number(at_least: int) -> ArgumentRule[int]:
    """A whole number, which may arrive as a float (R's 2 is one)."""

    def convert(value: object) -> int:
        result = as_number(value)
        if not at_least <= result <= LARGEST_WHOLE_NUMBER:
            raise ValueError
        if result != int(result):
            raise ValueError("Round it up with {ceiling}.")
        return int(result)

    return ArgumentRule(f"a whole number from {at_least} to {LARGEST_WHOLE_NUMBER}", convert)


def flag() -> ArgumentRule[bool]:
    """True or False and nothing that merely counts as one of them."""

    def convert(value: object) -> bool:
        if not isinstance(value, bool | np.bool_):
            raise TypeError
        return bool(value)

    return ArgumentRule("{true} or {false}", convert)


def label() -> ArgumentRule[str]:
    """One non-empty string that can begin a variable's path."""

    def convert(value: object) -> str:
        if not isinstance(value, str):
            raise TypeError
        if not value or "/" in value:
            raise ValueError
        return str(value)

    return ArgumentRule("one non-empty string without `/`", convert)


def optional(rule: ArgumentRule[Value]) -> ArgumentRule[Value | None]:
    """`rule`, or None."""

    def convert(value: object) -> Value | None:
        return None if value is None else rule.convert(value)

    return ArgumentRule(f"{rule.requirement}, or {{null}}", convert)


NOT_NEGATIVE = number("a finite number >= 0", lambda x: x >= 0)
RATE = NOT_NEGATIVE


def learning_rate() -> ArgumentRule[object]:
    """A number, a schedule, or a function that needs no arguments (contract 2.1 to 2.5)."""

    def convert(value: object) -> object:
        if isinstance(value, keras.optimizers.schedules.LearningRateSchedule):
            return value
        _refuse_keras_objects(value)
        if callable(value) and not _is_array(value):
            return _without_arguments(value)
        result = RATE.convert(value)
        if result > limits.LARGEST and keras.config.floatx() != "float64":
            raise ValueError("A rate is stored as float32, which ends at 3.4e38.")
        return result

    return ArgumentRule(
        f"{RATE.requirement}, a learning-rate schedule, or a function without arguments", convert
    )


def _refuse_keras_objects(value: object) -> None:
    """Objects that could be called, or read as a number, and are no rate (2.8)."""
    if isinstance(value, keras.Variable) or (hasattr(value, "assign") and hasattr(value, "shape")):
        raise TypeError("Give its value: a number. The optimizer has a variable of its own for it.")
    if isinstance(value, keras.Layer):
        raise TypeError("A layer or model is no learning rate: give a number or a schedule.")


def _without_arguments(function: object) -> Callable[[], object]:
    if not callable(function):
        raise TypeError
    if isinstance(function, type):
        raise TypeError("Give an instance of the class: call it with its arguments first.")
    required = required_arguments(function)
    if required:
        names = ", ".join(f"`{name}`" for name in required)
        raise TypeError(
            f"This function asks for {names}, but it is called without arguments. "
            "If it makes a schedule, call it first; "
            "a rate that depends on the step is a learning-rate schedule."
        )
    return function


RATE_FUNCTION = ArgumentRule("a function without arguments", _without_arguments)


def required_arguments(function: Callable[..., object]) -> list[str]:
    """The names of the arguments that `function` cannot be called without."""
    if isinstance(function, ForeignFunction):
        return function.required
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError:  # some built-in functions tell nothing about themselves
        return []
    optional_kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [p.name for p in parameters if p.default is p.empty and p.kind not in optional_kinds]


_POSITIVE = number("a finite number > 0", lambda x: x > 0)

RULES: Mapping[str, ArgumentRule[Any]] = {
    "learning_rate": learning_rate(),
    "momentum": NOT_NEGATIVE,
    "nesterov": flag(),
    "weight_decay": optional(NOT_NEGATIVE),
    "clipnorm": optional(_POSITIVE),
    "clipvalue": optional(_POSITIVE),
    "global_clipnorm": optional(_POSITIVE),
    "use_ema": flag(),
    "ema_momentum": number("a number from 0 to 1", lambda x: 0 <= x <= 1),
    "ema_overwrite_frequency": optional(whole_number(at_least=1)),
    "name": label(),
    "loss_scale_factor": optional(_POSITIVE),
    "gradient_accumulation_steps": optional(whole_number(at_least=1)),
}


def learning_rate_factor() -> ArgumentRule[object]:
    """A number or a schedule, by which a group multiplies the rate (contract 14.2)."""

    def convert(value: object) -> object:
        if isinstance(value, keras.optimizers.schedules.LearningRateSchedule):
            return value
        _refuse_keras_objects(value)
        if callable(value) and not _is_array(value):
            raise TypeError("A factor that depends on the step is a learning-rate schedule.")
        return NOT_NEGATIVE.convert(value)

    return ArgumentRule(f"{NOT_NEGATIVE.requirement}, or a learning-rate schedule", convert)


def number_between(first: int, last: int, requirement: str) -> ArgumentRule[int]:
    """The number of one of several things."""

    def convert(value: object) -> int:
        number = as_number(value)
        if not first <= number <= last or number != int(number):
            raise ValueError
        return int(number)

    return ArgumentRule(requirement, convert)


RANK_BELOW = optional(whole_number(at_least=1))
LAYER_DECAY = number("a number above 0, and at most 1", lambda x: 0 < x <= 1)

# Those of a group of variables (contract 14.2).
GROUP_RULES: Mapping[str, ArgumentRule[Any]] = {
    "learning_rate_factor": learning_rate_factor(),
    "momentum": NOT_NEGATIVE,
    "weight_decay": optional(NOT_NEGATIVE),
}

# Those of `track_statistics()`.
STATISTICS_RULES: Mapping[str, ArgumentRule[Any]] = {
    "per_variable": flag(),
    "every": whole_number(at_least=1),
}

# Those of `LossScaleOptimizer`.
LOSS_SCALE_RULES: Mapping[str, ArgumentRule[Any]] = {
    "initial_scale": number(
        "a number from 2^-126 to 2^126",
        lambda x: limits.SMALLEST_NORMAL <= x <= limits.LARGEST_NORMAL,
    ),
    "dynamic_growth_steps": whole_number(at_least=1),
    "name": optional(label()),
}


def check(argument: str, value: object, rule: ArgumentRule[Any] | None = None) -> object:
    """`value`, converted, if the rule of `argument` accepts it.

    Raises:
        ArgumentTypeError: it is of the wrong kind.
        ArgumentValueError: it is of the right kind, with a wrong value.
    """
    rule = rule or RULES[argument]
    element = None
    try:
        result = rule.convert(value)
        _warn_of_rounding(argument, result)
        return result
    except ElementError as error:
        reason, element = error.reason, error.element
    except (TypeError, ValueError, OverflowError) as error:
        reason = error
    refusal = ArgumentTypeError if isinstance(reason, TypeError) else ArgumentValueError
    raise refusal(argument, rule.requirement, value, str(reason) or None, element)


def _warn_of_rounding(argument: str, result: object) -> None:
    """Say so if float32, in which training computes, turns a number into 0 or infinity."""
    if not isinstance(result, float) or result == 0 or keras.config.floatx() == "float64":
        return
    if abs(result) > limits.LARGEST:
        rounded = "infinity"
    elif abs(result) < limits.SMALLEST / 2:
        rounded = "0"
    else:
        return
    warnings.warn(
        f"`{argument}` is {result:g}, which float32 rounds to {rounded}.",
        KerasgdWarning,
        stacklevel=4,
    )


def check_all(
    given: Mapping[str, object], rules: Mapping[str, ArgumentRule[Any]]
) -> dict[str, object]:
    """All arguments of a call, checked and converted.

    Raises:
        ArgumentError: as `check()`.
    """
    return {name: check(name, value, rules[name]) for name, value in given.items()}


def check_sgd(given: Mapping[str, object]) -> dict[str, object]:
    """All arguments of `SGD`, checked and converted.

    Raises:
        ArgumentError: as `check()`; also if more than one clip is set.
    """
    checked = check_all(given, RULES)
    check_one_clip(checked)
    warn_of_divergence(checked["momentum"])
    return checked


def check_one_clip(checked: Mapping[str, object]) -> None:
    """Refuse more than one clip.

    Raises:
        ArgumentValueError: two are set; the error names the second.
    """
    clips = [name for name in CLIPS if checked[name] is not None]
    if len(clips) > 1:
        first, second = clips[:2]
        raise ArgumentValueError(
            second,
            f"{{null}} when `{first}` is set",
            checked[second],
            "At most one of `clipnorm`, `clipvalue` and `global_clipnorm` can be set.",
        )


def warn_of_divergence(momentum: Any) -> None:
    """Say so if the velocity would grow without bound (contract 1.5)."""
    if momentum > 1:
        warnings.warn(
            f"`momentum` is {momentum:g}. Above 1 the velocity grows without bound.",
            KerasgdWarning,
            stacklevel=4,
        )


def check_no_unknown(extra: Mapping[str, object], function: str, known: Collection[str]) -> None:
    """Refuse every name of `extra`, and suggest the one of `known` that was probably meant.

    Raises:
        UnknownArgumentError: if there is a name in `extra`.
    """
    for argument, value in extra.items():
        suggestion, hint = suggest(argument, known)
        raise UnknownArgumentError(argument, value, function, suggestion, hint)


def suggest(argument: str, known: Collection[str]) -> tuple[str | None, str | None]:
    """The name in `known` that `argument` stands for, with a hint; None where there is none.

    R has a search of its own (`meant_argument()`), because it refuses a misspelt name before Python
    starts. Both read the same list of hints first.
    """
    for meant, hint in hints().get(argument.lower(), ()):
        if meant in known:
            return meant, hint
    cut_short = [name for name in known if name.startswith(argument.lower())]
    close = cut_short or difflib.get_close_matches(argument.lower(), known, n=1)
    return (close[0] if close else None), None


@functools.cache
def hints() -> dict[str, list[tuple[str, str | None]]]:
    """What each wrong name may mean, the likeliest first; R reads the same file."""
    text = resources.files("kerasgd").joinpath("argument-hints.csv").read_text("utf-8")
    known: dict[str, list[tuple[str, str | None]]] = {}
    for row in csv.DictReader(text.splitlines()):
        known.setdefault(row["misspelt"], []).append((row["meant"], row["hint"] or None))
    return known


def beyond_ours(extra: Mapping[str, object], accepted: Callable[..., object]) -> dict[str, object]:
    """Those of `extra` that `accepted`, the installed Keras class, names as arguments (12.6)."""
    named = inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY
    parameters = inspect.signature(accepted).parameters.values()
    names = {parameter.name for parameter in parameters if parameter.kind in named}
    return {name: value for name, value in extra.items() if name in names}


def check_not_called_by_keras(optimizer: type) -> None:
    """Refuse `compile(optimizer=SGD)`, where the call is missing; to be called by the constructor.

    From 3.16 on Keras adds the call itself, so that training would begin with default arguments.
    It does so in `keras.optimizers.get()`, which makes optimizers in no other way: those that are
    named by a string are Keras' own, and those in a file come from `from_config()`.

    Raises:
        ArgumentTypeError: it was Keras that called.
    """
    frame: types.FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_name == "__init__":  # ours, and of a subclass
        frame = frame.f_back  # None where R calls
    if frame is not None and frame.f_code is keras.optimizers.get.__code__:
        hint = f"Call it: `{optimizer.__name__}()`."
        raise ArgumentTypeError("optimizer", "an optimizer", optimizer, hint)
