"""The conformance command: each clause is a test case, and stock Keras shows each deviation.

What a case compares is written in `kerasgd/conformance/`; here is what must come out.
"""

import json
import os
import pathlib
import subprocess
import sys
import warnings

import keras
import numpy as np
import pytest
from conftest import BACKEND

import kerasgd
from kerasgd.conformance import subjects
from kerasgd.conformance.__main__ import main
from kerasgd.conformance.checks import (
    CHECKS,
    Check,
    NotTestedHere,
    close,
    equal,
    only_of_kerasgd,
    refused,
    same_bits,
    stopped,
    text,
    warned,
)
from kerasgd.conformance.clauses import CLAUSES, selected
from kerasgd.conformance.runner import (
    FAILS,
    HOLDS,
    NOT_TESTED,
    Result,
    in_one,
    run_check,
    run_clause,
)
from kerasgd.conformance.subjects import Subject

ROOT = pathlib.Path(__file__).parents[3]
ENVIRONMENTS = {"tensorflow": ".venv", "jax": ".venv-jax", "torch": ".venv-torch"}
OTHERS = {
    backend: str(ROOT / folder / "bin" / "python")
    for backend, folder in ENVIRONMENTS.items()
    if backend != BACKEND and (ROOT / folder / "bin" / "python").exists()
}
OURS = subjects.find("kerasgd:SGD", OTHERS)
STOCK = subjects.find("keras.optimizers:SGD")

# They start other processes.
SLOW = ("9.2", "10.1", "10.4")


def cases(names, slow):
    return [pytest.param(n, id=n, marks=pytest.mark.long if n in slow else ()) for n in names]


@pytest.mark.parametrize("clause", cases(CLAUSES, SLOW))
def test_clause(clause):
    result = run_clause(clause, OURS)
    if result.status == NOT_TESTED:
        pytest.skip(result.actual)
    found = f"{result.where}: expected {result.expected}, actual {result.actual}"
    assert result.status == HOLDS, found


# What stock Keras does -------------------------------------------------------------------------

EVERYWHERE = ("tensorflow", "jax", "torch")
# Where each deviation of stock Keras 3.15 occurs. D18 is none that an optimizer could cure.
DEVIATIONS = {
    "D1": EVERYWHERE,
    "D2": ("tensorflow", "jax"),
    "D3": ("tensorflow",),
    "D4": ("tensorflow",),
    "D5": ("tensorflow",),
    "D6": ("tensorflow",),
    "D7": EVERYWHERE,
    "D8": EVERYWHERE,
    "D9": ("jax",),
    "D10": EVERYWHERE,
    "D11": EVERYWHERE,
    "D12": ("tensorflow",),
    "D13": EVERYWHERE,
    "D14": EVERYWHERE,
    "D15": EVERYWHERE,
    "D16": ("torch",),
    "D17": EVERYWHERE,
    "D19": EVERYWHERE,
    "D20": EVERYWHERE,
    "D21": ("jax",),
    "D22": ("jax",),
    "D23": EVERYWHERE,
}
# What was measured by hand, where that is a number or a kind of error.
MEASURED = {
    "D1": "6.533",
    "D3": "-2",
    "D4": "RuntimeError",
    "D5": "-8",
    "D6": "TypeError",
    "D8": "[0, 0]",
    "D9": "[0, 0]",
    "D11": "[0, 0]",
    "D13": "1.67",
    "D16": "torch",
    "D22": "nan",
    "D23": "TypeError",
}
HERE = [deviation for deviation, backends in DEVIATIONS.items() if BACKEND in backends]


@pytest.mark.parametrize("deviation", cases(HERE, slow=("D3", "D4")))
def test_stock_keras_deviates(deviation):
    results = [run_check(check, STOCK) for check in CHECKS if deviation in check.deviations]
    found = [r.actual for r in results if r.status == FAILS and deviation in r.deviations]
    assert found
    assert MEASURED.get(deviation, "") in " ".join(found)


def test_every_deviation_has_a_check():
    assert {deviation for check in CHECKS for deviation in check.deviations} == set(DEVIATIONS)


def test_every_clause_has_a_check():
    assert {check.clause for check in CHECKS} == set(CLAUSES)
    assert len({check.name for check in CHECKS}) == len(CHECKS)


# Wrong optimizers are found out ----------------------------------------------------------------


class TwiceAsFar(kerasgd.SGD):
    def apply(self, grads, trainable_variables=None):
        super().apply([None if g is None else 2 * g for g in grads], trainable_variables)


class Forgetful(kerasgd.SGD):
    def get_config(self):
        return {**super().get_config(), "momentum": 0.0}


class Broken(kerasgd.SGD):
    def __init__(self, *args, **kwargs):
        raise RuntimeError("it is broken")


@pytest.mark.parametrize(
    ("wrong", "clause"),
    [(TwiceAsFar, "1.1"), (TwiceAsFar, "0"), (Forgetful, "9.1"), (Forgetful, "9.3")],
)
def test_wrong_optimizer_fails(wrong, clause):
    assert run_clause(clause, Subject("wrong", wrong)).status == FAILS


def test_an_error_is_a_failure_and_no_end():
    result = run_clause("1.1", Subject("broken", Broken))
    assert (result.status, result.actual) == (FAILS, "RuntimeError: it is broken")


def test_a_check_that_compares_nothing_is_no_success():
    assert run_check(Check("1.1", lambda subject: iter(()), ()), OURS).status == FAILS


def test_checks_leave_keras_as_it_was():
    before = keras.config.floatx(), keras.config.dtype_policy().name
    run_clause("6.2", OURS)
    run_clause("8.2", Subject("broken", Broken))
    assert (keras.config.floatx(), keras.config.dtype_policy().name) == before


# Comparing -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expected", "actual", "holds"),
    [
        (1.0, 1.0 + 1e-6, True),
        (1.0, 1.0 + 3e-6, False),
        ([1000.0, 0.0], [1000.0, 1e-3], True),
        ([1000.0, 0.0], [1000.0, 3e-3], False),
        (0.0, 1e-30, False),
        ([np.nan, np.inf], [np.nan, np.inf], True),
        ([np.nan, 1.0], [0.0, 1.0], False),
        ([0.0, 1.0], [np.nan, 1.0], False),
        (np.inf, -np.inf, False),
        (np.inf, 1e300, False),
        ([1.0], [1.0, 1.0], False),
    ],
)
def test_close(expected, actual, holds):
    assert close("x", expected, actual).holds is holds


def test_close_shows_the_worst_of_many():
    actual = np.zeros(100)
    actual[50] = 1.0
    comparison = close("x", np.zeros(100), actual)
    assert (comparison.expected, comparison.actual) == ("...[0, 0, 0]...", "...[0, 1, 0]...")


def test_same_bits():
    assert same_bits("x", [0.1], [0.1]).holds
    assert not same_bits("x", [0.1], [np.nextafter(0.1, 1)]).holds


def test_equal_tells_types_apart():
    assert equal("x", 2, 2).holds
    comparison = equal("x", 2, 2.0)
    assert not comparison.holds
    assert (comparison.expected, comparison.actual) == ("2 (int)", "2 (float)")


def test_refused():
    def fail(error):
        raise error

    assert refused("x", lambda: fail(ValueError("`a` is bad")), "`a`").holds
    assert not refused("x", lambda: fail(ValueError("`b` is bad")), "`a`").holds
    assert not refused("x", lambda: fail(RuntimeError("`a` is bad")), "`a`").holds
    assert not refused("x", lambda: None, "`a`").holds


def test_stopped():
    def fail():
        raise RuntimeError("`a` is bad")

    assert stopped("x", fail, "`a`").holds
    assert not stopped("x", fail, "`b`").holds
    assert not stopped("x", lambda: None, "`a`").holds


def test_functions_of_kerasgd_are_not_asked_of_others():
    only_of_kerasgd(OURS, "update")
    with pytest.raises(NotTestedHere, match=r"`update\(\)`"):
        only_of_kerasgd(STOCK, "update")


def test_warned():
    def warn_twice():
        for _ in range(2):
            warnings.warn("`a` is odd", stacklevel=1)

    assert warned("x", warn_twice, "`a`", times=2).holds
    assert not warned("x", warn_twice, "`a`").holds
    assert not warned("x", warn_twice, "`b`").holds


def test_text():
    assert text([1.0, np.float32(0.1), None, "a"]) == "[1, 0.100000001, None, a]"


def test_a_clause_holds_if_all_of_its_checks_do():
    holds = Result("5.1", "", HOLDS)
    fails = Result("5.1", "", FAILS, "x", "1", "2", ("D1",))
    also_fails = Result("5.1", "", FAILS, "y", "1", "2", ("D7", "D10"))
    untested = Result("5.1", "", NOT_TESTED, actual="why")
    assert in_one([holds, untested]).status == HOLDS
    assert in_one([untested]).actual == "why"
    found = in_one([holds, fails, untested, also_fails])
    assert (found.status, found.where) == (FAILS, "x")
    assert found.deviations == ("D1", "D7", "D10")


# The command -----------------------------------------------------------------------------------


def test_selected():
    assert selected(None) == list(CLAUSES)
    assert selected("5.2") == ["5.2"]
    assert selected("1") == ["1.1", "1.2", "1.3", "1.4", "1.5", "1.6"]
    assert selected("12")[:2] == ["12", "12.1"]


def test_holding_clauses_exit_with_0(capsys):
    assert main(["--clause", "12.4"]) == 0
    title, line, total = capsys.readouterr().out.splitlines()
    assert title == f"kerasgd:SGD on Keras {keras.__version__} with {BACKEND}"
    assert line == "12.4  flags are True or False only: holds"
    assert total == "1 of 1 clauses hold"


def test_failing_clauses_exit_with_1(capsys, tmp_path):
    file = tmp_path / "results.json"
    options = ["--subject", "keras.optimizers:SGD", "--clause", "1", "--json", str(file)]
    assert main(options) == 1
    lines = capsys.readouterr().out.splitlines()
    assert any(line.endswith("fails [D20]") for line in lines)
    assert lines[-1] == "5 of 6 clauses hold"
    records = json.loads(file.read_text())
    assert [record["clause"] for record in records] == selected("1")
    assert {record["status"] for record in records} == {"holds", "fails"}
    [failed] = [record for record in records if record["status"] == "fails"]
    assert failed["sentence"] == CLAUSES["1.5"]
    assert failed["deviations"] == ["D20"]
    assert failed["expected"] == "no error"
    assert "momentum" in failed["actual"]


def test_untested_clauses_say_why(capsys):
    assert main(["--clause", "9.2"]) == 0
    _, line, total = capsys.readouterr().out.splitlines()
    assert line.endswith("not tested here (no Python with another backend was named)")
    assert total == "0 of 0 clauses hold (1 not tested here)"


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--clause", "99"], "no clause '99'"),
        (["--clause", "5."], "no clause '5.'"),
        (["--subject", "SGD"], "'module:Class'"),
        (["--subject", "nowhere:SGD"], "no module 'nowhere'"),
        (["--subject", "kerasgd:Nothing"], "no 'Nothing'"),
        (["--subject", "kerasgd:schedules"], "not a class of Keras optimizers"),
        (["--python-for", "cuda=python"], "'cuda=python'"),
        (["--python-for", "jax=/nowhere/python"], "no program '/nowhere/python'"),
        (["--json", "/nowhere/results.json"], "no folder '/nowhere'"),
    ],
)
def test_wrong_calls_exit_with_2(capsys, options, complaint):
    with pytest.raises(SystemExit) as end:
        main(options)
    assert end.value.code == 2
    assert complaint in capsys.readouterr().err


def test_as_a_module(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "kerasgd.conformance", "--clause", "12.4"],
        capture_output=True,
        text=True,
        env={**os.environ, "KERAS_BACKEND": BACKEND},
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "1 of 1 clauses hold"
