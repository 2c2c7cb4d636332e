"""Runs steps on the backend of the tests, and the same steps in the reference."""

import keras
import numpy as np
import pytest
from conftest import BACKEND, floatx

import kerasgd
from kerasgd.reference import ReferenceSGD

ARGUMENTS = {
    "plain": {},
    "momentum": {"momentum": 0.9},
    "nesterov": {"momentum": 0.9, "nesterov": True},
    "momentum above 1": {"momentum": 1.25, "nesterov": True},
    "decay": {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1},
    "much decay": {"momentum": 0.9, "nesterov": True, "weight_decay": 8},
    "decay, momentum": {"momentum": 0.9, "weight_decay": 0.1},
    "decay, no momentum": {"weight_decay": 0.1},
    "clip": {"momentum": 0.9, "global_clipnorm": 1, "loss_scale_factor": 8},
    "each clip": {"momentum": 0.9, "clipnorm": 0.5},
    "average": {"momentum": 0.9, "use_ema": True, "ema_momentum": 0.9},
    "average, small momentum": {"use_ema": True, "ema_momentum": 1e-3},
    "average, no momentum": {"use_ema": True, "ema_momentum": 0},
}
SHAPES = [(), (1,), (0,), (7,), (3, 5), (33, 65)]
STEPS = 4


def draws(seed, shapes=SHAPES):
    generator = np.random.default_rng(seed)
    return [generator.normal(size=shape) for shape in shapes]


def run(arguments, dtype, steps=STEPS):
    variables = [keras.Variable(w, dtype=dtype) for w in draws(0)]
    optimizer = kerasgd.SGD(0.1, **arguments)
    for t in range(steps):
        gradients = [keras.ops.convert_to_tensor(g, dtype) for g in draws(t + 1)]
        optimizer.apply(gradients, variables)
    return optimizer, variables


def reference(arguments, steps=STEPS):
    sgd = ReferenceSGD(0.1, **arguments).build(draws(0))
    for t in range(steps):
        sgd.step(draws(t + 1))
    return sgd


@pytest.fixture(params=["float32", "float64"])
def dtype(request):
    if request.param == "float64" and BACKEND == "jax":
        pytest.skip("JAX has no float64 unless it is told so before it starts")
    with floatx(request.param):
        yield request.param
