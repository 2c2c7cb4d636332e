"""Weight decay (contract 3.1). Which variables it leaves alone: `selection.py`."""

from __future__ import annotations

import keras

from kerasgd.rules.precision import scalar, wide
from kerasgd.state import Tensor


def decay_factor(rate: Tensor | float, weight_decay: float, dtype: str) -> Tensor:
    """``learning_rate * weight_decay`` for weights of `dtype`, in `wide(dtype)`."""
    return scalar(rate, wide(dtype)) * weight_decay


def decayed(weights: Tensor, factor: Tensor) -> Tensor:
    """``w - learning_rate * weight_decay * w`` in the dtype of the weights (contract 3.1).

    `factor` is `decay_factor()`. The weights are not multiplied by ``1 - factor``, of which float32
    keeps little where it is close to 1.
    """
    ops = keras.ops
    in_wide = ops.cast(weights, factor.dtype)
    return ops.cast(in_wide - factor * in_wide, weights.dtype)
