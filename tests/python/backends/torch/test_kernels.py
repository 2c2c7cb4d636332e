"""PyTorch's kernels, and sums over large tensors, against the reference and closed forms."""

import keras
import numpy as np
import pytest
from conftest import BACKEND, assert_close

import kerasgd
from backends.conftest import ARGUMENTS, STEPS, draws, reference, run

if BACKEND != "torch":
    pytest.skip("kernels of PyTorch", allow_module_level=True)

import torch

from kerasgd.backends.torch import choice, kernels
from kerasgd.backends.torch.choice import Implementation
from kerasgd.backends.torch.kernels import Batch
from kerasgd.reference import ReferenceGroup, ReferenceSGD


@pytest.mark.parametrize("arguments", ARGUMENTS.values(), ids=ARGUMENTS)
@pytest.mark.filterwarnings("ignore:.*momentum")
def test_large_tensors_are_those_of_the_reference(all_are_large, arguments, dtype):
    optimizer, variables = run(arguments, dtype)
    expected = reference(arguments)
    assert_close(variables, expected.weights, dtype)
    if "use_ema" in arguments:
        averages = [parameter.average for parameter in optimizer.state().parameters]
        assert_close(averages, expected.averages, dtype)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("arguments", ARGUMENTS.values(), ids=ARGUMENTS)
@pytest.mark.filterwarnings("ignore:.*momentum")
def test_large_variables_in_half_precision(all_are_large, arguments, dtype):  # contract 8.2
    _, variables = run(arguments, dtype)
    bound = {"float16": 2e-3, "bfloat16": 2e-2}[dtype]
    for variable, expected in zip(variables, reference(arguments).weights, strict=True):
        found = keras.ops.convert_to_numpy(keras.ops.cast(variable, "float32"))
        error = np.max(np.abs(found - expected), initial=0)
        assert error <= bound * np.max(np.abs(expected), initial=0)


@pytest.mark.parametrize("arguments", ARGUMENTS.values(), ids=ARGUMENTS)
@pytest.mark.filterwarnings("ignore:.*momentum")
def test_large_gradients_of_another_dtype(all_are_large, arguments):  # contract 1.4
    variables = [keras.Variable(w, dtype="float32") for w in draws(0)]
    optimizer = kerasgd.SGD(0.1, **arguments)
    for t in range(STEPS):
        optimizer.apply([torch.as_tensor(g) for g in draws(t + 1)], variables)
    assert_close(variables, reference(arguments).weights, "float32")


def test_averages_of_infinite_weights_are_infinite(all_are_large):
    averages = torch.tensor([np.inf, -np.inf, 1, np.inf])
    weights = torch.tensor([np.inf, -np.inf, np.inf, 1])
    kernels.average([averages], [weights], 0.5)
    np.testing.assert_array_equal(averages, [np.inf, -np.inf, np.inf, np.inf])


def test_large_tensors_that_are_not_contiguous(all_are_large):
    transposed = torch.arange(6.0).reshape(3, 2).T
    (norm,) = kernels.norms([transposed])
    np.testing.assert_allclose(norm, np.sqrt(55), rtol=1e-6)
    (norm,) = kernels.norms([torch.full((4_000, 2_500), 0.1).T])
    np.testing.assert_allclose(norm, np.sqrt(1e5), rtol=5e-5)
    averages = torch.zeros(2, 3)
    kernels.average([averages], [transposed], 0.5)
    np.testing.assert_array_equal(averages, transposed / 2)


@pytest.mark.parametrize("nesterov", [False, True])
def test_results_are_the_same_without_the_fused_kernel(monkeypatch, nesterov):
    monkeypatch.setattr(kernels, "_fused", None)
    arguments = {"momentum": 0.9, "nesterov": nesterov}
    assert_close(run(arguments, "float32")[1], reference(arguments).weights, "float32")


def update(*tensors_and_numbers):
    """Run a batch of updates without decay, by the implementation chosen for it."""
    batch = Batch(*tensors_and_numbers, decay=0.0)
    is_fused = choice.implementation(batch) is Implementation.FUSED
    (kernels.update_fused if is_fused else kernels.update_foreach)(batch)


@pytest.mark.parametrize("step", [0.0, 1e-12, 1e-8, 1e-3])
def test_small_steps_are_accurate(step):
    weights, velocity = torch.zeros(3), torch.zeros(3)
    update([weights], [velocity], [torch.ones(3)], step, 0.5, False)
    np.testing.assert_allclose(velocity.numpy(), np.full(3, -step), rtol=1e-7)


def test_updates_of_tensors_that_are_not_contiguous():
    weights, velocity = torch.zeros(2, 3), torch.zeros(2, 3)
    gradient = torch.arange(6.0).reshape(3, 2).T
    update([weights], [velocity], [gradient], 0.5, 0.5, True)
    np.testing.assert_array_equal(weights.numpy(), -0.75 * gradient.numpy())


@pytest.mark.parametrize(
    "arguments",
    [{"momentum": 0.9}, {"weight_decay": 0.1}, {"momentum": 0.9, "clipvalue": 1.0}],
    ids=["momentum", "decay", "clip"],
)
def test_each_group_takes_one_call_of_the_kernel(monkeypatch, arguments):  # contract 14.12
    calls = []

    def counted(weights, *rest, **settings):
        calls.append(len(weights))
        torch._fused_sgd_(weights, *rest, **settings)

    monkeypatch.setattr(kernels, "_fused", counted)
    variables = [keras.Variable(w, dtype="float32", name=f"w{i}") for i, w in enumerate(draws(0))]
    optimizer = kerasgd.SGD(0.1, **arguments)
    optimizer.set_group("[01]$", learning_rate_factor=0.5).set_group("2$", learning_rate_factor=2)
    optimizer.set_group("3$", learning_rate_factor=0)
    optimizer.apply([torch.as_tensor(g).float() for g in draws(1)], variables)
    assert sorted(calls) == [1, 2, 2]  # two variables without a group; none in the last group


@pytest.mark.parametrize("arguments", ARGUMENTS.values(), ids=ARGUMENTS)
@pytest.mark.filterwarnings("ignore:.*momentum")
def test_large_tensors_of_groups_are_those_of_the_reference(all_are_large, arguments):
    # contract 14.3: the pieces of a variable are in its group
    variables = [keras.Variable(w, dtype="float32", name=f"w{i}") for i, w in enumerate(draws(0))]
    optimizer, sgd = kerasgd.SGD(0.1, **arguments), ReferenceSGD(0.1, **arguments)
    optimizer.set_group("[345]", learning_rate_factor=0.5, weight_decay=0.3)
    optimizer.set_group("5", momentum=0.5).set_group("4", learning_rate_factor=0)
    slow = ReferenceGroup({3, 4, 5}, 0.5, weight_decay=0.3)
    sgd.build(draws(0), groups=[slow, ReferenceGroup({5}, momentum=0.5), ReferenceGroup({4}, 0.0)])
    for t in range(STEPS):
        optimizer.apply([torch.as_tensor(g).float() for g in draws(t + 1)], variables)
        sgd.step(draws(t + 1))
    assert_close(variables, sgd.weights, "float32")
