"""Norms for XLA, on JAX and on TensorFlow, in a few large operations.

XLA runs many small operations one by one, and compiles them slowly: for 1,000 variables of 8
elements, a global norm takes 39 seconds to compile with 1,000 sums, and 3 with one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import keras
import numpy as np

from kerasgd.rules import clipping
from kerasgd.state import Tensor

# Up to this many elements, a copy costs less than an operation.
SMALL = 2**12


def sum_of_squares(values: Tensor) -> Tensor:
    """The sum of the squares of all elements."""
    return keras.ops.sum(keras.ops.square(values))


def squared_norms(
    gradients: Sequence[Tensor],
    units: Tensor | None,
    of_large: Callable[[Tensor], Tensor] = sum_of_squares,
) -> Tensor:
    """A vector with each dense gradient's sum of squares, in its unit if there are units.

    Args:
        gradients: the gradients.
        units: a unit for each of them, or None.
        of_large: computes the sum of squares of a gradient with more than `SMALL` elements.
    """
    ops = keras.ops
    alike: dict[tuple[int | str, ...], list[int]] = {}
    for i, gradient in enumerate(gradients):
        alike.setdefault(_kind(gradient, i), []).append(i)
    factors = None if units is None else 1 / units  # XLA compiles divisions slowly
    sums = [_sums_of_squares(gradients, group, factors, of_large) for group in alike.values()]
    dtypes = [keras.backend.standardize_dtype(s.dtype) for s in sums]
    widest = "float64" if "float64" in dtypes else "float32"
    found = [i for group in alike.values() for i in group]
    vector = ops.concatenate([ops.cast(s, widest) for s in sums])
    return vector if found == sorted(found) else ops.take(vector, np.argsort(found))


def _kind(gradient: Tensor, index: int) -> tuple[int | str, ...]:
    """The key of gradients whose squares are summed in one operation."""
    if _is_unknown(gradient) or math.prod(gradient.shape) > SMALL:
        return (index,)
    return (math.prod(gradient.shape), keras.backend.standardize_dtype(gradient.dtype))


def _is_unknown(gradient: Tensor) -> bool:
    """Whether the shape is unknown, as TensorFlow's may be during tracing."""
    return getattr(gradient.shape, "rank", 0) is None or None in gradient.shape


def _sums_of_squares(
    gradients: Sequence[Tensor],
    group: Sequence[int],
    factors: Tensor | None,
    of_large: Callable[[Tensor], Tensor],
) -> Tensor:
    """One sum for each gradient of the group; all of them have the same size."""
    ops = keras.ops
    if len(group) == 1:
        (index,) = group
        values = gradients[index]
        if factors is not None:
            values = clipping.times(ops.cast(values, factors.dtype), factors[index])
        is_small = not _is_unknown(values) and math.prod(values.shape) <= SMALL
        return ops.reshape((sum_of_squares if is_small else of_large)(values), (1,))
    rows = ops.stack([ops.reshape(gradients[i], (-1,)) for i in group])
    if factors is not None:
        rows = clipping.times(ops.cast(rows, factors.dtype), ops.take(factors, group)[:, None])
    return ops.sum(ops.square(rows), axis=1)
