"""TensorFlow's own update kernels: one operation for each variable, in place.

They are for graphs and eager code. XLA makes one loop of plain operations, which is faster there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import tensorflow as tf

from kerasgd.state import ParameterState, Tensor, Update

# Half precision must not be computed in half precision (contract 8).
WIDE = (tf.float32, tf.float64)
# The kernel of averages divides by the momentum.
SMALLEST_EMA_MOMENTUM = 0.5


def _private_xla_test() -> Any:
    """TensorFlow's test whether a graph is to be compiled by XLA; None where it has none."""
    try:
        from tensorflow.python.ops import control_flow_util

        return control_flow_util.GraphOrParentsInXlaContext
    except (ImportError, AttributeError):
        return None


_is_for_xla = _private_xla_test()


def are_better() -> bool:
    """Whether the code that is being traced, or runs, is not for XLA."""
    if tf.executing_eagerly():
        return True
    # Without the test plain operations are right, if slower, in every graph.
    return _is_for_xla is not None and not _is_for_xla(tf.compat.v1.get_default_graph())


def can_move(update: Update) -> bool:
    """Whether there is a kernel for this gradient and this variable."""
    kept = [update.parameter.variable, update.parameter.velocity]
    # (To TensorFlow the rows of a sparse gradient are a tensor too.)
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
    """Whether it is one plain variable, of a dtype that kernels compute in."""
    return (
        isinstance(variable, tf.Variable)
        and not isinstance(variable, tf.distribute.DistributedValues)
        and variable.dtype in WIDE
    )


def descend(update: Update, step: Tensor, momentum: Tensor, nesterov: bool) -> None:
    """Rules 1.1 to 1.3, where `step` is the learning rate times the coefficient.

    Both scalars are of the gradient's dtype.
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
