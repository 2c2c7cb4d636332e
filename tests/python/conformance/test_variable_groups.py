"""The checks of variable_groups() and layer_decay(): each detects a wrong optimizer."""

import pytest

import kerasgd
from conformance.broken import checks_of, is_found_out
from kerasgd.conformance import variable_groups

CHECKS = checks_of(variable_groups)


class KeepsDecay(kerasgd.SGD):
    def set_group(self, select, **settings):
        kept = {name: value for name, value in settings.items() if name != "weight_decay"}
        return super().set_group(select, **kept)


class TwiceAsFar(kerasgd.SGD):
    def apply(self, grads, trainable_variables=None):
        super().apply([2 * g for g in grads], trainable_variables)


class SquaresFactors(kerasgd.SGD):
    def set_group(self, select, learning_rate_factor):
        return super().set_group(select, learning_rate_factor=learning_rate_factor**2)


class IsNeverTooLate(kerasgd.SGD):
    def _check_not_built(self, method):
        pass


WRONG = {
    "shown_before_and_after": KeepsDecay,
    "what_is_shown_acts": TwiceAsFar,
    "earlier_layers_are_slower": SquaresFactors,
    "layers_without_weights": SquaresFactors,
    "decays_are_checked": IsNeverTooLate,
}


@pytest.mark.parametrize("name", CHECKS)
def test_each_check_finds_a_wrong_optimizer(name):
    assert is_found_out(CHECKS[name], WRONG[name])
