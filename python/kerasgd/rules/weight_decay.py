"""Weight decay (contract 3.1). `selection.py` handles excluded variables."""

from __future__ import annotations

import keras

from kerasgd.rules.precision import scalar, wide
from kerasgd.state import Tensor


def decay_factor(rate: Tensor | float, weight_decay: float, dtype: str) -> Tensor:
    """``learning_rate * weight_decay`` for weights of `dtype`, in `wide(dtype)`."""
    return scalar(rate, wide(dtype)) * weight_decay


def decayed(weights: Tensor, factor: Tensor) -> Tensor:
    """``w - learning_rate * weight_decay * w`` in the dtype of the weights (contract 3.1).

    `factor` is `decay_factor()`. Multiplying the weights by ``1 - factor`` would be less accurate:
    float32 keeps few digits of a small factor in that difference.
    """
    ops = keras.ops
    in_wide = ops.cast(weights, factor.dtype)
    return ops.cast(in_wide - factor * in_wide, weights.dtype)
