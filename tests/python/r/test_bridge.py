"""Errors and warnings reach R as data (contract 12)."""

import math
import warnings

import kerasgd
from kerasgd.errors import Described
from kerasgd.r import bridge


def test_bridge_brings_back_the_value():
    outcome = bridge.call(kerasgd.SGD, (), {"momentum": 0.9})
    assert outcome.value.momentum == 0.9
    assert (outcome.error, outcome.warnings) == (None, [])


def test_bridge_brings_back_the_error_as_data():
    outcome = bridge.call(kerasgd.SGD, (), {"clipnorm": Described("`NA`")})
    assert outcome.value is None
    assert outcome.error["kind"] == "argument"
    assert outcome.error["argument"] == "clipnorm"
    assert outcome.error["requirement"] == "a finite number > 0, or {null}"
    assert outcome.error["received"] == "`NA`"
    assert isinstance(outcome.exception, kerasgd.ArgumentTypeError)

    outcome = bridge.call(kerasgd.SGD, (), {"lr": 1})
    assert (outcome.error["kind"], outcome.error["suggestion"]) == (
        "unknown_argument",
        "learning_rate",
    )
    assert bridge.call(math.sqrt, (-1,)).error["kind"] == "other"
    assert bridge.call(kerasgd.SGD().state).error["kind"] == "state"


def test_bridge_brings_back_each_warning_once():
    outcome = bridge.call(lambda: [kerasgd.SGD(momentum=2) for _ in range(3)])
    assert outcome.warnings == ["`momentum` is 2. Above 1 the velocity grows without bound."]


def test_bridge_leaves_out_deprecation_warnings():
    def deprecated():
        warnings.warn("use another function", DeprecationWarning, stacklevel=1)
        warnings.warn("for you", UserWarning, stacklevel=1)

    assert bridge.call(deprecated).warnings == ["for you"]
