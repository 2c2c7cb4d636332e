"""Each backend, and the base class on each backend, agrees with the reference (contract 8.2)."""

import keras
import numpy as np
import pytest
from conftest import assert_close

import kerasgd
from backends.conftest import ARGUMENTS, draws, reference, run
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


@pytest.mark.parametrize("arguments", ARGUMENTS.values(), ids=ARGUMENTS)
@pytest.mark.filterwarnings("ignore:.*momentum")
def test_weights_and_averages_are_those_of_the_reference(arguments, dtype):  # contract 8.2
    optimizer, variables = run(arguments, dtype)
    expected = reference(arguments)
    assert_close(variables, expected.weights, dtype)
    if "use_ema" in arguments:
        averages = [parameter.average for parameter in optimizer.state().parameters]
        assert_close(averages, expected.averages, dtype)


def test_gradients_are_not_modified(dtype):
    variables = [keras.Variable(w, dtype=dtype) for w in draws(0)]
    gradients = [keras.ops.convert_to_tensor(g, dtype) for g in draws(1)]
    before = [np.array(keras.ops.convert_to_numpy(g)) for g in gradients]
    everything = {"weight_decay": 0.1, "global_clipnorm": 1, "use_ema": True}
    optimizer = kerasgd.SGD(0.1, momentum=0.9, nesterov=True, **everything)
    for _ in range(2):
        optimizer.apply(gradients, variables)
    for gradient, kept in zip(gradients, before, strict=True):
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(gradient), kept)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, 0.5),
        ({"momentum": 0.5}, 0.5),
        ({"momentum": 0.5, "nesterov": True}, 0.25),
        ({"weight_decay": 0.5}, 0.25),
    ],
    ids=str,
)
def test_a_weight_may_be_its_own_gradient(dtype, arguments, expected):
    for detached in (lambda x: x, keras.ops.stop_gradient):
        variable = keras.Variable(np.ones(3), dtype=dtype)
        optimizer = kerasgd.SGD(0.5, **arguments)
        optimizer.apply([detached(keras.ops.convert_to_tensor(variable))], [variable])
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(variable), [expected] * 3)


def test_accumulated_gradients_share_a_coefficient(monkeypatch):
    updated = []
    backend = type(kerasgd.SGD().backend)
    apply_rule = backend.decay_and_apply_rule

    def recorded(self, updates, *rest):
        updated.append(updates)
        apply_rule(self, updates, *rest)

    monkeypatch.setattr(backend, "decay_and_apply_rule", recorded)
    variables = [keras.Variable(w, dtype="float32") for w in draws(0)]
    optimizer = kerasgd.SGD(0.1, momentum=0.9, gradient_accumulation_steps=2)
    for t in range(2):
        gradients = [keras.ops.convert_to_tensor(g, "float32") for g in draws(t + 1)]
        optimizer.apply(gradients, variables)
    assert max(map(len, updated)) == len(variables)
    assert all(updates.coefficient == 1 / 2 for updates in updated if len(updates))


@pytest.mark.parametrize("clip", ["clipnorm", "global_clipnorm"])
def test_norms_of_millions_of_elements_are_accurate(clip):  # contract 4.3
    # Equal elements: a single float32 sum would round all their squares in the same direction.
    size = 10_000_000
    variable = keras.Variable(np.zeros(size), dtype="float32")
    gradient = keras.ops.full((size,), 0.1, dtype="float32")
    kerasgd.SGD(1.0, **{clip: 1.0}).apply([gradient], [variable])
    weights = keras.ops.convert_to_numpy(variable)
    np.testing.assert_allclose(weights, -1 / np.sqrt(size), rtol=5e-5)
