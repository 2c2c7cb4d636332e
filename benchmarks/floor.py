"""The floor: `floor.c`, compiled where there is a compiler, on one buffer of all parameters."""

from __future__ import annotations

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
def _library(threads: int) -> ctypes.CDLL:
    if shutil.which("gcc") is None:
        raise Unavailable("no gcc for the floor")
    target = pathlib.Path(tempfile.mkdtemp()) / f"floor-{threads}.so"
    options = ["-O3", "-march=native", "-ffast-math", "-shared", "-fPIC"]
    options += ["-fopenmp" if threads > 1 else "-fopenmp-simd"]
    subprocess.run(["gcc", *options, "-o", str(target), str(SOURCE), "-lm"], check=True)
    library = ctypes.CDLL(str(target))
    library.squares.restype = ctypes.c_double
    return library


def floor_step(workload: Workload, configuration: Configuration) -> Callable[[], None]:
    """One update at the floor, on one or two threads, whichever is faster here."""
    n = workload.parameters
    buffers = [np.full(n, 0.1, "float32") for _ in range(4)]
    steps = [
        functools.partial(_update, _library(threads), buffers, configuration) for threads in (1, 2)
    ]
    return min(steps, key=_best_of_three)


def _best_of_three(step: Callable[[], None]) -> float:
    def seconds() -> float:
        begin = time.perf_counter()
        step()
        return time.perf_counter() - begin

    return min(seconds() for _ in range(3))


def _update(library: ctypes.CDLL, buffers: list[np.ndarray], configuration: Configuration) -> None:
    w, v, a, g = (b.ctypes.data_as(ctypes.c_void_p) for b in buffers)
    n, rate = ctypes.c_ssize_t(buffers[0].size), ctypes.c_float(RATE)
    momentum = ctypes.c_float(configuration.get("momentum", 0))
    nesterov = int(configuration.get("nesterov", False))
    if "global_clipnorm" in configuration:
        norm = math.sqrt(library.squares(g, n))
        clipped = ctypes.c_float(RATE * min(1, configuration["global_clipnorm"] / norm))
        keep = ctypes.c_float(1 - RATE * configuration["weight_decay"])
        average = ctypes.c_float(configuration["ema_momentum"])
        library.everything(w, v, a, g, n, clipped, momentum, nesterov, keep, average)
    elif "momentum" in configuration:
        library.with_momentum(w, v, g, n, rate, momentum, nesterov)
    else:
        library.plain(w, g, n, rate)
