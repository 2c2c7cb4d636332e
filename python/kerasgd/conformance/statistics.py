"""Checks of contract 15: statistics of updates."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import keras
import numpy as np

import kerasgd
from kerasgd.conformance.checks import (
    Comparisons,
    check,
    close,
    equal,
    only_of_kerasgd,
    only_on,
    refused,
)
from kerasgd.conformance.learning_rate import HALVING_SCHEDULE
from kerasgd.conformance.persistence import SHRINKING
from kerasgd.conformance.sparse import LOOKUPS, REASON, TABLE, embedding_model
from kerasgd.conformance.subjects import Subject
from kerasgd.conformance.training import (
    Problem,
    compiled,
    fit,
    fit_options,
    of_subject,
    random_problem,
    reference_of,
    scalar,
    synchronise,
    tensors,
    times,
    variables_of,
)
from kerasgd.reference import ReferenceSGD, SparseRows

# The statistics after a step: those of the update, and those of each variable.
Row = dict[str, Any]


def rows_of_reference(problem: Problem, arguments: Mapping[str, Any], every: int = 1) -> list[Row]:
    """The rows that the reference measures; empty before the first measured update."""
    sgd = reference_of(problem, arguments, statistics_every=every)
    scale = sgd.scale_loss(1.0)
    rows = []
    for gradients in problem.gradients:
        sgd.step([times(scale, gradient) for gradient in gradients])
        rows.append(row_of_reference(sgd))
    return rows


def row_of_reference(sgd: ReferenceSGD) -> Row:
    """The reference's statistics of the last measured update, in the subject's format."""
    if not sgd.statistics:
        return {}
    return {**sgd.statistics, "variables": sgd.statistics_per_variable}


def rows_of_apply(optimizer: Any, problem: Problem) -> list[Row]:
    """The rows that the subject measures in eager `apply()`."""
    variables = variables_of(problem)
    rows = []
    for gradients in problem.gradients:
        optimizer.apply(tensors(optimizer, gradients, problem), variables)
        rows.append(optimizer.statistics or {})
    return rows


class StatisticsRecorder(keras.callbacks.Callback):  # type: ignore[misc]
    """Records the statistics after each step."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[Row] = []

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Record the statistics."""
        synchronise(self.model)
        self.rows.append(self.model.optimizer.statistics or {})


def rows_of_fit(optimizer: Any, problem: Problem, **options: Any) -> list[Row]:
    """The rows that the subject measures in compiled `fit()`."""
    recorder = StatisticsRecorder()
    fit(compiled(optimizer, problem, **options), problem, [recorder])
    return recorder.rows


def ways_to_measure() -> dict[str, Callable[[Any, Problem], list[Row]]]:
    """Eager `apply()` and compiled `fit()`."""
    fits = {name: partial(rows_of_fit, **options) for name, options in fit_options().items()}
    return {"apply()": rows_of_apply, **fits}


def same_row(where: str, expected: Row, actual: Row) -> Comparisons:
    """Whether each number of a row equals that of the reference."""
    yield equal(f"{where}, fields", sorted(expected), sorted(actual))
    for name, wanted in expected.items():
        if name != "variables":
            yield close(f"{where}, {name}", wanted, actual[name])
    for i, wanted in enumerate(expected.get("variables", [])):
        for name in wanted:
            got = actual["variables"][i][name]
            yield close(f"{where}, {name} of variable {i}", wanted[name], got)


def measures_as_reference(
    subject: Subject, problem: Problem, every: int = 1, **arguments: Any
) -> Comparisons:
    """Whether every row equals that of the reference, in each way of training."""
    expected = rows_of_reference(problem, arguments, every)
    for name, rows_of in ways_to_measure().items():
        optimizer = subject(**of_subject(arguments))
        optimizer.track_statistics(per_variable=True, every=every)
        rows = rows_of(optimizer, problem)
        yield equal(f"{name}, rows", len(expected), len(rows))
        for step, (wanted, got) in enumerate(zip(expected, rows, strict=True)):
            yield from same_row(f"{name}, step {step + 1}", wanted, got)


@check("15.1")
def every_other_update(subject: Subject) -> Comparisons:
    """With windows of two steps, every fourth step is measured; between them nothing changes."""
    yield from measures_as_reference(
        subject,
        random_problem(steps=9),
        every=2,
        learning_rate=0.25,
        gradient_accumulation_steps=2,
    )


@check("15.1")
def only_when_asked(subject: Subject) -> Comparisons:
    """Without the call there are no statistics; `per_variable` adds those of each variable."""
    yield refused("statistics", lambda: subject().statistics, "track_statistics")
    optimizer = subject(learning_rate=0.5)
    yield equal("returns the optimizer", True, optimizer.track_statistics() is optimizer)
    [row] = rows_of_apply(optimizer, scalar(1.0, [1.0]))
    yield equal("rows of variables", False, "variables" in row)
    yield refused("built", optimizer.track_statistics, "track_statistics")


@check("15.1")
def arguments_are_checked(subject: Subject) -> Comparisons:
    """`every` must be a whole number >= 1, and `per_variable` True or False."""
    for every in (0, -1, 2.5, None, True, "1"):
        call = partial(subject().track_statistics, every=every)
        yield refused(f"every={every!r}", call, "every")
    for per_variable in (1, None, "yes"):
        call = partial(subject().track_statistics, per_variable=per_variable)
        yield refused(f"per_variable={per_variable!r}", call, "per_variable")


@check("15.2")
def each_clip(subject: Subject) -> Comparisons:
    """The coefficient is the ratio of the norms after and before the clip; 1 up to the limit."""
    problem = scalar(2.0, [0.5, 1.0, 4.0])
    # `everything_on()` tests `clipnorm`
    for clip in ("clipvalue", "global_clipnorm"):
        arguments: dict[str, Any] = {"learning_rate": 0.5, clip: 1.0}
        yield from measures_as_reference(subject, problem, **arguments)


@check("15.2")
def zeros(subject: Subject) -> Comparisons:
    """The coefficient is 1 for a norm of 0; the ratio is 0 for weights of norm 0."""
    problem = Problem([[0.0, 0.0], [3.0]], [[[0.0, 0.0], [0.0]], [[1.0, 2.0], [0.0]]])
    yield from measures_as_reference(subject, problem, learning_rate=0.5, global_clipnorm=1.0)


@check("15.2")
def what_is_not_finite(subject: Subject) -> Comparisons:
    """Elements that are NaN or infinite are counted."""
    problem = Problem([[1.0, 2.0], [3.0]], [[[1.0, 2.0], [1.0]], [[np.nan, np.inf], [1.0]]])
    yield from measures_as_reference(subject, problem, learning_rate=0.5)


@check("15.3")
def everything_on(subject: Subject) -> Comparisons:
    """The change of the weights includes clip, decay, rule and constraint, but not overwriting."""
    yield from measures_as_reference(
        subject,
        random_problem(steps=6, non_negative=(0,)),
        learning_rate=HALVING_SCHEDULE,
        momentum=0.5,
        nesterov=True,
        weight_decay=0.125,
        clipnorm=1.0,
        use_ema=True,
        ema_momentum=0.5,
        ema_overwrite_frequency=2,
        loss_scale_factor=8.0,
        gradient_accumulation_steps=2,
    )


@check("15.3")
def sparse_gradients(subject: Subject) -> Comparisons:
    """Repeated rows are summed before the norm is computed."""
    only_on("tensorflow", REASON)
    for given in ({}, {"clipnorm": 2.0, "momentum": 0.5}):
        arguments = {"learning_rate": 0.25, **given}
        optimizer = subject(**arguments).track_statistics(per_variable=True)
        rows = rows_of_apply(optimizer, TABLE)
        for expected, actual in zip(rows_of_reference(TABLE, arguments), rows, strict=True):
            yield from same_row(f"apply(), {given}", expected, actual)


@check("15.3")
def embedding_in_fit(subject: Subject) -> Comparisons:
    """An embedding layer that looks up the same row several times."""
    only_on("tensorflow", REASON)
    gradients = [[SparseRows(values=[[0.25]] * 4, indices=indices)] for indices in LOOKUPS]
    arguments = {"learning_rate": 1.0, "clipnorm": 0.5}
    expected = rows_of_reference(Problem([np.ones((5, 1))], gradients), arguments)
    for name, options in fit_options().items():
        optimizer = subject(**arguments).track_statistics(per_variable=True)
        recorder, model = StatisticsRecorder(), embedding_model(optimizer, **options)
        zeros = np.zeros(len(LOOKUPS))
        model.fit(LOOKUPS, zeros, batch_size=1, shuffle=False, callbacks=[recorder], verbose=0)
        for wanted, got in zip(expected, recorder.rows, strict=True):
            yield from same_row(name, wanted, got)


# The callback ----------------------------------------------------------------------------------

# Every second update is measured, in two epochs of four steps.
EPOCHS, EVERY = 2, 2
WATCHED = Problem([[1.0, 2.0]], [[[0.1, 0.2]], [[3.0, 4.0]], [[0.5, 0.5]], [[0.2, 0.1]]])
WATCHED_ARGUMENTS = {
    "learning_rate": SHRINKING,
    "clipnorm": 1.0,
    "loss_scale_factor": 4.0,
}


def epochs_of_reference() -> Iterator[list[Row]]:
    """The rows of the measured updates of each epoch."""
    twice = Problem(WATCHED.weights, [*WATCHED.gradients] * EPOCHS)
    rows = rows_of_reference(twice, WATCHED_ARGUMENTS, EVERY)[EVERY - 1 :: EVERY]
    in_epoch = len(WATCHED.gradients) // EVERY
    for epoch in range(EPOCHS):
        yield rows[epoch * in_epoch : (epoch + 1) * in_epoch]


def logs_of(rows: list[Row]) -> dict[str, float]:
    """The expected logs of an epoch."""
    return {
        "learning_rate": rows[-1]["learning_rate"],
        "gradient_norm": math.fsum(row["gradient_norm"] for row in rows) / len(rows),
        "update_ratio": math.fsum(row["update_ratio"] for row in rows) / len(rows),
        "clipped": sum(row["clip_coefficient"] < 1 for row in rows) / len(rows),
        "nonfinite": sum(row["nonfinite"] for row in rows),
        "loss_scale": rows[-1]["loss_scale"],
    }


@check("15.4")
def rows_and_logs(subject: Subject) -> Comparisons:
    """A row for each measured update, and a summary of each epoch in the history."""
    only_of_kerasgd(subject, "callbacks.Statistics")
    for name, options in fit_options().items():
        optimizer = subject(**of_subject(WATCHED_ARGUMENTS))
        optimizer.track_statistics(per_variable=True, every=EVERY)
        model = compiled(optimizer, WATCHED, **options)
        callback = kerasgd.callbacks.Statistics()
        fit(model, WATCHED, [callback], epochs=EPOCHS)
        history = model.history.history
        where = [(epoch, batch) for epoch in (1, 2) for batch in (2, 4)]
        found = [(row["epoch"], row["batch"]) for row in callback.rows]
        yield equal(f"{name}, epochs and batches", where, found)
        rows = iter(callback.rows)
        for epoch, expected in enumerate(epochs_of_reference()):
            for wanted in expected:
                got = {k: v for k, v in next(rows).items() if k not in ("epoch", "batch")}
                yield from same_row(f"{name}, epoch {epoch + 1}", wanted, got)
            for entry, number in logs_of(expected).items():
                log = history.get(entry, [math.nan] * EPOCHS)[epoch]
                yield close(f"{name}, epoch {epoch + 1}, {entry} in the logs", number, log)


@check("15.4")
def nothing_to_show(subject: Subject) -> Comparisons:
    """An optimizer that measures nothing is refused; the error names the missing call."""
    only_of_kerasgd(subject, "callbacks.Statistics")
    model = compiled(subject(), WATCHED)
    train = partial(fit, model, WATCHED, [kerasgd.callbacks.Statistics()])
    yield refused("fit()", train, "track_statistics")
