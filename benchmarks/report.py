"""What a run leaves behind: a table of its numbers, the same to read, and a picture."""

from __future__ import annotations

import csv
import importlib.metadata
import os
import pathlib
import platform
from collections.abc import Iterable

Row = dict[str, str]
COLUMNS = [
    "backend", "mode", "workload", "configuration", "contender", "ms", "ratio", "low", "high",
    "verdict", "of floor", "first call s", "temporary MB",
]  # fmt: skip
PACKAGES = ["keras", "tensorflow-cpu", "tf_keras", "jax", "optax", "torch", "numpy"]


def environment() -> str:
    """The machine, its load and the versions, in one line."""
    versions = []
    for package in PACKAGES:
        try:
            versions.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    load = " ".join(f"{x:.2f}" for x in os.getloadavg())
    return f"{processor()}, {os.cpu_count()} cores, load {load}; " + ", ".join(versions)


def processor() -> str:
    info = pathlib.Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def add_to_csv(path: pathlib.Path, rows: Iterable[Row]) -> None:
    is_new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        if is_new:
            writer.writeheader()
        writer.writerows(rows)


def read_csv(path: pathlib.Path) -> list[Row]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def markdown(rows: list[Row], notes: Iterable[str]) -> str:
    lines = ["# Times of one update", ""]
    lines += ["`ratio`: how many times as fast as `keras.optimizers.SGD` in the same mode; median"]
    lines += ["of interleaved rounds, with its 95 % interval. *No difference*: the interval"]
    lines += ["overlaps that of Keras against itself. `of floor`: the time of one in-place C loop"]
    lines += ["as part of this time. `temporary MB`: what a step takes and gives back.", ""]
    lines += [f"- {note}" for note in notes] + [""]
    lines += ["| " + " | ".join(COLUMNS) + " |", "|" + "---|" * len(COLUMNS)]
    lines += ["| " + " | ".join(row[column] for column in COLUMNS) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def plot(rows: list[Row], path: pathlib.Path) -> None:
    """The ratio of every contender in every case, Keras being the line at 1."""
    from matplotlib import pyplot

    cases = list(dict.fromkeys(_case(row) for row in rows))
    names = list(dict.fromkeys(row["contender"] for row in rows if row["contender"] != "keras"))
    figure, axes = pyplot.subplots(figsize=(9, 1.5 + 0.28 * len(cases)), layout="constrained")
    for name in names:
        own = [row for row in rows if row["contender"] == name]
        ratios = [float(row["ratio"]) for row in own]
        reach = [
            [r - float(row["low"]) for r, row in zip(ratios, own, strict=True)],
            [float(row["high"]) - r for r, row in zip(ratios, own, strict=True)],
        ]
        heights = [-cases.index(_case(row)) for row in own]
        style = {"markersize": 7} if name == "kerasgd" else {"markersize": 4, "alpha": 0.7}
        axes.errorbar(ratios, heights, xerr=reach, fmt="o", label=name, **style)
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_xscale("log")
    ticks = [0.5, 1, 2, 5, 10, 20]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_xticks([], minor=True)
    axes.set_yticks([-i for i in range(len(cases))], cases)
    axes.set_xlabel("times as fast as keras.optimizers.SGD in the same mode")
    axes.grid(axis="x", alpha=0.3)
    axes.legend(loc="upper center", bbox_to_anchor=(0.4, -0.08 - 1 / len(cases)), ncols=4)
    figure.savefig(path, dpi=120)


def _case(row: Row) -> str:
    return " ".join(row[column] for column in ("backend", "mode", "workload", "configuration"))
