"""Replicas give the result of one device on the whole batch (contract 10.1, 4.2, D3, D4)."""

import pytest
from conftest import BACKEND, PATH_OF_TESTS

from kerasgd.conformance import child

pytestmark = pytest.mark.skipif(BACKEND != "tensorflow", reason="a strategy of TensorFlow")


@pytest.fixture(scope="module")
def replicas():
    from backends.tensorflow import replicas  # which imports TensorFlow

    return replicas


@pytest.fixture(scope="module")
def results(replicas):
    """What `replicas.py` finds on all strategies, in its own process."""
    return child.call(replicas.results, PYTHONPATH=PATH_OF_TESTS)


def number_of_configurations(way):
    return 22 if way == "fit" else 25


@pytest.mark.parametrize("way", ["eager", "graph", "fit"])
@pytest.mark.parametrize("strategy", ["two replicas", "one replica", "one worker"])
def test_replicas_follow_the_reference(results, replicas, strategy, way):
    # contract 10.1, 6.3, 11.1, 14.3, 15.3
    distances = results["distances"][strategy][way]
    if strategy == "two replicas":
        assert len(distances) == number_of_configurations(way)
    else:
        assert sorted(distances) == sorted(replicas.FOR_ONE)
    # Weights are of size 1 to 2, and float32 rounds them at each of 8 steps.
    assert too_far(distances) == {}


def in_workers(number, function, *arguments):
    """The results of a function of `replicas.py` in each of `number` processes."""
    return child.call_in_workers(number, function, *arguments, PYTHONPATH=PATH_OF_TESTS)


def too_far(distances):
    return {name: distance for name, distance in distances.items() if not distance <= 1e-6}


@pytest.fixture(scope="module")
def compiled(replicas, tmp_path_factory):
    """The results of two workers, and the folder of their saved files."""
    folder = str(tmp_path_factory.mktemp("workers"))
    return in_workers(2, replicas.in_compiled_worker, replicas.FOR_WORKERS, folder), folder


@pytest.mark.parametrize("way", ["graph", "fit"])
def test_two_workers_follow_the_reference(compiled, replicas, way):  # contract 10.2
    for of_worker in compiled[0]:
        distances = of_worker["distances"][way]
        assert sorted(distances) == sorted(replicas.FOR_WORKERS)
        assert too_far(distances) == {}


def test_a_step_has_one_collective(compiled):  # contract 10.2
    for of_worker in compiled[0]:
        counted = of_worker["collectives"]
        # The gradients of all variables, side by side.
        assert {tuple(moved) for moved in counted.values()} == {(3 + 5 * 2,)}
        assert len(counted) == 16


@pytest.fixture(scope="module")
def of_three_workers(replicas, compiled):
    """The results of three workers, which also continue the training of the two."""
    return in_workers(3, replicas.in_eager_worker, replicas.FOR_WORKERS, compiled[1])


def test_three_workers_follow_the_reference_in_eager_code(of_three_workers, replicas):
    # contract 10.2
    for of_worker in of_three_workers:
        assert sorted(of_worker["eager"]) == sorted(replicas.FOR_WORKERS)
        assert too_far(of_worker["eager"]) == {}


def test_other_numbers_of_workers_continue(compiled, of_three_workers, replicas):  # contract 10.5
    import tensorflow as tf

    without_workers = replicas.going_on(tf.distribute.get_strategy(), compiled[1])
    for distances in [without_workers, *(each["continued"] for each in of_three_workers)]:
        assert sorted(distances) == ["keras", "snapshot"]
        assert too_far(distances) == {}


@pytest.mark.long
@pytest.mark.parametrize(
    ("number", "way"), [(2, "graph"), (2, "eager"), (2, "fit"), (3, "graph"), (1, "graph")]
)
def test_workers_follow_the_reference_in_all_configurations(number, way, replicas):  # 10.2
    for distances in in_workers(number, replicas.in_worker, way, None):
        assert len(distances) == number_of_configurations(way)
        assert too_far(distances) == {}


@pytest.mark.long
def test_one_replica_follows_the_reference_in_all_configurations(replicas):  # contract 10.1
    found = child.call(replicas.results_on_one, PYTHONPATH=PATH_OF_TESTS)
    assert sorted(found) == ["one replica", "one worker"]
    for of_strategy in found.values():
        for way, distances in of_strategy.items():
            assert len(distances) == number_of_configurations(way)
            assert too_far(distances) == {}


def test_unsupported_steps_on_replicas_are_refused(results):  # contract 10.1
    in_no_replica, missing_on_one = results["refused"]
    assert "outside the 2 replicas" in in_no_replica
    assert "`strategy.run()`" in in_no_replica
    assert "`v` has a gradient on some replicas" in missing_on_one
