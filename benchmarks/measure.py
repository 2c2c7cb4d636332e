"""Timing several contenders in interleaved rounds, after their numbers were compared."""

from __future__ import annotations

import ctypes
import gc
import math
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from benchmarks.configurations import Configuration
from benchmarks.contenders import AGAIN, BASELINE, CONTENDERS, Contender
from benchmarks.floor import Unavailable, floor_step
from benchmarks.workloads import Workload


@dataclass(frozen=True)
class Interval:
    """A median with the interval that holds the true one in 95 of 100 cases."""

    low: float
    median: float
    high: float

    @classmethod
    def of(cls, values: list[float]) -> Interval:
        ordered = sorted(values)
        n = len(ordered)
        # Of the order statistics: the number below the median is binomial.
        reach = 0.98 * math.sqrt(n)
        low = max(0, math.floor(n / 2 - reach))
        high = min(n - 1, math.ceil(n / 2 + reach))
        return cls(ordered[low], statistics.median(ordered), ordered[high])

    def overlaps(self, other: Interval) -> bool:
        return self.low <= other.high and other.low <= self.high


@dataclass(frozen=True)
class Result:
    """One contender in one case.

    Attributes:
        milliseconds: median time of a step.
        ratio: how many times as fast as Keras.
        differs: whether the ratio lies outside of what Keras shows against itself.
        of_floor: the floor's time, as part of this one's; None without a floor.
        first_call: seconds of the first step, compiling included.
        temporary: megabytes that a step takes beyond what is there before and after.
    """

    name: str
    milliseconds: float
    ratio: Interval
    differs: bool
    of_floor: float | None
    first_call: float
    temporary: float


def compare(
    workload: Workload, configuration: Configuration, mode: str, rounds: int
) -> tuple[list[Result], list[str]]:
    """The results, and why some contenders have none."""
    contenders: dict[str, Contender] = {}
    first_calls, absent = {}, []
    for name, make in CONTENDERS.items():
        try:
            contenders[name] = make(workload, configuration, mode)
        except Unavailable as reason:
            absent.append(f"{name}: {reason}")
            continue
        first_calls[name] = _seconds(contenders[name].step)
    _check_numbers(contenders)
    temporary = {name: _temporary_megabytes(c.step) for name, c in contenders.items()}
    steps = {name: c.step for name, c in contenders.items()}
    if workload.rows is None:
        try:
            steps["floor"] = floor_step(workload, configuration)
        except Unavailable as reason:
            absent.append(f"floor: {reason}")
    times = _interleaved(steps, rounds)
    results = [_result(name, times, first_calls[name], temporary[name]) for name in contenders]
    return results, absent


def _result(
    name: str, times: Mapping[str, list[float]], first_call: float, temporary: float
) -> Result:
    def ratio(other: str) -> Interval:
        return Interval.of([a / b for a, b in zip(times[BASELINE], times[other], strict=True)])

    floor = times.get("floor")
    median = statistics.median(times[name])
    return Result(
        name=name,
        milliseconds=1000 * median,
        ratio=ratio(name),
        differs=not ratio(name).overlaps(ratio(AGAIN)),
        of_floor=None if floor is None else statistics.median(floor) / median,
        first_call=first_call,
        temporary=temporary,
    )


def _seconds(step: Callable[[], object]) -> float:
    begin = time.perf_counter()
    step()
    return time.perf_counter() - begin


def _interleaved(steps: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """The times of all, one step each a round, so that what disturbs disturbs all alike."""
    # Several steps at once where one is too short for the clock.
    repeats = {name: max(1, round(0.005 / _seconds(step))) for name, step in steps.items()}
    times: dict[str, list[float]] = {name: [] for name in steps}
    names = list(steps)
    gc.disable()
    try:
        for i in range(rounds):
            # Each is first in turn: to follow another one may be a disadvantage.
            for name in names[i % len(names) :] + names[: i % len(names)]:
                begin = time.perf_counter()
                for _ in range(repeats[name]):
                    steps[name]()
                times[name].append((time.perf_counter() - begin) / repeats[name])
    finally:
        gc.enable()
    return times


def _check_numbers(contenders: Mapping[str, Contender]) -> None:
    """After one more step all have the weights that Keras has.

    Raises:
        AssertionError: one has not.
    """
    for contender in contenders.values():
        contender.step()
    expected = contenders[BASELINE].weights()
    for name, contender in contenders.items():
        for ours, theirs in zip(contender.weights(), expected, strict=True):
            error = np.max(np.abs(ours - theirs))
            assert error <= 1e-5 * np.max(np.abs(theirs)), f"{name} is off by {error}"


def _temporary_megabytes(step: Callable[[], object]) -> float:
    """How far memory rises in a step (Linux)."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    with open("/proc/self/clear_refs", "w") as peak:
        peak.write("5")  # the peak begins anew
    before = _memory("VmRSS")
    step()
    return _memory("VmHWM") - before


def _memory(kind: str) -> float:
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) / 1024 for line in status if line.startswith(kind))
