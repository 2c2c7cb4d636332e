"""Tests mirror the code: `rules/test_clipping.py` tests `python/kerasgd/rules/clipping.py`."""

import pathlib

from conftest import ANY_BACKEND, ANY_KERAS

HERE = pathlib.Path(__file__).parent
PACKAGE = HERE.parents[1] / "python" / "kerasgd"

# Tests of behaviour that belongs to no single module.
ACROSS = {
    "test_benchmarks.py": "tests benchmarks/, which is no part of the package",
    "test_contributing.py": "compares CONTRIBUTING.md with the files",
    "test_differential.py": "draws configurations of all arguments and all ways to train",
    "test_docstrings.py": "runs the examples of all modules",
    "test_interrupts.py": "interrupts `fit()`, after which each reader of state says what is lost",
    "test_layout.py": "compares the tests with the modules",
    "test_metadata.py": "compares DESCRIPTION, pyproject.toml and what else has their version",
    "test_readme.py": "compares README.md with real runs and recorded results",
}


def modules_of(test):
    """The files that a test may mirror: `test_main.py` is for `__main__.py`."""
    folder = PACKAGE / test.parent.relative_to(HERE)
    name = test.stem.removeprefix("test_")
    return [folder / f"{name}.py", folder / f"__{name}__.py"]


def has_module(test):
    return any(module.is_file() for module in modules_of(test))


def test_each_test_file_mirrors_a_module_or_says_why_not():
    tests = HERE.rglob("test_*.py")
    assert {t.relative_to(HERE).as_posix() for t in tests if not has_module(t)} == set(ACROSS)


def test_each_name_in_the_lists_of_marked_tests_is_that_of_tests():
    for beginning in {*ANY_KERAS, *ANY_BACKEND}:
        file, _, test = beginning.partition("::")
        assert f"def {test.partition('[')[0]}" in (HERE / file).read_text("utf-8"), beginning
