"""Clipping (contract 4): of values, of each gradient's norm, of the global norm.

What is clipped is the gradient of an update: ``coefficient * gradient`` of each `Update`. The norm
clips change the coefficient only; a gradient at or below the limit keeps its own, so that the
result is bit for bit that of the optimizer without the clip (4.4).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import keras

from kerasgd.backends.base import Backend
from kerasgd.rules import precision
from kerasgd.state import Tensor, Update

# Below this sum of squares, squares of single elements may have vanished: float32 ends at 1.2e-38.
TINY = 1e-20
# Gradients whose squares overflow are measured in such units, those whose squares vanish in their
# inverses. Powers of two cost no digit.
LARGE_UNIT = {"float32": 2.0**90, "float64": 2.0**540}

# One sum of squares for each norm, of gradients measured in the norm's unit; and one value for each
# norm as one for each gradient.
Sums = Callable[[Tensor | None], Tensor]
Spread = Callable[[Tensor], Sequence[Tensor]]


def clip_values(backend: Backend, updates: Sequence[Update], limit: float) -> list[Update]:
    """Each element of each gradient into [-limit, limit]; NaN stays NaN (4.5)."""

    def clipped(update: Update) -> Tensor:
        # The limit of what is yet to be multiplied by the coefficient.
        its_limit = limit / precision.scalar(update.coefficient, update.gradient.dtype)
        return backend.map_values(partial(_clip_between, its_limit), update.gradient)

    return [update._replace(gradient=clipped(update)) for update in updates]


def _clip_between(limit: Tensor, values: Tensor) -> Tensor:
    # Two comparisons, since min and max of some kernels lose a NaN.
    values = keras.ops.where(values > limit, limit, values)
    return keras.ops.where(values < -limit, -limit, values)


def clip_each_norm(backend: Backend, updates: Sequence[Update], limit: float) -> list[Update]:
    """Each gradient's L2 norm to at most `limit`."""

    def spread(values: Tensor) -> Sequence[Tensor]:
        return keras.ops.unstack(values, len(updates))  # type: ignore[no-any-return]

    gradients = [update.gradient for update in updates]
    return _clip_norms(backend, updates, limit, partial(backend.squared_norms, gradients), spread)


def clip_global_norm(backend: Backend, updates: Sequence[Update], limit: float) -> list[Update]:
    """The L2 norm over all gradients together to at most `limit`."""
    gradients = [update.gradient for update in updates]

    def sums(units: Tensor | None) -> Tensor:
        if units is not None:
            units = keras.ops.broadcast_to(units, (len(updates),))
        return keras.ops.reshape(keras.ops.sum(backend.squared_norms(gradients, units)), (1,))

    return _clip_norms(backend, updates, limit, sums, lambda values: [values[0]] * len(updates))


def _clip_norms(
    backend: Backend, updates: Sequence[Update], limit: float, sums: Sums, spread: Spread
) -> list[Update]:
    """The updates with each norm at most `limit`.

    Where a sum of squares overflows, or is so small that elements may have vanished, a careful pass
    measures the gradients in another unit (4.3).
    """
    ops = keras.ops
    squares = sums(None)
    unclipped = precision.scalar(updates[0].coefficient, squares.dtype)  # they all share it
    careful = ops.any(ops.logical_or(ops.logical_not(ops.isfinite(squares)), squares < TINY))
    factors = backend.choose(
        careful,
        lambda: _careful_factors(sums, squares, unclipped, limit),
        lambda: _fast_factors(squares, unclipped, limit),
    )
    scales, coefficients = spread(factors[0]), spread(factors[1])
    gradients = backend.rescale(careful, [update.gradient for update in updates], scales)
    return [
        Update(update.parameter, gradient, coefficient, update.present)
        for update, gradient, coefficient in zip(updates, gradients, coefficients, strict=True)
    ]


def _fast_factors(squares: Tensor, unclipped: Tensor, limit: float) -> Tensor:
    """Two factors for each norm's gradients: 1, and the coefficient."""
    norms = keras.ops.sqrt(squares)
    coefficients = keras.ops.where(unclipped * norms > limit, limit / norms, unclipped)
    return keras.ops.stack([keras.ops.ones_like(coefficients), coefficients])


def _careful_factors(sums: Sums, squares: Tensor, unclipped: Tensor, limit: float) -> Tensor:
    """Two factors for each norm's gradients: what brings the norm to about 1, and the coefficient.

    They stay apart, since their product may be too small for a float32.
    """
    ops = keras.ops
    units = _units(squares)
    norms_in_units = ops.sqrt(sums(units))
    norms = ops.clip(norms_in_units * units, precision.SMALLEST_NORMAL, precision.LARGEST_NORMAL)
    remainders = norms_in_units * (units / norms)  # 1, but for norms beyond the bounds
    clipped = unclipped * remainders > limit / norms
    coefficients = ops.where(clipped, limit / remainders, unclipped)
    # 4.5: not finite is never hidden.
    is_finite = ops.isfinite(norms_in_units)
    coefficients = ops.where(is_finite, coefficients, float("nan"))
    return ops.stack([ops.where(clipped, 1 / norms, ops.ones_like(norms)), coefficients])


def _units(squares: Tensor) -> Tensor:
    """For each norm the unit in which no square overflows, and none that counts vanishes."""
    ops = keras.ops
    large = precision.scalar(
        LARGE_UNIT[keras.backend.standardize_dtype(squares.dtype)], squares.dtype
    )
    units = ops.where(squares < TINY, 1 / large, ops.ones_like(squares))
    return ops.where(ops.isfinite(squares), units, large)
