"""TensorFlow's own update kernels: one in-place operation for each variable.

They are for graphs and eager code. Under XLA plain operations are faster, since XLA fuses them into
one loop.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import tensorflow as tf

from kerasgd.rules.precision import scalar
from kerasgd.state import ParameterState, Tensor, Update, Updates

# The dtypes that kernels may compute in; half precision must be computed in float32 (contract 8).
WIDE = (tf.float32, tf.float64)
# The kernel for averages divides by the momentum.
SMALLEST_EMA_MOMENTUM = 0.5


def can_apply_rule(update: Update) -> bool:
    """Whether there is a kernel for this gradient and this variable."""
    kept = [update.parameter.variable, update.parameter.velocity]
    # (TensorFlow also counts a sparse gradient as a tensor.)
    return isinstance(update.gradient, tf.Tensor) and all(
        _has_handle(v) and v.dtype == update.gradient.dtype for v in kept if v is not None
    )


def can_average(parameter: ParameterState, momentum: float) -> bool:
    """Whether there is a kernel for this average."""
    return bool(
        momentum >= SMALLEST_EMA_MOMENTUM
        and _has_handle(parameter.average)
        and parameter.variable.dtype == cast(Any, parameter.average).dtype
    )


def _has_handle(variable: Any) -> bool:
    """Whether it is one plain variable, with a dtype that the kernels support."""
    return (
        isinstance(variable, tf.Variable)
        and not isinstance(variable, tf.distribute.DistributedValues)
        and variable.dtype in WIDE
    )


class Scalars:
    """The scalars of the kernels, each created once rather than for each of thousands of variables.

    Args:
        rate: the learning rate.
        momentum: the momentum.
        updates: the updates that use the scalars.
    """

    def __init__(self, rate: Tensor, momentum: float, updates: Updates) -> None:
        self._rate = rate
        self._momentum = momentum
        self._is_shared = updates.shares_coefficient()
        self._made: dict[Any, tuple[Tensor, Tensor]] = {}

    def of(self, update: Update) -> tuple[Tensor, Tensor]:
        """The rate times the coefficient, and the momentum, in the dtype of the gradient."""
        dtype = update.gradient.dtype
        if not (self._is_shared and dtype in self._made):
            step = scalar(self._rate, dtype) * scalar(update.coefficient, dtype)
            self._made[dtype] = step, tf.constant(self._momentum, dtype)
        return self._made[dtype]


def apply_rule(update: Update, step: Tensor, momentum: Tensor, nesterov: bool) -> None:
    """Apply rules 1.1 to 1.3, where `step` is the learning rate times the coefficient.

    Both scalars have the gradient's dtype.
    """
    parameter = update.parameter
    if parameter.velocity is None:
        tf.raw_ops.ResourceApplyGradientDescent(
            var=parameter.variable.handle, alpha=step, delta=update.gradient
        )
        return
    tf.raw_ops.ResourceApplyKerasMomentum(
        var=parameter.variable.handle,
        accum=parameter.velocity.handle,
        lr=step,
        grad=update.gradient,
        momentum=momentum,
        use_nesterov=nesterov,
    )


def average(parameters: Sequence[ParameterState], momentum: float) -> None:
    """average <- momentum * average + (1 - momentum) * w.

    The kernel computes ``(average - alpha * w) / (1 + alpha * l2)``.
    """
    pairs = [(cast(Any, parameter.average), parameter.variable) for parameter in parameters]
    for dtype in {averaged.dtype for averaged, _ in pairs}:
        alpha = tf.constant((momentum - 1) / momentum, dtype)
        l1, l2 = tf.constant(0, dtype), tf.constant(-1, dtype)
        for averaged, weights in pairs:
            if averaged.dtype == dtype:
                tf.raw_ops.ResourceApplyProximalGradientDescent(
                    var=averaged.handle, alpha=alpha, l1=l1, l2=l2, delta=weights
                )
