"""The checks of explain_step(): each detects an optimizer with one fault."""

import keras
import pytest

import kerasgd
from conformance.broken import checks_of, is_found_out
from kerasgd.conformance import explained_steps, subjects
from kerasgd.conformance.runner import NOT_TESTED, run_clause
from kerasgd.conformance.training import compiled

CHECKS = checks_of(explained_steps)


class HasOtherCopies(kerasgd.SGD):
    """Its own step is twice as long as that of its copies, which are explained."""

    def apply(self, grads, trainable_variables=None):
        super().apply([None if g is None else 2 * g for g in grads], trainable_variables)

    def update(self, **options):
        config = {**self.get_config(), **options}
        config.pop("keep_state", None)
        return kerasgd.SGD(**{k: v for k, v in config.items() if k in ARGUMENTS})


ARGUMENTS = ("learning_rate", "momentum", "weight_decay", "use_ema", "gradient_accumulation_steps")


class CountsExplanations(kerasgd.SGD):
    """Each explanation reduces its velocity."""

    def update(self, **options):
        copy = super().update(**options)
        for velocity in self.momentums:
            velocity.assign(velocity / 2)
        return copy


class HasNoWindow(kerasgd.SGD):
    def __init__(self, *args, gradient_accumulation_steps=None, **kwargs):
        super().__init__(*args, **kwargs)


WRONG = {
    "each_stage": HasOtherCopies,
    "constraint_and_average": HasOtherCopies,
    "nothing_is_changed": CountsExplanations,
    "the_real_step": HasOtherCopies,
    "inside_a_window": HasNoWindow,
}


@pytest.mark.parametrize("name", CHECKS)
def test_each_check_finds_a_wrong_optimizer(name):
    assert is_found_out(CHECKS[name], WRONG[name])


def test_the_departures_of_keras_are_seen():  # contract 18.2
    subject = subjects.find("keras.optimizers:SGD")
    holds = {}
    for name, (problem, settings) in explained_steps.CHECKED.items():
        model = compiled(subject(0.5, **settings), problem)
        holds[name] = explained_steps.explained(model, check=True)["holds"]
    assert holds == {"momentum": True, "averages": True, "constraint in a window": False}


def test_steps_of_others_are_not_explained():
    result = run_clause("18.1", subjects.Subject("Adam", keras.optimizers.Adam))
    assert result.status == NOT_TESTED
