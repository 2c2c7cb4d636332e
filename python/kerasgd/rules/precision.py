"""In which dtype to compute (contract 8.1)."""

from __future__ import annotations

import keras

from kerasgd.state import Tensor

# Between these float32 numbers are normal, and so are their inverses.
SMALLEST_NORMAL, LARGEST_NORMAL = 2.0**-126, 2.0**126


def wide(dtype: str) -> str:
    """The dtype to compute in: at least float32, since half precision loses the small steps."""
    return "float64" if dtype == "float64" else "float32"


def scalar(value: Tensor | float, dtype: str) -> Tensor:
    """A scalar in `dtype`. (A cast of TensorFlow rounds a Python number to float32 first.)"""
    return keras.ops.convert_to_tensor(value, dtype=dtype)
