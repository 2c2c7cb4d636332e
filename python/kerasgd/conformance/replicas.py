"""Checks of contract 10: one or two replicas under `tf.distribute.MirroredStrategy`.

They run in child processes, because virtual devices must be set up before TensorFlow starts. Eager
and compiled replicas need separate processes, because TensorFlow's collectives cannot mix them.
"Compiled" means without XLA, which cannot compile replicas on CPUs with any optimizer.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from kerasgd.conformance import child, subjects
from kerasgd.conformance.checks import (
    Comparison,
    Comparisons,
    check,
    close,
    equal,
    only_on,
    only_where_claimed,
    unexpected,
)
from kerasgd.conformance.learning_rate import Halving
from kerasgd.conformance.sparse import LOOKUPS, embedding_model
from kerasgd.conformance.statistics import row_of_reference, same_row
from kerasgd.conformance.subjects import Subject
from kerasgd.conformance.training import (
    Group,
    Problem,
    Recorder,
    Run,
    agree,
    compiled,
    fit,
    optimizer_for,
    reference_of,
    sparse_tensor,
    tensor,
    times,
    value,
    values,
    variables_of,
)
from kerasgd.reference import ReferenceLossScale, SparseRows

# The number of replicas in the cases below. With one replica, the gradient is their sum.
REPLICAS = 2


@dataclass(frozen=True)
class Case:
    """A training on two replicas.

    Attributes:
        shows: its topic, by which the checks below select their cases.
        arguments: the arguments of the optimizer.
        gradients: for each step and each replica, a gradient for each variable.
        weights: the initial weights.
        non_negative: the indices of the variables with a non-negative constraint.
        scale: the initial dynamic loss scale, which doubles after two steps; None for none.
        groups: the groups for `set_group()`.
        skips: whether `skip_nonfinite()` is called.
    """

    shows: str
    arguments: dict[str, Any]
    gradients: Sequence[Sequence[Sequence[Any]]]
    weights: Sequence[Any] = ([0.5],)
    non_negative: tuple[int, ...] = ()
    scale: float | None = None
    groups: tuple[Group, ...] = ()
    skips: bool = False

    def on(self, replicas: int) -> Case:
        """The same training on one or two replicas."""
        if replicas == REPLICAS:
            return self
        summed = [
            [[np.sum(parts, axis=0) for parts in zip(*of_step, strict=True)]]
            for of_step in self.gradients
        ]
        return replace(self, gradients=summed)

    def optimizer(self, subject: Subject) -> Any:
        """The subject, with the groups and the dynamic scale of the case."""
        inner = optimizer_for(self.start(), subject, self.arguments)
        if self.skips:
            inner.skip_nonfinite()
        if self.scale is None:
            return inner
        return subject.loss_scale_optimizer(inner, initial_scale=self.scale, dynamic_growth_steps=2)

    def expected(self) -> Run:
        """The run of the reference with the sums over the replicas."""
        inner = reference_of(self.start(), self.arguments, skip_nonfinite=self.skips)
        judge = inner if self.scale is None else ReferenceLossScale(inner, self.scale, 2)
        history = []
        for replicas in self.gradients:
            scale = judge.scale_loss(1.0)
            history.append(judge.step_replicas([[times(scale, g) for g in gs] for gs in replicas]))
        inner.finalize_variable_values()
        return Run(history, inner.weights)

    def start(self) -> Problem:
        """The problem without steps: the variables before training."""
        return Problem(self.weights, [], self.non_negative, groups=self.groups)

    def problem(self) -> Problem:
        """One row of the batch for each replica.

        `fit()` takes the mean over the batch, so the rows are multiplied to give the sum.
        """
        rows = [[len(rs) * np.asarray(g) for g in gs] for rs in self.gradients for gs in rs]
        return replace(self.start(), gradients=rows)


def random_gradients(steps: int) -> list[list[list[Any]]]:
    """Random gradients of two variables, for two replicas."""
    generator = np.random.default_rng(0)
    return [
        [[generator.normal(size=3), generator.normal(size=(2, 2))] for _ in range(REPLICAS)]
        for _ in range(steps)
    ]


TWO_WEIGHTS = ([0.5, -0.25, 1.0], [[1.0, 2.0], [-1.0, 0.5]])
ONES = [[[[1.0]], [[1.0]]]]

CASES = {
    "plain": Case("order", {"learning_rate": 0.25}, random_gradients(3), TWO_WEIGHTS),
    "clipvalue": Case("clip", {"learning_rate": 1.0, "clipvalue": 1.0}, ONES, weights=([0.0],)),
    "clipnorm": Case(
        "clip",
        {"learning_rate": 1.0, "clipnorm": 1.0},
        [[[[3.0, 0.0]], [[0.0, 4.0]]]],
        weights=([0.0, 0.0],),
    ),
    "global_clipnorm": Case(
        "clip", {"learning_rate": 1.0, "global_clipnorm": 1.0}, random_gradients(3), TWO_WEIGHTS
    ),
    "accumulation": Case(
        "merge",
        {"learning_rate": 0.25, "momentum": 0.5, "gradient_accumulation_steps": 2},
        random_gradients(5),
        TWO_WEIGHTS,
    ),
    "EMA with overwriting": Case(
        "merge",
        {"learning_rate": 0.25, "use_ema": True, "ema_momentum": 0.5, "ema_overwrite_frequency": 2},
        random_gradients(5),
        TWO_WEIGHTS,
    ),
    "everything": Case(
        "order",
        {
            "learning_rate": 0.25,
            "momentum": 0.5,
            "nesterov": True,
            "weight_decay": 0.125,
            "clipnorm": 1.0,
            "use_ema": True,
            "ema_momentum": 0.5,
            "ema_overwrite_frequency": 2,
            "gradient_accumulation_steps": 2,
            "loss_scale_factor": 8.0,
        },
        random_gradients(8),
        TWO_WEIGHTS,
        non_negative=(0,),
    ),
    "dynamic scale, infinity on one replica": Case(
        "scale",
        {"learning_rate": 0.25, "momentum": 0.5},
        [*ONES, [[[1.0]], [[np.inf]]], [[[np.nan]], [[1.0]]], *ONES, *ONES],
        scale=8.0,
    ),
    "dynamic scale with accumulation": Case(
        "scale",
        {"learning_rate": 0.25, "clipnorm": 1.0, "gradient_accumulation_steps": 2},
        [*ONES, [[[1.0]], [[np.inf]]], *ONES, *ONES, *ONES],
        scale=8.0,
    ),
    "NaN on one replica": Case(
        "skip",
        {"learning_rate": 0.25, "momentum": 0.5, "weight_decay": 0.5},
        [*ONES, [[[1.0]], [[np.nan]]], [[[np.inf]], [[1.0]]], *ONES],
        skips=True,
    ),
    "groups": Case(
        "groups",
        {"learning_rate": 0.25, "weight_decay": 0.5, "global_clipnorm": 1.0},
        random_gradients(3),
        TWO_WEIGHTS,
        groups=(Group((1,), {"learning_rate_factor": 0.5, "momentum": 0.5}),),
    ),
}
MEASURED = Case(
    "statistics",
    {"learning_rate": 0.25, "weight_decay": 0.5, "global_clipnorm": 1.0},
    random_gradients(3),
    TWO_WEIGHTS,
)


# In the child process --------------------------------------------------------------------------


@dataclass
class Comparer:
    """Collects the comparisons of cases; an error in a case counts as a failed comparison."""

    done: dict[str, list[Comparison]] = field(default_factory=dict)

    def compare(self, shows: str, name: str, comparisons: Callable[[], Comparisons]) -> None:
        """Add the comparisons that `comparisons` yields."""
        collected = self.done.setdefault(shows, [])
        try:
            collected.extend(comparisons())
        except Exception as error:
            collected.append(unexpected(name, error))

    def compare_all(self, where: str, replicas: int, train: Callable[[Case], Run]) -> None:
        """Add all cases, and the number of calls of a rate function."""
        for title, case in CASES.items():
            name = f"{where}, {title}"
            self.compare(case.shows, name, partial(_as_expected, name, case.on(replicas), train))
        self.compare("rate", where, partial(_rate_is_called, where, replicas, train))

    def as_records(self) -> dict[str, list[dict[str, Any]]]:
        """The comparisons as JSON-compatible records."""
        return {shows: [asdict(c) for c in found] for shows, found in self.done.items()}


def _as_expected(where: str, case: Case, train: Callable[[Case], Run]) -> Comparisons:
    yield from agree(where, case.expected(), train(case))


def strategy_of(replicas: int) -> Any:
    """A strategy over virtual devices, which must be called before TensorFlow starts."""
    import tensorflow as tf

    [cpu] = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(
        cpu, [tf.config.LogicalDeviceConfiguration()] * replicas
    )
    return tf.distribute.MirroredStrategy([f"CPU:{i}" for i in range(replicas)])


def compare_eager(name: str, replicas: int) -> dict[str, list[dict[str, Any]]]:
    """All cases with `apply()` in eager replicas."""
    subject, strategy = subjects.find(name), strategy_of(replicas)
    comparer, where = Comparer(), f"apply() on {replicas} replica{'s' * (replicas > 1)}"
    made = partial(Case.optimizer, subject=subject)
    comparer.compare_all(where, replicas, partial(run_eagerly, strategy, made))
    comparer.compare("sparse", where, partial(_eager_sparse, where, strategy, subject))
    comparer.compare("same", where, partial(_same_tensor, where, strategy, subject, _as_it_is))
    run = partial(run_eagerly, strategy)
    comparer.compare("statistics", where, partial(_statistics, where, replicas, subject, run))
    return comparer.as_records()


def compare_compiled(name: str, replicas: int) -> dict[str, list[dict[str, Any]]]:
    """All cases with `fit()`."""
    subject, strategy = subjects.find(name), strategy_of(replicas)
    comparer, where = Comparer(), f"fit() on {replicas} replica{'s' * (replicas > 1)}"
    made = partial(Case.optimizer, subject=subject)
    comparer.compare_all(where, replicas, partial(_compiled_run, strategy, made))
    comparer.compare("sparse", where, partial(_compiled_sparse, where, strategy, subject))
    traced = where.replace("fit()", "apply() in a tf.function")
    comparer.compare("same", traced, partial(_same_tensor, traced, strategy, subject, _in_graph))
    run = partial(_compiled_run, strategy)
    comparer.compare("statistics", where, partial(_statistics, where, replicas, subject, run))
    return comparer.as_records()


def _as_it_is(step: Callable[[], None]) -> Callable[[], None]:
    return step


def _in_graph(step: Callable[[], None]) -> Callable[[], None]:
    import tensorflow as tf

    compiled_step: Callable[[], None] = tf.function(step)
    return compiled_step


def _each(strategy: Any, of_replica: Sequence[Any]) -> Any:
    """A distributed value with one value per replica."""
    return strategy.experimental_distribute_values_from_function(
        lambda context: of_replica[context.replica_id_in_sync_group]
    )


def run_eagerly(strategy: Any, made: Callable[[Case], Any], case: Case) -> Run:
    """Train by `apply()` in the replicas of a strategy, each with its own gradients."""
    with strategy.scope():
        variables = variables_of(case.problem())
        optimizer = made(case)
        optimizer.build(variables)

    def step(*gradients: Any) -> None:
        optimizer.apply(list(gradients), variables)

    history = []
    for replicas in case.gradients:
        scale = float(value(optimizer.scale_loss(1.0)))
        columns = zip(*([tensor(times(scale, g)) for g in gs] for gs in replicas), strict=True)
        strategy.run(step, args=tuple(_each(strategy, column) for column in columns))
        history.append(values(variables))
    with strategy.scope():
        optimizer.finalize_variable_values(variables)
    _require_equal_copies(strategy, variables)
    return Run(history, values(variables))


def _compiled_run(strategy: Any, made: Callable[[Case], Any], case: Case) -> Run:
    recorder, problem = Recorder(), case.problem()
    with strategy.scope():
        model = compiled(made(case), problem)
    fit(model, problem, [recorder], batch_size=strategy.num_replicas_in_sync)
    _require_equal_copies(strategy, model.trainable_variables)
    return Run(recorder.weights, values(model.trainable_variables))


def _require_equal_copies(strategy: Any, variables: Sequence[Any]) -> None:
    for variable in variables:
        copies = [copy.numpy() for copy in strategy.experimental_local_results(variable.value)]
        if not all(np.array_equal(copies[0], copy, equal_nan=True) for copy in copies):
            raise AssertionError(f"The replicas' copies of {variable.path} differ: {copies}")


def _rate_is_called(where: str, replicas: int, train: Callable[[Case], Run]) -> Comparisons:
    rate = Halving()
    arguments = {"learning_rate": rate, "weight_decay": 0.5}
    train(Case("rate", arguments, ONES * 4).on(replicas))
    yield equal(f"{where}, calls of the rate function in 4 steps", 4, rate.calls)
    main_only = rate.threads == {threading.main_thread()}
    yield equal(f"{where}, calls on the main thread only", True, main_only)


def _statistics(
    where: str, replicas: int, subject: Subject, train: Callable[[Callable[[Case], Any], Case], Run]
) -> Comparisons:
    """Compare the statistics of the last update, whose gradient is the sum over the replicas."""
    case = MEASURED.on(replicas)
    sgd = reference_of(case.start(), case.arguments, statistics_every=1)
    for gradients in case.gradients:
        sgd.step_replicas(gradients)
    optimizers: list[Any] = []

    def measuring(case: Case) -> Any:
        optimizers.append(case.optimizer(subject).track_statistics(per_variable=True))
        return optimizers[0]

    train(measuring, case)
    yield from same_row(f"{where}, statistics", row_of_reference(sgd), optimizers[0].statistics)


def _apply_rows(optimizer: Any, variables: list[Any], values: Any, indices: Any) -> None:
    import tensorflow as tf

    shape = tf.constant(variables[0].shape)
    optimizer.apply([tf.IndexedSlices(values, indices, shape)], variables)


def _eager_sparse(where: str, strategy: Any, subject: Subject) -> Comparisons:
    """Both replicas look up row 0, and each looks up another row."""
    shape = (3, 1)
    rows = [SparseRows([[3.0], [1.0]], [0, 1]), SparseRows([[2.0], [4.0]], [0, 2])]
    rows = rows[: strategy.num_replicas_in_sync]
    for arguments in ({}, {"clipnorm": 1.0}, {"clipvalue": 4.5}, {"momentum": 0.5}):
        case = Case(
            "sparse", {"learning_rate": 1.0, **arguments}, [[[r] for r in rows]], [np.ones(shape)]
        )
        with strategy.scope():
            variables = variables_of(Problem([np.ones(shape)], []))
            optimizer = case.optimizer(subject)
            optimizer.build(variables)

        step = partial(_apply_rows, optimizer, variables)
        tables = [sparse_tensor(r, shape) for r in rows]
        strategy.run(
            step,
            args=(
                _each(strategy, [table.values for table in tables]),
                _each(strategy, [table.indices for table in tables]),
            ),
        )
        _require_equal_copies(strategy, variables)
        yield close(f"{where}, sparse, {arguments}", case.expected().final[0], value(variables[0]))


def _compiled_sparse(where: str, strategy: Any, subject: Subject) -> Comparisons:
    """An embedding in a batch of two, which halves the gradient of each row."""
    size = strategy.num_replicas_in_sync
    lookups = LOOKUPS[:size]
    rows = [[SparseRows(values=[[0.25 / size]] * 4, indices=indices)] for indices in lookups]
    for arguments in ({}, {"clipnorm": 0.25}, {"momentum": 0.5}):
        case = Case("sparse", {"learning_rate": 1.0, **arguments}, [rows], [np.ones((5, 1))])
        with strategy.scope():
            model = embedding_model(case.optimizer(subject))
        model.fit(lookups, np.zeros(size), batch_size=size, shuffle=False, verbose=0)
        _require_equal_copies(strategy, model.trainable_variables)
        expected = case.expected().final[0]
        yield close(
            f"{where}, embedding, {arguments}", expected, value(model.trainable_variables[0])
        )


def _same_tensor(
    where: str, strategy: Any, subject: Subject, prepare: Callable[[Any], Callable[[], None]]
) -> Comparisons:
    """A dense and a sparse gradient tensor that all replicas share, like a constant."""
    weights, rows = ([0.5], [[1.0], [1.0], [1.0]]), SparseRows([[3.0], [1.0]], [0, 2])
    gradients = [tensor([1.0]), sparse_tensor(rows, (3, 1))]
    for arguments in ({}, {"clipvalue": 1.5}, {"momentum": 0.5, "gradient_accumulation_steps": 2}):
        replicas = [[[1.0], rows]] * strategy.num_replicas_in_sync
        case = Case("same", {"learning_rate": 0.25, **arguments}, [replicas] * 4, weights)
        with strategy.scope():
            variables = variables_of(Problem(weights, []))
            optimizer = case.optimizer(subject)
            optimizer.build(variables)
        apply = partial(optimizer.apply, gradients, variables)
        step = prepare(partial(strategy.run, lambda apply=apply: apply()))
        for _ in case.gradients:
            step()
        _require_equal_copies(strategy, variables)
        for kind, expected, variable in zip(
            ("dense", "sparse"), case.expected().final, variables, strict=True
        ):
            yield close(f"{where}, {kind}, {arguments}", expected, value(variable))


# The checks ------------------------------------------------------------------------------------


@functools.cache
def _records(function: Callable[..., Any], *arguments: Any) -> dict[str, list[dict[str, Any]]]:
    """All cases for one kind of replicas, from one child process."""
    records: dict[str, list[dict[str, Any]]] = child.call(function, *arguments)
    return records


def _on_replicas(subject: Subject, shows: str) -> Comparisons:
    only_on("tensorflow", "MirroredStrategy is TensorFlow's")
    for replicas in (REPLICAS, 1):
        for function in (compare_eager, compare_compiled):
            for record in _records(function, subject.name, replicas)[shows]:
                yield Comparison(**record)


@check("10.1", deviations=("D3",))
def clips(subject: Subject) -> Comparisons:
    """The clips act on the sum over replicas."""
    yield from _on_replicas(subject, "clip")


@check("10.1", deviations=("D4",))
def accumulation_and_overwriting(subject: Subject) -> Comparisons:
    """Accumulation and overwriting, which need conditionals, work on replicas."""
    yield from _on_replicas(subject, "merge")


@check("10.1")
def order_of_a_step(subject: Subject) -> Comparisons:
    """A plain step and a step with all settings give the result of one device."""
    yield from _on_replicas(subject, "order")


@check("10.1")
def dynamic_loss_scale(subject: Subject) -> Comparisons:
    """One replica's infinity skips the step on both."""
    yield from _on_replicas(subject, "scale")


@check("10.1")
def rate_function(subject: Subject) -> Comparisons:
    """A rate function is called once per step, not once per replica."""
    yield from _on_replicas(subject, "rate")


@check("10.1")
def sparse_gradients(subject: Subject) -> Comparisons:
    """The same row on several replicas is summed."""
    yield from _on_replicas(subject, "sparse")


@check("10.1")
def groups_of_variables(subject: Subject) -> Comparisons:
    """Each replica uses the rates of the groups."""
    only_where_claimed(subject, "set_group")
    yield from _on_replicas(subject, "groups")


@check("10.1")
def statistics(subject: Subject) -> Comparisons:
    """Statistics are computed from the sum over the replicas."""
    only_where_claimed(subject, "track_statistics")
    yield from _on_replicas(subject, "statistics")


@check("10.1")
def skipped_updates(subject: Subject) -> Comparisons:
    """A NaN on one replica skips the update on both."""
    only_where_claimed(subject, "skip_nonfinite")
    yield from _on_replicas(subject, "skip")


@check("10.4")
def same_tensor(subject: Subject) -> Comparisons:
    """A shared tensor counts once per replica: dense and sparse, in eager code and in a graph."""
    yield from _on_replicas(subject, "same")
