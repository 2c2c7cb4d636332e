"""CONTRIBUTING.md describes the files correctly."""

import ast
import pathlib
import re

from conftest import SIGNATURE

ROOT = pathlib.Path(__file__).parents[2]
PACKAGE = ROOT / "python" / "kerasgd"
TEXT = (ROOT / "CONTRIBUTING.md").read_text("utf-8")


def table():
    """Argument, file and functions of each row of the table of arguments."""
    rows = re.findall(r"^\| `([\w.]+)` \| `([\w/]+\.py)` \| (`\w+`(?:, `\w+`)*) \|$", TEXT, re.M)
    return [(argument, file, re.findall(r"\w+", functions)) for argument, file, functions in rows]


def test_every_argument_has_a_row():
    assert sorted(argument for argument, _, _ in table()) == sorted([*SIGNATURE, "..."])


def test_the_functions_are_where_the_table_says():
    for argument, file, functions in table():
        tree = ast.parse((PACKAGE / file).read_text("utf-8"))
        defined = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
        assert set(functions) <= defined, argument


def test_every_module_is_named():
    names = {path.stem if path.suffix else path.name for path in PACKAGE.iterdir()}
    known = {name for name in names if not name.startswith("_") and name != "py"}
    named = set(re.findall(r"`(?:\w+/)*([\w-]+)(?:\.py|\.csv|/)`", TEXT))
    assert known <= named, known - named


def test_private_modules_of_keras_are_imported_in_one_file():
    files = [path for path in PACKAGE.rglob("*.py") if "keras.src" in path.read_text("utf-8")]
    assert files == [PACKAGE / "keras_internals.py"]


def test_features_are_where_the_table_says():
    places = re.findall(r"`(\w+)` in `([\w/]+\.py)`", TEXT)
    assert places
    for function, file in places:
        assert f"def {function}(" in (PACKAGE / file).read_text("utf-8")


def test_files_that_are_named_exist():
    folders = ["", "python/kerasgd", "python/kerasgd/backends", "benchmarks", "tools", "R"]
    names = set(re.findall(r"`((?:[\w-]+/)+[\w.-]+\.(?:py|R|sh|txt|Rmd|toml))`", TEXT))
    patterns = {"R/x.R", "tests/testthat/test-x.R", "tests/python/x/test_y.py"}
    names -= {*patterns, "python/kerasgd/x/y.py"}
    assert [n for n in sorted(names) if not any((ROOT / f / n).is_file() for f in folders)] == []


def test_targets_that_are_named_exist():
    makefile = (ROOT / "Makefile").read_text("utf-8")
    targets = set(re.findall(r"^([a-z0-9-]+):", makefile, re.M))
    assert set(re.findall(r"`make ([a-z0-9-]+)", TEXT)) <= targets
