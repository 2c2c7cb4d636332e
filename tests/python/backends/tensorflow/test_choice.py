"""TensorFlow's kernels run where they are right and fast: in graphs that XLA does not compile."""

import keras
import numpy as np
import pytest
from conftest import BACKEND

import kerasgd

if BACKEND != "tensorflow":
    pytest.skip("a choice on TensorFlow", allow_module_level=True)

import tensorflow as tf

from kerasgd.backends.tensorflow import choice


def operations(jit_compile, dtype="float32"):
    """The types of the operations in one step."""
    variable = keras.Variable(np.ones(3), dtype=dtype)
    optimizer = kerasgd.SGD(0.5, momentum=0.5)
    optimizer.build([variable])
    gradient = tf.constant([1, 2, 3], dtype)
    step = tf.function(lambda: optimizer.apply([gradient], [variable]), jit_compile=jit_compile)
    graph = step.get_concrete_function().graph
    step()
    np.testing.assert_array_equal(tf.cast(variable.value, "float32"), [0.5, 0, -0.5])
    return {operation.type for operation in graph.get_operations()}


def test_kernels_run_in_graphs():
    assert "ResourceApplyKerasMomentum" in operations(jit_compile=False)


def test_plain_operations_run_under_xla():
    assert "ResourceApplyKerasMomentum" not in operations(jit_compile=True)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_plain_operations_run_in_half_precision(dtype):  # contract 8
    assert "ResourceApplyKerasMomentum" not in operations(False, dtype)


def test_plain_operations_run_where_tensorflow_cannot_tell_xla(monkeypatch):
    monkeypatch.setattr(choice, "_is_for_xla", None)
    assert "ResourceApplyKerasMomentum" not in operations(jit_compile=False)


def test_the_private_xla_test_may_be_missing(monkeypatch):
    from tensorflow.python.ops import control_flow_util

    monkeypatch.delattr(control_flow_util, "GraphOrParentsInXlaContext")
    assert choice._private_xla_test() is None
