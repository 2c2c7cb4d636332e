"""Measures an update while it happens, and writes its statistics (contract 15)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras

from kerasgd.backends.base import Backend
from kerasgd.rules import statistics
from kerasgd.rules.precision import scalar
from kerasgd.state import Rates, State, Statistics, Tensor, Updates


class Measurement:
    """One measured update; made before it begins.

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
        self._statistics: Statistics = state.statistics
        self._dtype = keras.backend.standardize_dtype(state.statistics.values.dtype)
        self._parameters = [p for p in state.parameters if not p.overwrite_with_gradient]
        self._count = len(state.parameters)
        self._rates = rates
        self._loss_scale = loss_scale
        self._before = [backend.copy(p.variable) for p in self._parameters]
        self._gradient_norms = self._norms_of(given)
        elements = [backend.values(gradient) for gradient in given.gradients]
        indices = [parameter.index for parameter in given.parameters]
        self._nonfinite = self._spread(statistics.count_nonfinite(elements), indices)

    def done(self, clipped: Updates, updates: Tensor) -> None:
        """Write the statistics of the update that was done, the `updates`-th."""
        after = [self._backend.read(parameter.variable) for parameter in self._parameters]
        changes = [
            keras.ops.cast(new, self._dtype) - keras.ops.cast(old, self._dtype)
            for new, old in zip(after, self._before, strict=True)
        ]
        self._write(self._norms_of(clipped), self._norms(changes), updates)

    def skipped(self, updates: Tensor) -> None:
        """Write the statistics of an update that is skipped after `updates` that were done."""
        nothing = keras.ops.zeros((self._count,), dtype=self._dtype)
        self._write(self._gradient_norms, nothing, updates)

    def _write(self, clipped_norms: Tensor, update_norms: Tensor, updates: Tensor) -> None:
        weight_norms = self._norms(self._before)
        gradient_norm, clipped_norm, update_norm, weight_norm = (
            statistics.joint_norm(norms)
            for norms in (self._gradient_norms, clipped_norms, update_norms, weight_norms)
        )
        self._assign(
            self._statistics.values,
            statistics.OF_UPDATE,
            {
                "learning_rate": self._rates.rate,
                "gradient_norm": gradient_norm,
                "clip_coefficient": statistics.clip_coefficient(gradient_norm, clipped_norm),
                "update_norm": update_norm,
                "weight_norm": weight_norm,
                "update_ratio": statistics.update_ratio(update_norm, weight_norm),
                "nonfinite": keras.ops.sum(self._nonfinite),
                "loss_scale": self._loss_scale,
            },
        )
        if self._statistics.of_variables is not None:
            self._assign(
                self._statistics.of_variables,
                statistics.OF_VARIABLE,
                {
                    "gradient_norm": self._gradient_norms,
                    "update_norm": update_norms,
                    "weight_norm": weight_norms,
                    "update_ratio": statistics.update_ratio(update_norms, weight_norms),
                    "nonfinite": self._nonfinite,
                },
            )
        self._backend.assign(self._statistics.updates, keras.ops.cast(updates, "int32"))
        self._backend.count(self._statistics.measured)

    def _assign(self, variable: Any, names: Sequence[str], values: Mapping[str, Any]) -> None:
        row = keras.ops.stack([as_tensor(values[name], self._dtype) for name in names])
        self._backend.assign(variable, row)

    def _norms_of(self, updates: Updates) -> Tensor:
        """For each variable the norm of its gradient of the update; 0 without a gradient."""
        chosen = updates.where([not p.overwrite_with_gradient for p in updates.parameters])
        norms = self._backend.norms([self._backend.values(g) for g in chosen.gradients])
        factors = [abs(scalar(c, self._dtype)) for c in chosen.each_coefficient()]
        products = [
            n * f for n, f in zip(self._unstacked(norms, len(chosen)), factors, strict=True)
        ]
        return self._spread(products, [parameter.index for parameter in chosen.parameters])

    def _norms(self, arrays: Sequence[Tensor]) -> Tensor:
        """For each variable the norm of its array."""
        norms = self._unstacked(self._backend.norms(arrays), len(arrays))
        return self._spread(norms, [parameter.index for parameter in self._parameters])

    def _unstacked(self, norms: Tensor, count: int) -> list[Tensor]:
        return list(keras.ops.unstack(keras.ops.cast(norms, self._dtype), count)) if count else []

    def _spread(self, values: Sequence[Tensor], indices: Sequence[int]) -> Tensor:
        """A vector with one element a variable: these values at their indices, 0 elsewhere."""
        placed = dict(zip(indices, values, strict=True))
        zero = scalar(0.0, self._dtype)
        return keras.ops.stack(
            [keras.ops.cast(placed.get(i, zero), self._dtype) for i in range(self._count)]
        )


def as_tensor(value: Any, dtype: str) -> Tensor:
    """A value as a tensor in `dtype`; one that is a tensor already is cast."""
    if keras.ops.is_tensor(value):
        return keras.ops.cast(value, dtype)
    return scalar(value, dtype)
