"""The time to create an optimizer and its state."""

from __future__ import annotations

from collections.abc import Iterator

import keras

from benchmarks.comparison import compare
from benchmarks.configurations import CONFIGURATIONS, RATE
from benchmarks.contenders import OPTIMIZERS
from benchmarks.options import Options
from benchmarks.results import Row
from benchmarks.timing import interleaved
from benchmarks.workloads import WORKLOADS

# Other configurations only create more variables of the same kind, in minutes on TensorFlow.
CONFIGURED = ["momentum"]


def rows(options: Options) -> Iterator[list[Row]]:
    variables = [keras.Variable(w) for w in WORKLOADS["tiny"](options.scale).weights()]
    for configuration in CONFIGURED:
        if not options.wants(configuration=configuration):
            continue
        builds = {
            name: lambda cls=cls, given=CONFIGURATIONS[configuration]: cls(RATE, **given).build(
                variables
            )
            for name, cls in OPTIMIZERS.items()
        }
        times = interleaved(builds, options.effort)
        yield [
            {
                "case": [f"{len(variables):,} variables", configuration],
                "contender": name,
                **comparison.row(),
            }
            for name, comparison in compare(times).items()
        ]
