"""Reads from Keras' trainer during `fit()`: the state, the batches and their losses."""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import keras

from kerasgd.errors import StateError, in_words


def bring_state_back(model: Any) -> None:
    """Copy the values that JAX's trainer holds during `fit()` back into the variables."""
    if hasattr(model, "jax_state_sync"):
        model.jax_state_sync()


@contextlib.contextmanager
def variables_brought_back(model: Any, variables: Iterable[Any]) -> Iterator[None]:
    """A context in which these variables of the optimizer have their values.

    This is quicker than `bring_state_back()`. Afterwards JAX's trainer holds the values again.
    """
    state = getattr(model, "_jax_state", None)
    if not state or model._jax_state_synced:
        yield
        return
    wanted = set(map(id, variables))
    pairs = zip(model.optimizer.variables, state["optimizer_variables"], strict=True)
    brought = [(variable, value) for variable, value in pairs if id(variable) in wanted]
    for variable, value in brought:
        variable.assign(value)
    try:
        yield
    finally:
        for variable, _ in brought:
            variable._value = None  # as the trainer leaves them


class TrainingThread:
    """The training thread, in which a callback must run to read the state of training.

    Keras inspects only callbacks in a list. A callback that is passed alone runs in another thread
    on JAX and PyTorch, while the next steps run.
    """

    def __init__(self) -> None:
        self._ident = threading.get_ident()

    def check(self) -> None:
        """Refuse another thread.

        Raises:
            StateError: this is another thread.
        """
        if threading.get_ident() != self._ident:
            raise StateError(
                in_words(
                    "Keras runs a callback that is passed alone in parallel with the training "
                    "steps, where it cannot read their state. Pass it in a list: "
                    "{list_of_callbacks}."
                )
            )


class LossTotal(NamedTuple):
    """The losses of an epoch so far.

    Attributes:
        total: their sum, weighted by the number of samples in each batch.
        weight: the sum of these weights.
    """

    total: float = 0.0
    weight: float = 0.0

    @classmethod
    def of(cls, model: Any) -> LossTotal:
        """The total that the model's own metric keeps."""
        for metric in model.metrics:
            if metric.name == "loss":
                total, weight = map(keras.ops.convert_to_numpy, (metric.total, metric.count))
                return cls(float(total), float(weight))
        return cls(math.nan)

    def mean_since(self, before: LossTotal) -> float | None:
        """The mean loss since `before`; None if an earlier, non-finite loss makes it unknown."""
        weight = self.weight - before.weight
        if weight == 0 or not math.isfinite(before.total):
            return None
        return (self.total - before.total) / weight


class Batches:
    """Counts the batches of an epoch from 1, even if an execution has several batches.

    At the end of an execution Keras passes the number of its last batch; older releases pass that
    of the first.

    Attributes:
        last: the last batch that was trained; 0 before the first.
    """

    def __init__(self) -> None:
        self.last = 0
        self._begun = 0
        self._names_last = False

    def begin(self, batch: int) -> None:
        """Begin an execution, for which Keras passes the number `batch`, from 0."""
        self._begun = batch

    def end(self, batch: int, model: Any) -> None:
        """End an execution, for which Keras passes the number `batch`."""
        self._names_last = self._names_last or batch > self._begun
        self.last = batch + (1 if self._names_last else int(model.steps_per_execution))
