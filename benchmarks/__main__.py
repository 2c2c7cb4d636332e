"""`python -m benchmarks`: measure on the backend of `KERAS_BACKEND`, or draw what was measured."""

from __future__ import annotations

import argparse
import os
import pathlib

RESULTS = pathlib.Path(__file__).with_name("results")


def main() -> None:
    arguments = _parsed()
    table = arguments.results / "results.csv"
    if arguments.command == "report":
        _report(arguments.results)
    else:
        arguments.results.mkdir(parents=True, exist_ok=True)
        _measure(arguments, table)


def _parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("command", choices=["measure", "report"])
    parser.add_argument("--results", type=pathlib.Path, default=RESULTS, help="folder to write to")
    parser.add_argument("--mode", nargs="+", help="of: eager graph xla jit (all of the backend)")
    parser.add_argument("--workload", nargs="+", help="of: resnet large tiny embedding (all)")
    parser.add_argument("--configuration", nargs="+", help="of: plain momentum nesterov ... (all)")
    parser.add_argument("--rounds", type=int, default=31)
    parser.add_argument("--scale", type=float, default=1.0, help="size of the workloads")
    return parser.parse_args()


def _measure(arguments: argparse.Namespace, table: pathlib.Path) -> None:
    # Here, since a report needs none of them.
    from benchmarks import report
    from benchmarks.configurations import CONFIGURATIONS
    from benchmarks.contenders import BACKEND, MODES
    from benchmarks.measure import compare
    from benchmarks.workloads import WORKLOADS

    _note(arguments.results, f"{BACKEND}: {report.environment()}; {arguments.rounds} rounds")
    for mode in arguments.mode or MODES:
        for workload in arguments.workload or WORKLOADS:
            for configuration in arguments.configuration or CONFIGURATIONS:
                case = (BACKEND, mode, workload, configuration)
                results, absent = compare(
                    WORKLOADS[workload](arguments.scale),
                    CONFIGURATIONS[configuration],
                    mode,
                    arguments.rounds,
                )
                load = os.getloadavg()[0]
                print(f"\n{' '.join(case)}   (load {load:.2f})", *absent, sep="\n  ", flush=True)
                rows = [_row(case, result) for result in results]
                for row in rows:
                    print("  " + _line(row), flush=True)
                report.add_to_csv(table, rows)


def _row(case: tuple[str, ...], result: object) -> dict[str, str]:
    from benchmarks.measure import Result

    assert isinstance(result, Result)
    floor = "" if result.of_floor is None else f"{result.of_floor:.2f}"
    return {
        **dict(zip(("backend", "mode", "workload", "configuration"), case, strict=True)),
        "contender": result.name,
        "ms": f"{result.milliseconds:.2f}",
        "ratio": f"{result.ratio.median:.2f}",
        "low": f"{result.ratio.low:.2f}",
        "high": f"{result.ratio.high:.2f}",
        "verdict": _verdict(result.name, result.differs, result.ratio.median),
        "of floor": floor,
        "first call s": f"{result.first_call:.2f}",
        "temporary MB": f"{result.temporary:.0f}",
    }


def _verdict(name: str, differs: bool, ratio: float) -> str:
    if name.startswith("keras") and name != "kerasgd":
        return ""
    if not differs:
        return "no difference"
    return "faster" if ratio > 1 else "slower"


def _line(row: dict[str, str]) -> str:
    return (
        f"{row['contender']:16} {row['ms']:>9} ms  {row['ratio']:>6} [{row['low']}, {row['high']}]"
        f"  floor {row['of floor'] or '-':>4}  first {row['first call s']} s"
        f"  +{row['temporary MB']} MB  {row['verdict']}"
    )


def _note(folder: pathlib.Path, note: str) -> None:
    print(note)
    with (folder / "notes.txt").open("a") as file:
        file.write(note + "\n")


def _report(folder: pathlib.Path) -> None:
    from benchmarks import report

    rows = report.read_csv(folder / "results.csv")
    notes = (folder / "notes.txt").read_text().splitlines()
    (folder / "results.md").write_text(report.markdown(rows, notes))
    report.plot(rows, folder / "results.png")


if __name__ == "__main__":
    main()
