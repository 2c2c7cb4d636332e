"""The cases that are measured by default: those that are informative.

All cases together take hours: a first call of TensorFlow with 1,000 variables takes a minute, and a
step of eager Keras takes seconds.
"""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.configurations import CONFIGURATIONS
from benchmarks.options import Options
from benchmarks.workloads import WORKLOADS

Case = tuple[str, str, str]

# `clipnorm` differs from `global_clipnorm` in the work of XLA: each norm belongs to one gradient.
USUAL = [name for name in CONFIGURATIONS if name != "clipnorm"]

CASES: dict[str, dict[tuple[str, str], list[str]]] = {
    "tensorflow": {
        ("graph", "resnet"): USUAL,
        ("graph", "large"): ["plain", "everything-nesterov"],
        ("graph", "tiny"): ["momentum"],
        ("graph", "few"): ["plain", "everything"],
        ("graph", "embedding"): ["plain", "momentum", "nesterov"],
        ("xla", "resnet"): ["plain", "momentum", "everything"],
        ("xla", "embedding"): ["momentum", "nesterov"],
        ("eager", "resnet"): ["momentum", "everything"],
        ("eager", "tiny"): ["momentum"],
        ("eager", "few"): ["plain", "everything"],
    },
    "jax": {
        ("jit", "resnet"): list(CONFIGURATIONS),
        ("jit", "large"): ["plain", "everything-nesterov"],
        ("jit", "tiny"): ["momentum", "clipnorm", "everything"],
        ("jit", "few"): ["plain", "everything"],
    },
    "torch": {
        ("eager", "resnet"): USUAL,
        ("eager", "large"): ["plain", "everything-nesterov"],
        ("eager", "tiny"): ["plain", "momentum", "everything"],
        ("eager", "few"): ["plain", "momentum", "everything"],
    },
}


def cases(backend: str, modes: list[str], options: Options) -> Iterator[Case]:
    """The mode, the workload and the configuration of each case."""
    for mode in modes:
        for workload in WORKLOADS:
            # Only TensorFlow has sparse gradients.
            if workload == "embedding" and backend != "tensorflow":
                continue
            for configuration in CONFIGURATIONS:
                usual = configuration in CASES[backend].get((mode, workload), [])
                if (usual or options.all_cases) and options.wants(
                    mode=mode, workload=workload, configuration=configuration
                ):
                    yield mode, workload, configuration
