"""Measures an update while it runs (contract 15).

It measures norms and counts of the variables; `rules/statistics.py` computes the statistics from
them.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator, Sequence
from itertools import compress

import keras
import numpy as np

from kerasgd.backends.base import Backend
from kerasgd.rules import statistics
from kerasgd.rules.precision import scalar
from kerasgd.state import ParameterState, Rates, State, Tensor, Updates


class Measurement:
    """One measured update: create it before the update changes anything, and write it afterwards.

    Args:
        backend: the operations.
        state: the state that the update changes.
        given: the gradients of the update, before clips and groups.
        rates: the learning rate and the factors of groups.
        loss_scale: the factor that multiplied the loss.
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
        self._dtype = keras.backend.standardize_dtype(state.statistics.of_update.dtype)
        self._count = len(state.parameters)
        self._of_update = {"learning_rate": rates.rate, "loss_scale": loss_scale}
        self._given = given
        self._parameters = [p for p in state.parameters if not p.overwrite_with_gradient]
        self._weights = backend.copies([parameter.variable for parameter in self._parameters])

    def write(self, clipped: Updates, updates: Tensor) -> None:
        """Write the measurements, after the weights have changed or the update was skipped.

        Args:
            clipped: the gradients after the clip.
            updates: the number of updates done so far.
        """
        kept = self._statistics
        of_update = [self._cast(self._of_update[name]) for name in statistics.MEASURED_OF_UPDATE]
        self._backend.assign_rows(kept.of_update, of_update)
        self._backend.assign_rows(kept.of_variables, self._of_variables(clipped))
        self._backend.assign(kept.updates, keras.ops.cast(updates, "int32"))
        self._backend.count(kept.measured)

    def _of_variables(self, clipped: Updates) -> list[Tensor]:
        """One vector for each entry of `statistics.MEASURED`, with one element per variable."""
        given, after_clip = self._elements(self._given), self._elements(clipped)
        # Gradients that are new values are not clipped.
        kept = [not p.overwrite_with_gradient for p in self._given.parameters]
        # A norm clip multiplies arrays by scalars at most, so the norms of its results are known.
        is_known = clipped.scale is not None or all(
            map(operator.is_, compress(given, kept), after_clip)
        )
        of_given, of_weights, of_clipped = self._norms(
            [given, self._weights, [] if is_known else after_clip]
        )
        if is_known:
            of_clipped = of_given if all(kept) else keras.ops.take(of_given, np.flatnonzero(kept))
        variables = [parameter.variable for parameter in self._parameters]
        (of_changes,) = self._norms([self._backend.differences(self._weights, variables)])
        return [
            self._of_gradients(self._given, of_given),
            self._of_gradients(clipped, of_clipped),
            self._for_each_variable(self._parameters, of_changes),
            self._for_each_variable(self._parameters, of_weights),
            self._count_nonfinite(of_given),
        ]

    def _norms(self, parts: Sequence[Sequence[Tensor]]) -> Iterator[Tensor]:
        """The norms of each part, in one call: for small arrays the call is the main cost."""
        norms = self._cast(self._backend.norms([array for part in parts for array in part]))
        ends = np.cumsum([len(part) for part in parts]).tolist()
        return (norms[begin:end] for begin, end in zip([0, *ends[:-1]], ends, strict=True))

    def _elements(self, updates: Updates) -> list[Tensor]:
        return [self._backend.values(gradient) for gradient in updates.gradients]

    def _of_gradients(self, updates: Updates, norms: Tensor) -> Tensor:
        """The gradient norm of each variable, from the norms of the arrays.

        It is 0 without a gradient, or if the gradient is a new value.
        """
        for factor in (updates.scale, updates.coefficient):
            if isinstance(factor, list):
                norms = norms * keras.ops.stack([self._cast(each) for each in factor])
            elif factor is not None:
                norms = norms * self._cast(factor)
        are_values = [parameter.overwrite_with_gradient for parameter in updates.parameters]
        if any(are_values):
            norms = keras.ops.where(keras.ops.convert_to_tensor(are_values), 0.0, norms)
        return self._for_each_variable(updates.parameters, norms)

    def _count_nonfinite(self, norms: Tensor) -> Tensor:
        """The number of non-finite elements in the gradient of each variable."""
        ops = keras.ops

        def counts() -> Tensor:
            elements = self._elements(self._given)
            return ops.stack([self._cast(statistics.count_nonfinite(e)) for e in elements])

        # If the norm is finite, so are all elements.
        finite = ops.all(ops.isfinite(norms))
        found = self._backend.cond_value(finite, lambda: ops.zeros_like(norms), counts)
        return self._for_each_variable(self._given.parameters, found)

    def _for_each_variable(self, parameters: Sequence[ParameterState], values: Tensor) -> Tensor:
        """A vector with one element per variable: the value for its parameter, or 0."""
        indices = [parameter.index for parameter in parameters]
        if indices == list(range(self._count)):
            return values
        places = {index: place for place, index in enumerate(indices)}
        # The last element is the 0.
        chosen = [places.get(index, len(indices)) for index in range(self._count)]
        zero = keras.ops.zeros((1,), dtype=self._dtype)
        return keras.ops.take(keras.ops.concatenate([values, zero]), np.array(chosen, "int32"))

    def _cast(self, value: Tensor | float) -> Tensor:
        """A tensor in the dtype of the statistics."""
        if not keras.ops.is_tensor(value):
            return scalar(value, self._dtype)
        tensor: Tensor = value
        dtype = keras.backend.standardize_dtype(tensor.dtype)
        is_ready = dtype == self._dtype and not isinstance(tensor, keras.Variable)
        return tensor if is_ready else keras.ops.cast(tensor, self._dtype)
