"""Times several contenders in interleaved rounds."""

from __future__ import annotations

import gc
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

Step = Callable[[], object]
# Fewer rounds give no interval, see `comparison.Interval`.
FEWEST_ROUNDS = 7
# In seconds: a faster step is repeated, and timed as one.
SHORTEST = 0.005
# In seconds: threads may busy-wait this long for more work, and would slow down the next contender.
REST = 0.01


@dataclass(frozen=True)
class Effort:
    """The number of rounds; fewer if they would take longer than this many seconds."""

    rounds: int
    seconds: float

    def rounds_of(self, seconds: float) -> int:
        """The number of rounds, given the time of one; fixed beforehand, to avoid biased times."""
        return min(self.rounds, max(FEWEST_ROUNDS, int(self.seconds / seconds)))


def duration(step: Step) -> float:
    begin = time.perf_counter()
    step()
    return time.perf_counter() - begin


def interleaved(steps: Mapping[str, Step], effort: Effort) -> dict[str, list[float]]:
    """The times of all contenders, interleaved, so that disturbances affect all of them equally."""
    once = {name: duration(step) for name, step in steps.items()}
    repeats = {name: max(1, round(SHORTEST / seconds)) for name, seconds in once.items()}
    rounds = effort.rounds_of(sum(REST + max(SHORTEST, seconds) for seconds in once.values()))
    times: dict[str, list[float]] = {name: [] for name in steps}
    # A random order, because a contender leaves caches and threads behind for the next one.
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
