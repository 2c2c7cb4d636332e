"""The checks of find_learning_rate(): each detects an optimizer with one fault."""

import keras
import pytest

import kerasgd
from conformance.broken import checks_of, is_found_out
from kerasgd.conformance import rate_search

CHECKS = checks_of(rate_search)


class IsItsOwnCopy(kerasgd.SGD):
    def update(self, **changes):
        self.learning_rate = changes["learning_rate"]
        return self


class BuildsTheOther(kerasgd.SGD):
    def update(self, **changes):
        self.build([keras.Variable(0.0)])
        return kerasgd.SGD(**changes)


class TwiceAsFar(kerasgd.SGD):
    def apply(self, grads, trainable_variables=None):
        super().apply([2 * g for g in grads], trainable_variables)


class NeverFar(kerasgd.SGD):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, clipvalue=1e-6, **kwargs)


class MovesByItself(kerasgd.SGD):
    def apply(self, grads, trainable_variables=None):
        super().apply([g + 1 for g in grads], trainable_variables)


WRONG = {
    "nothing_is_changed": IsItsOwnCopy,
    "not_built_afterwards": BuildsTheOther,
    "rows_and_suggestion": TwiceAsFar,
    "ends_where_the_loss_grows": NeverFar,
    "no_rate_is_suggested": MovesByItself,
}


@pytest.mark.parametrize("name", CHECKS)
def test_each_check_finds_a_wrong_optimizer(name):
    assert is_found_out(CHECKS[name], WRONG[name])
