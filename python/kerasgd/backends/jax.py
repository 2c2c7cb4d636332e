"""JAX: values are replaced, not written in place; XLA fuses the separate operations here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import compress
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
from kerasgd.rules import clipping
from kerasgd.rules.precision import scalar
from kerasgd.state import ParameterState, State, Tensor, Updates, Variable


class JaxBackend(Backend):
    """The plain operations suit XLA; JAX needs its own conditionals, norms and copies."""

    def prepare_gradients(
        self,
        gradients: Sequence[Tensor | None],
        parameters: Sequence[ParameterState],
        may_stay_sparse: Callable[[ParameterState], bool],
    ) -> list[Tensor | None]:
        """Convert JAX's sparse gradients to dense ones."""
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
        measured: Callable[[State], None],
        unmeasured: Callable[[State], None],
        state: State,
        updates: Updates,
    ) -> None:
        if not isinstance(condition, jax.core.Tracer):
            super().measure_if(condition, measured, unmeasured, state, updates)
            return
        # XLA copies everything that a conditional may write. So this conditional only writes the
        # statistics, from an update whose result is discarded, and the real update stays outside.
        assert state.statistics is not None
        statistics = list(vars(state.statistics).values())
        self.cond(condition, partial(measured, state), statistics)
        self._write_after_measuring(state)
        unmeasured(state)

    def change_if(
        self,
        condition: Tensor,
        change: Callable[[Backend], None],
        writes: Sequence[Variable],
    ) -> None:
        is_traced = isinstance(condition, jax.core.Tracer)
        change_if = self._change_elements_if if is_traced else super().change_if
        change_if(condition, change, writes)

    def cond_value(
        self, condition: Tensor, yes: Callable[[], Tensor], no: Callable[[], Tensor]
    ) -> Tensor:
        if isinstance(condition, jax.core.Tracer):
            return jax.lax.cond(condition, yes, no)
        # In eager code `lax.cond` would compile its functions again at each step.
        return yes() if condition else no()

    def call_each_time(self, function: Callable[[], float]) -> float:
        """Call the function in eager code; refuse a compiled step, which cannot call it safely."""
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
        # Not through NumPy, because no process has the whole of an array that is sharded over
        # several; and not by an initializer, which Keras may compile, and which must not close over
        # such an array.
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
            # Joining sharded gradients in one array would gather them on each device.
            return super().squared_norms(gradients, units)
        return grouped_norms.squared_norms(gradients, units)

    def all_finite(self, gradients: Sequence[Tensor]) -> Tensor:
        """Look at the elements only if a square is not finite: XLA sums squares much faster."""
        if self.is_eager() or not gradients:
            return super().all_finite(gradients)
        squares = jnp.sum(self.squared_norms(gradients))
        look = partial(super().all_finite, gradients)
        return self.cond_value(jnp.isfinite(squares), lambda: jnp.array(True), look)

    def clip_each_norm(self, updates: Updates, limit: float) -> Updates:
        """In compiled steps, clip by separate scalars, not by slices of a vector.

        XLA compiles equal kernels only once; a different slice in each update would make every
        kernel different.
        """
        if self.is_eager():
            return super().clip_each_norm(updates, limit)
        gradients = updates.gradients
        pairs = zip(updates.each_coefficient(), gradients, strict=True)
        unclipped = [scalar(coefficient, gradient.dtype) for coefficient, gradient in pairs]
        is_large = [gradient.size > grouped_norms.SMALL for gradient in gradients]
        of_large = iter(
            _clip_norms_of_large(
                list(compress(gradients, is_large)), list(compress(unclipped, is_large)), limit
            )
        )
        clips = [
            next(of_large) if large else _clip_norm_of_small(gradient, coefficient, limit)
            for gradient, coefficient, large in zip(gradients, unclipped, is_large, strict=True)
        ]
        return replace(
            updates,
            gradients=[g * clip.scale for g, clip in zip(gradients, clips, strict=True)],
            coefficient=[clip.coefficient for clip in clips],
            scale=[clip.scale for clip in clips],
        )

    def rescale(
        self, condition: Tensor, gradients: Sequence[Tensor], factors: Sequence[Tensor]
    ) -> Sequence[Tensor]:
        """Multiply always: XLA fuses the product, but would copy arrays for a conditional."""
        pairs = zip(gradients, factors, strict=True)
        return [gradient * factor.astype(gradient.dtype) for gradient, factor in pairs]

    def overwrite(self, parameters: Sequence[ParameterState]) -> None:
        for parameter in parameters:
            # Two variables must not share memory, because `fit()` donates their buffers.
            self.assign(parameter.variable, jnp.copy(self.read(parameter.average)))


def _clip_norms_of_large(
    gradients: Sequence[Tensor], unclipped: Sequence[Tensor], limit: float
) -> list[clipping.NormClip]:
    """`clipnorm` for gradients with many elements, which are read once more only if needed."""
    if not gradients:
        return []
    squares = [grouped_norms.sum_of_squares(gradient) for gradient in gradients]

    def as_usual(square: Tensor, unclipped: Tensor) -> clipping.NormClip:
        coefficient = clipping.clip_norm(square, unclipped, limit)
        return clipping.NormClip(jnp.ones_like(coefficient), coefficient)

    def in_units(gradient: Tensor, square: Tensor, unclipped: Tensor) -> clipping.NormClip:
        unit = clipping.units_for(square)
        measured = grouped_norms.sum_of_squares(clipping.times(gradient, 1 / unit))
        return clipping.clip_norm_in_units(measured, unit, unclipped, limit)

    clips: list[clipping.NormClip] = jax.lax.cond(
        clipping.needs_units(jnp.stack(squares)),
        lambda: list(map(in_units, gradients, squares, unclipped)),
        lambda: list(map(as_usual, squares, unclipped)),
    )
    return clips


def _clip_norm_of_small(gradient: Tensor, unclipped: Tensor, limit: float) -> clipping.NormClip:
    """`clipnorm` for a gradient with few elements, without a conditional.

    The elements are first divided by the largest one, rounded to a power of two, which loses no
    digits. That reads them twice, but takes much less time to compile than the two branches of a
    conditional: XLA compiles 1,000 gradients in half the time.
    """
    kind = jnp.finfo(gradient.dtype)
    largest = jnp.max(jnp.abs(gradient), initial=0.0)
    inverse = jax.lax.clamp(kind.tiny, 1 / largest, 1 / kind.tiny)
    inverse = jax.lax.reduce_precision(inverse, kind.nexp, mantissa_bits=0)
    norm = jnp.sqrt(grouped_norms.sum_of_squares(clipping.times(gradient, inverse)))
    to_limit = limit / norm
    clipped = unclipped > to_limit * inverse
    coefficient = jnp.where(clipped, to_limit, unclipped)
    # 4.5: a clip never hides non-finite values.
    coefficient = jnp.where(jnp.isfinite(norm), coefficient, jnp.nan)
    return clipping.NormClip(jnp.where(clipped, inverse, 1.0), coefficient)


def _dense(gradient: Tensor) -> Tensor:
    if hasattr(gradient, "todense"):
        gradient = gradient.todense()
    gradient = jnp.asarray(gradient)
    return gradient if gradient.dtype in ("float32", "float64") else gradient.astype("float32")
