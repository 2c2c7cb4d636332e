"""Stores the results, in one file for each kind of measurement and backend.

A case that is measured again replaces its old rows, and other rows are kept, so an interrupted run
can resume. Rows of other versions, machines or settings are dropped, so that all rows of a file are
comparable.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import pathlib
import platform
from collections.abc import Iterable, Iterator
from typing import Any

import kerasgd

Row = dict[str, Any]
BACKENDS = ["tensorflow", "jax", "torch"]
PACKAGES = ["keras", "tensorflow-cpu", "tf_keras", "jax", "optax", "torch", "numpy"]


class Results:
    """One file of rows.

    Attributes:
        about: the machine, the versions and the settings, which are the same for all rows.
    """

    def __init__(self, path: pathlib.Path, about: dict[str, str]) -> None:
        self.path = path
        self.about = about
        old = read(path) if path.exists() else {"about": None, "rows": []}
        self.rows: list[Row] = old["rows"] if old["about"] == about else []

    def add(self, rows: list[Row]) -> None:
        """Add the rows of one case, in place of its old rows."""
        case = rows[0]["case"]
        old = [i for i, row in enumerate(self.rows) if row["case"] == case] or [len(self.rows)]
        self.rows[old[0] : old[-1] + 1] = rows
        lines = ",\n".join(json.dumps(_rounded(row)) for row in self.rows)
        about = json.dumps(self.about, indent=1)
        self.path.write_text(f'{{"about": {about},\n"rows": [\n{lines}\n]}}\n')


def _rounded(row: Row) -> Row:
    return {k: float(f"{v:.4g}") if isinstance(v, float) else v for k, v in row.items()}


def read(path: pathlib.Path) -> dict[str, Any]:
    return json.loads(path.read_text())


def read_all(folder: pathlib.Path, kind: str) -> dict[str, dict[str, Any]]:
    """The results of a kind of measurement, by backend."""
    found = {backend: folder / f"{kind}-{backend}.json" for backend in BACKENDS}
    return {backend: read(path) for backend, path in found.items() if path.exists()}


def environment() -> dict[str, str]:
    return {
        "machine": f"{_processor()}, {os.cpu_count()} cores, {platform.system()}",
        "versions": ", ".join(_versions()),
    }


def load() -> float:
    return round(os.getloadavg()[0], 2)


def _versions() -> Iterator[str]:
    yield f"kerasgd {kerasgd.__version__} (source {_source()})"
    for package in PACKAGES:
        try:
            yield f"{package} {importlib.metadata.version(package)}"
        except importlib.metadata.PackageNotFoundError:
            continue


def _source() -> str:
    """An identifier of the state of the source, which may change within a version."""
    folder = pathlib.Path(kerasgd.__file__).parent
    digest = hashlib.sha256()
    for file in sorted(folder.rglob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:8]


def _processor() -> str:
    info = pathlib.Path("/proc/cpuinfo")
    lines: Iterable[str] = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
