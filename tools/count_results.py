"""Adds up what the suites of `make test` and `make check` left behind, in one line.

Usage: python tools/count_results.py FOLDER CHECK_STATUS

FOLDER holds, for each suite, `SUITE.status` (its exit status) and its results: pytest's
`SUITE.xml` or testthat's `SUITE.csv`. `make check` counts as one test. Exits with 1 if anything
failed or no test ran.
"""

import csv
import sys
import xml.etree.ElementTree as ElementTree
from collections import Counter
from pathlib import Path

SUITES = {"tensorflow": "xml", "jax": "xml", "torch": "xml", "r": "csv"}


def read_pytest(path: Path) -> Counter[str]:
    """Count the outcomes in a JUnit file."""
    outcomes: Counter[str] = Counter()
    for case in ElementTree.parse(path).iter("testcase"):
        found = {child.tag for child in case}
        if found & {"failure", "error"}:
            outcomes["failed"] += 1
        elif "skipped" in found:
            outcomes["skipped"] += 1
        else:
            outcomes["passed"] += 1
    return outcomes


def read_testthat(path: Path) -> Counter[str]:
    """Count the outcomes in the table that tools/test-r.R writes, one row a test."""
    outcomes: Counter[str] = Counter()
    with path.open(newline="", encoding="utf-8") as table:
        for row in csv.DictReader(table):
            if row["error"] == "TRUE" or int(row["failed"]) > 0:
                outcomes["failed"] += 1
            elif row["skipped"] == "TRUE":
                outcomes["skipped"] += 1
            else:
                outcomes["passed"] += 1
    return outcomes


def read_suite(folder: Path, suite: str, kind: str) -> Counter[str]:
    """Count one suite; one that broke down or ran nothing is one failure more."""
    results = folder / f"{suite}.{kind}"
    status = folder / f"{suite}.status"
    outcomes: Counter[str] = Counter()
    if results.exists():
        outcomes = {"xml": read_pytest, "csv": read_testthat}[kind](results)
    ended_well = status.exists() and status.read_text().strip() == "0"
    if outcomes["failed"] == 0 and not (ended_well and outcomes["passed"] > 0):
        outcomes["failed"] += 1
    return outcomes


def main(folder: Path, check_status: int) -> int:
    """Print the sum and return the exit status."""
    total: Counter[str] = Counter()
    for suite, kind in SUITES.items():
        total += read_suite(folder, suite, kind)
    total["passed" if check_status == 0 else "failed"] += 1

    line = f"{total['passed']} passed, {total['failed']} failed"
    if total["skipped"] > 0:
        line += f", {total['skipped']} skipped"
    print(line)
    return int(total["failed"] > 0)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2])))
