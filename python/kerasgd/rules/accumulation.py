"""Accumulation of gradients over a window of steps (contract 7)."""

from __future__ import annotations

import keras

from kerasgd.rules.precision import scalar
from kerasgd.state import Tensor


def accumulated(total: Tensor, gradient: Tensor, coefficient: Tensor | float) -> Tensor:
    """``total + coefficient * gradient`` in the dtype of the total."""
    # Contract 1.4: the cast comes last.
    scaled = scalar(coefficient, gradient.dtype) * gradient
    return total + keras.ops.cast(scaled, total.dtype)


def largest(so_far: Tensor, gradient: Tensor, is_first: Tensor) -> Tensor:
    """The largest value in the window, for variables with `overwrite_with_gradient`.

    `is_first` is true if the window has no value before this one.
    """
    return keras.ops.where(is_first, gradient, keras.ops.maximum(so_far, gradient))


def is_update(iterations: Tensor, window: int) -> Tensor:
    """Whether the step after `iterations` steps is an update: every `window`-th is (7.1)."""
    return (iterations + 1) % window == 0


def mean_coefficient(window: int) -> float:
    """The factor from the sum of a window's gradients to their mean; None counts as 0."""
    return 1 / window
