"""The dynamic loss scale: which steps count, and how the scale follows (contract 6.3).

A fixed loss scale needs no file: its inverse is the coefficient that an `Update` begins with.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import keras

from kerasgd.backends.base import Backend
from kerasgd.rules.precision import LARGEST_NORMAL, SMALLEST_NORMAL
from kerasgd.state import DynamicScale, State, Tensor


def if_finite(
    backend: Backend,
    state: State,
    gradients: Sequence[Tensor | None],
    advance: Callable[[Tensor], None],
) -> None:
    """Do the step if all gradients are finite, else halve the scale.

    `advance` gets what the gradients are to be multiplied by.
    """
    dynamic = state.dynamic_scale
    assert dynamic is not None
    finite = _all_finite(backend, [g for g in gradients if g is not None])

    def proceed() -> None:
        advance(1 / backend.read(dynamic.scale))
        _count(backend, dynamic)

    own = [dynamic.scale, dynamic.finite_steps]
    backend.when(finite, proceed, [*state.variables(), state.iterations, *own])
    backend.when(keras.ops.logical_not(finite), lambda: _halve(backend, dynamic), own)


def _all_finite(backend: Backend, gradients: Sequence[Tensor]) -> Tensor:
    ops = keras.ops
    return ops.all(ops.stack([ops.all(ops.isfinite(backend.values(g))) for g in gradients]))


def _count(backend: Backend, dynamic: DynamicScale) -> None:
    """Count a finite step; after enough of them in a row double the scale."""
    ops = keras.ops
    scale = backend.read(dynamic.scale)
    finite_steps = backend.read(dynamic.finite_steps) + 1
    grows = finite_steps >= dynamic.growth_steps
    doubled = ops.minimum(2 * scale, LARGEST_NORMAL)
    backend.assign(dynamic.scale, ops.where(grows, doubled, scale))
    backend.assign(dynamic.finite_steps, ops.where(grows, 0, finite_steps))


def _halve(backend: Backend, dynamic: DynamicScale) -> None:
    # A scale of 0 or infinity could never change again, and would spoil the weights.
    halved = keras.ops.maximum(backend.read(dynamic.scale) / 2, SMALLEST_NORMAL)
    backend.assign(dynamic.scale, halved)
    backend.clear([dynamic.finite_steps])
