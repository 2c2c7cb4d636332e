"""Keras callbacks for the optimizer."""

from __future__ import annotations

import math
from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any

import keras

from kerasgd import arguments, watching
from kerasgd.backup import Backup
from kerasgd.errors import NonfiniteGradientError, StateError, in_words
from kerasgd.loss_scale_optimizer import LossScaleOptimizer, without_wrapper
from kerasgd.rules import learning_rate as rate_rule
from kerasgd.sgd import SGD
from kerasgd.trainer import (
    Batches,
    LossTotal,
    TrainingThread,
    bring_state_back,
    variables_brought_back,
)

__all__ = ["Backup", "LearningRateFunction", "Statistics", "StopOnNonfinite"]


class LearningRateFunction(keras.callbacks.Callback):  # type: ignore[misc]
    """Sets the learning rate before each batch with a function.

    This works on every backend. On JAX, it is the only way to use a function in `fit()`, because
    compiled training steps cannot call one there. The function is called once for each batch, on
    the main thread; with `steps_per_execution = n`, once for every n batches. The optimizer's own
    `learning_rate` must be a number.

    Args:
        learning_rate: a function without arguments that returns a finite number >= 0.

    Raises:
        ArgumentTypeError: `learning_rate` is not a function, or requires arguments.
        LearningRateError: during training, if the function fails or returns anything else.
        StateError: at the start of training, if the optimizer's rate is a schedule or a function.

    Example:
        >>> import keras, kerasgd
        >>> from kerasgd.callbacks import LearningRateFunction
        >>> model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
        >>> model.compile(optimizer=kerasgd.SGD(), loss="mse")
        >>> rates = iter([0.5, 0.25])
        >>> halving = LearningRateFunction(lambda: next(rates))
        >>> x = keras.ops.ones((4, 1))
        >>> history = model.fit(x, x, batch_size=2, callbacks=[halving], verbose=0)
        >>> float(model.optimizer.learning_rate)
        0.25
    """

    def __init__(self, learning_rate: Any) -> None:
        super().__init__()
        self.learning_rate: Any = arguments.check(
            "learning_rate", learning_rate, arguments.RATE_FUNCTION
        )

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        """Check that the optimizer's rate is a number, which this callback can set."""
        optimizer = without_wrapper(self.model.optimizer)
        if not isinstance(optimizer._learning_rate, keras.Variable):
            raise StateError(
                in_words(
                    "The callback {rate_callback} sets `learning_rate`, which must be a number "
                    "when training starts. Give the optimizer a number, or leave the callback out."
                )
            )

    def on_train_batch_begin(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Set the rate for this batch."""
        rate = rate_rule.value_of(self.learning_rate)
        bring_state_back(self.model)
        self.model.optimizer.learning_rate = rate


class Statistics(keras.callbacks.Callback):  # type: ignore[misc]
    """Collects update statistics in `fit()`: one row for each measured update.

    The optimizer measures them: call its `track_statistics()` before training. At the end of each
    epoch this callback adds a summary of the epoch's measured updates to the logs, which `History`,
    `CSVLogger`, TensorBoard and the progress bar show: `learning_rate` (the last value),
    `gradient_norm` and `update_ratio` (the means of the finite values), `clipped` (the share of
    updates that were clipped), `nonfinite` (the sum) and, with a loss scale, `loss_scale` (the last
    value). Put this callback first in the list: callbacks before it do not see these logs.

    Reading a measurement takes time, at most as long as a step of a small model. To save time,
    measure fewer updates: `track_statistics(every=10)` measures every tenth. With
    `steps_per_execution = n`, only the last measured update of every n steps is read.

    Attributes:
        rows: a dict for each measured update, with `epoch` and `batch`, both from 1, and the
            fields of `SGD.statistics`.

    Raises:
        StateError: at the start of training, if the optimizer does not measure its updates; on JAX
            and PyTorch at the first batch, if the callback was passed to `fit()` without a list.

    Example:
        >>> import keras, kerasgd
        >>> from kerasgd.callbacks import Statistics
        >>> model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
        >>> model.compile(optimizer=kerasgd.SGD(0.1).track_statistics(), loss="mse")
        >>> x = keras.ops.ones((4, 1))
        >>> statistics = Statistics()
        >>> history = model.fit(x, x, batch_size=2, epochs=2, callbacks=[statistics], verbose=0)
        >>> [(row["epoch"], row["batch"], row["updates"]) for row in statistics.rows]
        [(1, 1, 1), (1, 2, 2), (2, 1, 3), (2, 2, 4)]
        >>> len(history.history["gradient_norm"])
        2
    """

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[dict[str, Any]] = []
        self._epoch = 0
        self._first_row_of_epoch = 0
        self._batches = Batches()
        self._steps = 0
        self._measured = 0
        self._next_measured = 0
        self._optimizer: Any = None

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        """Check that the optimizer measures its updates."""
        self._thread = TrainingThread()
        optimizer = without_wrapper(self.model.optimizer)
        if not (isinstance(optimizer, SGD) and optimizer._statistics_every):
            raise StateError(
                in_words(
                    "The callback {statistics_callback} reads what the optimizer measures, but "
                    "this one measures nothing. Call {track_statistics} before training."
                )
            )
        self._optimizer = optimizer

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Begin an epoch."""
        self._epoch = epoch + 1
        self._first_row_of_epoch = len(self.rows)
        self._batches = Batches()
        self._count()

    def on_train_batch_begin(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Note which batch is the first of an execution."""
        self._batches.begin(batch)

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Keep a row if there has been a measured update since the last batch.

        Raises:
            StateError: the callback was passed alone, and Keras runs it in another thread.
        """
        self._thread.check()
        optimizer = self._optimizer  # `self.model` would bring the whole state back
        last_batch = self._batches.last
        self._batches.end(batch, self._model)
        # Too many if a dynamic loss scale skips steps, which do not count.
        self._steps += self._batches.last - last_batch
        if self._steps < self._next_measured or not optimizer.built:
            return
        statistics = vars(optimizer.state().statistics).values()
        with variables_brought_back(self._model, [optimizer._iterations, *statistics]):
            measured = self._measured
            self._count()
            if self._measured > measured:
                where = {"epoch": self._epoch, "batch": self._batches.last}
                self.rows.append({**where, **optimizer.statistics})

    def _count(self) -> None:
        """Read the counts of steps and of measured updates, and find the next step to look at."""
        self._measured = watching.measured(self._optimizer)
        self._steps = watching.steps(self._optimizer)
        steps_between = self._optimizer.window * self._optimizer._statistics_every
        self._next_measured = (self._steps // steps_between + 1) * steps_between

    def on_epoch_end(self, epoch: int, logs: MutableMapping[str, Any] | None = None) -> None:
        """Add the summary of the epoch's measured updates to the logs."""
        if logs is not None:
            logs.update(self._summary(self.rows[self._first_row_of_epoch :]))

    def _summary(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        nothing = math.nan  # logs need a number in each epoch
        clipped = [float(row["clip_coefficient"] < 1) for row in rows]
        summary = {
            "learning_rate": rows[-1]["learning_rate"] if rows else nothing,
            "gradient_norm": _mean_of_finite([row["gradient_norm"] for row in rows]),
            "update_ratio": _mean_of_finite([row["update_ratio"] for row in rows]),
            "clipped": _mean_of_finite(clipped),
            "nonfinite": sum(row["nonfinite"] for row in rows),
        }
        if _has_loss_scale(self.model.optimizer):
            summary["loss_scale"] = rows[-1]["loss_scale"] if rows else nothing
        return summary


class StopOnNonfinite(keras.callbacks.Callback):  # type: ignore[misc]
    """Stops `fit()` with an error when gradients are NaN or infinite.

    The optimizer skips updates with such gradients: call its `skip_nonfinite()` before training.
    The error names the epoch and the batch, the loss of that batch (unless an earlier loss of the
    epoch was not finite), and the variables whose gradients were not finite, with the number of NaN
    and of infinite elements. The weights are still those from before the first of these updates.
    (With `use_ema`, JAX's `fit()` then overwrites them with their averages, as it does whenever it
    ends.)

    With `steps_per_execution = n`, the callback checks after every n-th batch. It refuses an
    optimizer with a dynamic loss scale, which skips such steps in order to adjust the scale.

    Args:
        max_in_a_row: training stops after this many skipped updates in a row; a whole number >= 1.

    Raises:
        ArgumentError: `max_in_a_row` is invalid.
        StateError: at the start of training, if the optimizer does not skip such updates or has a
            dynamic loss scale; on JAX and PyTorch at the first batch, if the callback was passed to
            `fit()` without a list.
        NonfiniteGradientError: during training, after that many skipped updates in a row.

    Example:
        >>> import keras, kerasgd
        >>> from kerasgd.callbacks import StopOnNonfinite
        >>> model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
        >>> model.compile(optimizer=kerasgd.SGD(0.1).skip_nonfinite(), loss="mse")
        >>> x = keras.ops.convert_to_tensor([[1.0], [float("nan")]])
        >>> fit = lambda: model.fit(
        ...     x, x, batch_size=1, shuffle=False, callbacks=[StopOnNonfinite()], verbose=0
        ... )
        >>> try:
        ...     fit()
        ... except kerasgd.NonfiniteGradientError as error:
        ...     print(error.epoch, error.batch, list(error.variables.values()))
        1 2 [(1, 0)]
    """

    def __init__(self, max_in_a_row: Any = 1) -> None:
        super().__init__()
        rule = arguments.whole_number(at_least=1)
        self.max_in_a_row: Any = arguments.check("max_in_a_row", max_in_a_row, rule)
        self._epoch = 0
        self._batches = Batches()
        self._skipped = 0
        self._losses = LossTotal()

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        """Check that the optimizer skips updates with non-finite gradients."""
        self._thread = TrainingThread()
        optimizer = self.model.optimizer
        if optimizer is not without_wrapper(optimizer):
            raise StateError(
                in_words(
                    "A dynamic loss scale finds its value by skipping steps whose gradients are "
                    "not finite: leave the callback {stop_callback} out, or train without the "
                    "dynamic loss scale (`compile()` adds one under mixed_float16 unless "
                    "`auto_scale_loss` is off)."
                )
            )
        if not (isinstance(optimizer, SGD) and optimizer._skips_nonfinite):
            raise StateError(
                in_words(
                    "The callback {stop_callback} counts skipped updates, but this optimizer skips "
                    "none. Call {skip_nonfinite} before training."
                )
            )
        self._skipped = optimizer.skipped

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Begin an epoch."""
        self._epoch = epoch + 1
        self._batches = Batches()
        self._losses = LossTotal()

    def on_train_batch_begin(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Note which batch is the first of an execution."""
        self._batches.begin(batch)

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Stop if `max_in_a_row` updates in a row were skipped.

        Raises:
            NonfiniteGradientError: that many were skipped.
            StateError: the callback was passed alone, and Keras runs it in another thread.
        """
        self._thread.check()
        bring_state_back(self.model)
        optimizer = self.model.optimizer
        first = self._batches.last + 1
        self._batches.end(batch, self._model)
        before, self._losses = self._losses, LossTotal.of(self.model)
        # Not every step is an update: the count may be that of an earlier `fit()`.
        skipped, self._skipped = self._skipped, optimizer.skipped
        if self._skipped > skipped and optimizer.skipped_in_a_row >= self.max_in_a_row:
            raise self._error(optimizer, first, self._losses.mean_since(before))

    def _error(self, optimizer: SGD, first: int, loss: float | None) -> NonfiniteGradientError:
        variables = watching.nonfinite(optimizer)
        last, in_a_row = self._batches.last, optimizer.skipped_in_a_row
        batches = f"batch {last}" if first == last else f"batches {first} to {last}"
        updates = "1 update" if in_a_row == 1 else f"{in_a_row} updates in a row"
        with_loss = "" if loss is None else f", with a loss of {loss:g}"
        counts = ", ".join(
            f"`{path}` ({nan} NaN, {infinite} infinite)"
            for path, (nan, infinite) in variables.items()
        )
        message = (
            f"Gradients were not finite in {updates}, the last one at epoch {self._epoch}, "
            f"{batches}{with_loss}: {counts}. The weights are those before the first "
            "of these updates"
        )
        if optimizer.use_ema and keras.config.backend() == "jax":
            message += ", averaged: on JAX `fit()` writes averages even when it fails"
        known = math.nan if loss is None else loss
        return NonfiniteGradientError(f"{message}.", self._epoch, last, known, variables)


def _has_loss_scale(optimizer: Any) -> bool:
    """Whether the statistics have a loss scale; they do not know the one of Keras' own wrapper."""
    if isinstance(optimizer, LossScaleOptimizer):
        return True
    return without_wrapper(optimizer).loss_scale_factor is not None


def _mean_of_finite(values: Sequence[float]) -> float:
    """The mean of the values that are finite; NaN if none is."""
    finite = [value for value in values if math.isfinite(value)]
    return sum(finite) / len(finite) if finite else math.nan
