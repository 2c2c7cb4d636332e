"""Timing several contenders in interleaved rounds."""

from __future__ import annotations

import gc
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

Step = Callable[[], object]
# Fewer have no interval, see `comparison.Interval`.
FEWEST_ROUNDS = 7
# What takes less is done several times at once.
SHORTEST = 0.005
# For so long threads may wait busily for more work, and would slow down who comes next.
REST = 0.01


@dataclass(frozen=True)
class Effort:
    """So many rounds; fewer where they would take longer than so many seconds."""

    rounds: int
    seconds: float

    def rounds_of(self, seconds: float) -> int:
        """How many, if one takes so long; decided before the first, or it would bias the times."""
        return min(self.rounds, max(FEWEST_ROUNDS, int(self.seconds / seconds)))


def duration(step: Step) -> float:
    begin = time.perf_counter()
    step()
    return time.perf_counter() - begin


def interleaved(steps: Mapping[str, Step], effort: Effort) -> dict[str, list[float]]:
    """The times of all, one a round, so that what disturbs disturbs all alike."""
    once = {name: duration(step) for name, step in steps.items()}
    repeats = {name: max(1, round(SHORTEST / seconds)) for name, seconds in once.items()}
    rounds = effort.rounds_of(sum(REST + max(SHORTEST, seconds) for seconds in once.values()))
    times: dict[str, list[float]] = {name: [] for name in steps}
    # To follow a certain other one may be a disadvantage: it leaves caches and threads behind.
    generator = random.Random(1)
    gc.collect()
    gc.disable()
    try:
        for _ in range(rounds):
            for name in generator.sample(list(steps), len(steps)):
                times[name].append(_mean(steps[name], repeats[name]))
    finally:
        gc.enable()
    return times


def _mean(step: Step, repeats: int) -> float:
    time.sleep(REST)
    begin = time.perf_counter()
    for _ in range(repeats):
        step()
    return (time.perf_counter() - begin) / repeats
