"""Checks of contract 11: sparse gradients, which only TensorFlow has."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from kerasgd.conformance.checks import Comparisons, check, close, equal, only_on, same_bits
from kerasgd.conformance.subjects import Subject
from kerasgd.conformance.training import (
    APPLY,
    Problem,
    fit_options,
    follows_reference,
    output_as_loss,
    reference_run,
    sparse_tensor,
    value,
    variables_of,
    ways_of_apply,
)
from kerasgd.reference import SparseRows

REASON = "only TensorFlow has sparse gradients"

# A table of five rows with two elements each; rows repeat within a step, and between steps.
TABLE = Problem(
    [np.arange(10.0).reshape(5, 2) / 8],
    [
        [SparseRows(values=[[1.0, 2.0], [-1.0, 0.5], [2.0, 2.0]], indices=[3, 0, 3])],
        [SparseRows(values=[[0.5, 0.25]], indices=[1])],
        [SparseRows(values=[[1.0, 1.0], [4.0, -2.0]], indices=[0, 0])],
        [SparseRows(values=[[0.125, 8.0], [1.0, -1.0]], indices=[4, 3])],
    ],
)

RULES: list[dict[str, Any]] = [
    {},
    {"momentum": 0.5},
    {"momentum": 0.5, "nesterov": True},
]
CLIPS: list[dict[str, Any]] = [
    {},
    {"clipnorm": 2.0},
    {"clipvalue": 1.5},
    {"global_clipnorm": 2.0},
]
OTHERS: list[dict[str, Any]] = [
    {},
    {"weight_decay": 0.125},
    {"use_ema": True, "ema_momentum": 0.5, "ema_overwrite_frequency": 2},
    {"gradient_accumulation_steps": 2},
    {"loss_scale_factor": 3.0},
    {"weight_decay": 0.125, "loss_scale_factor": 3.0, "gradient_accumulation_steps": 2},
]


def combinations() -> Iterator[dict[str, Any]]:
    """Each update rule with each clip and each of the other arguments."""
    for parts in itertools.product(RULES, CLIPS, OTHERS):
        yield {name: given for part in parts for name, given in part.items()}


@check("11.1")
def every_combination(subject: Subject) -> Comparisons:
    """Every combination equals the reference, which first makes every gradient dense."""
    only_on("tensorflow", REASON)
    for arguments in combinations():
        yield from follows_reference(subject, TABLE, [APPLY], learning_rate=0.25, **arguments)


@check("11.1")
def in_a_graph(subject: Subject) -> Comparisons:
    """Plain SGD, which keeps the gradient sparse, with each clip; and a case with momentum."""
    only_on("tensorflow", REASON)
    for arguments in (*CLIPS, {"momentum": 0.5, "clipnorm": 2.0}):
        yield from follows_reference(
            subject, TABLE, ways_of_apply()[1:], learning_rate=0.25, **arguments
        )


@check("11.1")
def beside_dense_gradients(subject: Subject) -> Comparisons:
    """Sparse gradients work with a constraint, and with a dense gradient in the same norm."""
    only_on("tensorflow", REASON)
    problem = Problem(
        [TABLE.weights[0], [1.0, 2.0]],
        [[gradients[0], [3.0, -1.0]] for gradients in TABLE.gradients],
        non_negative=(0,),
    )
    yield from follows_reference(subject, problem, [APPLY], learning_rate=0.5, global_clipnorm=2.0)


@check("11.1")
def terms_that_cancel(subject: Subject) -> Comparisons:
    """Terms a million times larger than their sum: adding them one by one would lose digits."""
    only_on("tensorflow", REASON)
    rows = SparseRows(values=[[1e3, -1e3], [-1e3, 1e3], [1e-3, 1e-3]], indices=[1, 1, 1])
    problem = Problem([np.full((2, 2), 0.01)], [[rows]])
    for arguments in CLIPS:
        yield from follows_reference(
            subject, problem, ways_of_apply(), learning_rate=1.0, **arguments
        )


@check("4.4")
def no_change_of_rows_below_the_limit(subject: Subject) -> Comparisons:
    """Forty terms of five rows, whose rounded sums depend on the order of summation."""
    only_on("tensorflow", REASON)
    generator = np.random.default_rng(4)
    values = generator.normal(size=(40, 2)).astype("float32").astype("float64")
    rows = SparseRows(values=values, indices=generator.integers(5, size=40))
    problem = Problem([np.zeros((5, 2))], [[rows]] * 2)
    for way, momentum in itertools.product(ways_of_apply(), (0.0, 0.9)):
        plain = way.train(subject(learning_rate=0.1, momentum=momentum), problem)
        for clip in ("clipvalue", "clipnorm", "global_clipnorm"):
            optimizer = subject(learning_rate=0.1, momentum=momentum, **{clip: 1e6})
            clipped = way.train(optimizer, problem)
            where = f"{way.name}, momentum {momentum}, {clip}"
            yield same_bits(where, plain.final[0], clipped.final[0])


LOOKUPS = np.array([[0, 0, 0, 1], [2, 1, 2, 1], [3, 3, 3, 3]])


def embedding_model(optimizer: Any, **options: Any) -> Any:
    """A model that takes the mean of four looked-up rows, so that each has a gradient of 1/4."""
    model = keras.Sequential(
        [
            keras.Input((4,), dtype="int32"),
            keras.layers.Embedding(5, 1, embeddings_initializer="ones"),
            keras.layers.GlobalAveragePooling1D(),
        ]
    )
    model.compile(optimizer=optimizer, loss=output_as_loss, **options)
    return model


@check("11.1")
def embedding_in_fit(subject: Subject) -> Comparisons:
    """An embedding layer in `fit()` follows the reference too."""
    only_on("tensorflow", REASON)
    rows = [[SparseRows(values=[[0.25]] * 4, indices=indices)] for indices in LOOKUPS]
    problem = Problem([np.ones((5, 1))], rows)
    for arguments in ({}, {"momentum": 0.5, "clipnorm": 0.5}, {"clipnorm": 0.5}):
        expected = reference_run(problem, learning_rate=1.0, **arguments)
        for name, options in fit_options().items():
            model = embedding_model(subject(learning_rate=1.0, **arguments), **options)
            model.fit(LOOKUPS, np.zeros(3), batch_size=1, shuffle=False, verbose=0)
            where = f"{name}, {arguments}"
            yield close(where, expected.final[0], value(model.trainable_variables[0]))


@check("11.1")
def without_a_shape(subject: Subject) -> Comparisons:
    """`tf.IndexedSlices(values, indices)` works without the shape of the table."""
    only_on("tensorflow", REASON)
    for arguments in ({}, {"momentum": 0.5}, {"clipvalue": 1.5}, {"clipnorm": 2.0}):
        expected = reference_run(TABLE, learning_rate=0.25, **arguments)
        optimizer, variables = subject(learning_rate=0.25, **arguments), variables_of(TABLE)
        for [rows] in TABLE.gradients:
            assert isinstance(rows, SparseRows)
            optimizer.apply([sparse_tensor(rows, None)], variables)
        yield close(str(arguments), expected.final[0], value(variables[0]))


@check("11.1")
def no_rows(subject: Subject) -> Comparisons:
    """A batch without lookups changes nothing."""
    only_on("tensorflow", REASON)
    for arguments in (*CLIPS, {"momentum": 0.5}):
        variables = variables_of(TABLE)
        nothing = SparseRows(np.zeros((0, 2)), np.zeros(0, "int32"))
        optimizer = subject(learning_rate=0.25, **arguments)
        optimizer.apply([sparse_tensor(nothing, (5, 2))], variables)
        yield same_bits(str(arguments), TABLE.weights[0], value(variables[0]))


@check("11.2")
def only_touched_rows(subject: Subject) -> Comparisons:
    """In the graph of a step, one operation writes rows, and none writes a whole table."""
    only_on("tensorflow", REASON)
    import tensorflow as tf

    optimizer, variables = subject(learning_rate=0.25), variables_of(TABLE)
    optimizer.build(variables)

    @tf.function  # type: ignore[untyped-decorator]
    def step(values: Any, indices: Any) -> None:
        optimizer.apply([tf.IndexedSlices(values, indices, tf.constant((5, 2)))], variables)

    concrete = step.get_concrete_function(tf.ones((2, 2)), tf.constant([1, 1]))
    definition = concrete.graph.as_graph_def()
    nodes = [*definition.node, *(n for f in definition.library.function for n in f.node_def)]
    kinds = {node.op for node in nodes if _writes_floats(node)}
    whole = sorted(kind for kind in kinds if "Scatter" not in kind)
    yield equal("operations that write a whole table", [], whole)
    yield equal("an operation that writes rows", True, any("Scatter" in kind for kind in kinds))


def _writes_floats(node: Any) -> bool:
    """Whether a node writes floats: only weights, since the step counter is an integer."""
    import tensorflow as tf

    writes = node.op.startswith(("Assign", "ResourceApply", "ResourceScatter", "ResourceSparse"))
    types = {node.attr[name].type for name in ("dtype", "T") if name in node.attr}
    return writes and tf.float32.as_datatype_enum in types
