"""TensorFlow's sparse gradients (contract 11), which have values only for some rows.

Without a velocity, rows without a gradient are neither read nor written; a velocity updates all
rows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from kerasgd.backends.tensorflow import clusters
from kerasgd.backends.tensorflow.choice import Mode
from kerasgd.rules import momentum as momentum_rule
from kerasgd.state import Tensor, Update


def each_once(mode: Mode, gradient: tf.IndexedSlices) -> tf.IndexedSlices:
    """The gradient with duplicate rows summed, as the order of a step requires (contract 0)."""
    found, place = tf.unique(gradient.indices)

    def sums() -> tuple[Tensor, Tensor]:
        return tf.math.unsorted_segment_sum(gradient.values, place, tf.size(found)), found

    if mode is not Mode.XLA:
        # Summing takes as long as the rule; checking for duplicates takes a tenth of that.
        has_duplicates = tf.size(found) < tf.size(gradient.indices)
        values, rows = tf.cond(has_duplicates, sums, lambda: (gradient.values, gradient.indices))
    else:  # the branches of a conditional must have the same shape
        values, rows = sums()
    return tf.IndexedSlices(values, rows, gradient.dense_shape)


def apply_rule(mode: Mode, update: Update, rate: Tensor, momentum: float, nesterov: bool) -> None:
    """Apply rules 1.1 to 1.3; without velocity, rows without a gradient are not written (11.2)."""
    if update.parameter.velocity is None:
        _without_momentum(update, rate)
    else:
        _with_momentum(mode, update, rate, momentum, nesterov)


def _without_momentum(update: Update, rate: Tensor) -> None:
    variable, step = update.parameter.variable, _step(update, rate)
    if variable.dtype == step.values.dtype:
        variable.scatter_sub(step)
    else:
        rows = momentum_rule.without_momentum(tf.gather(variable, step.indices), step.values)
        variable.scatter_update(tf.IndexedSlices(rows, step.indices))
    if tf.is_tensor(update.coefficient):
        # Rows without a gradient have a zero gradient, so a non-finite norm makes them NaN
        # too (4.5).
        spoilt = tf.math.is_nan(update.coefficient)
        tf.cond(spoilt, lambda: _spoil(variable), lambda: None)


def _spoil(variable: tf.Variable) -> None:
    variable.assign(variable * float("nan"), read_value=False)


def _step(update: Update, rate: Tensor) -> tf.IndexedSlices:
    gradient = update.gradient
    values = momentum_rule.learning_rate_times_gradient(
        gradient.values, update.coefficient, rate, update.parameter.variable.dtype.name
    )
    return tf.IndexedSlices(values, gradient.indices, gradient.dense_shape)


def _with_momentum(
    mode: Mode, update: Update, rate: Tensor, momentum: float, nesterov: bool
) -> None:
    weights, velocity = update.parameter.variable, update.parameter.velocity
    assert velocity is not None
    kept = tf.constant(momentum, velocity.dtype)
    if tf.is_tensor(update.coefficient):  # 4.5, as above
        kept = tf.where(tf.math.is_nan(update.coefficient), kept * float("nan"), kept)
    step = _step(update, rate)
    _in_place(mode, lambda: velocity.assign(kept * velocity, read_value=False))
    velocity.scatter_sub(step)
    ahead = momentum if nesterov else 1.0
    _in_place(mode, lambda: weights.assign(weights + ahead * velocity, read_value=False))
    if nesterov:
        weights.scatter_sub(step)


def _in_place(mode: Mode, assign: Callable[[], Any]) -> None:
    """Run an elementwise assignment in place.

    After rows were written to a variable, TensorFlow copies it at each read. XLA reads and writes
    in place.
    """

    def assigned() -> None:
        assign()

    assign() if mode is Mode.XLA else clusters.run(assigned)
