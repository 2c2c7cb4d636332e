"""JAX: values are replaced, not written; XLA fuses what is written apart here."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import keras

from kerasgd.backends import xla
from kerasgd.errors import LearningRateError
from kerasgd.keras_internals import get_stateless_scope
from kerasgd.rules import momentum as momentum_rule
from kerasgd.rules.ema import averaged
from kerasgd.rules.weight_decay import decay_factor, decayed
from kerasgd.state import ParameterState, Proceed, State, Step, Tensor, Update, Variable


def without_autograph(function: Callable[..., None]) -> Callable[..., None]:
    """As `Backend.without_autograph`."""
    return function


def prepare_gradients(
    gradients: Sequence[Tensor | None],
    parameters: Sequence[ParameterState],
    may_stay_sparse: Callable[[ParameterState], bool],
) -> list[Tensor | None]:
    """As `Backend.prepare_gradients`; JAX's sparse gradients are made dense."""
    return [gradient if gradient is None else _dense(gradient) for gradient in gradients]


def _dense(gradient: Tensor) -> Tensor:
    if hasattr(gradient, "todense"):
        gradient = gradient.todense()
    gradient = jnp.asarray(gradient)
    return gradient if gradient.dtype in ("float32", "float64") else gradient.astype("float32")


def across_replicas(state: State, gradients: Sequence[Tensor | None], proceed: Proceed) -> None:
    """As `Backend.across_replicas`: there is one replica."""
    proceed([(contextlib.nullcontext(), state, list(gradients))])


def compiled(function: Step, state: State, settings: Hashable) -> Step:
    """As `Backend.compiled`: nothing is to be gained."""
    return function


def when(condition: Tensor, action: Callable[[], None], writes: Sequence[Variable]) -> None:
    """As `Backend.when`."""
    if not isinstance(condition, jax.core.Tracer):
        if condition:
            action()
        return

    def changed() -> list[Tensor]:
        outer = get_stateless_scope()
        with keras.StatelessScope() as scope:
            scope.state_mapping.update(outer.state_mapping)  # to read what was written before
            action()
        return [scope.get_current_value(v) for v in writes]

    values = jax.lax.cond(condition, changed, lambda: [v.value for v in writes])
    for variable, value in zip(writes, values, strict=True):
        variable.assign(value)


def choose(condition: Tensor, yes: Callable[[], Tensor], no: Callable[[], Tensor]) -> Tensor:
    """As `Backend.choose`."""
    if isinstance(condition, jax.core.Tracer):
        return jax.lax.cond(condition, yes, no)
    return yes() if condition else no()  # a cond of new functions would be compiled at each step


def call_each_time(function: Callable[[], float]) -> float:
    """As `Backend.call_each_time`: refused in a compiled step, which has no sound way out."""
    if not is_eager():
        raise LearningRateError(
            "learning_rate",
            "a number or a learning-rate schedule in a compiled JAX step",
            function,
            "Use the callback {rate_callback}, which sets the rate before each batch.",
        )
    return function()


def is_eager() -> bool:
    """As `Backend.is_eager`."""
    return not isinstance(jnp.zeros(()), jax.core.Tracer)


def colocated_with(optimizer: Any, variable: Variable) -> contextlib.AbstractContextManager[Any]:
    """As `Backend.colocated_with`: on the device that Keras uses, where its variables are."""
    return contextlib.nullcontext()


def parameter_in_step(parameter: ParameterState, variable: Variable) -> ParameterState:
    """As `Backend.parameter_in_step`: a step has the parameters as they are."""
    return parameter


def read(variable: Variable) -> Tensor:
    """As `Backend.read`."""
    return variable.value


def assign(variable: Variable, value: Tensor) -> None:
    """As `Backend.assign`."""
    variable.assign(value)


def count(counter: Variable) -> None:
    """As `Backend.count`."""
    counter.assign_add(1)


def squared_norms(gradients: Sequence[Tensor], units: Tensor | None = None) -> Tensor:
    """As `Backend.squared_norms`."""
    return xla.squared_norms(gradients, units)


def values(gradient: Tensor) -> Tensor:
    """As `Backend.values`."""
    return gradient


def map_values(function: Callable[[Tensor], Tensor], gradient: Tensor) -> Tensor:
    """As `Backend.map_values`."""
    return function(gradient)


def rescale(
    condition: Tensor, gradients: Sequence[Tensor], factors: Sequence[Tensor]
) -> Sequence[Tensor]:
    """As `Backend.rescale`: XLA fuses the product into the update, a conditional would copy."""
    pairs = zip(gradients, factors, strict=True)
    return [gradient * factor.astype(gradient.dtype) for gradient, factor in pairs]


def accumulate(updates: Sequence[Update]) -> None:
    """As `Backend.accumulate`."""
    for update in updates:
        accumulator: Variable = update.parameter.accumulator
        gradient = update.coefficient * update.gradient
        accumulator.assign(accumulator.value + gradient.astype(accumulator.value.dtype))


def clear(variables: Sequence[Variable]) -> None:
    """As `Backend.clear`."""
    for variable in variables:
        variable.assign(jnp.zeros_like(variable.value))


def _decay(parameters: Sequence[ParameterState], rate: Tensor, weight_decay: float) -> None:
    for parameter in parameters:
        weights = read(parameter.variable)
        dtype = keras.backend.standardize_dtype(weights.dtype)
        factor = decay_factor(rate, weight_decay, dtype)
        assign(parameter.variable, decayed(weights, factor))


def descend(
    updates: Sequence[Update], rate: Tensor, momentum: float, nesterov: bool, weight_decay: float
) -> None:
    """As `Backend.descend`."""
    if weight_decay:
        _decay(
            [update.parameter for update in updates if update.parameter.decays], rate, weight_decay
        )
    for update in updates:
        momentum_rule.descend(update, rate, momentum, nesterov, read, assign)


def average(parameters: Sequence[ParameterState], momentum: float, begun: Tensor) -> None:
    """As `Backend.average`."""
    for parameter in parameters:
        old, weights = read(parameter.average), read(parameter.variable)
        assign(parameter.average, averaged(old, weights, momentum, begun))


def in_one_pass(
    function: Callable[[Sequence[Update]], None], updates: Sequence[Update]
) -> frozenset[int]:
    """As `Backend.in_one_pass`: XLA sees the whole step."""
    return frozenset()


def overwrite(parameters: Sequence[ParameterState]) -> None:
    """As `Backend.overwrite`."""
    for parameter in parameters:
        # Two variables must not share memory: `fit()` gives each one's away.
        assign(parameter.variable, jnp.copy(read(parameter.average)))
