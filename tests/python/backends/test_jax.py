"""JAX on several devices and in several processes gives the result of one device (10.2)."""

import numpy as np
import pytest
from conftest import BACKEND, PATH_OF_TESTS

from kerasgd.conformance import child

pytestmark = pytest.mark.skipif(BACKEND != "jax", reason="a distribution of JAX")

TWO_DEVICES = "--xla_force_host_platform_device_count=2"


def in_workers(workers, function, *arguments):
    """The largest error of any worker, for each configuration."""
    found = child.call_in_workers(workers, function, *arguments, PYTHONPATH=PATH_OF_TESTS)
    return {key: float(np.max([one[key] for one in found])) for key in found[0]}


def too_far(distances):
    return {name: distance for name, distance in distances.items() if not distance <= 1e-6}


@pytest.fixture(scope="module")
def workers():
    from backends import jax_workers  # which imports JAX

    return jax_workers


@pytest.fixture(scope="module")
def trained(workers, tmp_path_factory):
    """The errors of two workers, and the folder of their saved files."""
    folder = tmp_path_factory.mktemp("saved")
    return in_workers(2, workers.in_worker, str(folder)), str(folder)


def test_two_workers_follow_the_reference(trained, workers):  # contract 10.2, 10.3
    distances, _ = trained
    assert len(distances) == len(workers.CONFIGURATIONS) + len(workers.OF_WHOLE) + 2
    assert too_far(distances) == {}


@pytest.mark.parametrize("number", [1, 3])
def test_other_numbers_of_workers_continue(number, trained, workers):  # contract 10.5
    distances = in_workers(number, workers.going_on, trained[1])
    assert len(distances) == 3
    assert too_far(distances) == {}


def test_a_step_moves_nothing_between_devices_but_norms_of_shards(workers):  # contract 10.2
    found = child.call(workers.collectives, PYTHONPATH=PATH_OF_TESTS, XLA_FLAGS=TWO_DEVICES)
    kernel_and_bias = 18 + 6
    for name in workers.CONFIGURATIONS:
        # One all-reduce for the gradients, and none for the step.
        assert found[f"data, {name}"] == [[kernel_and_bias], [kernel_and_bias]]
    for name in ("plain", "momentum"):
        assert found[f"model, {name}"] == [[], []]
    for name in ("clipnorm, nesterov, decay", "everything"):
        # One all-reduce has a norm for each variable; another runs only for norms that overflow or
        # underflow.
        assert found[f"model, {name}"] == [[], [2, 2]]
    # The same norms say whether all elements are finite; flags of elements are the second.
    assert found["model, groups, dynamic scale"] == [[], [2, 2]]
    of_statistics = found["model, measured, skipping"][1]
    assert max(of_statistics) < 18  # no gradient is gathered
