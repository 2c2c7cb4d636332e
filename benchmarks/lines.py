"""Groups the rows of the result files for tables and plots."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from benchmarks.results import Row

# The contents of result files, by backend.
Files = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Case:
    """One case.

    Attributes:
        names: the parts of its name.
        rows: its rows by contender.
    """

    backend: str
    names: list[str]
    rows: dict[str, Row]

    @property
    def row(self) -> Row:
        """The row of the only contender."""
        (row,) = self.rows.values()
        return row


def by_case(files: Files) -> Iterator[Case]:
    for backend, file in files.items():
        cases: dict[tuple[str, ...], dict[str, Row]] = {}
        for row in file["rows"]:
            cases.setdefault(tuple(row["case"]), {})[row["contender"]] = row
        for names, rows in cases.items():
            yield Case(backend, list(names), rows)


def by_contender(files: Files) -> Iterator[Case]:
    for case in by_case(files):
        for name, row in case.rows.items():
            yield replace(case, rows={name: row})


@dataclass(frozen=True)
class Line:
    """One contender at all sizes of the growing quantity, from the smallest."""

    backend: str
    quantity: str
    contender: str
    rows: list[Row]


def by_quantity(files: Files) -> Iterator[Line]:
    for backend, file in files.items():
        lines: dict[tuple[str, str], list[Row]] = {}
        for row in file["rows"]:
            lines.setdefault((row["case"][0], row["contender"]), []).append(row)
        for (quantity, name), rows in lines.items():
            yield Line(backend, quantity, name, sorted(rows, key=lambda row: row["case"][1]))
