"""The update rule, for `momentum` and `nesterov` (contract 1.1 to 1.4), one variable at a time."""

from __future__ import annotations

import keras

from kerasgd.rules.precision import scalar, wide
from kerasgd.state import Tensor


def learning_rate_times_gradient(
    gradient: Tensor, coefficient: Tensor | float, rate: Tensor, dtype: str
) -> Tensor:
    """``learning_rate * g`` for a variable of `dtype`, in `wide(dtype)`."""
    ops = keras.ops
    if dtype == wide(dtype) == keras.backend.standardize_dtype(gradient.dtype):
        return (scalar(rate, dtype) * scalar(coefficient, dtype)) * gradient
    # Contract 1.4: the cast comes last, because a scaled gradient may overflow in `dtype`.
    gradient = ops.cast(scalar(coefficient, gradient.dtype) * gradient, dtype)
    return scalar(rate, wide(dtype)) * ops.cast(gradient, wide(dtype))


def without_momentum(weights: Tensor, step: Tensor) -> Tensor:
    """The new weights by rule 1.1, where `step` is ``learning_rate * g``."""
    return keras.ops.cast(keras.ops.cast(weights, step.dtype) - step, weights.dtype)


def new_velocity(velocity: Tensor, step: Tensor, momentum: float) -> Tensor:
    """The new velocity by rules 1.2 and 1.3, where `step` is ``learning_rate * g``."""
    in_wide = momentum * keras.ops.cast(velocity, step.dtype) - step
    return keras.ops.cast(in_wide, velocity.dtype)


def with_momentum(
    weights: Tensor, velocity: Tensor, step: Tensor, momentum: float, nesterov: bool
) -> Tensor:
    """The new weights by rules 1.2 and 1.3, from the new velocity."""
    ahead = keras.ops.cast(velocity, step.dtype)
    if nesterov:
        ahead = momentum * ahead - step
    return keras.ops.cast(keras.ops.cast(weights, step.dtype) + ahead, weights.dtype)
