"""Each clause is a test case, stock Keras shows each deviation, and wrong optimizers are detected.

The comparisons are in `kerasgd/conformance/`; these tests have the expected results.
"""

import pathlib

import keras
import pytest
from conftest import BACKEND

import kerasgd
from kerasgd.conformance import subjects
from kerasgd.conformance.checks import CHECKS, Check
from kerasgd.conformance.clauses import CLAUSES, claiming_method
from kerasgd.conformance.runner import (
    FAILS,
    HOLDS,
    NOT_CLAIMED,
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

# These clauses start other processes.
SLOW = ("9.2", "10.1", "10.2a", "10.2b", "10.2c", "10.4")


def cases(names, slow):
    return [pytest.param(n, id=n, marks=pytest.mark.long if n in slow else ()) for n in names]


@pytest.mark.parametrize("clause", cases(CLAUSES, SLOW))
def test_clause(clause):
    result = run_clause(clause, OURS)
    if result.status == NOT_TESTED:
        pytest.skip(result.actual)
    found = f"{result.where}: expected {result.expected}, actual {result.actual}"
    assert result.status == HOLDS, found


# Stock Keras -----------------------------------------------------------------------------------

EVERYWHERE = ("tensorflow", "jax", "torch")
# Where each deviation of stock Keras 3.15 occurs. D18 is not listed: no optimizer could fix it.
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
# The results measured by hand, where they are a number or an error class.
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


# Wrong optimizers ------------------------------------------------------------------------------


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


class ClaimsToSkip(keras.optimizers.SGD):
    def skip_nonfinite(self):
        return self


# Groups, statistics and skipped updates go beyond the documentation of Keras.
@pytest.mark.parametrize("clause", [clause for clause in CLAUSES if claiming_method(clause)])
def test_stock_keras_claims_nothing_beyond_its_documentation(clause):
    result = run_clause(clause, STOCK)
    assert result.status == NOT_CLAIMED
    assert result.actual == f"it has no `{claiming_method(clause)}()`"


def test_a_class_claims_a_section_by_its_method():
    claims = Subject("claims", ClaimsToSkip)
    assert run_clause("16.1", claims).status == FAILS
    assert run_clause("14.1", claims).status == NOT_CLAIMED
    assert run_clause("1.1", claims).status == HOLDS


def test_an_error_fails_the_clause_and_not_the_run():
    result = run_clause("1.1", Subject("broken", Broken))
    assert (result.status, result.actual) == (FAILS, "RuntimeError: it is broken")


def test_a_check_without_comparisons_fails():
    assert run_check(Check("1.1", lambda subject: iter(()), ()), OURS).status == FAILS


def test_checks_leave_keras_as_it_was():
    before = keras.config.floatx(), keras.config.dtype_policy().name
    run_clause("6.2", OURS)
    run_clause("8.2", Subject("broken", Broken))
    assert (keras.config.floatx(), keras.config.dtype_policy().name) == before


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
