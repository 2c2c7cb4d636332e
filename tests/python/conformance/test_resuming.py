"""The checks of resumed training: each detects an optimizer with one fault."""

import numpy as np
import pytest

import kerasgd
from conformance.broken import checks_of, is_found_out
from kerasgd.conformance import resuming

CHECKS = checks_of(resuming)


class Forgets(kerasgd.SGD):
    """Saves zeros in place of part of its state."""

    part: str

    def save_own_variables(self, store):
        kept = {}
        super().save_own_variables(kept)
        for name, value in kept.items():
            store[name] = np.zeros_like(value) if name.startswith(self.part) else value


class ForgetsVelocities(Forgets):
    part = "velocity"


class ForgetsSteps(Forgets):
    part = "iterations"


WRONG = {
    "all_kinds_of_state": ForgetsVelocities,
    "backup_of_kerasgd": ForgetsVelocities,
    "overwriting_and_dynamic_scale": ForgetsVelocities,
    "groups_statistics_and_skipping": ForgetsSteps,
}


@pytest.mark.parametrize("name", CHECKS)
def test_each_check_finds_a_wrong_optimizer(name):
    assert is_found_out(CHECKS[name], WRONG[name])
