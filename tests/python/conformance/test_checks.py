"""The comparisons in checks: when they hold, when they fail, and what a failure shows."""

import warnings

import numpy as np
import pytest

from kerasgd.conformance import subjects
from kerasgd.conformance.checks import (
    NotTestedHere,
    close,
    equal,
    only_of_kerasgd,
    only_where_claimed,
    refused,
    same_bits,
    stopped,
    text,
    warned,
)


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


def test_other_optimizers_need_not_have_functions_of_kerasgd():
    only_of_kerasgd(subjects.find("kerasgd:SGD"), "update")
    with pytest.raises(NotTestedHere, match=r"`update\(\)`"):
        only_of_kerasgd(subjects.find("keras.optimizers:SGD"), "update")


def test_other_optimizers_need_not_have_methods_of_kerasgd():
    only_where_claimed(subjects.find("kerasgd:SGD"), "set_group")
    with pytest.raises(NotTestedHere, match=r"no `set_group\(\)`"):
        only_where_claimed(subjects.find("keras.optimizers:SGD"), "set_group")


def test_warned():
    def warn_twice():
        for _ in range(2):
            warnings.warn("`a` is odd", stacklevel=1)

    assert warned("x", warn_twice, "`a`", times=2).holds
    assert not warned("x", warn_twice, "`a`").holds
    assert not warned("x", warn_twice, "`b`").holds


def test_text():
    assert text([1.0, np.float32(0.1), None, "a"]) == "[1, 0.100000001, None, a]"
