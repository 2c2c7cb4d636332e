"""Variables that keep what is assigned to themselves, for an update whose result is discarded.

XLA copies everything that a conditional may write. A measured update inside one would copy weights,
velocities and averages at each step, measured or not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from kerasgd.state import Tensor


class Scratch:
    """Has the value of a variable until it is assigned another one, which only it keeps."""

    def __init__(self, variable: tf.Variable) -> None:
        self._variable = variable
        self._assigned: Tensor | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._variable, name)

    def __tf_tensor__(self, dtype: Any = None, name: Any = None) -> Tensor:
        assigned = self._assigned
        return tf.convert_to_tensor(self._variable if assigned is None else assigned, dtype)

    def assign(self, value: Tensor, read_value: bool = True) -> None:
        """Keep this value."""
        self._assigned = tf.convert_to_tensor(value, self._variable.dtype)

    def assign_add(self, delta: Tensor, read_value: bool = True) -> None:
        """Add to the value."""
        self.assign(tf.convert_to_tensor(self) + tf.cast(delta, self._variable.dtype))


def cond(
    condition: Tensor,
    action: Callable[[], None],
    otherwise: Callable[[], None],
    scratches: Sequence[Scratch],
) -> None:
    """`tf.cond()`, which also selects what the scratches keep afterwards."""
    before = [scratch._assigned for scratch in scratches]

    def values_after(change: Callable[[], None]) -> list[Tensor]:
        change()
        values = [tf.convert_to_tensor(scratch) for scratch in scratches]
        for scratch, value in zip(scratches, before, strict=True):
            scratch._assigned = value
        return values

    values = tf.cond(condition, lambda: values_after(action), lambda: values_after(otherwise))
    for scratch, value in zip(scratches, values, strict=True):
        scratch._assigned = value
