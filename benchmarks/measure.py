"""One update: its time compared with Keras and the floor, and its first call."""

from __future__ import annotations

import gc
import statistics
from collections.abc import Iterator

from benchmarks.cases import cases
from benchmarks.comparison import OURS, compare, quantiles
from benchmarks.configurations import CONFIGURATIONS, Configuration
from benchmarks.contenders import BACKEND, CONTENDERS, MODES, Contender, Maker, settle
from benchmarks.floor import FLOOR, Unavailable, floor_step
from benchmarks.numerics import check_equal
from benchmarks.options import Options
from benchmarks.results import Row
from benchmarks.timing import Effort, Step, duration, interleaved
from benchmarks.workloads import WORKLOADS, Workload

# After two updates in float32.
TOLERANCE = 1e-5


def rows(options: Options) -> Iterator[list[Row]]:
    for mode, workload, configuration in cases(BACKEND, MODES, options):
        yield [
            {"case": [mode, workload, configuration], **row}
            for row in measured(
                WORKLOADS[workload](options.scale),
                CONFIGURATIONS[configuration],
                mode,
                options.effort,
            )
        ]


def measured(
    workload: Workload, configuration: Configuration, mode: str, effort: Effort
) -> list[Row]:
    contenders, first_calls = started(CONTENDERS, workload, configuration, mode)
    settle(contenders[OURS].step, mode)
    times = interleaved(
        {name: c.step for name, c in contenders.items()} | floor(workload, configuration), effort
    )
    floor_times = times.pop(FLOOR, None)
    result: list[Row] = []
    for name, comparison in compare(times).items():
        row: Row = {
            "contender": name,
            **comparison.row(),
            **quantiles(times[name]),
            "first call s": first_calls[name],
            "rounds": len(times[name]),
        }
        if floor_times is not None:
            row["of floor"] = 1000 * statistics.median(floor_times) / comparison.milliseconds
        result.append(row)
    return result


def started(
    makers: dict[str, Maker], workload: Workload, configuration: Configuration, mode: str
) -> tuple[dict[str, Contender], dict[str, float]]:
    """The available contenders, checked for equal weights, and the seconds of their first calls."""
    # Free the contenders of the last case, which are large and refer to one another.
    gc.collect()
    contenders: dict[str, Contender] = {}
    first_calls: dict[str, float] = {}
    for name, make in makers.items():
        try:
            contenders[name] = make(workload, configuration, mode)
        except Unavailable as reason:
            print(f"  without {name}: {reason}")
            continue
        first_calls[name] = duration(contenders[name].step)
    for contender in contenders.values():
        contender.step()
    check_equal({name: c.weights() for name, c in contenders.items()}, TOLERANCE)
    return contenders, first_calls


def floor(workload: Workload, configuration: Configuration) -> dict[str, Step]:
    """The floor as a further step to time, if it is available."""
    if workload.rows is not None:
        return {}
    try:
        return {FLOOR: floor_step(workload, configuration)}
    except Unavailable as reason:
        print(f"  without a floor: {reason}")
        return {}
