"""Writes the results as a page of tables."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

from benchmarks.comparison import AGAIN, BASELINE, OURS
from benchmarks.lines import Files, by_case, by_contender, by_quantity
from benchmarks.results import Row, read, read_all
from benchmarks.slope import LARGEST, slope

# For each column, the function that returns its text for a line.
Columns = dict[str, Callable[[Any], str]]


def markdown(folder: pathlib.Path) -> str:
    sections = {
        "measure": [one_update, every_contender],
        "fit": [whole_fit],
        "build": [building],
        "memory": [temporary_memory],
        "additions": [adding],
        "devices": [on_devices],
        "growth": [growing],
    }
    found = {kind: read_all(folder, kind) for kind in sections}
    parts = [INTRODUCTION, *_about(found)]
    for kind, writers in sections.items():
        if found[kind]:
            parts += ["\n".join(write(found[kind])) for write in writers]
    if (folder / "from-r.json").exists():
        parts.append("\n".join(from_r(read(folder / "from-r.json"))))
    # The longest table goes last.
    parts.sort(key=lambda part: part.startswith("## Every contender"))
    return "\n\n".join(parts) + "\n"


INTRODUCTION = """# kerasgd compared with Keras and others

*Times as fast*: the time of `keras.optimizers.SGD` in the same mode divided by that of the other,
as the median of interleaved rounds with its 95 % interval. Keras is timed twice; *no difference*
means that the interval overlaps that of Keras against itself, or contains 1. *Of floor*: the time
of one in-place C loop (on one or two threads, whichever is faster) as a fraction of this time; 1 is
the memory-bandwidth limit. *Of best peer*: the time of the fastest other library as a fraction of
this time; above 1 is faster. *90 %*: the 90 % quantile of the rounds, which shows stalls. All
values are float32, and all contenders were checked to compute the same weights before they were
timed."""


def _about(found: dict[str, Files]) -> Iterator[str]:
    lines: dict[str, list[str]] = {}
    for kind, files in found.items():
        for backend, file in files.items():
            loads = [row["load"] for row in file["rows"]]
            line = "; ".join(file["about"].values())
            lines.setdefault(line, []).append(
                f"{kind} on {backend} (load average {min(loads):.1f} to {max(loads):.1f})"
            )
    if lines:
        yield "\n".join(f"- {line}: {', '.join(runs)}" for line, runs in lines.items())


def one_update(files: Files) -> Iterator[str]:
    yield "## One update"
    yield ""
    yield "![Speed relative to Keras](results.png)"
    yield ""
    columns: Columns = {
        **_names("mode", "workload", "configuration"),
        **AGAINST_KERAS,
        "90 %, ms": lambda case: _of_nine_tenths(case.rows[OURS]),
        "of floor": lambda case: _of_floor(case.rows[OURS]),
        "of best peer": lambda case: _of_best_peer(case.rows),
        "first call: Keras, s": lambda case: _number(_first_call_of_keras(case.rows)),
        "first call: kerasgd, s": lambda case: _number(case.rows[OURS]["first call s"]),
        "best peer": lambda case: _best_peer(case.rows),
    }
    yield from _table(columns, by_case(files))


def whole_fit(files: Files) -> Iterator[str]:
    yield "## `fit()`: one epoch of small models"
    yield ""
    yield from _table({**_names("model", "configuration"), **AGAINST_KERAS}, by_case(files))


def building(files: Files) -> Iterator[str]:
    yield "## Creating the optimizer and its state"
    yield ""
    yield from _table({**_names("variables", "configuration"), **AGAINST_KERAS}, by_case(files))


def every_contender(files: Files) -> Iterator[str]:
    yield "## Every contender of one update"
    yield ""
    columns: Columns = {
        **_names("mode", "workload", "configuration"),
        "contender": lambda case: case.row["contender"],
        "ms": lambda case: _number(case.row["ms"]),
        "10 %, ms": lambda case: _of_tenth(case.row),
        "90 %, ms": lambda case: _of_nine_tenths(case.row),
        "times as fast": lambda case: _ratio(case.row),
        "verdict": lambda case: case.row["verdict"],
        "of floor": lambda case: _of_floor(case.row),
        "first call, s": lambda case: _number(case.row["first call s"]),
        "rounds": lambda case: str(case.row["rounds"]),
        "load": lambda case: f"{case.row['load']:.2f}",
    }
    yield from _table(columns, by_contender(files))


def temporary_memory(files: Files) -> Iterator[str]:
    yield "## Memory of a step"
    yield ""
    yield "The peak above weights, gradients and state: the median of several steps, with the"
    yield "lowest and the highest."
    yield ""
    columns: Columns = {
        **_names("mode", "workload", "configuration"),
        "contender": lambda case: case.row["contender"],
        "MB": lambda case: "{temporary MB:.1f} [{lowest MB:.1f}, {highest MB:.1f}]".format_map(
            case.row
        ),
        "times the weights": lambda case: (
            f"{case.row['temporary MB'] / case.row['weights MB']:.2f}"
        ),
    }
    yield from _table(columns, by_contender(files))


def adding(files: Files) -> Iterator[str]:
    yield "## The cost of groups, statistics and skipping"
    yield ""
    yield "The same step of kerasgd without and with an addition: three groups with a factor each,"
    yield "statistics of every tenth update, or skipping of updates with non-finite gradients."
    yield "*Times as fast* is the time without divided by the time with the addition."
    yield ""
    columns: Columns = {
        **_names("mode", "workload", "added"),
        "without, ms": lambda case: _number(case.rows["without"]["ms"]),
        "with, ms": lambda case: _number(case.rows["with"]["ms"]),
        "times as fast": lambda case: _ratio(case.rows["with"]),
        "without twice": lambda case: _ratio(case.rows["without again"]),
        "verdict": lambda case: case.rows["with"]["verdict"],
    }
    yield from _table(columns, by_case(files))


def on_devices(files: Files) -> Iterator[str]:
    yield "## One update on several devices"
    yield ""
    yield "JAX's virtual devices on one processor, each with a copy of the weights. They share the"
    yield "cores and the memory, so that four times the work takes at least four times the time."
    yield "In milliseconds, with the 95 % interval."
    yield ""
    numbers = next(by_case(files)).rows
    columns: Columns = {
        **_names("mode", "workload", "configuration"),
        **{f"devices: {number}": partial(_on_devices, number) for number in numbers},
    }
    yield from _table(columns, by_case(files))


def _on_devices(number: str, case: Any) -> str:
    row = case.rows[number]
    return f"{_number(row['ms'])} [{_number(row['low'])}, {_number(row['high'])}]"


def devices_csv(folder: pathlib.Path) -> str:
    """The table of `vignettes/several-devices.Rmd`."""
    lines = ["configuration,one,two,four"]
    for case in by_case(read_all(folder, "devices")):
        lines.append(",".join([case.names[-1], *(_number(r["ms"]) for r in case.rows.values())]))
    return "\n".join(lines) + "\n"


def growing(files: Files) -> Iterator[str]:
    yield "## Growth"
    yield ""
    yield "![Time by the number of variables and of parameters](growth.png)"
    yield ""
    yield f"Slope: the least-squares slope of the logarithms over the {LARGEST} largest sizes; 1"
    yield "means that twice the size takes twice the time. With momentum."
    yield ""
    columns: Columns = {
        "by": lambda line: line.quantity,
        "contender": lambda line: line.contender,
        "smallest": lambda line: _at(line.rows[0]),
        "largest": lambda line: _at(line.rows[-1]),
        "slope": lambda line: _slope(line.rows, "ms"),
        "slope of the first call": lambda line: _slope(line.rows, "first call s"),
    }
    yield from _table(columns, by_quantity(files))


def from_r(file: dict[str, Any]) -> Iterator[str]:
    about = file["about"]
    yield "## From R"
    yield ""
    yield "*Without* is the same call without the addition: the constructor in Python, an optimizer"
    yield "of Keras whose rate is set from R, or the step with a number as rate; on TensorFlow"
    yield f"({about['machine']}; {about['versions']}; load average {about['load']})."
    yield ""
    yield "| what | ms | without, ms | times as long |"
    yield "|---|---|---|---|"
    for row in file["rows"]:
        without = row["python"]
        yield (
            f"| `{row['what']}` | {_number(row['ms'])} "
            f"[{_number(row['lowest'])}, {_number(row['highest'])}] "
            f"| {'' if without is None else _number(without)} "
            f"| {'' if without is None else format(row['ms'] / without, '.2f')} |"
        )


def _at(row: Row) -> str:
    return f"{_number(row['ms'])} ms at {row['case'][1]:,}"


def _slope(rows: list[Row], key: str) -> str:
    # The floor has no first call.
    if not all(row[key] for row in rows):
        return ""
    return f"{slope([row['case'][1] for row in rows], [row[key] for row in rows]):.2f}"


def _first_call_of_keras(rows: dict[str, Row]) -> float:
    """The faster of the two: the very first call of a process does extra work."""
    return min(rows[BASELINE]["first call s"], rows[AGAIN]["first call s"])


def _fastest_peer(rows: dict[str, Row]) -> Row | None:
    peers = [row for name, row in rows.items() if name not in (BASELINE, AGAIN, OURS)]
    return max(peers, key=lambda row: row["ratio"], default=None)


def _best_peer(rows: dict[str, Row]) -> str:
    best = _fastest_peer(rows)
    return "" if best is None else f"{best['contender']} {_ratio(best)}"


def _of_best_peer(rows: dict[str, Row]) -> str:
    """Both were timed in the same rounds as Keras."""
    best = _fastest_peer(rows)
    return "" if best is None else f"{rows[OURS]['ratio'] / best['ratio']:.2f}"


def _ratio(row: Row) -> str:
    return f"{row['ratio']:.2f} [{row['low']:.2f}, {row['high']:.2f}]"


def _of_tenth(row: Row) -> str:
    return _number(row["ms of a tenth"]) if "ms of a tenth" in row else ""


def _of_nine_tenths(row: Row) -> str:
    return _number(row["ms of nine tenths"]) if "ms of nine tenths" in row else ""


def _of_floor(row: Row) -> str:
    return f"{row['of floor']:.2f}" if "of floor" in row else ""


def _number(value: float) -> str:
    """Three significant digits, or all digits before the point."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _table(columns: Columns, lines: Iterable[Any]) -> Iterator[str]:
    columns = {"backend": lambda line: line.backend, **columns}
    yield "| " + " | ".join(columns) + " |"
    yield "|" + "---|" * len(columns)
    for line in lines:
        yield "| " + " | ".join(cell(line) for cell in columns.values()) + " |"


def _names(*columns: str) -> Columns:
    """Columns for the parts of a case's name."""
    return {column: lambda case, i=i: case.names[i] for i, column in enumerate(columns)}


AGAINST_KERAS: Columns = {
    "Keras, ms": lambda case: _number(case.rows[BASELINE]["ms"]),
    "kerasgd, ms": lambda case: _number(case.rows[OURS]["ms"]),
    "times as fast": lambda case: _ratio(case.rows[OURS]),
    "Keras twice": lambda case: _ratio(case.rows[AGAIN]),
    "verdict": lambda case: case.rows[OURS]["verdict"],
}
