"""The growth of an update's time with the number of variables and of parameters."""

from __future__ import annotations

import statistics
from collections.abc import Iterator

from benchmarks.comparison import BASELINE, OURS
from benchmarks.configurations import CONFIGURATIONS
from benchmarks.contenders import CONTENDERS, MODES
from benchmarks.measure import floor, started
from benchmarks.options import Options
from benchmarks.results import Row
from benchmarks.timing import interleaved
from benchmarks.workloads import Workload, even

# Compiled if possible: with many variables, an eager step of Keras takes longer than its first call
# in a graph.
MODE = "graph" if "graph" in MODES else MODES[0]
VARIABLES = [10, 30, 100, 300, 1_000]
PARAMETERS = [10**k for k in range(4, 9)]
FIXED_VARIABLES, FIXED_PARAMETERS = 10, 1_000_000


def rows(options: Options) -> Iterator[list[Row]]:
    for variables in _scaled(VARIABLES, options.scale):
        yield _measured("variables", variables, even(variables, FIXED_PARAMETERS), options)
    for parameters in _scaled(PARAMETERS, options.scale):
        yield _measured("parameters", parameters, even(FIXED_VARIABLES, parameters), options)


def _scaled(sizes: list[int], scale: float) -> list[int]:
    return [size for size in sizes if size <= scale * sizes[-1]]


def _measured(quantity: str, size: int, workload: Workload, options: Options) -> list[Row]:
    makers = {name: CONTENDERS[name] for name in (BASELINE, OURS)}
    configuration = CONFIGURATIONS["momentum"]
    contenders, first_calls = started(makers, workload, configuration, MODE)
    steps = {name: c.step for name, c in contenders.items()} | floor(workload, configuration)
    return [
        {
            "case": [quantity, size],
            "contender": name,
            "ms": 1000 * statistics.median(times),
            # The floor needs no first call.
            "first call s": first_calls.get(name, 0.0),
        }
        for name, times in interleaved(steps, options.effort).items()
    ]
