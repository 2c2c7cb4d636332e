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
from benchmarks.workloads import WORKLOADS

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
        wanted = options.wants(mode=mode, workload=workload, configuration=CONFIGURATION)
        # XLA takes half a minute to compile the optimizers.
        if wanted and (mode, workload) != ("xla", "resnet"):
            yield from _of_update(mode, workload, options)
    if options.wants(workload="mlp", configuration="plain"):
        yield _of_fit(options)


def _of_update(mode: str, name: str, options: Options) -> Iterator[list[Row]]:
    workload = WORKLOADS[name](options.scale)

    def step(add: Addition | None) -> Callable[[], Any]:
        variables = [keras.Variable(w) for w in workload.weights()]
        optimizer = kerasgd.SGD(RATE, **CONFIGURATIONS[CONFIGURATION])
        if add is not None:
            add(optimizer, variables)
        own = optimizer_step(optimizer, variables, workload, mode).step
        own()
        settle(own, mode)
        return own

    additions = {what: step(addition) for what, addition in ADDITIONS.items()}
    times = interleaved({WITHOUT: step(None), AGAIN: step(None), **additions}, options.effort)
    for what in ADDITIONS:
        chosen = {WITHOUT: times[WITHOUT], AGAIN: times[AGAIN], WITH: times[what]}
        yield _rows([mode, name, what], chosen)


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
    times = interleaved(epochs, options.effort)
    return _rows(["fit()", "mlp", "statistics and callback"], times)


def _rows(case: list[str], times: dict[str, list[float]]) -> list[Row]:
    return [
        {"case": case, "contender": name, **comparison.row()}
        for name, comparison in compare(times, WITHOUT, AGAIN).items()
    ]
