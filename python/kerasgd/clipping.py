"""Clipping (contract 4): of values, of each gradient's norm, of the global norm.

What is clipped is the gradient of the update, ``coefficient * gradient`` of each move. The norm
clips change the coefficient only; a gradient at or below the limit keeps its own, so that the
result is bit for bit that of the optimizer without the clip (4.4).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import keras

from kerasgd import rule
from kerasgd.backends import Backend, Move, Tensor

# Below this sum of squares, squares of single elements may have vanished: float32 ends at 1.2e-38.
TINY = 1e-20


def clip_values(backend: Backend, moves: Sequence[Move], limit: float) -> list[Move]:
    """Each element of each gradient into [-limit, limit]; NaN stays NaN (4.5)."""

    def clipped(move: Move) -> Tensor:
        # The limit of what is yet to be multiplied by the coefficient.
        its_limit = limit / rule.scalar(move.coefficient, move.gradient.dtype)
        return backend.map_numbers(partial(_clip_between, its_limit), move.gradient)

    return [move._replace(gradient=clipped(move)) for move in moves]


def _clip_between(limit: Tensor, values: Tensor) -> Tensor:
    # Two comparisons, since min and max of some kernels lose a NaN.
    values = keras.ops.where(values > limit, limit, values)
    return keras.ops.where(values < -limit, -limit, values)


def clip_each_norm(backend: Backend, moves: Sequence[Move], limit: float) -> list[Move]:
    """Each gradient's L2 norm to at most `limit`."""
    squares = backend.squared_norms([move.gradient for move in moves])
    return _clip_norms(backend, [[move] for move in moves], squares, limit)


def clip_global_norm(backend: Backend, moves: Sequence[Move], limit: float) -> list[Move]:
    """The L2 norm over all gradients together to at most `limit`."""
    squares = backend.squared_norms([move.gradient for move in moves])
    return _clip_norms(backend, [moves], keras.ops.sum(squares, keepdims=True), limit)


def _clip_norms(
    backend: Backend, groups: Sequence[Sequence[Move]], squares: Tensor, limit: float
) -> list[Move]:
    """The moves, one group after the other, each group's norm at most `limit`.

    `squares` has each group's sum of squares. Where that overflowed, or came out so small that
    elements may have vanished, a careful pass divides each group by its largest element first
    (4.3).
    """
    ops = keras.ops
    unclipped = ops.stack(
        [rule.scalar(group[0].coefficient, squares.dtype) for group in groups]
    )  # the members of a group share it
    careful = ops.any(ops.logical_or(ops.logical_not(ops.isfinite(squares)), squares < TINY))
    factors = backend.choose(
        careful,
        lambda: _careful_factors(backend, groups, squares, unclipped, limit),
        lambda: _fast_factors(squares, unclipped, limit),
    )
    scales, coefficients = (
        [row[i] for i in range(len(groups))] for row in (factors[0], factors[1])
    )
    members = [(i, move) for i, group in enumerate(groups) for move in group]
    gradients = backend.rescale(
        careful, [move.gradient for _, move in members], [scales[i] for i, _ in members]
    )
    return [
        Move(move.slot, gradient, coefficients[i], move.present)
        for (i, move), gradient in zip(members, gradients, strict=True)
    ]


def _fast_factors(squares: Tensor, unclipped: Tensor, limit: float) -> Tensor:
    """Two factors for each group's gradients: 1, and the coefficient."""
    norms = keras.ops.sqrt(squares)
    coefficients = keras.ops.where(unclipped * norms > limit, limit / norms, unclipped)
    return keras.ops.stack([keras.ops.ones_like(coefficients), coefficients])


def _careful_factors(
    backend: Backend,
    groups: Sequence[Sequence[Move]],
    squares: Tensor,
    unclipped: Tensor,
    limit: float,
) -> Tensor:
    """Two factors for each group: what brings its largest element to about 1, and the coefficient.

    They stay apart, since their product may be too small for a float32.
    """
    ops = keras.ops
    largest = ops.stack([_largest(backend, group, squares.dtype) for group in groups])
    units = ops.clip(largest, rule.SMALLEST_NORMAL, rule.LARGEST_NORMAL)
    norms = ops.sqrt(
        ops.stack([_squares_in(backend, units[i], g, squares.dtype) for i, g in enumerate(groups)])
    )
    clipped = unclipped * norms > limit / units
    coefficients = ops.where(clipped, limit / norms, unclipped)
    # 4.5: not finite is never hidden. (A maximum may lose a NaN, a sum of squares cannot.)
    hopeless = ops.logical_or(ops.isnan(squares), ops.isinf(largest))
    coefficients = ops.where(hopeless, ops.full_like(coefficients, float("nan")), coefficients)
    return ops.stack([ops.where(clipped, 1 / units, ops.ones_like(units)), coefficients])


def _largest(backend: Backend, group: Sequence[Move], dtype: str) -> Tensor:
    values = [backend.numbers(move.gradient) for move in group]
    maxima = [keras.ops.cast(keras.ops.max(keras.ops.abs(v), initial=0), dtype) for v in values]
    return keras.ops.max(keras.ops.stack(maxima))


def _squares_in(backend: Backend, unit: Tensor, group: Sequence[Move], dtype: str) -> Tensor:
    """The sum of squares of a group whose gradients are measured in `unit`."""
    ops = keras.ops
    values = [ops.cast(backend.numbers(move.gradient), dtype) for move in group]
    inverse = 1 / unit  # XLA takes long to compile divisions
    return ops.sum(ops.stack([ops.sum(ops.square(v * inverse)) for v in values]))
