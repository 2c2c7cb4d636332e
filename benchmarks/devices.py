"""An update on 1, 2 and 4 virtual devices of JAX on one processor, with replicated weights.

The devices share the cores and the memory. Without further overhead, the time is proportional to
the number of copies that are updated.
"""

from __future__ import annotations

from collections.abc import Iterator

import keras

import kerasgd
from benchmarks.comparison import Interval
from benchmarks.configurations import CONFIGURATIONS, RATE
from benchmarks.contenders import BACKEND, optimizer_step
from benchmarks.options import Options
from benchmarks.results import Row
from benchmarks.timing import Step, interleaved
from benchmarks.workloads import WORKLOADS, Workload

NUMBERS = (1, 2, 4)
# `tools/bench.sh` sets it for JAX.
FLAG = f"--xla_force_host_platform_device_count={NUMBERS[-1]}"


def rows(options: Options) -> Iterator[list[Row]]:
    if BACKEND != "jax":
        return
    for name in ("plain", "momentum", "everything"):
        if options.wants(mode="jit", workload="resnet", configuration=name):
            workload = WORKLOADS["resnet"](options.scale)
            steps = {str(number): _step(number, workload, name) for number in NUMBERS}
            times = interleaved(steps, options.effort)
            yield [
                {
                    "case": ["jit", "resnet", name],
                    "contender": number,
                    "ms": 1000 * Interval.of(its_times).median,
                    "low": 1000 * Interval.of(its_times).low,
                    "high": 1000 * Interval.of(its_times).high,
                }
                for number, its_times in times.items()
            ]


def _step(number: int, workload: Workload, configuration: str) -> Step:
    """One update on `number` devices, with equal gradients on all, as after an all-reduce."""
    devices = keras.distribution.list_devices()[:number]
    if len(devices) < number:
        raise RuntimeError(f"JAX has {len(devices)} devices: start it with XLA_FLAGS={FLAG}.")
    mesh = keras.distribution.DeviceMesh((number,), ["batch"], devices)
    with keras.distribution.DataParallel(device_mesh=mesh).scope():
        variables = [keras.Variable(w) for w in workload.weights()]
        optimizer = kerasgd.SGD(RATE, **CONFIGURATIONS[configuration])
        step = optimizer_step(optimizer, variables, workload, "jit").step
        step()
    return step
