"""The rules of the arguments (contract 12), shared by Python and R.

Each rule in `RULES` checks an argument and converts it to the form that the rest of the package
uses: numbers become `float`, whole numbers `int`, flags `bool`. `check()` applies one rule,
`check_all()` the rules of a call, `check_sgd()` also the rules between the arguments of `SGD`.
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
    """The requirement on an argument, in words, and the function that checks and converts it.

    Attributes:
        requirement: completes the sentence '`x` must be ...'; a template (see `errors`).
        convert: returns the converted value. It raises `TypeError` for a value of the wrong type
            and `ValueError` for a wrong value; the message, if any, becomes the hint.
    """

    requirement: str
    convert: Callable[[object], Value]


class ElementError(ValueError):
    """Raised by a rule for a sequence when it refuses one element.

    Attributes:
        element: the refused element.
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
    # bfloat16 scalars (ml_dtypes) are not numbers.Real, but convert to float.
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
    """A whole number; a float with a whole value is accepted, since R's 2 is a float."""

    def convert(value: object) -> int:
        result = as_number(value)
        if not at_least <= result <= LARGEST_WHOLE_NUMBER:
            raise ValueError
        if result != int(result):
            raise ValueError("Round it up with {ceiling}.")
        return int(result)

    return ArgumentRule(f"a whole number from {at_least} to {LARGEST_WHOLE_NUMBER}", convert)


def flag() -> ArgumentRule[bool]:
    """True or False; other values are refused even if they are truthy or falsy."""

    def convert(value: object) -> bool:
        if not isinstance(value, bool | np.bool_):
            raise TypeError
        return bool(value)

    return ArgumentRule("{true} or {false}", convert)


def label() -> ArgumentRule[str]:
    """One non-empty string that is valid as the first part of a variable's path."""

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
            raise ValueError("A rate is stored as float32, whose largest value is 3.4e38.")
        return result

    return ArgumentRule(
        f"{RATE.requirement}, a learning-rate schedule, or a function without arguments", convert
    )


def _refuse_keras_objects(value: object) -> None:
    """Refuse Keras objects that are callable or convert to a number but are not a rate (2.8)."""
    if isinstance(value, keras.Variable) or (hasattr(value, "assign") and hasattr(value, "shape")):
        raise TypeError("Pass its value as a number: the optimizer has its own variable for it.")
    if isinstance(value, keras.Layer):
        raise TypeError("A layer or model is not a learning rate: pass a number or a schedule.")


def _without_arguments(function: object) -> Callable[[], object]:
    if not callable(function):
        raise TypeError
    if isinstance(function, type):
        raise TypeError("Pass an instance of the class: call it with its arguments first.")
    required = required_arguments(function)
    if required:
        names = ", ".join(f"`{name}`" for name in required)
        raise TypeError(
            f"This function requires {names}, but each step calls it without arguments. "
            "If it returns a schedule, call it first. "
            "For a rate that depends on the step, use a learning-rate schedule."
        )
    return function


RATE_FUNCTION = ArgumentRule("a function without arguments", _without_arguments)


def required_arguments(function: Callable[..., object]) -> list[str]:
    """The names of the arguments that `function` requires."""
    if isinstance(function, ForeignFunction):
        return function.required
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError:  # some built-in functions have no signature
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
    """The factor of a group, which multiplies the rate: a number or a schedule (contract 14.2)."""

    def convert(value: object) -> object:
        if isinstance(value, keras.optimizers.schedules.LearningRateSchedule):
            return value
        _refuse_keras_objects(value)
        if callable(value) and not _is_array(value):
            raise TypeError("For a factor that depends on the step, use a learning-rate schedule.")
        return NOT_NEGATIVE.convert(value)

    return ArgumentRule(f"{NOT_NEGATIVE.requirement}, or a learning-rate schedule", convert)


def number_between(first: int, last: int, requirement: str) -> ArgumentRule[int]:
    """A whole number from `first` to `last`, which identifies one of several objects."""

    def convert(value: object) -> int:
        number = as_number(value)
        if not first <= number <= last or number != int(number):
            raise ValueError
        return int(number)

    return ArgumentRule(requirement, convert)


RANK_BELOW = optional(whole_number(at_least=1))
LAYER_DECAY = number("a number > 0 and <= 1", lambda x: 0 < x <= 1)

# The rules for a group of variables (contract 14.2).
GROUP_RULES: Mapping[str, ArgumentRule[Any]] = {
    "learning_rate_factor": learning_rate_factor(),
    "momentum": NOT_NEGATIVE,
    "weight_decay": optional(NOT_NEGATIVE),
}

# The rules for `track_statistics()`.
STATISTICS_RULES: Mapping[str, ArgumentRule[Any]] = {
    "per_variable": flag(),
    "every": whole_number(at_least=1),
}

# The rules for `LossScaleOptimizer`.
LOSS_SCALE_RULES: Mapping[str, ArgumentRule[Any]] = {
    "initial_scale": number(
        "a number from 2^-126 to 2^126",
        lambda x: limits.SMALLEST_NORMAL <= x <= limits.LARGEST_NORMAL,
    ),
    "dynamic_growth_steps": whole_number(at_least=1),
    "name": optional(label()),
}


def check(argument: str, value: object, rule: ArgumentRule[Any] | None = None) -> object:
    """Check `value` by the rule for `argument`, and return it converted.

    Raises:
        ArgumentTypeError: the type is wrong.
        ArgumentValueError: the type is right, but the value is wrong.
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
    """Warn if float32, the dtype of training, rounds the number to 0 or infinity."""
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
    """Check all arguments of a call, and return them converted.

    Raises:
        ArgumentError: an argument is refused, as by `check()`.
    """
    return {name: check(name, value, rules[name]) for name, value in given.items()}


def check_sgd(given: Mapping[str, object]) -> dict[str, object]:
    """Check all arguments of `SGD`, and return them converted.

    Raises:
        ArgumentError: an argument is refused, as by `check()`, or more than one clip is set.
    """
    checked = check_all(given, RULES)
    check_one_clip(checked)
    warn_of_divergence(checked["momentum"])
    return checked


def check_one_clip(checked: Mapping[str, object]) -> None:
    """Refuse more than one clip.

    Raises:
        ArgumentValueError: more than one is set; the error names the second.
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
    """Warn if the velocity would grow without bound (contract 1.5)."""
    if momentum > 1:
        warnings.warn(
            f"`momentum` is {momentum:g}: above 1, the velocity grows without bound.",
            KerasgdWarning,
            stacklevel=4,
        )


def check_no_unknown(extra: Mapping[str, object], function: str, known: Collection[str]) -> None:
    """Refuse every name in `extra`, and suggest the closest name in `known`.

    Raises:
        UnknownArgumentError: `extra` is not empty.
    """
    for argument, value in extra.items():
        suggestion, hint = suggest(argument, known)
        raise UnknownArgumentError(argument, value, function, suggestion, hint)


def suggest(argument: str, known: Collection[str]) -> tuple[str | None, str | None]:
    """The name in `known` that `argument` probably means, and a hint; None where there is none.

    R has its own search (`meant_argument()`), because it refuses a misspelt name before Python
    starts. Both look in the same list of hints first.
    """
    for meant, hint in hints().get(argument.lower(), ()):
        if meant in known:
            return meant, hint
    cut_short = [name for name in known if name.startswith(argument.lower())]
    close = cut_short or difflib.get_close_matches(argument.lower(), known, n=1)
    return (close[0] if close else None), None


@functools.cache
def hints() -> dict[str, list[tuple[str, str | None]]]:
    """The likely meanings of each wrong name, the likeliest first; R reads the same file."""
    text = resources.files("kerasgd").joinpath("argument-hints.csv").read_text("utf-8")
    known: dict[str, list[tuple[str, str | None]]] = {}
    for row in csv.DictReader(text.splitlines()):
        known.setdefault(row["misspelt"], []).append((row["meant"], row["hint"] or None))
    return known


def beyond_ours(extra: Mapping[str, object], accepted: Callable[..., object]) -> dict[str, object]:
    """The entries of `extra` that `accepted`, the installed Keras class, accepts (12.6)."""
    named = inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY
    parameters = inspect.signature(accepted).parameters.values()
    names = {parameter.name for parameter in parameters if parameter.kind in named}
    return {name: value for name, value in extra.items() if name in names}


def check_not_called_by_keras(optimizer: type) -> None:
    """Refuse `compile(optimizer=SGD)`, which passes the class; the constructor calls this.

    Keras 3.16 and later call the class themselves, so training would silently use the default
    arguments. They do so in `keras.optimizers.get()`, which calls our constructor in no other case:
    a string names one of Keras' own optimizers, and a file goes through `from_config()`.

    Raises:
        ArgumentTypeError: Keras called the constructor.
    """
    frame: types.FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_name == "__init__":  # ours and a subclass's
        frame = frame.f_back  # None when R calls
    if frame is not None and frame.f_code is keras.optimizers.get.__code__:
        hint = f"Call it: `{optimizer.__name__}()`."
        raise ArgumentTypeError("optimizer", "an optimizer", optimizer, hint)
