"""The cost of groups, statistics and skipping in an update, and of statistics in `fit()`."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import keras

import kerasgd
from benchmarks.comparison import compare
from benchmarks.configurations import CONFIGURATIONS, EVERYTHING, RATE
from benchmarks.contenders import BACKEND, MODES, optimizer_step, settle
from benchmarks.fit import BATCH, STEPS, compiled, data, mlp
from benchmarks.options import Options
from benchmarks.results import Row
from benchmarks.timing import interleaved
from benchmarks.workloads import WORKLOADS, Workload

WITHOUT, AGAIN, WITH = "without", "without again", "with"
# Contract 15.5 limits the cost with every tenth update measured.
EVERY = 10
CONFIGURATION = {"jax": "momentum"}.get(BACKEND, "everything")


def with_groups(optimizer: kerasgd.SGD, variables: list[Any]) -> None:
    for i in range(3):
        optimizer.set_group(variables[i::3], learning_rate_factor=1 - i / 4)


def with_statistics(optimizer: kerasgd.SGD, variables: list[Any]) -> None:
    optimizer.track_statistics(every=EVERY)


def with_skipping(optimizer: kerasgd.SGD, variables: list[Any]) -> None:
    optimizer.skip_nonfinite()


Addition = Callable[[kerasgd.SGD, list[Any]], None]
ADDITIONS: dict[str, Addition] = {
    "three groups": with_groups,
    "statistics": with_statistics,
    "skipping": with_skipping,
}


def rows(options: Options) -> Iterator[list[Row]]:
    for mode, workload in itertools.product(MODES, ("resnet", "few")):
        # XLA takes half a minute to compile the three optimizers of each addition.
        if (mode, workload) != ("xla", "resnet"):
            for name, addition in ADDITIONS.items():
                if options.wants(mode=mode, workload=workload, configuration=CONFIGURATION):
                    make = WORKLOADS[workload](options.scale)
                    yield _of_update(mode, workload, make, name, addition, options)
    if options.wants(workload="mlp", configuration="plain"):
        yield _of_fit(options)


def _of_update(
    mode: str, name: str, workload: Workload, what: str, addition: Addition, options: Options
) -> list[Row]:
    def step(add: Addition | None) -> Callable[[], Any]:
        variables = [keras.Variable(w) for w in workload.weights()]
        optimizer = kerasgd.SGD(RATE, **CONFIGURATIONS[CONFIGURATION])
        if add is not None:
            add(optimizer, variables)
        own = optimizer_step(optimizer, variables, workload, mode).step
        own()
        settle(own, mode)
        return own

    steps = {WITHOUT: step(None), AGAIN: step(None), WITH: step(addition)}
    return _rows([mode, name, what], steps, options)


def _of_fit(options: Options) -> list[Row]:
    x, y = data(max(1, round(STEPS * options.scale)))

    def epoch(tracks: bool) -> Callable[[], Any]:
        optimizer = kerasgd.SGD(RATE, **({} if BACKEND == "jax" else EVERYTHING))
        callbacks = []
        if tracks:
            optimizer.track_statistics(every=EVERY)
            callbacks = [kerasgd.callbacks.Statistics()]
        model = compiled(mlp, optimizer)
        fit = functools.partial(
            model.fit, x, y, batch_size=BATCH, shuffle=False, verbose=0, callbacks=callbacks
        )
        fit()
        return fit

    epochs = {WITHOUT: epoch(False), AGAIN: epoch(False), WITH: epoch(True)}
    return _rows(["fit()", "mlp", "statistics and callback"], epochs, options)


def _rows(case: list[str], steps: dict[str, Callable[[], Any]], options: Options) -> list[Row]:
    times = interleaved(steps, options.effort)
    return [
        {"case": case, "contender": name, **comparison.row()}
        for name, comparison in compare(times, WITHOUT, AGAIN).items()
    ]
