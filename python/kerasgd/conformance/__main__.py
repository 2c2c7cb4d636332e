"""The command: `python -m kerasgd.conformance [--subject module:Class] [--clause 5] [--json FILE]`.

It prints one line for each clause, and exits with status 1 if a clause fails, or 2 if the command
line is wrong. Groups (14), statistics (15) and skipped updates (16) go beyond the documentation of
Keras: if a class lacks `set_group()`, `track_statistics()` or `skip_nonfinite()`, the clauses of
that section are "not claimed", which is not a failure. `KERAS_BACKEND` names the backend. Set
`TF_CPP_MIN_LOG_LEVEL=3` to keep TensorFlow silent while it is imported.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import shutil
import sys
from collections import Counter
from collections.abc import Sequence

import keras

from kerasgd.conformance import runner, subjects
from kerasgd.conformance.clauses import selected
from kerasgd.conformance.runner import FAILS, HOLDS, NOT_CLAIMED, NOT_TESTED, Result


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command, and return its exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        subject = subjects.find(options.subject, _interpreters(options.python_for))
        clauses = selected(options.clause)
    except ValueError as error:
        parser.error(str(error))
    if options.json and not options.json.parent.is_dir():
        parser.error(f"There is no folder {str(options.json.parent)!r} for --json.")
    print(f"{subject.name} on Keras {keras.__version__} with {keras.config.backend()}")
    results = []
    for clause in clauses:
        with runner.silence():
            results.append(runner.run_clause(clause, subject))
        print(_in_words(results[-1]), flush=True)
    print(_sum(results))
    if options.json:
        records = [result.as_record() for result in results]
        options.json.write_text(json.dumps(records, indent=1) + "\n", encoding="utf-8")
    return int(any(result.status == FAILS for result in results))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m kerasgd.conformance",
        description="Check an optimizer class against the documentation of SGD, clause by clause.",
    )
    parser.add_argument(
        "--subject",
        default="kerasgd:SGD",
        help="the optimizer class to check, as module:Class; default: kerasgd:SGD",
    )
    parser.add_argument("--clause", help="check only this section (5) or clause (5.2)")
    parser.add_argument(
        "--python-for",
        action="append",
        default=[],
        metavar="BACKEND=PYTHON",
        help="a Python with kerasgd and Keras on another backend, such as jax=/path/to/python, "
        "to train saved files there (clause 9.2); can be repeated",
    )
    parser.add_argument(
        "--json", type=pathlib.Path, metavar="FILE", help="also write the results to FILE"
    )
    return parser


def _interpreters(given: Sequence[str]) -> dict[str, str]:
    """The interpreter for each backend.

    Raises:
        ValueError: an item does not have the form 'backend=python', or names no program.
    """
    interpreters = {}
    for item in given:
        backend, _, python = item.partition("=")
        if backend not in ("tensorflow", "jax", "torch") or not python:
            raise ValueError(f"An interpreter is written 'jax=/path/to/python', not {item!r}.")
        if shutil.which(python) is None:
            raise ValueError(f"There is no program {python!r}.")
        interpreters[backend] = python
    return interpreters


def _in_words(result: Result) -> str:
    line = f"{result.clause:<5} {result.sentence}: {result.status}"
    if result.status in (NOT_TESTED, NOT_CLAIMED):
        return f"{line} ({result.actual})"
    if result.status == FAILS:
        found = f" [{', '.join(result.deviations)}]" if result.deviations else ""
        return (
            f"{line}{found}\n      {result.where}: expected {result.expected}, "
            f"actual {result.actual}"
        )
    return line


def _sum(results: Sequence[Result]) -> str:
    count = Counter(result.status for result in results)
    others = [f"{count[status]} {status}" for status in (NOT_TESTED, NOT_CLAIMED) if count[status]]
    aside = f" ({', '.join(others)})" if others else ""
    return f"{count[HOLDS]} of {count[HOLDS] + count[FAILS]} clauses hold{aside}"


if __name__ == "__main__":
    sys.exit(main())
