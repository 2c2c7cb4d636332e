"""The checks of groups: each detects an optimizer with one fault."""

import contextlib

import keras
import pytest

import kerasgd
from conformance.broken import checks_of, is_found_out
from kerasgd.conformance import groups

CHECKS = checks_of(groups)
FACTOR = "learning_rate_factor"


class SelectsAll(kerasgd.SGD):
    def set_group(self, select, **settings):
        return super().set_group(".", **settings)


class AsksTwice(kerasgd.SGD):
    def set_group(self, select, **settings):
        return super().set_group(lambda v: select(v) and select(v), **settings)


class ExcludesNoLayer(kerasgd.SGD):
    def exclude_from_weight_decay(self, var_list=None, **others):
        if isinstance(var_list, list):
            super().exclude_from_weight_decay(var_list, **others)


class DropsEmptyGroups(kerasgd.SGD):
    def build(self, variables):
        try:
            super().build(variables)
        except kerasgd.ArgumentError:
            self._groups = ()
            super().build(variables)


class IsNeverTooLate(kerasgd.SGD):
    def _check_not_built(self, method):
        pass


class TakesNegativeFactors(kerasgd.SGD):
    def set_group(self, select, **settings):
        if settings.get(FACTOR) == -1:
            settings[FACTOR] = 1
        return super().set_group(select, **settings)


class TakesNoDecayForUnset(kerasgd.SGD):
    def set_group(self, select, weight_decay=None, **settings):
        if weight_decay:
            settings["weight_decay"] = weight_decay
        return super().set_group(select, **{"momentum": 0.0, **settings})


class SharesMomentum(kerasgd.SGD):
    def set_group(self, select, **settings):
        kept = {name: value for name, value in settings.items() if name != "momentum"}
        return super().set_group(select, **(kept or settings))


class CallsNoSchedule(kerasgd.SGD):
    def set_group(self, select, **settings):
        if callable(settings.get(FACTOR)):
            settings[FACTOR] = float(settings[FACTOR](0))
        return super().set_group(select, **settings)


class KeepsRatesOfGroups(kerasgd.SGD):
    @property
    def learning_rate(self):
        return super().learning_rate

    @learning_rate.setter
    def learning_rate(self, rate):
        if self.built:
            self.groups[0].learning_rate_factor /= rate / float(self.learning_rate)
        kerasgd.SGD.learning_rate.fset(self, rate)


class FreezesAlmost(kerasgd.SGD):
    def set_group(self, select, **settings):
        return super().set_group(select, **{name: v or 1e-6 for name, v in settings.items()})


class FirstGroupWins(kerasgd.SGD):
    def set_group(self, select, **settings):
        super().set_group(select, **settings)
        *others, last = self._groups
        self._groups = (last, *others)
        return self


class GroupsWin(kerasgd.SGD):
    def set_group(self, select, **settings):
        self._exclusions = type(self)()._exclusions
        return super().set_group(select, **settings)


class ClipsWithoutFrozen(kerasgd.SGD):
    def apply(self, grads, trainable_variables=None):
        frozen, *others = grads
        super().apply([0 * frozen, *others], trainable_variables)


class FactorsAreFixed(kerasgd.SGD):
    def set_learning_rate_factor(self, group, factor):
        pass


class HidesErrors(kerasgd.SGD):
    def set_learning_rate_factor(self, group, factor):
        with contextlib.suppress(kerasgd.ArgumentError):
            super().set_learning_rate_factor(group, factor)

    def exclude_from_weight_decay(self, **arguments):
        with contextlib.suppress(kerasgd.ArgumentError):
            super().exclude_from_weight_decay(**arguments)


@keras.saving.register_keras_serializable("conformance")
class ForgetsGroups(kerasgd.SGD):
    def get_config(self):
        return {name: v for name, v in super().get_config().items() if name != "groups"}


class SavesEverything(kerasgd.SGD):
    def check_can_be_saved(self):
        pass


class TakesAnyRank(kerasgd.SGD):
    def exclude_from_weight_decay(self, rank_below):
        super().exclude_from_weight_decay(rank_below=rank_below + 1)


WRONG = {
    "every_kind_of_selection": SelectsAll,
    "predicate_is_called_once": AsksTwice,
    "layers_are_excluded": ExcludesNoLayer,
    "nothing_selected": DropsEmptyGroups,
    "too_late": IsNeverTooLate,
    "settings_are_checked": TakesNegativeFactors,
    "none_is_no_decay": TakesNoDecayForUnset,
    "settings_of_their_own": SharesMomentum,
    "rates_of_all_groups": CallsNoSchedule,
    "another_rate": KeepsRatesOfGroups,
    "frozen": FreezesAlmost,
    "frozen_at_times": CallsNoSchedule,
    "several_groups": FirstGroupWins,
    "exclusions_win": GroupsWin,
    "clips_act_first": ClipsWithoutFrozen,
    "factor_changes_in_apply": FactorsAreFixed,
    "factor_changes_in_fit": FactorsAreFixed,
    "groups_that_there_are_not": HidesErrors,
    "groups_from_a_file": ForgetsGroups,
    "groups_in_config_and_pickle": ForgetsGroups,
    "groups_of_objects": SavesEverything,
    "excluded_by_rank": TakesAnyRank,
    "ranks_are_checked": HidesErrors,
}


@pytest.mark.parametrize("name", CHECKS)
def test_each_check_finds_a_wrong_optimizer(name):
    assert is_found_out(CHECKS[name], WRONG[name])
