"""Draws the results in two figures."""

from __future__ import annotations

import pathlib
from typing import Any

from matplotlib import pyplot

from benchmarks.comparison import BASELINE, OURS
from benchmarks.floor import FLOOR
from benchmarks.lines import Files, by_case, by_quantity
from benchmarks.results import Row, read_all
from benchmarks.slope import slope

COLOURS = {OURS: "C3", BASELINE: "0.4", FLOOR: "C0"}
# The colours of peers, in order of appearance; the grey line at 1 is Keras.
PEERS = ["C0", "C2", "C1"]


def draw(folder: pathlib.Path) -> None:
    updates, growth = read_all(folder, "measure"), read_all(folder, "growth")
    if updates:
        _updates(updates).savefig(folder / "results.png", dpi=110)
    if growth:
        _growth(growth).savefig(folder / "growth.png", dpi=110)


def _updates(files: Files) -> Any:
    """The ratio of every contender in every case, with a panel for each backend."""
    heights = [len(list(by_case({backend: file}))) for backend, file in files.items()]
    figure, panels = pyplot.subplots(
        len(files),
        figsize=(9, 0.33 * sum(heights) + 1.1 * len(files) + 0.4),
        height_ratios=[height + 1 for height in heights],
        squeeze=False,
        sharex=True,
        layout="constrained",
    )
    for panel, (backend, file) in zip(panels[:, 0], files.items(), strict=True):
        _panel_of_ratios(panel, backend, file)
    panels[-1, 0].set_xlabel("times as fast as keras.optimizers.SGD in the same mode")
    return figure


def _panel_of_ratios(panel: Any, backend: str, file: dict[str, Any]) -> None:
    cases = list(by_case({backend: file}))
    names = dict.fromkeys(name for case in cases for name in case.rows if name != BASELINE)
    peers = iter(PEERS)
    for place, name in enumerate(names):
        # Next to each other, so that no point hides another.
        offset = 0.6 * (0.5 - (place + 0.5) / len(names))
        own = [(offset - i, case.rows[name]) for i, case in enumerate(cases) if name in case.rows]
        ours = name == OURS
        panel.errorbar(
            [row["ratio"] for _, row in own],
            [height for height, _ in own],
            xerr=_reach([row for _, row in own]),
            fmt="o" if ours else "D",
            markersize=6 if ours else 4,
            color=COLOURS.get(name) or ("0.6" if name.startswith(BASELINE) else next(peers)),
            label=name,
            zorder=3 if ours else 2,
        )
    panel.axvline(1, color="black", linewidth=0.8)
    panel.set_xscale("log")
    panel.set_xticks(ticks := [0.25, 0.5, 1, 2, 5, 10, 20], [f"{tick:g}" for tick in ticks])
    panel.set_xticks([], minor=True)
    panel.set_yticks([-i for i in range(len(cases))], [" ".join(case.names) for case in cases])
    panel.set_ylim(-len(cases) + 0.4, 0.6)
    panel.grid(axis="x", alpha=0.3)
    panel.set_title(backend, loc="left")
    panel.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=5, frameon=False, fontsize=8)


def _reach(rows: list[Row]) -> list[list[float]]:
    return [[r["ratio"] - r["low"] for r in rows], [r["high"] - r["ratio"] for r in rows]]


def _growth(files: Files) -> Any:
    """Time by number, both logarithmic, with a row per backend and a column per quantity."""
    quantities = ["variables", "parameters"]
    figure, panels = pyplot.subplots(
        len(files),
        len(quantities),
        figsize=(10, 3.4 * len(files)),
        squeeze=False,
        sharex="col",
        layout="constrained",
    )
    for line in by_quantity(files):
        sizes = [row["case"][1] for row in line.rows]
        times = [row["ms"] for row in line.rows]
        panel = panels[list(files).index(line.backend), quantities.index(line.quantity)]
        label = f"{line.contender}, slope {slope(sizes, times):.2f}"
        panel.loglog(sizes, times, "o-", color=COLOURS[line.contender], label=label)
        panel.set_title(f"{line.backend}, by {line.quantity}", loc="left")
        panel.set_ylabel("ms per update")
        panel.grid(alpha=0.3)
        panel.legend(frameon=False)
    for panel, quantity in zip(panels[-1], quantities, strict=True):
        panel.set_xlabel(quantity)
    return figure
