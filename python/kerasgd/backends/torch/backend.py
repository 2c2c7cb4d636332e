"""PyTorch: tensors are written in place, by functions that take all variables at once."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import compress
from typing import Any

import keras
import numpy as np
import torch

from kerasgd.backends.base import Backend
from kerasgd.backends.torch import choice, kernels, pieces, plan, shards
from kerasgd.backends.torch.choice import Implementation, Mode
from kerasgd.backends.torch.kernels import PLACE, SHAPE, WIDE, Batch
from kerasgd.errors import ArgumentValueError, StateError
from kerasgd.keras_internals import in_stateless_scope
from kerasgd.rules import clipping
from kerasgd.settings import Settings
from kerasgd.state import ParameterState, Proceed, Rates, State, Tensor, Updates, Variable
from kerasgd.variables import path_of

DEVICE = torch.Tensor.get_device


class TorchBackend(Backend):
    """Tensors are written in place, by functions that take all variables at once.

    Attributes:
        mode: the way in which tensors may be written; `choice.py` chooses implementations by it.
    """

    def __init__(self, mode: Mode = Mode.IN_PLACE) -> None:
        self.mode = mode

    def of_this_trace(self, gradients: Sequence[Tensor | None] = ()) -> Backend:
        mode = choice.current_mode()
        if mode is Mode.IN_PLACE and shards.are_among(gradients):
            return ShardedTorchBackend(mode)
        return self if mode is self.mode else TorchBackend(mode)

    def repeat(
        self,
        state: State,
        settings: Settings,
        gradients: Any,
        variables: Any,
        rates_of_this_step: Callable[[], Rates],
    ) -> bool:
        planned = plan.of(state, settings)
        if planned is None:
            return False
        if not planned.is_unchanged():
            plan.forget(state)
            return False
        return planned.fits(gradients, variables) and planned.run(gradients, rates_of_this_step)

    def prepare_gradients(
        self,
        gradients: Sequence[Tensor | None],
        parameters: Sequence[ParameterState],
        may_stay_sparse: Callable[[ParameterState], bool],
    ) -> list[Tensor | None]:
        """Make PyTorch's sparse gradients dense.

        Raises:
            StateError: a variable holds a tensor whose shape differs from the variable's.
        """
        weights = self._values([parameter.variable for parameter in parameters])
        _check_shapes(parameters, weights)
        present = [gradient for gradient in gradients if gradient is not None]
        if _are_ready(present, weights):
            return list(gradients)
        pairs = zip(gradients, weights, strict=True)
        ready = [g if g is None else _made_ready(g, its_weights) for g, its_weights in pairs]
        return _apart_from_weights(ready, weights)

    def across_replicas(
        self, state: State, gradients: Sequence[Tensor | None], proceed: Proceed
    ) -> None:
        """`proceed` directly: DistributedDataParallel averaged the gradients in `backward()`."""
        shards.check_not_sharded(state)
        with torch.no_grad():
            proceed([(contextlib.nullcontext(), state, list(gradients))])

    def read_rate(self, variable: Variable) -> Tensor | float:
        # The kernels take numbers, which are faster than tensors of one element.
        return super().read_rate(variable) if in_stateless_scope() else variable._value.item()

    def all_finite(self, gradients: Sequence[Tensor]) -> Tensor:
        # One test of the sum of all norms; the sum may overflow, so a failure is checked again.
        norms = [norm.float() for norm in kernels.norms(gradients)]
        finite = torch.isfinite(torch.stack(norms).sum())
        return finite if bool(finite) else super().all_finite(gradients)

    def count(self, counter: Variable) -> None:
        (count,) = self._writable([counter])
        count.add_(1)

    def squared_norms(self, gradients: Sequence[Tensor], units: Tensor | None = None) -> Tensor:
        if units is not None:
            factors = (1 / units).unbind()
            gradients = [g.to(f.dtype) * f for g, f in zip(gradients, factors, strict=True)]
        return kernels.squares(gradients)

    def copies(self, variables: Sequence[Variable]) -> list[Tensor]:
        values = [value.detach() for value in self._values(variables)]
        return [value.clone() if value.dtype in WIDE else value.float() for value in values]

    def differences(self, copies: Sequence[Tensor], variables: Sequence[Variable]) -> list[Tensor]:
        # In place, because filling new memory takes longer than the subtraction.
        torch._foreach_sub_(copies, self._values(variables))
        return list(copies)

    def assign_rows(self, variable: Variable, rows: Sequence[Tensor]) -> None:
        (held,) = self._writable([variable])
        torch.stack(tuple(rows), out=held)

    def rescale(
        self, condition: Tensor, gradients: Sequence[Tensor], factors: Sequence[Tensor]
    ) -> Sequence[Tensor]:
        if not bool(condition):
            return gradients
        return [gradient * factor for gradient, factor in zip(gradients, factors, strict=True)]

    def clip_each_norm(self, updates: Updates, limit: float) -> Updates:
        squares = self.squares_of(updates, None).cpu().numpy()
        unclipped = float(updates.coefficient)  # type: ignore[arg-type]  # one for all
        coefficients = clipping.clip_norm_in_numpy(squares, unclipped, limit)
        if coefficients is None:
            return super().clip_each_norm(updates, limit)
        return replace(updates, coefficient=coefficients.tolist())

    def clip_global_norm(self, updates: Updates, limit: float) -> Updates:
        square = self.square_of_all(updates).cpu().numpy()
        unclipped = float(updates.coefficient)  # type: ignore[arg-type]  # one for all
        coefficient = clipping.clip_norm_in_numpy(square, unclipped, limit)
        if coefficient is None:
            return super().clip_global_norm(updates, limit)
        return replace(updates, coefficient=float(coefficient))

    def square_of_all(self, updates: Updates) -> torch.Tensor:
        """The sum of squares of all gradients together."""
        return kernels.square_of_all(updates.gradients)

    def accumulate(self, updates: Updates) -> None:
        accumulators = self._writable([p.accumulator for p in updates.parameters])
        for update, accumulator in zip(updates, accumulators, strict=True):
            gradient, coefficient = update.gradient, float(update.coefficient)
            if gradient.dtype == accumulator.dtype:
                accumulator.add_(gradient, alpha=coefficient)
            else:  # contract 1.4: the cast comes last
                accumulator.add_((coefficient * gradient).to(accumulator.dtype))

    def clear(self, variables: Sequence[Variable]) -> None:
        if variables:
            torch._foreach_zero_(self._writable(variables))

    def decay_and_apply_rule(
        self,
        updates: Updates,
        rate: Tensor,
        momentum: float,
        nesterov: bool,
        weight_decay: float,
    ) -> None:
        decay = float(rate) * weight_decay if weight_decay else 0.0
        weights = self._writable([parameter.variable for parameter in updates.parameters])
        for step, alike, its_weights in _alike(updates, weights, rate):
            batch = Batch(
                its_weights,
                self._velocities(alike.parameters),
                alike.gradients,
                step,
                momentum,
                nesterov,
                decay,
            )
            implementation = choice.implementation(batch)
            if implementation is Implementation.FUSED:
                kernels.update_fused(batch)
            elif implementation is Implementation.FOREACH:
                kernels.update_foreach(batch)
            else:
                super().decay_and_apply_rule(alike, rate, momentum, nesterov, weight_decay)

    def decay_weights(
        self, parameters: Sequence[ParameterState], rate: Tensor, weight_decay: float
    ) -> None:
        for weights in self._writable([parameter.variable for parameter in parameters]):
            # Within one operation, PyTorch computes half precision in float32.
            weights.add_(weights, alpha=-float(rate) * weight_decay)

    def average(self, parameters: Sequence[ParameterState], momentum: float, begun: Tensor) -> None:
        averages = self._writable([parameter.average for parameter in parameters])
        weights = self._values([parameter.variable for parameter in parameters])
        if not bool(begun):
            torch._foreach_copy_(averages, weights)
            return
        for dtype in {a.dtype for a in averages}:
            alike = [a for a in averages if a.dtype == dtype]
            of_alike = [
                w.to(dtype) for w, a in zip(weights, averages, strict=True) if a.dtype == dtype
            ]
            kernels.average(alike, of_alike, momentum)

    def initializer_for(self, variable: Variable) -> Any:
        whole = shards.held(variable)
        return super().initializer_for(variable) if whole is None else shards.zeros_like(whole)

    def create_as_copy(self, create: Callable[..., Variable], variable: Variable) -> Variable:
        whole = shards.held(variable)
        if whole is None:
            return super().create_as_copy(create, variable)
        return create(shards.copy_of(whole))

    def as_numpy(self, variable: Variable) -> np.ndarray[Any, Any]:
        whole = shards.held(variable)
        if whole is None:
            return super().as_numpy(variable)
        gathered: np.ndarray[Any, Any] = keras.ops.convert_to_numpy(whole.full_tensor())
        return gathered

    def assign_array(self, variable: Variable, array: np.ndarray[Any, Any]) -> None:
        whole = shards.held(variable)
        if whole is None:
            super().assign_array(variable, array)
        else:
            shards.assign(whole, array)

    def in_parts(
        self,
        change: Callable[[Backend, Updates], None],
        updates: Updates,
        settings: Settings,
    ) -> None:
        """Change large variables piece by piece: only the first pass misses the cache."""
        in_pieces, others = choice.in_pieces(self.mode, updates, settings)
        for piece in pieces.of(in_pieces, choice.PIECE):
            change(self, piece)
        change(self, others)

    def overwrite(self, parameters: Sequence[ParameterState]) -> None:
        weights = self._writable([parameter.variable for parameter in parameters])
        averages = self._values([parameter.average for parameter in parameters])
        for w, average in zip(weights, averages, strict=True):
            w.copy_(average)

    def _values(self, variables: Sequence[Variable]) -> list[torch.Tensor]:
        """The tensors that the variables hold, or that the scope holds for them."""
        # `variable.value` checks several kinds of scopes, which costs more than the update of a
        # small variable.
        if self.mode is not Mode.COPIES:
            held = [variable._value for variable in variables]
            if type(None) not in map(type, held):
                return held
        return [variable.value for variable in variables]

    def _writable(self, variables: Sequence[Variable]) -> list[torch.Tensor]:
        """The tensors to write into: the variables' own, or copies for the scope."""
        if self.mode is not Mode.COPIES:
            return self._values(variables)
        copies = [value.detach().clone() for value in self._values(variables)]
        for variable, copy in zip(variables, copies, strict=True):
            variable.assign(copy)
        return copies

    def _velocities(self, parameters: Sequence[ParameterState]) -> list[torch.Tensor]:
        if parameters[0].velocity is None:
            return []
        return self._writable([parameter.velocity for parameter in parameters])


class ShardedTorchBackend(TorchBackend):
    """The operations for DTensors: those of `TorchBackend` on the shards of this process."""

    def prepare_gradients(
        self,
        gradients: Sequence[Tensor | None],
        parameters: Sequence[ParameterState],
        may_stay_sparse: Callable[[ParameterState], bool],
    ) -> list[Tensor | None]:
        return shards.aligned(gradients, parameters)

    def across_replicas(
        self, state: State, gradients: Sequence[Tensor | None], proceed: Proceed
    ) -> None:
        with torch.no_grad():
            shards.on_shards(state, gradients, proceed)

    def square_of_all(self, updates: Updates) -> torch.Tensor:
        squares: torch.Tensor = self.squares_of(updates, None).sum()
        return squares

    def check_own_rule(self) -> None:
        raise StateError(shards.refused("An `update_step()` of a subclass"))

    def squares_of(self, updates: Updates, units: Tensor | None) -> Tensor:
        return shards.summed_over_shards(super().squares_of(updates, units), updates)

    def all_finite(self, gradients: Sequence[Tensor]) -> Tensor:
        return shards.on_all(super().all_finite(gradients))


def _check_shapes(parameters: Sequence[ParameterState], weights: Sequence[torch.Tensor]) -> None:
    """Refuse tensors whose shape was changed through `.data`, which Keras does not notice."""
    shapes = [tuple(parameter.variable.shape) for parameter in parameters]
    found = list(map(tuple, map(SHAPE, weights)))
    if shapes == found:
        return
    for parameter, shape, other in zip(parameters, shapes, found, strict=True):
        if shape != other:
            raise StateError(
                f"`{path_of(parameter.variable)}` has the shape {shape} but holds a tensor of "
                f"shape {other}. Was it set through `.data`? Set values with `assign()`."
            )


def _are_ready(gradients: Sequence[Tensor], weights: Sequence[torch.Tensor]) -> bool:
    """Whether the rules can use these gradients unchanged.

    Usually they can. For thousands of gradients it is fastest to test one condition for all.
    """
    return (
        set(map(type, gradients)) == {torch.Tensor}
        and {gradient.dtype for gradient in gradients} <= WIDE
        and {gradient.layout for gradient in gradients} == {torch.strided}
        and not any(gradient.is_meta for gradient in gradients)
        # The index of the device is faster to get than the device; a CPU has none.
        and len({*map(DEVICE, gradients), *map(DEVICE, weights)}) == 1
        and set(map(PLACE, weights)).isdisjoint(map(PLACE, gradients))
    )


def _made_ready(gradient: Tensor, weights: torch.Tensor) -> torch.Tensor:
    if not isinstance(gradient, torch.Tensor) or DEVICE(gradient) != DEVICE(weights):
        gradient = keras.ops.convert_to_tensor(gradient)
    if gradient.is_meta:
        hint = "A tensor on the device `meta` only has a shape."
        raise ArgumentValueError("grads", "tensors that hold values", gradient, hint)
    if gradient.layout is not torch.strided:
        gradient = gradient.to_dense()
    return gradient if gradient.dtype in WIDE else gradient.float()


def _apart_from_weights(
    gradients: Sequence[Tensor | None], weights: Sequence[torch.Tensor]
) -> list[Tensor | None]:
    """The gradients, with copies of those that are weights, which change during the step."""
    places = set(map(PLACE, weights))
    return [g.clone() if g is not None and PLACE(g) in places else g for g in gradients]


def _alike(
    updates: Updates, weights: Sequence[torch.Tensor], rate: Tensor
) -> Iterator[tuple[float, Updates, Sequence[torch.Tensor]]]:
    """Batches of updates for one call, with the rate times their coefficient and their weights."""
    of_gradients = [gradient.dtype for gradient in updates.gradients]
    of_weights = [w.dtype for w in weights]
    steps = _steps(rate, updates, of_gradients)
    kinds = list(zip(steps, of_gradients, of_weights, strict=True))
    # (NaN equals nothing, so each step that is NaN makes its own batch.)
    different = dict.fromkeys(kinds)
    if len(different) == 1:
        yield steps[0], updates, weights
        return
    for kind in different:
        are_alike = [its_kind == kind for its_kind in kinds]
        yield kind[0], updates.where(are_alike), list(compress(weights, are_alike))


def _steps(rate: Tensor, updates: Updates, dtypes: Sequence[torch.dtype]) -> list[float]:
    """The rate times the coefficient of each update; computed once per dtype if they share it."""
    fold = partial(kernels.rate_times_coefficient, rate)
    if not updates.shares_coefficient():
        return list(map(fold, updates.each_coefficient(), dtypes))
    folded = {dtype: fold(updates.coefficient, dtype) for dtype in set(dtypes)}
    return [folded[dtype] for dtype in dtypes]
