"""Checks of contract 19: training that is interrupted and started again.

Here an error interrupts it within one process; a long test of kerasgd kills processes instead.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

import kerasgd
from kerasgd.conformance.checks import Comparisons, check, equal, only_where_claimed, same_bits
from kerasgd.conformance.files import folder, state_of
from kerasgd.conformance.persistence import ARGUMENTS, optimizer_to_save
from kerasgd.conformance.subjects import Subject
from kerasgd.conformance.training import compiled, fit, fit_options, random_problem, values

# Five steps in each of four epochs, so that windows of four steps end within epochs.
EPOCH = random_problem(steps=5)
EPOCHS = 4
STOPS_IN = 2
# One kind of compiled `fit()` is enough for most checks.
ONE_WAY = dict(list(fit_options().items())[:1])
NewOptimizer = Callable[[], Any]


class Interrupts(keras.callbacks.Callback):  # type: ignore[misc]
    """Raises an error in the middle of an epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.epoch = 0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Record the epoch."""
        self.epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Raise the error.

        Raises:
            InterruptedError: the batch is in the middle of the epoch.
        """
        if (self.epoch, batch) == (STOPS_IN, 2):
            raise InterruptedError


def goes_on(
    new_optimizer: NewOptimizer, new_backup: Callable[[str], Any], ways: dict[str, dict[str, Any]]
) -> Comparisons:
    """Whether the final weights and state equal those of training without an interruption."""
    for way, options in ways.items():
        keras.utils.clear_session(free_memory=False)
        whole = compiled(new_optimizer(), EPOCH, **options)
        fit(whole, EPOCH, epochs=EPOCHS)
        keras.utils.clear_session(free_memory=False)
        resumed = _interrupted_and_resumed(new_optimizer, new_backup, options)
        yield equal(f"{way}, epochs", [2, 3], list(resumed.history.epoch))
        expected, actual = outcome_of(whole), outcome_of(resumed)
        yield equal(f"{way}, names", sorted(expected), sorted(actual))
        for what, wanted in expected.items():
            yield same_bits(f"{way}, {what}", wanted, actual[what])


def outcome_of(model: Any) -> dict[str, Any]:
    """The weights, and the state that the optimizer saves."""
    variables = model.trainable_variables
    weights = {v.path: value for v, value in zip(variables, values(variables), strict=True)}
    state = state_of(model.optimizer)
    return weights | {name: np.asarray(value) for name, value in state.items()}


def _interrupted_and_resumed(
    new_optimizer: NewOptimizer, new_backup: Callable[[str], Any], options: dict[str, Any]
) -> Any:
    with folder() as path:
        backup_dir = str(path / "backup")
        model = compiled(new_optimizer(), EPOCH, **options)
        try:
            fit(model, EPOCH, [new_backup(backup_dir), Interrupts()], epochs=EPOCHS)
        except InterruptedError:
            keras.utils.clear_session(free_memory=False)
            model = compiled(new_optimizer(), EPOCH, **options)
            fit(model, EPOCH, [new_backup(backup_dir)], epochs=EPOCHS)
            return model
    raise LookupError("The training was not interrupted.")


@check("19.1")
def all_kinds_of_state(subject: Subject) -> Comparisons:
    """Momentum, averages, a schedule, exclusions and an open accumulation window resume."""
    backup = keras.callbacks.BackupAndRestore
    yield from goes_on(lambda: optimizer_to_save(subject), backup, fit_options())


@check("19.1")
def backup_of_kerasgd(subject: Subject) -> Comparisons:
    """The same with kerasgd's `Backup`, which a kill cannot damage."""
    yield from goes_on(lambda: optimizer_to_save(subject), kerasgd.callbacks.Backup, ONE_WAY)


@check("19.1")
def overwriting_and_dynamic_scale(subject: Subject) -> Comparisons:
    """The count of updates, which determines overwriting, and the growing scale resume."""
    arguments = {**ARGUMENTS, "ema_overwrite_frequency": 2}

    def new_optimizer() -> Any:
        inner = subject(learning_rate=0.25, **arguments)
        return subject.loss_scale_optimizer(inner, initial_scale=4, dynamic_growth_steps=3)

    yield from goes_on(new_optimizer, keras.callbacks.BackupAndRestore, ONE_WAY)


@check("19.1")
def groups_statistics_and_skipping(subject: Subject) -> Comparisons:
    """The settings beyond the documentation of Keras resume too."""
    for method in ("set_group", "track_statistics", "skip_nonfinite"):
        only_where_claimed(subject, method)

    def new_optimizer() -> Any:
        optimizer = subject(learning_rate=0.25, **ARGUMENTS)
        optimizer.set_group("w1", learning_rate_factor=0.5, momentum=0.75)
        return optimizer.track_statistics(per_variable=True, every=2).skip_nonfinite()

    yield from goes_on(new_optimizer, keras.callbacks.BackupAndRestore, ONE_WAY)
