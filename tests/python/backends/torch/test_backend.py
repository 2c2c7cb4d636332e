"""Gradients of PyTorch that share memory, are sparse, or have another dtype."""

import keras
import numpy as np
import pytest
from conftest import BACKEND

import kerasgd
from backends.torch.conftest import in_workers, too_far

if BACKEND != "torch":
    pytest.skip("gradients of PyTorch", allow_module_level=True)

import torch


def test_a_stateless_step_writes_no_variable(all_are_large):  # contract 13.1
    w = keras.Variable(np.ones(40), dtype="float32")
    optimizer = kerasgd.SGD(0.5, momentum=0.5, nesterov=True, weight_decay=0.1, use_ema=True)
    optimizer.build([w])
    state = [v.value for v in optimizer.variables]
    (weights,), _ = optimizer.stateless_apply(state, [torch.ones(40)], [w.value])
    np.testing.assert_allclose(weights.detach(), [1 - 0.05 - 0.75] * 40, rtol=1e-6)
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(w), [1.0] * 40)


def test_a_weight_may_be_the_gradient_of_another():
    v, w = keras.Variable([1.0], dtype="float32"), keras.Variable([2.0], dtype="float32")
    gradients = [w.value.detach(), v.value.detach()]
    kerasgd.SGD(0.5).apply(gradients, [v, w])
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(v), [0.0])
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(w), [1.5])


@pytest.mark.parametrize("layout", ["to_sparse_coo", "to_sparse_csr", "to_sparse_csc"])
def test_sparse_gradients_of_all_layouts_are_made_dense(layout):
    w = keras.Variable([[1.0, 2.0], [3.0, 4.0]])
    kerasgd.SGD(0.5).apply([getattr(torch.eye(2), layout)()], [w])
    assert keras.ops.convert_to_numpy(w).tolist() == [[0.5, 2.0], [3.0, 3.5]]


def test_gradients_without_values_are_refused():  # contract 12.7
    w = keras.Variable([1.0, 2.0])
    optimizer = kerasgd.SGD(0.5)
    for _ in range(2):  # also after a step that could be planned
        with pytest.raises(kerasgd.ArgumentValueError, match="`grads` must be tensors that hold"):
            optimizer.apply([torch.ones(2, device="meta")], [w])
        optimizer.apply([torch.ones(2)], [w])
    assert keras.ops.convert_to_numpy(w).tolist() == [0.0, 1.0]


def test_sparse_gradients_are_made_dense():
    w = keras.Variable(np.zeros((3, 2)), dtype="float32")
    rows, ones = torch.tensor([[2, 0, 2]]), torch.ones(3, 2)
    kerasgd.SGD(0.5).apply([torch.sparse_coo_tensor(rows, ones, (3, 2))], [w])
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(w), [[-0.5, -0.5], [0, 0], [-1, -1]])


def test_a_wider_gradient_is_scaled_before_it_is_cast():  # contract 1.4
    w = keras.Variable([0.0], dtype="float32")
    optimizer = kerasgd.SGD(1.0, loss_scale_factor=1e3, gradient_accumulation_steps=2)
    for _ in range(2):
        optimizer.apply([torch.tensor([1e39], dtype=torch.float64)], [w])
    np.testing.assert_allclose(keras.ops.convert_to_numpy(w), [-1e36], rtol=1e-6)


def test_workers_in_parallel_follow_the_reference(trained):  # contract 10.2
    for distances, counts, _ in trained[0]:
        of_kind = {name: d for name, d in distances.items() if name.startswith("in parallel")}
        assert len(of_kind) == 6
        assert too_far(of_kind) == {}
        # The gradients are summed in `backward()`; the step moves nothing.
        assert {counts[name] for name in of_kind} == {0}


@pytest.mark.parametrize("number", [1, 3])
def test_other_numbers_of_workers_continue(number, trained):  # contract 10.5
    from backends.torch import workers

    for distances in in_workers(number, workers.going_on, trained[1]):
        assert len(distances) == 4
        assert too_far(distances) == {}


def test_a_compiled_function_leaves_the_step_to_eager_code():  # contract 13.1
    graphs = []

    def compiler(graph, inputs):
        graphs.append(graph)
        return graph.forward

    w = keras.Variable(np.ones(3), dtype="float32")
    rate = keras.optimizers.schedules.ExponentialDecay(0.5, 1, 0.5)
    optimizer = kerasgd.SGD(rate, momentum=0.5, global_clipnorm=100, use_ema=True)
    optimizer.build([w])

    @torch.compile(backend=compiler)
    def train(x):
        optimizer.apply([torch.cos(x) ** 2 + torch.sin(x) ** 2], [w])
        return torch.sum(x * w.value)

    expected, velocity = 1.0, 0.0
    for t in range(20):  # a graph for each rate would exceed PyTorch's limit per function
        loss = train(torch.full((3,), float(t)))
        velocity = 0.5 * velocity - 0.5**t * 0.5
        expected += velocity
        np.testing.assert_allclose(keras.ops.convert_to_numpy(w), [expected] * 3, rtol=1e-6)
        np.testing.assert_allclose(loss.item(), 3 * t * expected, rtol=1e-6)
    assert len(graphs) == 2  # before the step, and after it
