"""The checks of replicas: they detect wrong groups, statistics and skipped updates."""

import os
import pathlib

import pytest
from conftest import BACKEND

import kerasgd
from conformance.broken import checks_of
from kerasgd.conformance import replicas, subjects
from kerasgd.conformance.runner import FAILS, run_check

CHECKS = checks_of(replicas)
TESTS = pathlib.Path(__file__).parents[1]


class Wrong(kerasgd.SGD):
    def set_group(self, select, **settings):
        return self

    @property
    def statistics(self):
        return {**super().statistics, "gradient_norm": 0.0}

    def skip_nonfinite(self):
        return self


@pytest.mark.long
@pytest.mark.skipif(BACKEND != "tensorflow", reason="replicas are TensorFlow's")
@pytest.mark.parametrize("name", ["groups_of_variables", "statistics", "skipped_updates"])
def test_wrong_optimizers_are_found_on_replicas(name, monkeypatch):
    # The child process finds the class by its name.
    path = os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])
    monkeypatch.setenv("PYTHONPATH", path)
    wrong = subjects.find(f"{__name__}:Wrong")
    assert run_check(CHECKS[name], wrong).status == FAILS
