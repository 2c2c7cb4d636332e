"""The loss scale: its inverse, and the changes of a dynamic scale (contract 6)."""

from __future__ import annotations

from collections.abc import Sequence

import keras

from kerasgd.limits import LARGEST_NORMAL, SMALLEST_NORMAL
from kerasgd.state import Tensor


def unscaling(scale: Tensor | float) -> Tensor | float:
    """The coefficient that turns gradients of the scaled loss into those of the loss (6.1)."""
    return 1 / scale


def all_finite(gradients: Sequence[Tensor]) -> Tensor:
    """Whether no element of any gradient is infinite or NaN."""
    ops = keras.ops
    return ops.all(ops.stack([ops.all(ops.isfinite(gradient)) for gradient in gradients]))


def after_finite_step(
    scale: Tensor, finite_steps: Tensor, growth_steps: int
) -> tuple[Tensor, Tensor]:
    """Scale and count after a finite step: after `growth_steps` in a row the scale doubles."""
    ops = keras.ops
    finite_steps = finite_steps + 1
    grows = finite_steps >= growth_steps
    doubled = ops.minimum(2 * scale, LARGEST_NORMAL)
    return ops.where(grows, doubled, scale), ops.where(grows, 0, finite_steps)


def after_nonfinite_step(scale: Tensor) -> Tensor:
    """The scale after a step with a non-finite gradient: half the scale."""
    # A scale of 0 could never change again, and would make the weights NaN.
    return keras.ops.maximum(scale / 2, SMALLEST_NORMAL)
