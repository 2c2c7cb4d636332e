"""The exponential moving average of the weights (contract 5.1, 5.2)."""

from __future__ import annotations

import keras

from kerasgd.state import Tensor


def averaged(average: Tensor, weights: Tensor, momentum: float, begun: Tensor) -> Tensor:
    """``ema_momentum * average + (1 - ema_momentum) * w`` in the dtype of the average.

    Before the first update, where `begun` is false, it is `w` itself. (No product by 0 makes that,
    since weights may be infinite.)
    """
    weights = keras.ops.cast(weights, average.dtype)
    later = momentum * average + (1 - momentum) * weights
    return keras.ops.where(begun, later, weights)


def overwrites(updates: Tensor, frequency: int) -> Tensor:
    """Whether averages overwrite the weights after this update, the `updates`-th (contract 5.2)."""
    return updates % frequency == 0
