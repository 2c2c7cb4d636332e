"""In which dtype to compute (contract 8.1)."""

from __future__ import annotations

import keras

from kerasgd.state import Tensor


def wide(dtype: str) -> str:
    """The dtype to compute in: at least float32, since half precision loses the small steps."""
    return "float64" if dtype == "float64" else "float32"


def scalar(value: Tensor | float, dtype: str) -> Tensor:
    """A scalar in `dtype`. (A cast of TensorFlow rounds a Python number to float32 first.)"""
    return keras.ops.convert_to_tensor(value, dtype=dtype)
