"""JAX: values are replaced, not written; XLA fuses what is written apart here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np
from jax.experimental import multihost_utils

from kerasgd.backends import grouped_norms
from kerasgd.backends.base import Backend
from kerasgd.errors import LearningRateError
from kerasgd.keras_internals import get_stateless_scope
from kerasgd.state import ParameterState, State, Tensor, Variable


class JaxBackend(Backend):
    """The plain operations suit XLA; conditionals, norms and memory are its own."""

    def prepare_gradients(
        self,
        gradients: Sequence[Tensor | None],
        parameters: Sequence[ParameterState],
        may_stay_sparse: Callable[[ParameterState], bool],
    ) -> list[Tensor | None]:
        """JAX's sparse gradients are made dense."""
        return [gradient if gradient is None else _dense(gradient) for gradient in gradients]

    def cond(
        self,
        condition: Tensor,
        action: Callable[[], None],
        writes: Sequence[Variable],
        otherwise: Callable[[], None] | None = None,
    ) -> None:
        if not isinstance(condition, jax.core.Tracer):
            super().cond(condition, action, writes, otherwise)
            return

        def values_after(change: Callable[[], None] | None) -> list[Tensor]:
            if change is None:
                return [v.value for v in writes]
            outer = get_stateless_scope()
            with keras.StatelessScope() as scope:
                if outer is not None:  # to read what was written before
                    scope.state_mapping.update(outer.state_mapping)
                change()
                return [v.value for v in writes]

        values = jax.lax.cond(
            condition, lambda: values_after(action), lambda: values_after(otherwise)
        )
        for variable, value in zip(writes, values, strict=True):
            variable.assign(value)

    def measure_if(
        self,
        condition: Tensor,
        measured: Callable[[], None],
        unmeasured: Callable[[], None],
        state: State,
    ) -> None:
        if not isinstance(condition, jax.core.Tracer):
            super().measure_if(condition, measured, unmeasured, state)
            return
        # XLA copies all that a conditional may write. So this one writes the statistics alone, of
        # an update that is dropped, and the update itself stays outside.
        assert state.statistics is not None
        statistics = list(vars(state.statistics).values())
        self.cond(condition, measured, statistics)
        # It would also copy what the conditional reads and the update writes, unless it knows that
        # the update comes second: since it needs this number. (The number is never negative.)
        never = state.statistics.measured.value < 0
        for variable in state.variables():
            if all(variable is not kept for kept in statistics):
                value = variable.value
                variable.assign(jnp.where(never, jnp.zeros((), value.dtype), value))
        unmeasured()

    def change_if(
        self, condition: Tensor, change: Callable[[], None], writes: Sequence[Variable]
    ) -> None:
        is_traced = isinstance(condition, jax.core.Tracer)
        (self._change_elements_if if is_traced else self.cond)(condition, change, writes)

    def cond_value(
        self, condition: Tensor, yes: Callable[[], Tensor], no: Callable[[], Tensor]
    ) -> Tensor:
        if isinstance(condition, jax.core.Tracer):
            return jax.lax.cond(condition, yes, no)
        # In eager code `lax.cond` would compile its functions, which are new at each step.
        return yes() if condition else no()

    def call_each_time(self, function: Callable[[], float]) -> float:
        """Refused in a compiled step, which has no sound way out."""
        if not self.is_eager():
            raise LearningRateError(
                "learning_rate",
                "a number or a learning-rate schedule in a compiled JAX step",
                function,
                "Use the callback {rate_callback}, which sets the rate before each batch.",
            )
        return function()

    def is_eager(self) -> bool:
        return not isinstance(jnp.zeros(()), jax.core.Tracer)

    def create_as_copy(self, create: Callable[..., Variable], variable: Variable) -> Variable:
        # Not through NumPy, since no process has the whole of what is sharded over several; nor by
        # an initializer, which must not close over such an array where Keras compiles it.
        created = create()
        created.assign(jnp.array(variable.value, created.dtype, copy=True))
        return created

    def as_numpy(self, variable: Variable) -> np.ndarray[Any, Any]:
        value = variable.value
        if value.is_fully_addressable or value.is_fully_replicated:
            return super().as_numpy(variable)
        gathered: np.ndarray[Any, Any] = multihost_utils.process_allgather(value, tiled=True)
        return gathered

    def squared_norms(self, gradients: Sequence[Tensor], units: Tensor | None = None) -> Tensor:
        if isinstance(keras.distribution.distribution(), keras.distribution.ModelParallel):
            # Side by side in one array, sharded gradients would be gathered on each device.
            return super().squared_norms(gradients, units)
        return grouped_norms.squared_norms(gradients, units)

    def rescale(
        self, condition: Tensor, gradients: Sequence[Tensor], factors: Sequence[Tensor]
    ) -> Sequence[Tensor]:
        """XLA fuses the product into the update, a conditional would copy."""
        pairs = zip(gradients, factors, strict=True)
        return [gradient * factor.astype(gradient.dtype) for gradient, factor in pairs]

    def overwrite(self, parameters: Sequence[ParameterState]) -> None:
        for parameter in parameters:
            # Two variables must not share memory: `fit()` gives each one's away.
            self.assign(parameter.variable, jnp.copy(self.read(parameter.average)))


def _dense(gradient: Tensor) -> Tensor:
    if hasattr(gradient, "todense"):
        gradient = gradient.todense()
    gradient = jnp.asarray(gradient)
    return gradient if gradient.dtype in ("float32", "float64") else gradient.astype("float32")
