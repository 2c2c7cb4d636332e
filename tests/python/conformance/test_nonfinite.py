"""The checks of skipped updates: each detects an optimizer with one fault."""

import keras
import pytest

import kerasgd
from conformance.broken import checks_of, is_found_out
from kerasgd.conformance import nonfinite

CHECKS = checks_of(nonfinite)


class SkipsNothing(kerasgd.SGD):
    def skip_nonfinite(self):
        return self


class SkipsAlways(kerasgd.SGD):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        super().skip_nonfinite()


class CountsOneMore(kerasgd.SGD):
    @property
    def skipped(self):
        return super().skipped + 1


@keras.saving.register_keras_serializable("conformance")
class ForgetsCounts(kerasgd.SGD):
    def save_own_variables(self, store):
        kept = {}
        super().save_own_variables(kept)
        for name, value in kept.items():
            store[name] = 0 * value if name == "skipped" else value


class NeverInARow(kerasgd.SGD):
    @property
    def skipped_in_a_row(self):
        return 0


class AlwaysInARow(kerasgd.SGD):
    @property
    def skipped_in_a_row(self):
        return self.skipped


WRONG = {
    "skipped_as_in_the_reference": CountsOneMore,
    "nothing_changes": SkipsNothing,
    "only_when_asked": SkipsAlways,
    "counts_are_saved": ForgetsCounts,
    "not_in_a_loss_scale": SkipsNothing,
    "where_it_stops": NeverInARow,
    "where_it_does_not": AlwaysInARow,
    "nothing_is_skipped": SkipsAlways,
}


@pytest.mark.parametrize("name", CHECKS)
def test_each_check_finds_a_wrong_optimizer(name):
    assert is_found_out(CHECKS[name], WRONG[name])
