"""The plain operations of `backends/base.py` are right on every backend (contract 8.2)."""

import keras
import numpy as np
import pytest
from conftest import assert_close

import kerasgd
from kerasgd.backends.base import Backend
from kerasgd.reference import ReferenceSGD

CONFIGURATIONS = {
    "plain": {},
    "momentum": {"momentum": 0.9, "weight_decay": 0.1},
    "nesterov": {"momentum": 0.5, "nesterov": True, "clipvalue": 0.5},
    "clipnorm": {"momentum": 0.5, "clipnorm": 0.5, "loss_scale_factor": 4.0},
    "global clip": {"weight_decay": 0.1, "global_clipnorm": 0.5},
    "average": {
        "momentum": 0.5,
        "use_ema": True,
        "ema_momentum": 0.5,
        "ema_overwrite_frequency": 3,
    },
    "accumulation": {
        "momentum": 0.5,
        "use_ema": True,
        "ema_momentum": 0.5,
        "gradient_accumulation_steps": 2,
    },
}


@pytest.mark.parametrize("name", CONFIGURATIONS)
@pytest.mark.parametrize("scale", [1.0, 1e20, 1e-30], ids=["usual", "huge", "tiny"])
def test_plain_operations_follow_the_reference(name, scale):
    arguments = {"learning_rate": 0.1, **CONFIGURATIONS[name]}
    generator = np.random.default_rng(0)
    weights = [generator.normal(size=shape) for shape in ((3,), (2, 2))]
    gradients = [[scale * generator.normal(size=w.shape) for w in weights] for _ in range(7)]
    optimizer = kerasgd.SGD(**arguments)
    optimizer.backend = Backend()
    variables = [keras.Variable(w.astype("float32")) for w in weights]
    reference = ReferenceSGD(**arguments)
    reference.build([np.array(v.numpy(), "float64") for v in variables])
    for step in gradients:
        rounded = [g.astype("float32") for g in step]
        optimizer.apply([keras.ops.convert_to_tensor(g) for g in rounded], variables)
        reference.step([g.astype("float64") for g in rounded])
    assert_close(variables, reference.weights, "float32")
