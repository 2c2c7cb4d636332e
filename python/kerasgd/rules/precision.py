"""The dtype of computations (contract 8.1)."""

from __future__ import annotations

import keras

from kerasgd.state import Tensor


def wide(dtype: str) -> str:
    """The dtype for computations: at least float32, because half precision loses small steps."""
    return "float64" if dtype == "float64" else "float32"


def scalar(value: Tensor | float, dtype: str) -> Tensor:
    """A scalar in `dtype`. (TensorFlow's cast would round a Python number to float32 first.)"""
    return keras.ops.convert_to_tensor(value, dtype=dtype)
