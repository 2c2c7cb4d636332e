"""Defines checks, and the comparisons of expected with actual results.

A check is a generator: it takes the subject, an optimizer class, and yields a `Comparison` for
each result that it tests. It belongs to a clause, which may have several checks, and names the
deviations of stock Keras (`D1`, `D2`, ...) that make it fail.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from kerasgd.conformance.clauses import CLAUSES
from kerasgd.conformance.subjects import Subject
from kerasgd.reference import Array

# Contract 8.2: the bound for float32, relative to the largest expected number.
FLOAT32_BOUND = 2e-6


@dataclass(frozen=True)
class Comparison:
    """An expected and an actual result, as text to print, and whether they agree."""

    where: str
    expected: str
    actual: str
    holds: bool


Comparisons = Iterator[Comparison]


@dataclass(frozen=True)
class Check:
    """A check of one clause, and the deviations of stock Keras that it detects."""

    clause: str
    compare: Callable[[Subject], Comparisons]
    deviations: tuple[str, ...]

    @property
    def name(self) -> str:
        """The module and the function of the check."""
        return f"{self.compare.__module__.rpartition('.')[2]}.{self.compare.__name__}"


class NotTestedHere(Exception):
    """A check cannot run on this backend or machine; the message says why."""


CHECKS: list[Check] = []


def check(
    clause: str, deviations: tuple[str, ...] = ()
) -> Callable[[Callable[[Subject], Comparisons]], Callable[[Subject], Comparisons]]:
    """Register a check of `clause`."""
    if clause not in CLAUSES:
        raise KeyError(clause)

    def register(compare: Callable[[Subject], Comparisons]) -> Callable[[Subject], Comparisons]:
        CHECKS.append(Check(clause, compare, deviations))
        return compare

    return register


def only_on(backend: str, reason: str) -> None:
    """End the check on every other backend."""
    if keras.config.backend() != backend:
        raise NotTestedHere(reason)


def only_of_kerasgd(subject: Subject, function: str) -> None:
    """End the check for every class that is not kerasgd's, because it needs kerasgd's function."""
    if not subject.is_of_kerasgd:
        raise NotTestedHere(f"only kerasgd has `{function}()`")


def only_where_claimed(subject: Subject, method: str) -> None:
    """End the check for a class without this method, which does not claim the clause."""
    if not hasattr(subject.optimizer, method):
        raise NotTestedHere(f"it has no `{method}()`")


# Comparing -------------------------------------------------------------------------------------


def close(where: str, expected: Any, actual: Any, bound: float = FLOAT32_BOUND) -> Comparison:
    """Whether numbers agree within `bound` times the largest expected number.

    Infinities and NaN agree only with themselves.
    """
    wanted, got = np.asarray(expected, np.float64), np.asarray(actual, np.float64)
    if wanted.shape != got.shape:
        return Comparison(where, f"shape {wanted.shape}", f"shape {got.shape}", False)
    with np.errstate(invalid="ignore"):
        distance = np.where(_identical(wanted, got), 0.0, np.abs(got - wanted))
    distance = np.where(np.isnan(distance), np.inf, distance)
    scale = np.max(np.abs(wanted), where=np.isfinite(wanted), initial=0.0)
    holds = bool(np.all(distance <= bound * scale))
    return Comparison(where, *_excerpt(wanted, got, distance), holds)


def same_bits(where: str, expected: Any, actual: Any) -> Comparison:
    """Whether numbers agree exactly."""
    return close(where, expected, actual, bound=0.0)


def equal(where: str, expected: object, actual: object) -> Comparison:
    """Whether two plain values are equal and have the same type."""
    holds = type(expected) is type(actual) and expected == actual
    in_words = text if text(expected) != text(actual) or holds else _with_type
    return Comparison(where, in_words(expected), in_words(actual), holds)


def _with_type(value: object) -> str:
    return f"{text(value)} ({type(value).__name__})"


def _identical(a: Array, b: Array) -> Any:
    return (a == b) | (np.isnan(a) & np.isnan(b))


def _excerpt(wanted: Array, got: Array, distance: Array) -> tuple[str, str]:
    """Both arrays as text; a long array is cut to the numbers around the largest difference."""
    if wanted.size <= 8:
        return text(wanted), text(got)
    worst = int(np.argmax(distance))
    some = slice(max(worst - 1, 0), worst + 2)
    return f"...{text(wanted.ravel()[some])}...", f"...{text(got.ravel()[some])}..."


def text(value: object) -> str:
    """A short text for `value`."""
    if isinstance(value, bool | str | int | type(None)):
        return str(value)
    if isinstance(value, float | np.floating):
        return f"{value:.9g}"
    if isinstance(value, np.ndarray) and value.ndim == 0:
        return text(value.item())
    if isinstance(value, list | tuple | np.ndarray):
        return f"[{', '.join(text(item) for item in value)}]"
    return repr(value)


# Errors and warnings ---------------------------------------------------------------------------


def refused(where: str, call: Callable[[], object], naming: str) -> Comparison:
    """Whether `call` raises a ValueError or TypeError whose message contains `naming`."""
    expected = f"an error that names {naming}"
    try:
        result = call()
    except (ValueError, TypeError) as error:
        return Comparison(where, expected, describe(error), naming in str(error))
    except Exception as error:
        return Comparison(where, expected, describe(error), False)
    return Comparison(where, expected, f"no error, {_in_words(result)}", False)


def stopped(where: str, train: Callable[[], object], naming: str) -> Comparison:
    """Whether training ends with an error whose message contains `naming`.

    Any class is accepted, because compiled functions wrap an error in their own classes.
    """
    expected = f"an error that names {naming}"
    try:
        result = train()
    except Exception as error:
        words = TERMINAL_COLOURS.sub("", str(error))
        return Comparison(where, expected, describe(error), naming in words)
    return Comparison(where, expected, f"no error, {_in_words(result)}", False)


def _in_words(result: object) -> str:
    return "nothing returned" if result is None else f"{type(result).__name__} returned"


def unexpected(where: str, error: BaseException) -> Comparison:
    """The failed comparison for an error in a call that should have worked."""
    return Comparison(where, "no error", describe(error), False)


TERMINAL_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


def describe(error: BaseException) -> str:
    """An error on one short line."""
    message = " ".join(TERMINAL_COLOURS.sub("", str(error)).split())
    return f"{type(error).__name__}: {message[:200]}"


def warned(where: str, call: Callable[[], object], naming: str, times: int = 1) -> Comparison:
    """Whether `call` issues exactly `times` warnings whose message contains `naming`."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call()
    count = sum(naming in str(warning.message) for warning in caught)
    expected = f"{times} warning{'' if times == 1 else 's'} that name{'s' * (times == 1)} {naming}"
    return Comparison(where, expected, str(count), count == times)
