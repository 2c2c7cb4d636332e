"""The clauses of the contract: each has a check, and they can be selected by number."""

from kerasgd.conformance.checks import CHECKS
from kerasgd.conformance.clauses import CLAUSES, claiming_method, selected


def test_every_clause_has_a_check():
    assert {check.clause for check in CHECKS} == set(CLAUSES)
    assert len({check.name for check in CHECKS}) == len(CHECKS)


def test_selected():
    assert selected(None) == list(CLAUSES)
    assert selected("5.2") == ["5.2"]
    assert selected("1") == ["1.1", "1.2", "1.3", "1.4", "1.5", "1.6"]
    assert selected("12")[:2] == ["12", "12.1"]


def test_claiming_method():
    assert claiming_method("14.10") == "set_group"
    assert claiming_method("16.1") == "skip_nonfinite"
    assert claiming_method("1.4") is None
