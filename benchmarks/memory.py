"""The temporary memory of a step: its peak above the memory before and after (Linux, glibc)."""

from __future__ import annotations

import ctypes
import gc
import statistics
from collections.abc import Iterator

from benchmarks.comparison import AGAIN
from benchmarks.configurations import CONFIGURATIONS
from benchmarks.contenders import BACKEND, CONTENDERS
from benchmarks.measure import started
from benchmarks.options import Options
from benchmarks.results import Row
from benchmarks.timing import Step
from benchmarks.workloads import WORKLOADS

CASES = {
    "tensorflow": [("graph", "momentum"), ("graph", "everything"), ("xla", "everything")],
    "jax": [("jit", "momentum"), ("jit", "everything")],
    "torch": [("eager", "momentum"), ("eager", "everything")],
}[BACKEND]
REPEATS = 7
M_MMAP_THRESHOLD = -3
MEGABYTE = 2**20


def rows(options: Options) -> Iterator[list[Row]]:
    return_memory_at_once()
    workload = WORKLOADS["resnet"](options.scale)
    makers = {name: make for name, make in CONTENDERS.items() if name != AGAIN}
    for mode, configuration in CASES:
        if not options.wants(mode=mode, configuration=configuration):
            continue
        contenders, _ = started(makers, workload, CONFIGURATIONS[configuration], mode)
        yield [
            {
                "case": [mode, "resnet", configuration],
                "contender": name,
                **_row([temporary(contender.step) for _ in range(REPEATS)]),
                "weights MB": 4 * workload.parameters / MEGABYTE,
            }
            for name, contender in contenders.items()
        ]


def _row(megabytes: list[float]) -> Row:
    return {
        "temporary MB": statistics.median(megabytes),
        "lowest MB": min(megabytes),
        "highest MB": max(megabytes),
    }


def return_memory_at_once() -> None:
    """Make the allocator return freed memory to the system, so that each step's need shows.

    Otherwise the allocator keeps blocks of up to 32 MB for the next step. This setting slows steps
    down, so nothing is timed in such a process.
    """
    ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, 64 * 1024)


def temporary(step: Step) -> float:
    """Megabytes."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    with open("/proc/self/clear_refs", "w") as peak:
        peak.write("5")  # resets the peak
    before = _resident("VmRSS")
    step()
    return _resident("VmHWM") - before


def _resident(kind: str) -> float:
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) / 1024 for line in status if line.startswith(kind))
