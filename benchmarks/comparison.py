"""What times say: how many times as fast, with what certainty, and whether that is a difference."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.results import Row

# Keras twice: how far the two are apart is how far apart equals are on this machine.
BASELINE, AGAIN, OURS = "keras", "keras again", "kerasgd"
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Interval:
    """A median with the interval that holds the true one in at least 95 of 100 cases.

    It lies between two of the sorted values: how many values are below the true median is
    binomial, whatever their distribution. Fewer than 6 values are too few; then it holds all.
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
    """How many values at either end the interval can do without."""
    tail, k = 0.5**n, 0
    while 2 * tail <= 1 - CONFIDENCE:
        k += 1
        tail += math.comb(n, k) * 0.5**n
    return max(0, k - 1)


@dataclass(frozen=True)
class Comparison:
    """One contender against Keras.

    Attributes:
        milliseconds: median time.
        ratio: how many times as fast as Keras.
        verdict: in words; empty for Keras itself.
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


def compare(
    times: Mapping[str, Sequence[float]], baseline: str = BASELINE, again: str = AGAIN
) -> dict[str, Comparison]:
    """Each against `baseline`, round by round; `again` says what is no difference."""

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
