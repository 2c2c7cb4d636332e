"""Compares times: the speed ratio, its confidence interval, and whether it is a difference."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.results import Row

# Keras is timed twice: the ratio of the two shows the noise on this machine.
BASELINE, AGAIN, OURS = "keras", "keras again", "kerasgd"
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Interval:
    """A median with its confidence interval of at least 95 %.

    The bounds are two of the sorted values: the number of values below the true median is
    binomial, whatever their distribution. With fewer than 6 values, the bounds are the lowest and
    the highest.
    """

    low: float
    median: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Interval:
        ordered = sorted(values)
        left_out = _left_out(len(ordered))
        return cls(ordered[left_out], statistics.median(ordered), ordered[-1 - left_out])

    def overlaps(self, other: Interval) -> bool:
        return self.low <= other.high and other.low <= self.high


def _left_out(n: int) -> int:
    """The number of values at either end that lie outside the interval."""
    tail, k = 0.5**n, 0
    while 2 * tail <= 1 - CONFIDENCE:
        k += 1
        tail += math.comb(n, k) * 0.5**n
    return max(0, k - 1)


@dataclass(frozen=True)
class Comparison:
    """One contender against Keras.

    Attributes:
        milliseconds: the median time.
        ratio: the time of Keras divided by the time of this contender.
        verdict: the ratio in words; empty for Keras itself.
    """

    milliseconds: float
    ratio: Interval
    verdict: str

    def row(self) -> Row:
        return {
            "ms": self.milliseconds,
            "ratio": self.ratio.median,
            "low": self.ratio.low,
            "high": self.ratio.high,
            "verdict": self.verdict,
        }


def quantiles(times: Sequence[float]) -> Row:
    """The 10 % and 90 % quantiles of the times, in milliseconds.

    Stalls of threads, which a median hides, show in the latter.
    """
    tenths = statistics.quantiles(times, n=10, method="inclusive")
    return {"ms of a tenth": 1000 * tenths[0], "ms of nine tenths": 1000 * tenths[-1]}


def compare(
    times: Mapping[str, Sequence[float]], baseline: str = BASELINE, again: str = AGAIN
) -> dict[str, Comparison]:
    """Compare each contender with `baseline`, round by round; `again` shows the noise."""

    def ratio(name: str) -> Interval:
        return Interval.of([a / b for a, b in zip(times[baseline], times[name], strict=True)])

    twice = ratio(again)
    equals = Interval(min(twice.low, 1), 1, max(twice.high, 1))
    return {
        name: Comparison(
            1000 * statistics.median(own),
            ratio(name),
            "" if name in (baseline, again) else verdict(ratio(name), equals),
        )
        for name, own in times.items()
    }


def verdict(ratio: Interval, equals: Interval) -> str:
    if ratio.overlaps(equals):
        return "no difference"
    return "faster" if ratio.low > equals.high else "slower"
