"""The options of the command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from benchmarks.timing import Effort


@dataclass(frozen=True)
class Options:
    """The extent of the measurement.

    Attributes:
        scale: the size of the workloads.
        only: selected names for "mode", "workload" and "configuration"; all names if missing.
        all_cases: whether to include the cases that `cases.py` omits.
    """

    effort: Effort
    scale: float = 1.0
    only: Mapping[str, Sequence[str]] = field(default_factory=dict)
    all_cases: bool = False

    def wants(self, **names: str) -> bool:
        return all(name in self.only.get(kind, [name]) for kind, name in names.items())
