"""Errors and warnings reach R as data (contract 12)."""

import math
import warnings

import kerasgd
from kerasgd.errors import Described
from kerasgd.r import bridge


def test_bridge_brings_back_the_value():
    assert bridge.call(kerasgd.SGD, momentum=0.9).momentum == 0.9
    assert bridge.call(divmod, 7, 2) == (3, 1)
    # No name of an argument is taken.
    assert bridge.call(dict, function=1) == {"function": 1}


def test_bridge_brings_back_the_error_as_data():
    outcome = bridge.call(kerasgd.SGD, clipnorm=Described("`NA`"))
    assert outcome.value is None
    assert outcome.error["kind"] == "argument"
    assert outcome.error["argument"] == "clipnorm"
    assert outcome.error["requirement"] == "a finite number > 0, or {null}"
    assert outcome.error["received"] == "`NA`"
    assert isinstance(outcome.exception, kerasgd.ArgumentTypeError)

    outcome = bridge.call(kerasgd.SGD, lr=1)
    assert (outcome.error["kind"], outcome.error["suggestion"]) == (
        "unknown_argument",
        "learning_rate",
    )
    assert bridge.call(math.sqrt, -1).error["kind"] == "other"
    assert bridge.call(kerasgd.SGD().state).error["kind"] == "state"


def test_bridge_brings_back_where_gradients_were_not_finite():
    # contract 16.2
    def stop():
        variables = {"dense/kernel": (2, 1), "dense/bias": (0, 3)}
        raise kerasgd.NonfiniteGradientError("They were not.", 4, 5, 0.5, variables)

    outcome = bridge.call(stop)
    assert outcome.error["kind"] == "nonfinite_gradient"
    assert bridge.nonfinite_gradients(outcome.exception) == {
        "epoch": 4.0,
        "batch": 5.0,
        "loss": 0.5,
        "path": ["dense/kernel", "dense/bias"],
        "nan": [2.0, 0.0],
        "infinite": [1.0, 3.0],
    }


def test_bridge_brings_back_each_warning_once():
    outcome = bridge.call(lambda: [kerasgd.SGD(momentum=2) for _ in range(3)])
    assert outcome.warnings == ["`momentum` is 2: above 1, the velocity grows without bound."]
    assert [optimizer.momentum for optimizer in outcome.value] == [2.0] * 3
    assert (outcome.error, outcome.exception) == (None, None)


def test_bridge_leaves_out_deprecation_warnings():
    def deprecated():
        warnings.warn("use another function", DeprecationWarning, stacklevel=1)
        warnings.warn("for you", UserWarning, stacklevel=1)

    assert bridge.call(deprecated).warnings == ["for you"]


def test_bridge_sets_an_attribute():
    optimizer = kerasgd.SGD()
    assert bridge.set_attribute(optimizer, "learning_rate", 0.5) is None
    assert float(optimizer.learning_rate) == 0.5
    outcome = bridge.set_attribute(optimizer, "learning_rate", -1.0)
    assert outcome.error["argument"] == "learning_rate"
    assert float(optimizer.learning_rate) == 0.5
