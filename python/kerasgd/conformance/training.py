"""Problems with known gradients, and the ways to train on them.

A `Problem` has the gradients of each step. Each `Way` passes them to an optimizer: in eager,
traced or jitted `apply()`, or in compiled `fit()`, where a layer outputs the sum of weight times
input, so that the batch itself is the gradient. The reference runs on the same problem.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np

from kerasgd.conformance.checks import FLOAT32_BOUND, Comparisons, close, unexpected
from kerasgd.conformance.subjects import Subject
from kerasgd.reference import Array, Gradient, ReferenceGroup, ReferenceSGD, SparseRows


@dataclass(frozen=True)
class Rate:
    """A learning rate, created separately for the subject and for the reference."""

    of_subject: Callable[[], object]
    of_reference: Callable[[], Any]


def of_subject(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings in the form for the subject."""
    return {k: v.of_subject() if isinstance(v, Rate) else v for k, v in settings.items()}


def of_reference(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings in the form for the reference."""
    return {k: v.of_reference() if isinstance(v, Rate) else v for k, v in settings.items()}


@dataclass(frozen=True)
class Group:
    """Variables of a problem, by index, and their settings for `set_group()`."""

    variables: tuple[int, ...]
    settings: Mapping[str, Any]

    @property
    def pattern(self) -> str:
        """A pattern that matches the paths of exactly these variables."""
        return f"w[{''.join(map(str, self.variables))}]$"

    def in_reference(self) -> ReferenceGroup:
        """The same group for the reference."""
        return ReferenceGroup(self.variables, **of_reference(self.settings))


@dataclass(frozen=True)
class Problem:
    """The variables to train, and their gradients.

    Attributes:
        weights: the initial weights, one array per variable.
        gradients: for each step, a gradient or None for each variable.
        non_negative: the indices of the variables with a non-negative constraint.
        dtype: the dtype of variables and gradients.
        groups: the groups for `set_group()`, called before training.
    """

    weights: Sequence[Any]
    gradients: Sequence[Sequence[Gradient]]
    non_negative: Collection[int] = ()
    dtype: str = "float32"
    groups: Sequence[Group] = ()


@dataclass(frozen=True)
class Run:
    """The weights after each step, and at the end, after averages have been written into them."""

    weights: Sequence[Sequence[Array]]
    final: Sequence[Array]


@dataclass(frozen=True)
class Way:
    """A way to train: its name, and the function that trains an optimizer on a problem."""

    name: str
    train: Callable[[Any, Problem], Run]


def scalar(weight: float, gradients: Iterable[float | None], **others: Any) -> Problem:
    """A problem with one variable of one element."""
    return Problem([[weight]], [[None if g is None else [g]] for g in gradients], **others)


def random_problem(
    steps: int,
    shapes: Sequence[tuple[int, ...]] = ((3,), (2, 2)),
    digits: str = "float16",
    **others: Any,
) -> Problem:
    """Normally distributed weights and gradients, rounded to the dtype `digits`."""
    generator = np.random.default_rng(0)

    def draw() -> list[Any]:
        return [generator.normal(size=shape).astype(digits) for shape in shapes]

    return Problem(draw(), [draw() for _ in range(steps)], **others)


# Variables and tensors -------------------------------------------------------------------------


def variables_of(problem: Problem) -> list[Any]:
    """Variables with the initial weights of a problem."""
    variables = [
        keras.Variable(np.asarray(w, np.float64), dtype=problem.dtype, name=f"w{i}")
        for i, w in enumerate(problem.weights)
    ]
    for i in problem.non_negative:
        variables[i].constraint = keras.constraints.NonNeg()
    return variables


def value(variable: Any) -> Array:
    """The values of a variable or tensor."""
    return np.asarray(keras.ops.convert_to_numpy(variable)).astype(np.float64)


def values(variables: Iterable[Any]) -> list[Array]:
    """The values of each variable."""
    return [value(variable) for variable in variables]


def tensor(gradient: Any, dtype: str = "float32") -> Any:
    """A dense gradient as a tensor of the backend, or None."""
    if gradient is None:
        return None
    with np.errstate(over="ignore"):
        return keras.ops.convert_to_tensor(np.asarray(gradient, np.float64), dtype=dtype)


def sparse_tensor(rows: SparseRows, shape: Sequence[int] | None, dtype: str = "float32") -> Any:
    """A sparse gradient of TensorFlow, with the shape of its variable unless `shape` is None."""
    import tensorflow as tf

    indices = tf.constant(rows.indices)
    return tf.IndexedSlices(tensor(rows.values, dtype), indices, shape and tf.constant(shape))


def tensors(optimizer: Any, gradients: Sequence[Gradient], problem: Problem) -> list[Any]:
    """The gradients of the loss that the optimizer has scaled."""
    scale = float(value(optimizer.scale_loss(1.0)))
    scaled = [times(scale, gradient) for gradient in gradients]
    return [
        sparse_tensor(gradient, np.shape(weights), problem.dtype)
        if isinstance(gradient, SparseRows)
        else tensor(gradient, problem.dtype)
        for gradient, weights in zip(scaled, problem.weights, strict=True)
    ]


def times(scale: float, gradient: Gradient) -> Gradient:
    """A gradient of the scaled loss."""
    if gradient is None:
        return None
    if isinstance(gradient, SparseRows):
        return replace(gradient, values=np.asarray(gradient.values, np.float64) * scale)
    return np.asarray(gradient, np.float64) * scale


# Ways ------------------------------------------------------------------------------------------


def train_eagerly(optimizer: Any, problem: Problem) -> Run:
    """Train by eager `apply()`."""
    variables = variables_of(problem)

    def step(gradients: list[Any]) -> None:
        optimizer.apply(gradients, variables)

    return _train_by(step, optimizer, variables, problem)


def train_in_tf_function(optimizer: Any, problem: Problem) -> Run:
    """Train by `apply()` in TensorFlow graphs, one for each set of variables with a gradient."""
    import tensorflow as tf

    variables = variables_of(problem)
    optimizer.build(variables)

    @tf.function  # type: ignore[untyped-decorator]
    def step(gradients: list[Any]) -> None:
        optimizer.apply(gradients, variables)

    return _train_by(step, optimizer, variables, problem)


def train_statelessly(optimizer: Any, problem: Problem) -> Run:
    """Train by `stateless_apply()`, jitted on JAX."""
    variables = variables_of(problem)
    optimizer.build(variables)
    apply = _jitted(optimizer.stateless_apply)

    def step(gradients: list[Any]) -> None:
        own = [variable.value for variable in optimizer.variables]
        weights = [variable.value for variable in variables]
        new_weights, new_own = apply(own, gradients, weights)
        for variable, new in zip(
            [*variables, *optimizer.variables], [*new_weights, *new_own], strict=True
        ):
            variable.assign(new)

    return _train_by(step, optimizer, variables, problem)


def _jitted(function: Callable[..., Any]) -> Callable[..., Any]:
    if keras.config.backend() != "jax":
        return function
    import jax

    jitted: Callable[..., Any] = jax.jit(function)
    return jitted


def _train_by(
    step: Callable[[list[Any]], None], optimizer: Any, variables: list[Any], problem: Problem
) -> Run:
    weights = []
    for gradients in problem.gradients:
        step(tensors(optimizer, gradients, problem))
        weights.append(values(variables))
    optimizer.finalize_variable_values(variables)
    return Run(weights, values(variables))


@keras.saving.register_keras_serializable("kerasgd.conformance")
class WeightTimesInput(keras.layers.Layer):  # type: ignore[misc]
    """Outputs the sum of weight times input, so that the gradient of the weights is the input."""

    def __init__(
        self, shapes: Sequence[Sequence[int]], non_negative: Sequence[int] = (), **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.shapes = [tuple(shape) for shape in shapes]
        self.non_negative = tuple(non_negative)

    def build(self, input_shape: Any) -> None:
        """Create the weights."""
        self.parts = [
            self.add_weight(
                shape=shape,
                name=f"w{i}",
                initializer="zeros",
                constraint=keras.constraints.NonNeg() if i in self.non_negative else None,
            )
            for i, shape in enumerate(self.shapes)
        ]

    def call(self, inputs: Any) -> Any:
        """Multiply and sum."""
        weights = keras.ops.concatenate([keras.ops.reshape(part, (-1,)) for part in self.parts])
        return keras.ops.sum(inputs * weights, axis=-1, keepdims=True)

    def get_config(self) -> dict[str, Any]:
        """The arguments of the layer."""
        own = {"shapes": self.shapes, "non_negative": self.non_negative}
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable("kerasgd.conformance")  # type: ignore[untyped-decorator]
def output_as_loss(y_true: Any, y_pred: Any) -> Any:
    """The loss is the output of the model."""
    return y_pred[..., 0]


def model_of(problem: Problem) -> Any:
    """A model with the initial weights of a problem."""
    shapes = [np.shape(w) for w in problem.weights]
    size = sum(int(np.prod(shape)) for shape in shapes)
    layer = WeightTimesInput(shapes, tuple(problem.non_negative), dtype=problem.dtype)
    model = keras.Sequential([keras.Input((size,), dtype=problem.dtype), layer])
    for part, weights in zip(layer.parts, problem.weights, strict=True):
        part.assign(np.asarray(weights, np.float64))
    return model


def compiled(optimizer: Any, problem: Problem, **options: Any) -> Any:
    """A model with the initial weights of a problem, compiled with the optimizer."""
    model = model_of(problem)
    model.compile(optimizer=optimizer, loss=output_as_loss, **options)
    return model


def fit(model: Any, problem: Problem, callbacks: Sequence[Any] = (), **options: Any) -> None:
    """Train with the gradients of a problem, one step for each batch."""
    inputs = np.stack([_flat(gradients) for gradients in problem.gradients])
    options = {"batch_size": 1, "shuffle": False, "verbose": 0, **options}
    model.fit(inputs, np.zeros(len(inputs)), callbacks=list(callbacks), **options)


def _flat(gradients: Sequence[Gradient]) -> Array:
    """The input of the layer that gives its weights these gradients."""
    return np.concatenate([np.ravel(np.asarray(gradient)) for gradient in gradients])


class Recorder(keras.callbacks.Callback):  # type: ignore[misc]
    """Records the weights after each step."""

    def __init__(self) -> None:
        super().__init__()
        self.weights: list[list[Array]] = []

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Record the weights."""
        synchronise(self.model)
        self.weights.append(values(self.model.trainable_variables))


def synchronise(model: Any) -> None:
    """Copy the trainer's values into the variables in the middle of a JAX `fit()`."""
    if hasattr(model, "jax_state_sync"):
        model.jax_state_sync()


def _way_of_fit(name: str, **options: Any) -> Way:
    def train(optimizer: Any, problem: Problem) -> Run:
        recorder = Recorder()
        model = compiled(optimizer, problem, **options)
        fit(model, problem, [recorder])
        return Run(recorder.weights, values(model.trainable_variables))

    return Way(name, train)


APPLY = Way("apply()", train_eagerly)
# The arguments of `compile()` for each kind of compiled `fit()` of a backend.
FIT_OPTIONS: dict[str, dict[str, dict[str, Any]]] = {
    "tensorflow": {
        "fit(jit_compile=False)": {"jit_compile": False},
        "fit(jit_compile=True)": {"jit_compile": True},
    },
    "jax": {"fit()": {}},
    "torch": {"fit()": {}},
}
TRACED = {
    "tensorflow": Way("apply() in a tf.function", train_in_tf_function),
    "jax": Way("jitted stateless_apply()", train_statelessly),
    "torch": Way("stateless_apply()", train_statelessly),
}


def fit_options() -> dict[str, dict[str, Any]]:
    """The kinds of compiled `fit()` of this backend, with their arguments of `compile()`."""
    return FIT_OPTIONS[keras.config.backend()]


def ways_of_fit() -> list[Way]:
    """The ways of compiled `fit()`."""
    return [_way_of_fit(name, **options) for name, options in fit_options().items()]


def ways_of_apply() -> list[Way]:
    """The ways of eager and traced `apply()`, which can leave out a gradient."""
    return [APPLY, TRACED[keras.config.backend()]]


def all_ways() -> list[Way]:
    """Eager `apply()` and compiled `fit()`."""
    return [APPLY, *ways_of_fit()]


# The reference ---------------------------------------------------------------------------------


def non_negative(weights: Array) -> Array:
    """The constraint in NumPy."""
    return np.maximum(weights, 0.0)


def reference_of(problem: Problem, arguments: Mapping[str, Any], **options: Any) -> ReferenceSGD:
    """The reference with these arguments, built for the problem with `options`."""
    constraints = [
        non_negative if i in problem.non_negative else None for i in range(len(problem.weights))
    ]
    groups = [group.in_reference() for group in problem.groups]
    sgd = ReferenceSGD(**of_reference(arguments))
    return sgd.build(problem.weights, constraints=constraints, groups=groups, **options)


def reference_run(problem: Problem, **arguments: Any) -> Run:
    """Train the reference on the problem."""
    sgd = reference_of(problem, arguments)
    scale = sgd.scale_loss(1.0)
    weights = [sgd.step([times(scale, g) for g in gs]) for gs in problem.gradients]
    sgd.finalize_variable_values()
    return Run(weights, sgd.weights)


def optimizer_for(problem: Problem, subject: Subject, arguments: Mapping[str, Any]) -> Any:
    """The subject with these arguments, and with the groups of the problem."""
    optimizer = subject(**of_subject(arguments))
    for group in problem.groups:
        optimizer.set_group(group.pattern, **of_subject(group.settings))
    return optimizer


def agree(where: str, expected: Run, actual: Run, bound: float = FLOAT32_BOUND) -> Comparisons:
    """Whether two runs agree, variable by variable, at every step and at the end."""
    for i in range(len(expected.final)):
        name = f"{where}, w{i}" if len(expected.final) > 1 else where
        yield close(name, _history(expected, i), _history(actual, i), bound)
        yield close(f"{name} in the end", expected.final[i], actual.final[i], bound)


def _history(run: Run, index: int) -> Array:
    return np.stack([weights[index] for weights in run.weights])


def follows_reference(
    subject: Subject,
    problem: Problem,
    ways: Sequence[Way] | None = None,
    bound: float = FLOAT32_BOUND,
    **arguments: Any,
) -> Comparisons:
    """Whether the subject agrees with the reference, in each way of training."""
    expected = reference_run(problem, **arguments)
    for way in ways or all_ways():
        try:
            run = way.train(optimizer_for(problem, subject, arguments), problem)
        except Exception as error:
            yield unexpected(way.name, error)
            return
        yield from agree(way.name, expected, run, bound)
