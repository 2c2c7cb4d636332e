"""Replicas give what one device gives on the whole batch (contract 10.1, 4.2, D3, D4)."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import BACKEND

pytestmark = pytest.mark.skipif(BACKEND != "tensorflow", reason="a strategy of TensorFlow")


OUTSIDE_OF_REPLICAS = """
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
import keras, kerasgd
with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
    w = keras.Variable([1.0])
    try:
        kerasgd.SGD(0.5).apply([tf.ones(1)], [w])
    except kerasgd.StateError as error:
        print(error)
"""


def last_line_of(*arguments):
    """What Python prints last when it runs with these arguments."""
    run = subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    assert run.returncode == 0, run.stderr
    return run.stdout.splitlines()[-1]


@pytest.mark.parametrize("way", ["eager", "graph", "fit"])
@pytest.mark.parametrize("strategy", ["two replicas", "one replica", "one worker"])
def test_replicas_follow_the_reference(strategy, way):  # contract 10.1, 10.4, 2.3, 6.3, 11.1
    script = Path(__file__).with_name("replicas.py")
    distances = json.loads(last_line_of(script, strategy, way))
    assert len(distances) == (13 if way == "fit" else 16)
    # Weights are of size 1 to 2, and float32 rounds them at each of 8 steps.
    assert {name: d for name, d in distances.items() if d > 1e-6} == {}


def test_a_step_in_the_scope_but_in_no_replica_is_refused():  # contract 10.1
    message = last_line_of("-c", OUTSIDE_OF_REPLICAS)
    assert "outside of the 2 replicas" in message
    assert "`strategy.run()`" in message
