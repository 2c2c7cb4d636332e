"""The floor, `floor.c`: an in-place loop over one buffer of all parameters, if gcc is installed."""

from __future__ import annotations

import concurrent.futures
import ctypes
import functools
import math
import pathlib
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable

import numpy as np

from benchmarks.configurations import RATE, Configuration
from benchmarks.workloads import Workload

FLOOR = "floor"
SOURCE = pathlib.Path(__file__).with_name("floor.c")


class Unavailable(Exception):
    """Something that this machine lacks; the message says what."""


@functools.cache
def _library() -> ctypes.CDLL:
    if shutil.which("gcc") is None:
        raise Unavailable("no gcc for the floor")
    target = pathlib.Path(tempfile.mkdtemp()) / "floor.so"
    options = ["-O3", "-march=native", "-ffast-math", "-fopenmp-simd", "-shared", "-fPIC"]
    subprocess.run(["gcc", *options, "-o", str(target), str(SOURCE), "-lm"], check=True)
    library = ctypes.CDLL(str(target))
    library.squares.restype = ctypes.c_double
    return library


@functools.cache
def _threads() -> concurrent.futures.Executor:
    # Not OpenMP's threads: they busy-wait for more work, which would slow down the next contender.
    return concurrent.futures.ThreadPoolExecutor(2)


def floor_step(workload: Workload, configuration: Configuration) -> Callable[[], None]:
    """The floor's update, on one or two threads, whichever is faster on this machine."""
    if "clipnorm" in configuration:
        raise Unavailable("the floor, one buffer, has no norms of single variables")
    buffers = [np.full(workload.parameters, 0.1, "float32") for _ in range(4)]
    steps = [functools.partial(update, buffers, configuration, threads) for threads in (1, 2)]
    return min(steps, key=_best_of_three)


def _best_of_three(step: Callable[[], None]) -> float:
    def seconds() -> float:
        begin = time.perf_counter()
        step()
        return time.perf_counter() - begin

    return min(seconds() for _ in range(3))


def update(buffers: list[np.ndarray], configuration: Configuration, threads: int) -> None:
    """One update of the four buffers: weights, velocities, averages and gradients."""
    parts = list(zip(*(np.array_split(buffer, threads) for buffer in buffers), strict=True))
    for_each = map if threads == 1 else _threads().map
    rate = RATE
    if "global_clipnorm" in configuration:
        norm = math.sqrt(sum(for_each(_squares, parts)))
        rate *= min(1, configuration["global_clipnorm"] / norm)
    list(for_each(functools.partial(_update_part, configuration, rate), parts))


Part = tuple[np.ndarray, ...]


def _squares(part: Part) -> float:
    gradient = part[3]
    pointer = gradient.ctypes.data_as(ctypes.c_void_p)
    return _library().squares(pointer, ctypes.c_ssize_t(gradient.size))


def _update_part(configuration: Configuration, rate: float, part: Part) -> None:
    w, v, a, g = (buffer.ctypes.data_as(ctypes.c_void_p) for buffer in part)
    n, step = ctypes.c_ssize_t(part[0].size), ctypes.c_float(rate)
    momentum = ctypes.c_float(configuration.get("momentum", 0))
    nesterov = int(configuration.get("nesterov", False))
    if "global_clipnorm" in configuration:
        keep = ctypes.c_float(1 - RATE * configuration["weight_decay"])
        average = ctypes.c_float(configuration["ema_momentum"])
        _library().everything(w, v, a, g, n, step, momentum, nesterov, keep, average)
    elif "momentum" in configuration:
        _library().with_momentum(w, v, g, n, step, momentum, nesterov)
    else:
        _library().plain(w, g, n, step)
