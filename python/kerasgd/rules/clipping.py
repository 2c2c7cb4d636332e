"""Clipping of values, of each gradient's norm, or of the global norm (contract 4).

Clipping applies to the gradient of an update, ``coefficient * gradient``. The norm clips change
only the coefficient. A gradient at or below the limit keeps its coefficient, so that the result is
bit for bit that of the optimizer without the clip (4.4).

A norm is *measured in units* if its gradients are first divided by a power of two, the unit, so
that no square overflows and no relevant one underflows.

The functions for norms take vectors with one element for each norm: one for each gradient with
`clipnorm`, a single one with `global_clipnorm`.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import keras
import numpy as np

from kerasgd.limits import LARGEST_NORMAL, SMALLEST_NORMAL
from kerasgd.state import Tensor

# Below this sum of squares, the squares of elements may underflow: normal float32 end at 1.2e-38.
TINY = 1e-20
# Gradients whose squares overflow are measured in these units, those whose squares underflow in the
# inverse units. Powers of two lose no digits.
LARGE_UNIT = {"float32": 2.0**90, "float64": 2.0**540}


class NormClip(NamedTuple):
    """For each norm, the two factors that clip its gradients.

    Attributes:
        scale: the factor for the gradient itself, since its product with the coefficient may be too
            small for float32. 1 unless the norm was measured in units.
        coefficient: the new coefficient of the gradient.
    """

    scale: Tensor
    coefficient: Tensor


def clip_value(values: Tensor, limit: Tensor) -> Tensor:
    """``clipvalue``: each element in [-limit, limit]; NaN stays NaN (4.5)."""
    # Two comparisons, because min and max lose a NaN in some kernels.
    values = keras.ops.where(values > limit, limit, values)
    return keras.ops.where(values < -limit, -limit, values)


def clip_norm(squares: Tensor, unclipped: Tensor, limit: float) -> Tensor:
    """``clipnorm`` and ``global_clipnorm``: the coefficients for which no norm exceeds `limit`.

    `squares` are the sums of squares, `unclipped` is the coefficient without the clip.
    """
    norms = keras.ops.sqrt(squares)
    return keras.ops.where(unclipped * norms > limit, limit / norms, unclipped)


def clip_norm_in_numpy(
    squares: np.ndarray[Any, Any], unclipped: float, limit: float
) -> np.ndarray[Any, Any] | None:
    """Like `clip_norm()`, for NumPy arrays; None if `needs_units()` is true."""
    if not ((squares >= TINY) & (squares < math.inf)).all():
        return None
    norms, one = np.sqrt(squares), squares.dtype.type
    # The limit may overflow float32, and so may the branch that is not taken.
    with np.errstate(over="ignore"):
        clipped = one(unclipped) * norms > one(limit)
        return np.where(clipped, one(limit) / norms, one(unclipped))


def needs_units(squares: Tensor) -> Tensor:
    """Whether a sum of squares overflows, or is so small that elements may underflow (4.3)."""
    # NaN is outside the range, too.
    return ~keras.ops.all((squares >= TINY) & (squares < math.inf))


def units_for(squares: Tensor) -> Tensor:
    """The unit for each norm, in which no square overflows and no relevant one underflows."""
    ops = keras.ops
    large = LARGE_UNIT[keras.backend.standardize_dtype(squares.dtype)]
    units = ops.where(squares < math.inf, ops.ones_like(squares), large)
    return ops.where(squares < TINY, 1 / large, units)


def times(gradient: Tensor, factor: Tensor) -> Tensor:
    """``gradient * factor``, to be squared, for the inverse of a unit.

    For a constant gradient, XLA would turn ``(gradient * factor)**2`` into
    ``gradient**2 * factor**2``: if the first square underflows to 0 and the second overflows, the
    product is NaN. The maximum, which changes no finite number, keeps the two together.
    """
    product = gradient * factor
    lowest = np.finfo(keras.backend.standardize_dtype(product.dtype)).min
    return keras.ops.maximum(product, float(lowest))


def clip_norm_in_units(squares: Tensor, units: Tensor, unclipped: Tensor, limit: float) -> NormClip:
    """Like `clip_norm()`, with sums of squares of gradients that were measured in `units`."""
    ops = keras.ops
    norms_in_units = ops.sqrt(squares)
    norms = ops.clip(norms_in_units * units, SMALLEST_NORMAL, LARGEST_NORMAL)
    remainders = norms_in_units * (units / norms)  # 1, except for norms beyond the bounds
    clipped = unclipped * remainders > limit / norms
    coefficients = ops.where(clipped, limit / remainders, unclipped)
    # 4.5: a clip never hides non-finite values.
    coefficients = ops.where(ops.isfinite(norms_in_units), coefficients, float("nan"))
    return NormClip(ops.where(clipped, 1 / norms, ops.ones_like(norms)), coefficients)
