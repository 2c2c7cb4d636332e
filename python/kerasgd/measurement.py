"""Measures an update while it happens, and writes its statistics (contract 15)."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

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
        self._given = given
        self._parameters = [p for p in state.parameters if not p.overwrite_with_gradient]
        self._weights = [backend.copy(parameter.variable) for parameter in self._parameters]

    def write(self, clipped: Updates, updates: Tensor) -> None:
        """Write the statistics, now that the weights have changed or the update was skipped.

        Args:
            clipped: the gradients after the clip.
            updates: how many updates have been done.
        """
        norms, of_given = self._norms(clipped)
        nonfinite = self._count_nonfinite(of_given)
        kept = self._statistics
        of_update = statistics.of_update(norms, nonfinite)
        self._assign(kept.values, statistics.OF_UPDATE, {**of_update, **self._settings})
        if kept.of_variables is not None:
            of_variables = statistics.of_variables(norms, nonfinite)
            self._assign(kept.of_variables, statistics.OF_VARIABLE, of_variables)
        self._backend.assign(kept.updates, keras.ops.cast(updates, "int32"))
        self._backend.count(kept.measured)

    def _assign(self, variable: Variable, names: Sequence[str], values: Mapping[str, Any]) -> None:
        rows = [self._cast(values[name]) for name in names]
        self._backend.assign(variable, keras.ops.stack(rows))

    def _norms(self, clipped: Updates) -> tuple[statistics.Norms, Tensor]:
        """The norms of each variable; and those of the given arrays, without their coefficient.

        All are computed at once, since a call costs more than the norm of a small array.
        """
        given = self._elements(self._given)
        after_clip = self._elements(clipped)
        parts = [given, self._changes(), self._weights, after_clip]
        # Most clips leave the arrays, and change the coefficient alone.
        is_same = len(given) == len(after_clip) and all(map(operator.is_, given, after_clip))
        if is_same:
            parts[3] = []
        found = self._cast(self._backend.norms([array for part in parts for array in part]))
        ends = np.cumsum([len(part) for part in parts]).tolist()
        of_given, of_changes, of_weights, of_clipped = (
            found[begin:end] for begin, end in zip([0, *ends[:-1]], ends, strict=True)
        )
        norms = statistics.Norms(
            self._of_gradients(self._given, of_given),
            self._of_gradients(clipped, of_given if is_same else of_clipped),
            self._for_each_variable(self._parameters, of_changes),
            self._for_each_variable(self._parameters, of_weights),
        )
        return norms, of_given

    def _elements(self, updates: Updates) -> list[Tensor]:
        return [self._backend.values(gradient) for gradient in updates.gradients]

    def _changes(self) -> list[Tensor]:
        pairs = zip(self._parameters, self._weights, strict=True)
        return [self._change(parameter, before) for parameter, before in pairs]

    def _change(self, parameter: ParameterState, before: Tensor) -> Tensor:
        # Not in the dtype of the statistics: what float64 weights change by may vanish in float32.
        after = self._backend.read(parameter.variable)
        dtype = wide(keras.backend.standardize_dtype(before.dtype))
        if dtype != keras.backend.standardize_dtype(before.dtype):
            after, before = keras.ops.cast(after, dtype), keras.ops.cast(before, dtype)
        return after - before

    def _of_gradients(self, updates: Updates, norms: Tensor) -> Tensor:
        """For each variable the norm of its gradient; 0 without one, or where that is a value."""
        if updates.shares_coefficient():
            norms = norms * self._cast(updates.coefficient)
        else:
            coefficients = [self._cast(each) for each in updates.each_coefficient()]
            norms = norms * keras.ops.stack(coefficients)
        are_values = [parameter.overwrite_with_gradient for parameter in updates.parameters]
        if any(are_values):
            norms = keras.ops.where(keras.ops.convert_to_tensor(are_values), 0.0, norms)
        return self._for_each_variable(updates.parameters, norms)

    def _count_nonfinite(self, norms: Tensor) -> Tensor:
        """For each variable how many elements of its gradient are not finite."""
        ops = keras.ops

        def counts() -> Tensor:
            elements = self._elements(self._given)
            return ops.stack([self._cast(statistics.count_nonfinite(e)) for e in elements])

        # Where the norm is finite all elements are.
        finite = ops.all(ops.isfinite(norms))
        found = self._backend.cond_value(finite, lambda: ops.zeros_like(norms), counts)
        return self._for_each_variable(self._given.parameters, found)

    def _for_each_variable(self, parameters: Sequence[ParameterState], values: Tensor) -> Tensor:
        """A vector with an element for each variable: the value of its parameter, or 0."""
        indices = [parameter.index for parameter in parameters]
        if indices == list(range(self._count)):
            return values
        places = {index: place for place, index in enumerate(indices)}
        # The last place holds a 0.
        chosen = [places.get(index, len(indices)) for index in range(self._count)]
        zero = keras.ops.zeros((1,), dtype=self._dtype)
        return keras.ops.take(keras.ops.concatenate([values, zero]), np.array(chosen, "int32"))

    def _cast(self, value: Tensor | float) -> Tensor:
        """A tensor in the dtype of the statistics."""
        if keras.ops.is_tensor(value):
            return keras.ops.cast(value, self._dtype)
        return scalar(value, self._dtype)
