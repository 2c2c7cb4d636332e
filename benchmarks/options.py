"""What can be chosen on the command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from benchmarks.timing import Effort


@dataclass(frozen=True)
class Options:
    """How much to measure.

    Attributes:
        scale: size of what is measured.
        only: names by "mode", "workload" and "configuration"; all of them where it has none.
        all_cases: whether to measure what `cases.py` leaves out, too.
    """

    effort: Effort
    scale: float = 1.0
    only: Mapping[str, Sequence[str]] = field(default_factory=dict)
    all_cases: bool = False

    def wants(self, **names: str) -> bool:
        return all(name in self.only.get(kind, [name]) for kind, name in names.items())
