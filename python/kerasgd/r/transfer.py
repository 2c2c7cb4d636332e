"""Numbers out of Keras, and between R and Python: exactly, whatever the versions of all three.

An integer above 2^31 - 1, half precision and, with some versions, arrays do not survive the usual
conversion to R. Bytes of doubles in R's order (the first index runs fastest) do.
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
    """The array of this shape whose doubles these are, in R's order."""
    return np.frombuffer(data, "<f8").reshape([int(n) for n in shape], order="F")
