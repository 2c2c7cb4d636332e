"""Runs checks, and summarises them by clause."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import keras

from kerasgd.conformance.checks import (
    CHECKS,
    Check,
    Comparison,
    Comparisons,
    NotTestedHere,
    unexpected,
)
from kerasgd.conformance.clauses import CLAUSES, claiming_method
from kerasgd.conformance.subjects import Subject

HOLDS, FAILS = "holds", "fails"
# The statuses that do not count.
NOT_TESTED, NOT_CLAIMED = "not tested here", "not claimed"

SECTIONS = (
    "update_rule",
    "learning_rate",
    "replaced_rates",
    "weight_decay",
    "clipping",
    "ema",
    "loss_scale",
    "accumulation",
    "precision",
    "persistence",
    "loading",
    "loaded_models",
    "other_classes",
    "replicas",
    "workers",
    "sparse",
    "argument_rules",
    "keras_citizen",
    "subclasses",
    "groups",
    "variable_groups",
    "statistics",
    "nonfinite",
    "rate_search",
    "explained_steps",
    "resuming",
)
for _section in SECTIONS:
    importlib.import_module(f"kerasgd.conformance.{_section}")


@dataclass(frozen=True)
class Result:
    """The result of a check or of a clause.

    Attributes:
        clause: the number of the clause.
        sentence: its sentence.
        status: `"holds"`, `"fails"`, `"not tested here"` or `"not claimed"`.
        where: on failure, the comparison that failed.
        expected: on failure, the expected result.
        actual: on failure, the actual result; if not tested or not claimed, the reason.
        deviations: on failure, the deviations of stock Keras that cause it.
    """

    clause: str
    sentence: str
    status: str
    where: str | None = None
    expected: str | None = None
    actual: str | None = None
    deviations: tuple[str, ...] = ()

    def as_record(self) -> dict[str, Any]:
        """The fields, for JSON."""
        return asdict(self)


def run_check(check: Check, subject: Subject) -> Result:
    """Run one check; an error in the check is a failure."""
    clause, sentence = check.clause, CLAUSES[check.clause]
    try:
        with _clean_state():
            failure = _first_failure(check.compare(subject))
    except NotTestedHere as reason:
        return Result(clause, sentence, NOT_TESTED, actual=str(reason))
    except Exception as error:
        failure = unexpected(check.name, error)
    if failure is None:
        return Result(clause, sentence, HOLDS)
    return Result(
        clause, sentence, FAILS, failure.where, failure.expected, failure.actual, check.deviations
    )


def _first_failure(comparisons: Comparisons) -> Comparison | None:
    compared = False
    for comparison in comparisons:
        compared = True
        if not comparison.holds:
            return comparison
    if not compared:
        raise LookupError("The check compares nothing.")
    return None


@contextlib.contextmanager
def _clean_state() -> Iterator[None]:
    """Isolate a check from the others: names of layers, dtype policy, warning filters."""
    keras.utils.clear_session(free_memory=False)
    policy, floatx = keras.config.dtype_policy(), keras.config.floatx()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            keras.config.set_floatx(floatx)
            keras.config.set_dtype_policy(policy)


def run_clause(clause: str, subject: Subject) -> Result:
    """Run the checks of a clause, which holds if all of them hold.

    A clause beyond the documentation of Keras applies only to classes with the method that claims
    it.
    """
    method = claiming_method(clause)
    if method is not None and not hasattr(subject.optimizer, method):
        return Result(clause, CLAUSES[clause], NOT_CLAIMED, actual=f"it has no `{method}()`")
    return in_one([run_check(check, subject) for check in CHECKS if check.clause == clause])


def in_one(results: Sequence[Result]) -> Result:
    """Combine the results of a clause's checks: the first failure, with the deviations of all."""
    for status in (FAILS, HOLDS, NOT_TESTED):
        found = [result for result in results if result.status == status]
        if found:
            deviations = sorted({d for r in found for d in r.deviations}, key=lambda d: int(d[1:]))
            return Result(**{**found[0].as_record(), "deviations": tuple(deviations)})
    raise LookupError("No check, no result.")


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Discard the standard error stream of libraries, including output from C++."""
    sys.stderr.flush()
    stream = sys.__stderr__.fileno() if sys.__stderr__ else 2
    kept = os.dup(stream)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), stream)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(kept, stream)
        os.close(kept)
