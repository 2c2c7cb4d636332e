"""The checks of workers detect an optimizer that is wrong only there."""

import keras
import pytest
from conftest import BACKEND, PATH_OF_TESTS

import kerasgd
from conformance.broken import checks_of
from kerasgd.conformance import subjects, workers
from kerasgd.conformance.runner import FAILS, run_check

CHECKS = checks_of(workers)
OF_BACKEND = {
    "tensorflow": "workers_of_tensorflow",
    "jax": "distributions_of_keras",
    "torch": "processes_of_torch",
}


class Wrong(kerasgd.SGD):
    """Takes the mean over two workers instead of the sum."""

    def apply(self, grads, trainable_variables=None):
        super().apply([keras.ops.multiply(g, 0.5) for g in grads], trainable_variables)


@pytest.mark.long
def test_a_wrong_optimizer_is_found_on_workers(monkeypatch):
    # The child processes find the class by its name.
    monkeypatch.setenv("PYTHONPATH", PATH_OF_TESTS)
    wrong = subjects.find(f"{__name__}:Wrong")
    assert run_check(CHECKS[OF_BACKEND[BACKEND]], wrong).status == FAILS
