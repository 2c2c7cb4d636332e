"""Checks of contract 16: updates that are skipped because gradients are not finite."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

import kerasgd
from kerasgd.conformance.checks import (
    Comparison,
    Comparisons,
    check,
    close,
    describe,
    equal,
    only_of_kerasgd,
    refused,
    same_bits,
)
from kerasgd.conformance.files import saved_and_loaded
from kerasgd.conformance.learning_rate import HALVING_SCHEDULE
from kerasgd.conformance.subjects import Subject
from kerasgd.conformance.training import (
    APPLY,
    Problem,
    Run,
    agree,
    all_ways,
    compiled,
    fit,
    fit_options,
    of_subject,
    reference_of,
    scalar,
    times,
    value,
    values,
    ways_of_apply,
    ways_of_fit,
)

NAN, INF = np.nan, np.inf

# Of nine steps, the second, the fifth and the last two have different non-finite gradients.
PATCHY = Problem(
    [[1 / 3, -2.0], [0.7]],
    [
        [[1.0, 0.5], [2.0]],
        [[NAN, 1.0], [1.0]],
        [[-1.0, 2.0], [0.5]],
        [[0.5, 0.25], [-1.0]],
        [[1.0, 1.0], [-INF]],
        [[2.0, -1.0], [1.0]],
        [[0.25, 0.5], [0.5]],
        [[INF, NAN], [INF]],
        [[1.0, NAN], [1.0]],
    ],
    non_negative=(1,),
)
BAD_STEPS = [1, 4, 7, 8]
EVERYTHING: dict[str, Any] = {
    "learning_rate": HALVING_SCHEDULE,
    "momentum": 0.5,
    "nesterov": True,
    "weight_decay": 0.125,
    "global_clipnorm": 1.0,
    "use_ema": True,
    "ema_momentum": 0.5,
    "ema_overwrite_frequency": 2,
    "loss_scale_factor": 8.0,
}


@check("16.1")
def skipped_as_in_the_reference(subject: Subject) -> Comparisons:
    """Skipped steps count as steps, not as updates; a window with a bad step is discarded."""
    for window, ways in ((None, ways_of_apply()), (2, [APPLY, *ways_of_fit()])):
        arguments = {**EVERYTHING, "gradient_accumulation_steps": window}
        sgd = reference_of(PATCHY, arguments, skip_nonfinite=True)
        scale = sgd.scale_loss(1.0)
        history = [sgd.step([times(scale, g) for g in gs]) for gs in PATCHY.gradients]
        sgd.finalize_variable_values()
        for way in ways:
            optimizer = subject(**of_subject(arguments)).skip_nonfinite()
            where = f"{way.name}, gradient_accumulation_steps={window}"
            yield from agree(where, Run(history, sgd.weights), way.train(optimizer, PATCHY))
            counts = {
                "skipped": (sgd.skipped, optimizer.skipped),
                "skipped_in_a_row": (sgd.skipped_in_a_row, optimizer.skipped_in_a_row),
                "iterations": (sgd.iterations, int(value(optimizer.iterations))),
            }
            for name, (expected, actual) in counts.items():
                yield equal(f"{where}, {name}", expected, actual)


@check("16.1")
def nothing_changes(subject: Subject) -> Comparisons:
    """A skipped update does not change a single bit of a weight."""
    for way in all_ways():
        optimizer = subject(learning_rate=0.1, momentum=0.9, weight_decay=0.1).skip_nonfinite()
        history = way.train(optimizer, PATCHY).weights
        for step in BAD_STEPS:
            for i, (before, after) in enumerate(zip(history[step - 1], history[step], strict=True)):
                yield same_bits(f"{way.name}, step {step + 1}, w{i}", before, after)


@check("16.1")
def only_when_asked(subject: Subject) -> Comparisons:
    """Without the call a NaN reaches the weight; the call must precede `build()`."""
    bad = scalar(1.0, [NAN])
    for way in all_ways():
        yield close(way.name, [NAN], way.train(subject(), bad).final[0])
    optimizer = subject()
    yield equal("returns the optimizer", True, optimizer.skip_nonfinite() is optimizer)
    optimizer = subject()
    APPLY.train(optimizer, scalar(1.0, [1.0]))
    yield refused("built", optimizer.skip_nonfinite, "skip_nonfinite")


@check("16.1")
def counts_are_saved(subject: Subject) -> Comparisons:
    """A loaded model continues to count and to skip."""
    model = compiled(subject(learning_rate=0.5).skip_nonfinite(), scalar(1.0, []))
    fit(model, scalar(1.0, [NAN, 1.0, INF]))
    model = saved_and_loaded(model)
    yield equal("skipped, loaded", 2, model.optimizer.skipped)
    yield equal("skipped_in_a_row, loaded", 1, model.optimizer.skipped_in_a_row)
    fit(model, scalar(1.0, [NAN]))
    yield equal("skipped in the end", 3, model.optimizer.skipped)
    yield equal("skipped_in_a_row in the end", 2, model.optimizer.skipped_in_a_row)
    yield close("weight", [0.5], values(model.trainable_variables)[0])


@check("16.1")
def not_in_a_loss_scale(subject: Subject) -> Comparisons:
    """An optimizer that skips is refused in a dynamic loss scale, which skips by itself."""
    only_of_kerasgd(subject, "LossScaleOptimizer")
    inner = subject().skip_nonfinite()
    yield refused("LossScaleOptimizer", partial(subject.loss_scale_optimizer, inner), "skip")


# The callback ----------------------------------------------------------------------------------

# The second step is bad, and so are the fourth and the fifth.
STOPPING = Problem(
    [[1.0, 2.0], [4.0]],
    [
        [[1.0, 1.0], [1.0]],
        [[INF, INF], [1.0]],
        [[1.0, 1.0], [1.0]],
        [[NAN, 1.0], [1.0]],
        [[1.0, NAN], [-INF]],
        [[1.0, 1.0], [1.0]],
    ],
)
# For each `max_in_a_row`: the step at which training stops, its loss, and for each variable the
# numbers of NaN and infinite elements.
STOPS: dict[int, tuple[int, float, list[tuple[int, int]]]] = {
    1: (2, INF, [(0, 2)]),
    2: (5, NAN, [(1, 0), (0, 1)]),
}


@check("16.2")
def where_it_stops(subject: Subject) -> Comparisons:
    """The error gives place and cause; the weights are those before the first bad update."""
    only_of_kerasgd(subject, "callbacks.StopOnNonfinite")
    for max_in_a_row, (batch, loss, counts) in STOPS.items():
        for name, options in fit_options().items():
            model = compiled(subject(learning_rate=0.5).skip_nonfinite(), STOPPING, **options)
            where = f"{name}, max_in_a_row={max_in_a_row}"
            callback = kerasgd.callbacks.StopOnNonfinite(max_in_a_row)
            try:
                fit(model, STOPPING, [callback], epochs=2)
            except kerasgd.NonfiniteGradientError as error:
                yield equal(f"{where}, epoch and batch", (1, batch), (error.epoch, error.batch))
                yield close(f"{where}, loss", loss, error.loss)
                paths = [v.path for v in model.trainable_variables][: len(counts)]
                expected = dict(zip(paths, counts, strict=True))
                yield equal(f"{where}, variables", str(expected), str(dict(error.variables)))
                for path in paths:
                    yield equal(f"{where}, {path} in the message", True, path in str(error))
            else:
                yield Comparison(where, "an error", "no error", False)
            done = 1 if max_in_a_row == 1 else 2
            weights = np.concatenate(values(model.trainable_variables))
            yield close(f"{where}, weights", np.array([1.0, 2.0, 4.0]) - 0.5 * done, weights)


@check("16.2")
def where_it_does_not(subject: Subject) -> Comparisons:
    """With fewer skipped updates in a row, training continues to its end."""
    only_of_kerasgd(subject, "callbacks.StopOnNonfinite")
    for name, options in fit_options().items():
        model = compiled(subject(learning_rate=0.5).skip_nonfinite(), STOPPING, **options)
        try:
            fit(model, STOPPING, [kerasgd.callbacks.StopOnNonfinite(3)])
        except Exception as error:
            yield Comparison(f"{name}, max_in_a_row=3", "no error", describe(error), False)
        yield equal(f"{name}, skipped", 3, model.optimizer.skipped)


@check("16.2")
def nothing_is_skipped(subject: Subject) -> Comparisons:
    """An optimizer that does not skip is refused; the count must be a whole number >= 1."""
    only_of_kerasgd(subject, "callbacks.StopOnNonfinite")
    model = compiled(subject(), STOPPING)
    train = partial(fit, model, STOPPING, [kerasgd.callbacks.StopOnNonfinite()])
    yield refused("fit()", train, "skip_nonfinite")
    for count in (0, 1.5, None, "1"):
        call = partial(kerasgd.callbacks.StopOnNonfinite, count)
        yield refused(f"max_in_a_row={count!r}", call, "max_in_a_row")
