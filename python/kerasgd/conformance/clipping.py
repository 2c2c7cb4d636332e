"""Checks of contract 4: the three clips."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import keras
import numpy as np

from kerasgd.conformance.checks import (
    Comparisons,
    check,
    close,
    equal,
    only_on,
    refused,
    same_bits,
)
from kerasgd.conformance.subjects import Subject
from kerasgd.conformance.training import (
    APPLY,
    Problem,
    Way,
    all_ways,
    follows_reference,
    output_as_loss,
    random_problem,
    scalar,
    tensor,
    value,
    values,
    variables_of,
)
from kerasgd.reference import SparseRows

Arguments = dict[str, Any]

CLIPS = ("clipnorm", "clipvalue", "global_clipnorm")
NORM_CLIPS = ("clipnorm", "global_clipnorm")


@check("4.1")
def limits(subject: Subject) -> Comparisons:
    """Random gradients, some above the limit and some below."""
    for clip in CLIPS:
        arguments: Arguments = {"learning_rate": 0.25, "momentum": 0.5, clip: 1.5}
        yield from follows_reference(subject, random_problem(steps=6), **arguments)


@check("4.1", deviations=("D19",))
def limits_that_make_no_sense(subject: Subject) -> Comparisons:
    """Limits that make no sense are refused, not ignored."""
    for clip in CLIPS:
        for limit in (0, -1, np.nan, np.inf, True, "1"):
            yield refused(f"{clip}={limit!r}", partial(subject, **{clip: limit}), clip)


@check("4.1")
def one_clip_at_most(subject: Subject) -> Comparisons:
    """Two clips are refused."""
    for one, other in (CLIPS[:2], CLIPS[1:], (CLIPS[0], CLIPS[2])):
        yield refused(f"{one} and {other}", partial(subject, **{one: 1.0, other: 1.0}), other)


@check("4.2")
def gradient_of_the_update(subject: Subject) -> Comparisons:
    """The mean of 3 and -1 is 1: at the limit, though 3 is above it; likewise 4 scaled by 4."""
    for clip in CLIPS:
        yield from follows_reference(
            subject,
            scalar(0.0, [3.0, -1.0, 8.0, -1.0]),
            all_ways() if clip == "clipvalue" else [APPLY],
            learning_rate=1.0,
            gradient_accumulation_steps=2,
            loss_scale_factor=4.0,
            **{clip: 1.0},
        )


@check("4.2", deviations=("D5",))
def duplicate_rows_are_summed_first(subject: Subject) -> Comparisons:
    """An embedding that looks up a row several times is clipped like its dense twin."""
    only_on("tensorflow", "only TensorFlow has sparse gradients")
    gradient = SparseRows(values=[[4.0], [1.0], [4.0]], indices=[0, 1, 0])
    for clip, limit in (("clipvalue", 5.0), ("clipnorm", 1.0), ("global_clipnorm", 1.0)):
        yield from follows_reference(
            subject,
            Problem([[[0.0], [0.0], [0.0]]], [[gradient]]),
            [APPLY],
            learning_rate=1.0,
            **{clip: limit},
        )


@check("4.2", deviations=("D5",))
def embeddings_are_clipped_as_dense(subject: Subject) -> Comparisons:
    """In `fit()`, looking up rows 0, 0, 0, 1 makes a gradient of (3/4, 1/4)."""
    for clip, limit, expected in (
        ("clipvalue", 0.5, [-0.5, -0.25, 0.0]),
        ("clipnorm", 0.5, [-1.5 / np.sqrt(10), -0.5 / np.sqrt(10), 0.0]),
    ):
        model = keras.Sequential(
            [
                keras.Input((4,), dtype="int32"),
                keras.layers.Embedding(3, 1, embeddings_initializer="zeros"),
                keras.layers.GlobalAveragePooling1D(),
            ]
        )
        optimizer = subject(learning_rate=1.0, **{clip: limit})
        model.compile(optimizer=optimizer, loss=output_as_loss)
        model.fit(np.array([[0, 0, 0, 1]]), np.zeros(1), verbose=0)
        yield close(f"fit(), {clip}", expected, np.ravel(values(model.trainable_variables)[0]))


@check("4.3", deviations=("D11",))
def norms_of_any_size(subject: Subject) -> Comparisons:
    """The square of 600 overflows float16; the squares of 1e20 and 1e-30 exceed float32."""
    for clip in NORM_CLIPS:
        for dtype, unit, limit, bound in (
            ("float16", 100.0, 1.0, 2.0**-10),
            ("bfloat16", 1e30, 1.0, 2.0**-7),
            ("float32", 1e20, 1.0, 2e-6),
            ("float32", 1e-30, 1e-30, 2e-6),
        ):
            variables = variables_of(Problem([[0.0, 0.0]], [], dtype=dtype))
            optimizer = subject(learning_rate=1.0 / limit, **{clip: limit})
            optimizer.apply([tensor([3.0 * unit, 4.0 * unit], dtype)], variables)
            where = f"{clip}={limit:g}, {dtype} values of {unit:g}"
            yield close(where, [-0.6, -0.8], value(variables[0]), bound)


@check("4.3", deviations=("D11",))
def large_norms_in_all_ways(subject: Subject) -> Comparisons:
    """The careful pass for large norms also works when compiled."""
    problem = Problem([[0.0, 0.0]], [[[3.0, 4.0]], [[3e20, 4e20]], [[3e-30, 4e-30]]])
    for clip in NORM_CLIPS:
        arguments: Arguments = {"learning_rate": 1.0, clip: 1.0}
        yield from follows_reference(subject, problem, **arguments)


@check("4.3", deviations=("D12",))
def norm_over_mixed_dtypes(subject: Subject) -> Comparisons:
    """The global norm of a float16 and a float32 gradient."""
    variables = [
        *variables_of(Problem([[0.0]], [], dtype="float16")),
        *variables_of(Problem([[0.0]], [], dtype="float32")),
    ]
    optimizer = subject(learning_rate=1.0, global_clipnorm=5.0)
    optimizer.apply([tensor([600.0], "float16"), tensor([800.0], "float32")], variables)
    yield close("w", [-3.0, -4.0], np.ravel(values(variables)))


@check("4.4")
def no_change_at_the_limit(subject: Subject) -> Comparisons:
    """The norm of one number is that number, even if it has no short binary form."""
    for number in (0.7, 0.1, 1 / 3, 1.1):
        limit = float(np.float32(number))
        yield from _same_without(subject, scalar(0.0, [limit]), [APPLY], limit)


@check("4.4")
def no_change_at_the_limit_when_compiled(subject: Subject) -> Comparisons:
    """The norm of (3, 4) is 5."""
    problem = Problem([[0.3, 0.7]], [[[3.0, 4.0]]] * 3)
    yield from _same_without(subject, problem, all_ways(), 5.0, momentum=0.9, nesterov=True)


@check("4.4")
def no_change_below_the_limit(subject: Subject) -> Comparisons:
    """Nothing changes, even with factors that round: a loss scale of 7, and the mean of 3.

    The weights start at zero, so that no digit of the gradient is lost.
    """
    shapes = ((50,), (10, 5))
    gradients = random_problem(steps=3, shapes=shapes, digits="float32").gradients
    problem = Problem([np.zeros(shape) for shape in shapes], gradients)
    arguments = {"loss_scale_factor": 7.0, "gradient_accumulation_steps": 3, "momentum": 0.9}
    yield from _same_without(subject, replace(problem, gradients=gradients[:1]), [APPLY], 33.3)
    yield from _same_without(subject, problem, [APPLY], 33.3, **arguments)


def _same_without(
    subject: Subject, problem: Problem, ways: list[Way], limit: float, **arguments: Any
) -> Comparisons:
    for way in ways:
        unclipped = way.train(subject(learning_rate=0.1, **arguments), problem)
        for clip in CLIPS:
            optimizer = subject(learning_rate=0.1, **{clip: limit}, **arguments)
            clipped = way.train(optimizer, problem)
            for expected, actual in zip(unclipped.final, clipped.final, strict=True):
                yield same_bits(f"{way.name}, {clip}", expected, actual)


@check("4.5")
def what_is_not_finite_shows(subject: Subject) -> Comparisons:
    """Every weight that shares the norm becomes NaN; `clipvalue` clips infinities, keeps NaN."""
    nan, inf = np.nan, np.inf
    for bad in (nan, inf, -inf):
        gradients = [tensor([1.0, bad]), tensor([1.0])]
        for clip, expected in (
            ("clipnorm", [nan, nan, -0.5]),
            ("global_clipnorm", [nan, nan, nan]),
        ):
            variables = variables_of(Problem([[0.0, 0.0], [0.0]], []))
            optimizer = subject(learning_rate=1.0, **{clip: 0.5})
            optimizer.apply(gradients, variables)
            yield close(f"{clip}, {bad}", expected, np.concatenate(values(variables)))
            yield equal(f"{clip}, {bad}, steps", 1, int(value(optimizer.iterations)))
    variables = variables_of(Problem([[0.0] * 4], []))
    subject(learning_rate=1.0, clipvalue=0.5).apply([tensor([inf, -inf, nan, 0.25])], variables)
    yield close("clipvalue", [-0.5, 0.5, nan, -0.25], value(variables[0]))


@check("4.5")
def what_is_not_finite_shows_when_compiled(subject: Subject) -> Comparisons:
    """The same when compiled: a compiler may assume that all numbers are finite."""
    problem = Problem([[0.5, 1.0]], [[[1.0, 2.0]], [[np.nan, np.inf]]])
    for clip in CLIPS:
        arguments: Arguments = {"learning_rate": 1.0, clip: 0.5}
        yield from follows_reference(subject, problem, **arguments)
