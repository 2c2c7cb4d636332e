"""`python -m benchmarks`: measure on the backend of `KERAS_BACKEND`, or report the results."""

from __future__ import annotations

import argparse
import importlib
import os
import pathlib

from benchmarks.options import Options
from benchmarks.results import Results, Row, environment, load
from benchmarks.timing import Effort

FOLDER = pathlib.Path(__file__).with_name("results")
VIGNETTES = FOLDER.parents[1] / "vignettes"
# Each kind is a module with a function `rows()`.
KINDS = {
    "measure": "one update: time, fraction of the floor, first call",
    "build": "creating the state",
    "memory": "the temporary memory of a step",
    "fit": "fit() of small models",
    "additions": "the cost of groups, statistics and skipping",
    "devices": "one update on several devices",
    "growth": "time by the number of variables and of parameters",
}


def main() -> None:
    arguments = _parsed()
    arguments.results.mkdir(parents=True, exist_ok=True)
    if arguments.command == "report":
        from benchmarks import plots, report

        (arguments.results / "results.md").write_text(report.markdown(arguments.results))
        plots.draw(arguments.results)
        if arguments.results == FOLDER:
            (VIGNETTES / "devices.csv").write_text(report.devices_csv(FOLDER))
    else:
        _measure(arguments)


def _parsed() -> argparse.Namespace:
    commands = [f"{kind}: {what}." for kind, what in KINDS.items()]
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, epilog=" ".join(commands)
    )
    parser.add_argument("command", choices=[*KINDS, "report"])
    parser.add_argument("--results", type=pathlib.Path, default=FOLDER, help="folder to write to")
    parser.add_argument("--mode", nargs="+", help="from: eager graph xla jit (all of the backend)")
    parser.add_argument(
        "--workload",
        nargs="+",
        help="of: resnet large tiny few embedding; of fit: mlp convnet (all)",
    )
    parser.add_argument("--configuration", nargs="+", help="of: plain momentum nesterov ... (all)")
    parser.add_argument(
        "--all-cases", action="store_true", help="for measure: also the cases that cases.py omits"
    )
    parser.add_argument("--rounds", type=int, default=31, help="the maximum number of rounds (31)")
    parser.add_argument(
        "--seconds", type=float, default=5, help="fewer rounds if a case takes longer (5)"
    )
    parser.add_argument("--scale", type=float, default=1.0, help="the size of the workloads (1)")
    return parser.parse_args()


def _measure(arguments: argparse.Namespace) -> None:
    chosen = {key: vars(arguments)[key] for key in ("mode", "workload", "configuration")}
    options = Options(
        Effort(arguments.rounds, arguments.seconds),
        arguments.scale,
        {key: names for key, names in chosen.items() if names},
        arguments.all_cases,
    )
    kind, backend = arguments.command, os.environ["KERAS_BACKEND"]
    settings = f"at most {options.effort.rounds} rounds and {options.effort.seconds:g} s a case"
    if options.scale != 1:
        settings += f", scale {options.scale:g}"
    about = {**environment(), "settings": settings}
    print(f"{kind} on {backend}", *about.values(), sep="\n  ", flush=True)
    results = Results(arguments.results / f"{kind}-{backend}.json", about)
    for rows in importlib.import_module(f"benchmarks.{kind}").rows(options):
        results.add([{**row, "load": load()} for row in rows])
        _print(rows)


def _print(rows: list[Row]) -> None:
    print(f"\n{' '.join(map(str, rows[0]['case']))}   (load {load():.2f})")
    for row in rows:
        numbers = [f"{key} {_short(row[key])}" for key in row if key not in ("case", "contender")]
        print(f"  {row['contender']:16}", ", ".join(numbers), flush=True)


def _short(value: object) -> str:
    return f"{value:.2f}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
