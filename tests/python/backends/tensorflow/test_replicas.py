"""Replicas give what one device gives on the whole batch (contract 10.1, 4.2, D3, D4)."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import BACKEND, PATH_OF_TESTS

from kerasgd.conformance import child

pytestmark = pytest.mark.skipif(BACKEND != "tensorflow", reason="a strategy of TensorFlow")


REFUSED = """
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
import keras, kerasgd
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
def on_replica():
    replica = tf.get_static_value(tf.distribute.get_replica_context().replica_id_in_sync_group)
    optimizer.apply([tf.ones(1), None if replica else tf.ones(1)], [w, v])
def in_no_replica():
    optimizer.apply([tf.ones(1), tf.ones(1)], [w, v])
with strategy.scope():
    w, v = keras.Variable([1.0], name="w"), keras.Variable([1.0], name="v")
    optimizer = kerasgd.SGD(0.5)
    for refused in (in_no_replica, lambda: strategy.run(on_replica)):
        try:
            refused()
        except kerasgd.StateError as error:
            print(error)
"""


def lines_of(*arguments):
    """What Python prints when it runs with these arguments."""
    run = subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    assert run.returncode == 0, run.stderr
    return run.stdout.splitlines()


@pytest.mark.parametrize("way", ["eager", "graph", "fit"])
@pytest.mark.parametrize("strategy", ["two replicas", "one replica", "one worker"])
def test_replicas_follow_the_reference(strategy, way):  # contract 10.1, 6.3, 11.1, 14.3, 15.3
    script = Path(__file__).with_name("replicas.py")
    distances = json.loads(lines_of(script, strategy, way)[-1])
    assert len(distances) == (21 if way == "fit" else 24)
    # Weights are of size 1 to 2, and float32 rounds them at each of 8 steps.
    assert {name: d for name, d in distances.items() if not d <= 1e-6} == {}


def in_workers(workers, way, names=None):
    """The largest distance of any worker, for each configuration."""
    from backends.tensorflow import replicas  # which imports TensorFlow

    found = child.call_in_workers(workers, replicas.in_worker, way, names, PYTHONPATH=PATH_OF_TESTS)
    return {key: replicas.largest(one[key] for one in found) for key in found[0]}


# Each has a step with several parts, and what one worker knows and another does not.
FOR_WORKERS = [
    "clipnorm, nesterov, decay",
    "average under accumulation, dynamic scale",
    "groups",
    "measured",
    "skipping",
]


@pytest.mark.parametrize(("workers", "way"), [(2, "graph"), (3, "eager"), (2, "fit")])
def test_workers_follow_the_reference(workers, way):  # contract 10.2
    distances = in_workers(workers, way, FOR_WORKERS)
    assert sorted(distances) == sorted(FOR_WORKERS)
    assert {name: d for name, d in distances.items() if not d <= 1e-6} == {}


@pytest.mark.long
@pytest.mark.parametrize(
    ("workers", "way"), [(2, "graph"), (2, "eager"), (2, "fit"), (3, "graph"), (1, "graph")]
)
def test_workers_follow_the_reference_in_all_configurations(workers, way):  # contract 10.2
    distances = in_workers(workers, way)
    assert len(distances) == (21 if way == "fit" else 24)
    assert {name: d for name, d in distances.items() if not d <= 1e-6} == {}


def test_unsupported_steps_on_replicas_are_refused():  # contract 10.1
    in_no_replica, missing_on_one = lines_of("-c", REFUSED)[-2:]
    assert "outside the 2 replicas" in in_no_replica
    assert "`strategy.run()`" in in_no_replica
    assert "`v` has a gradient on some replicas" in missing_on_one
