"""Gradients of PyTorch that share memory, are sparse, or are of another dtype."""

import keras
import numpy as np
import pytest
from conftest import BACKEND

import kerasgd

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
