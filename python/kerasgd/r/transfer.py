"""Transfers numbers between Keras, R and Python exactly, with any versions of the three.

The usual conversion to R fails for integers above 2^31 - 1, half precision and, in some versions,
arrays. Bytes of doubles in R's order (the first index runs fastest) are always exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from kerasgd.variables import as_numpy


def as_doubles(values: Any) -> bytearray:
    """The numbers of a variable or tensor as the bytes of doubles, in R's order."""
    return bytearray(as_numpy(values).astype("<f8").tobytes(order="F"))


def from_doubles(data: bytes, shape: Sequence[float]) -> np.ndarray[Any, Any]:
    """The array of this shape from the bytes of doubles in R's order."""
    return np.frombuffer(data, "<f8").reshape([int(n) for n in shape], order="F")
