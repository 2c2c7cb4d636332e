"""Two replicas give what one device gives on the whole batch (contract 10.1, 4.2, D3, D4)."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import BACKEND

pytestmark = pytest.mark.skipif(BACKEND != "tensorflow", reason="a strategy of TensorFlow")


@pytest.mark.parametrize("way", ["eager", "graph", "fit"])
def test_replicas_follow_the_reference(way):  # contract 10.1, 2.3, 6.3, 11.1
    script = Path(__file__).with_name("replicas.py")
    run = subprocess.run(
        [sys.executable, script, way],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    assert run.returncode == 0, run.stderr
    distances = json.loads(run.stdout.splitlines()[-1])
    assert len(distances) == 12
    # Weights are of size 1 to 2, and float32 rounds them at each of 8 steps.
    assert {name: d for name, d in distances.items() if d > 1e-6} == {}
