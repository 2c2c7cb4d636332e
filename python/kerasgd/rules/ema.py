"""The exponential moving average of the weights (contract 5.1, 5.2)."""

from __future__ import annotations

import keras

from kerasgd.state import Tensor


def averaged(average: Tensor, weights: Tensor, momentum: float, begun: Tensor) -> Tensor:
    """``ema_momentum * average + (1 - ema_momentum) * w`` in the dtype of the average.

    At the first update, where `begun` is false, it is `w` itself. (A multiplication by 0 could not
    select `w`, because weights may be infinite.)
    """
    weights = keras.ops.cast(weights, average.dtype)
    later = momentum * average + (1 - momentum) * weights
    return keras.ops.where(begun, later, weights)


def overwrites(updates: Tensor, frequency: int) -> Tensor:
    """Whether the averages overwrite the weights after update number `updates` (contract 5.2)."""
    return updates % frequency == 0
