"""Measures an update while it happens, and writes its statistics (contract 15)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras

from kerasgd.backends.base import Backend
from kerasgd.rules import statistics
from kerasgd.rules.precision import scalar, wide
from kerasgd.state import ParameterState, Rates, State, Tensor, Updates, Variable


class Measurement:
    """One measured update: made before the update changes anything, written after it.

    Args:
        backend: the operations.
        state: what the update changes.
        given: the gradients of the update, before clips and before any group acts.
        rates: the learning rate.
        loss_scale: what the loss was multiplied by.
    """

    def __init__(
        self,
        backend: Backend,
        state: State,
        given: Updates,
        rates: Rates,
        loss_scale: Tensor | float,
    ) -> None:
        assert state.statistics is not None
        self._backend = backend
        self._statistics = state.statistics
        self._dtype = keras.backend.standardize_dtype(state.statistics.values.dtype)
        self._count = len(state.parameters)
        self._settings = {"learning_rate": rates.rate, "loss_scale": loss_scale}
        self._parameters = [p for p in state.parameters if not p.overwrite_with_gradient]
        self._weights = [backend.copy(parameter.variable) for parameter in self._parameters]
        self._gradient_norms = self._norms_of_gradients(given)
        self._nonfinite = self._for_each_variable(
            given.parameters,
            [statistics.count_nonfinite(backend.values(g)) for g in given.gradients],
        )

    def write(self, clipped: Updates, updates: Tensor) -> None:
        """Write the statistics, now that the weights have changed or the update was skipped.

        Args:
            clipped: the gradients after the clip.
            updates: how many updates have been done.
        """
        norms = statistics.Norms(
            self._gradient_norms,
            self._norms_of_gradients(clipped),
            self._norms(self._parameters, self._changes()),
            self._norms(self._parameters, self._weights),
        )
        kept = self._statistics
        of_update = statistics.of_update(norms, self._nonfinite)
        self._assign(kept.values, statistics.OF_UPDATE, {**of_update, **self._settings})
        if kept.of_variables is not None:
            of_variables = statistics.of_variables(norms, self._nonfinite)
            self._assign(kept.of_variables, statistics.OF_VARIABLE, of_variables)
        self._backend.assign(kept.updates, keras.ops.cast(updates, "int32"))
        self._backend.count(kept.measured)

    def _assign(self, variable: Variable, names: Sequence[str], values: Mapping[str, Any]) -> None:
        rows = [self._cast(values[name]) for name in names]
        self._backend.assign(variable, keras.ops.stack(rows))

    def _changes(self) -> list[Tensor]:
        pairs = zip(self._parameters, self._weights, strict=True)
        return [self._change(parameter, before) for parameter, before in pairs]

    def _change(self, parameter: ParameterState, before: Tensor) -> Tensor:
        # Not in the dtype of the statistics: what float64 weights change by may vanish in float32.
        dtype = wide(keras.backend.standardize_dtype(before.dtype))
        after = self._backend.read(parameter.variable)
        return keras.ops.cast(after, dtype) - keras.ops.cast(before, dtype)

    def _norms_of_gradients(self, updates: Updates) -> Tensor:
        """For each variable the norm of its gradient; 0 without one."""
        normed = updates.where([not p.overwrite_with_gradient for p in updates.parameters])
        elements = [self._backend.values(gradient) for gradient in normed.gradients]
        coefficients = normed.each_coefficient()
        return self._norms(normed.parameters, elements, coefficients)

    def _norms(
        self,
        parameters: Sequence[ParameterState],
        arrays: Sequence[Tensor],
        coefficients: Sequence[Tensor | float] | None = None,
    ) -> Tensor:
        """For each variable the norm of its array times its coefficient; 0 without an array."""
        if not arrays:
            return keras.ops.zeros((self._count,), dtype=self._dtype)
        norms = keras.ops.unstack(self._cast(self._backend.norms(arrays)), len(arrays))
        if coefficients is not None:
            pairs = zip(norms, coefficients, strict=True)
            norms = [norm * self._cast(coefficient) for norm, coefficient in pairs]
        return self._for_each_variable(parameters, norms)

    def _for_each_variable(
        self, parameters: Sequence[ParameterState], values: Sequence[Tensor]
    ) -> Tensor:
        """A vector with an element for each variable: the value of its parameter, or 0."""
        placed = {p.index: value for p, value in zip(parameters, values, strict=True)}
        elements = [self._cast(placed.get(index, 0.0)) for index in range(self._count)]
        return keras.ops.stack(elements)

    def _cast(self, value: Tensor | float) -> Tensor:
        """A tensor in the dtype of the statistics."""
        if keras.ops.is_tensor(value):
            return keras.ops.cast(value, self._dtype)
        return scalar(value, self._dtype)
