"""The messages of errors, in Python's words and in those of another language."""

import pickle

import numpy as np
import pytest

import kerasgd
from kerasgd import errors
from kerasgd.errors import Described


@pytest.fixture
def r_words(monkeypatch):
    monkeypatch.setattr(errors, "_words", dict(errors._words))
    errors.speak({"{null}": "`NULL`", "{true}": "`TRUE`", "{sgd}": "`optimizer_sgd()`"})


def test_messages_use_the_words_of_another_language(r_words):
    # contract 12
    error = kerasgd.ArgumentValueError("x", "{true}, or {null}", None, "Leave {null} out.")
    assert str(error) == "`x` must be `TRUE`, or `NULL`, not `NULL`. Leave `NULL` out."
    assert errors.describe(True) == "`TRUE`"
    assert errors.describe(False) == "False"  # not said
    with pytest.raises(kerasgd.ArgumentTypeError, match=r"made by `optimizer_sgd\(\)`, not 1"):
        kerasgd.LossScaleOptimizer(1)


def test_messages_use_python_words_by_default():
    error = kerasgd.ArgumentValueError("x", "{true}, {false}, or {null}", None)
    assert str(error) == "`x` must be True, False, or None, not None."
    with pytest.raises(kerasgd.ArgumentTypeError, match=r"made by `kerasgd.SGD\(\)`, not 1"):
        kerasgd.LossScaleOptimizer(1)


def test_python_counts_from_0_and_another_language_as_it_says(r_words):
    assert [errors.number_of(index) for index in (0, 2)] == ["0", "2"]
    errors.speak({"{first}": "1"})
    assert [errors.number_of(index) for index in (0, 2)] == ["1", "3"]


@pytest.mark.parametrize(
    ("quoted", "ended"),
    [("no", "no."), ("no.", "no."), ("why?", "why?"), ("a\nb", "a\nb"), ("no \n", "no.")],
)
def test_a_sentence_has_one_full_stop(quoted, ended):
    assert errors.with_full_stop(quoted) == ended


def test_a_described_value_may_have_a_hint():
    received = Described("the function `f`", "Call it.")
    assert kerasgd.ArgumentTypeError("x", "a number", received).hint == "Call it."
    assert kerasgd.ArgumentTypeError("x", "a number", received, "Other.").hint == "Other."
    assert kerasgd.ArgumentTypeError("x", "a number", 1j).hint is None


def test_an_element_is_named_as_python_indexes_it():
    # contract 12
    def words(boundaries, values):
        with pytest.raises(kerasgd.ArgumentError) as refusal:
            kerasgd.schedules.PiecewiseConstantDecay(boundaries, values)
        return str(refusal.value)

    rates = "`values` must be finite numbers >= 0; "
    assert words([10], [0.1, -0.2]) == rates + "`values[1]` is -0.2."
    assert words([10], np.array([0.1, np.nan])) == rates + "`values[1]` is nan."
    assert words([10], ["a", 0.1]) == rates + "`values[0]` is 'a'."
    assert words([10, 20, 5], [0.1] * 4).endswith(
        "`boundaries[2]` (5) is not larger than `boundaries[1]` (20)."
    )
    assert words([10, 20.5], [0.1] * 3).endswith(
        "`boundaries[1]` is 20.5. Round it up with `math.ceil()`."
    )


def test_an_error_with_an_element_can_be_pickled():
    error = kerasgd.ArgumentTypeError("values", "numbers", [1, "a"], element=errors.Element(1))
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.element) == (str(error), errors.Element(1))
