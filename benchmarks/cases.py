"""Which cases are measured unless others are asked for: those that tell something new.

All of them together take hours: TensorFlow's first calls with 1,000 variables a minute each, a
step of eager Keras seconds.
"""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.configurations import CONFIGURATIONS
from benchmarks.options import Options
from benchmarks.workloads import WORKLOADS

Case = tuple[str, str, str]

CASES: dict[str, dict[tuple[str, str], list[str]]] = {
    "tensorflow": {
        ("graph", "resnet"): list(CONFIGURATIONS),
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
        ("jit", "tiny"): ["momentum", "everything"],
        ("jit", "few"): ["plain", "everything"],
    },
    "torch": {
        ("eager", "resnet"): list(CONFIGURATIONS),
        ("eager", "large"): ["plain", "everything-nesterov"],
        ("eager", "tiny"): ["plain", "momentum", "everything"],
        ("eager", "few"): ["plain", "momentum", "everything"],
    },
}


def cases(backend: str, modes: list[str], options: Options) -> Iterator[Case]:
    """Mode, workload and configuration of each."""
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
