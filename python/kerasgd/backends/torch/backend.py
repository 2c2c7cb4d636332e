"""PyTorch: tensors are written in place, by functions that take all variables at once.

Inside a `keras.StatelessScope` nothing may be written in place: the values belong to the caller.
There `_writable()` hands out copies, which the scope then holds.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import keras
import torch

from kerasgd.backends.base import Backend
from kerasgd.backends.torch import kernels, pieces
from kerasgd.keras_internals import in_stateless_scope
from kerasgd.rules import momentum as momentum_rule
from kerasgd.state import ParameterState, Proceed, State, Tensor, Update, Variable

# Half precision must not be computed in half precision (contract 8).
WIDE = {torch.float32, torch.float64}
# For thousands of tensors: methods that `map()` calls without running Python code.
DEVICE, PLACE = torch.Tensor.get_device, torch.Tensor.data_ptr


class TorchBackend(Backend):
    """Tensors are written in place, by functions that take all variables at once."""

    def prepare_gradients(
        self,
        gradients: Sequence[Tensor | None],
        parameters: Sequence[ParameterState],
        may_stay_sparse: Callable[[ParameterState], bool],
    ) -> list[Tensor | None]:
        """PyTorch's sparse gradients are made dense."""
        weights = _values([parameter.variable for parameter in parameters])
        if _are_ready([gradient for gradient in gradients if gradient is not None], weights):
            return list(gradients)
        pairs = zip(gradients, weights, strict=True)
        ready = [g if g is None else _made_ready(g, its_weights) for g, its_weights in pairs]
        return _apart_from_weights(ready, weights)

    def across_replicas(
        self, state: State, gradients: Sequence[Tensor | None], proceed: Proceed
    ) -> None:
        """There is one replica."""
        with torch.no_grad():
            proceed([(contextlib.nullcontext(), state, list(gradients))])

    def count(self, counter: Variable) -> None:
        (count,) = _writable([counter])
        count.add_(1)

    def squared_norms(self, gradients: Sequence[Tensor], units: Tensor | None = None) -> Tensor:
        if units is not None:
            factors = (1 / units).unbind()
            gradients = [g.to(f.dtype) * f for g, f in zip(gradients, factors, strict=True)]
        norms = kernels.norms(gradients)
        if len({norm.dtype for norm in norms}) > 1:
            norms = [norm.double() for norm in norms]
        return torch.stack(norms).square_()

    def rescale(
        self, condition: Tensor, gradients: Sequence[Tensor], factors: Sequence[Tensor]
    ) -> Sequence[Tensor]:
        if not bool(condition):
            return gradients
        return [gradient * factor for gradient, factor in zip(gradients, factors, strict=True)]

    def accumulate(self, updates: Sequence[Update]) -> None:
        accumulators = _writable([update.parameter.accumulator for update in updates])
        for update, accumulator in zip(updates, accumulators, strict=True):
            gradient, coefficient = update.gradient, float(update.coefficient)
            if gradient.dtype == accumulator.dtype:
                accumulator.add_(gradient, alpha=coefficient)
            else:  # contract 1.4: the cast comes last
                accumulator.add_((coefficient * gradient).to(accumulator.dtype))

    def clear(self, variables: Sequence[Variable]) -> None:
        if variables:
            torch._foreach_zero_(_writable(variables))

    def descend(
        self,
        updates: Sequence[Update],
        rate: Tensor,
        momentum: float,
        nesterov: bool,
        weight_decay: float,
    ) -> None:
        for (dtype, of_weights, _, decays), alike in _by_kind(updates).items():
            decay = float(rate) * weight_decay if decays else 0.0
            if dtype != of_weights:
                self._descend_one_by_one(alike, rate, momentum, nesterov, decay)
                continue
            # To look ahead takes a second pass.
            for group in pieces.groups(alike) if nesterov else [alike]:
                _descend_together(group, rate, momentum, nesterov, decay)

    def average(self, parameters: Sequence[ParameterState], momentum: float, begun: Tensor) -> None:
        averages = _writable([parameter.average for parameter in parameters])
        weights = _values([parameter.variable for parameter in parameters])
        if not bool(begun):
            torch._foreach_copy_(averages, weights)
            return
        for dtype in {a.dtype for a in averages}:
            alike = [a for a in averages if a.dtype == dtype]
            of_alike = [
                w.to(dtype) for w, a in zip(weights, averages, strict=True) if a.dtype == dtype
            ]
            kernels.average(alike, of_alike, momentum)

    def in_one_pass(
        self, function: Callable[[Sequence[Update]], None], updates: Sequence[Update]
    ) -> frozenset[int]:
        """Piece by piece, over memory once and the rest over the cache."""
        if not pieces.pay_for(updates):
            return frozenset()
        alone = [update for update in updates if update.parameter.constraint is None]
        for group in pieces.groups(alone):
            function(group)
        return frozenset(id(update.parameter) for update in alone)

    def overwrite(self, parameters: Sequence[ParameterState]) -> None:
        weights = _writable([parameter.variable for parameter in parameters])
        for w, average in zip(
            weights, _values([parameter.average for parameter in parameters]), strict=True
        ):
            w.copy_(average)

    def _descend_one_by_one(
        self, updates: Sequence[Update], rate: Tensor, momentum: float, nesterov: bool, decay: float
    ) -> None:
        """The rules for weights of another dtype than their gradients, which are wide enough."""
        for update in updates:
            if decay:
                # PyTorch computes half precision in float32 inside one operation.
                (written,) = _writable([update.parameter.variable])
                written.add_(written, alpha=-decay)
            momentum_rule.descend(update, rate, momentum, nesterov, self.read, self.assign)


def _are_ready(gradients: Sequence[Tensor], weights: Sequence[torch.Tensor]) -> bool:
    """Whether the rules can take these gradients as they are.

    They mostly can. For thousands it is found out fastest by a look at all for each condition.
    """
    return (
        set(map(type, gradients)) == {torch.Tensor}
        and {gradient.dtype for gradient in gradients} <= WIDE
        and {gradient.layout for gradient in gradients} == {torch.strided}
        # A number is faster to get than a device; CPU has none.
        and len({*map(DEVICE, gradients), *map(DEVICE, weights)}) == 1
        and not torch.compiler.is_compiling()  # tensors have no memory yet
        and set(map(PLACE, weights)).isdisjoint(map(PLACE, gradients))
    )


def _made_ready(gradient: Tensor, weights: torch.Tensor) -> torch.Tensor:
    if not isinstance(gradient, torch.Tensor) or DEVICE(gradient) != DEVICE(weights):
        gradient = keras.ops.convert_to_tensor(gradient)
    if gradient.is_sparse:
        gradient = gradient.to_dense()
    return gradient if gradient.dtype in WIDE else gradient.float()


def _apart_from_weights(
    gradients: Sequence[Tensor | None], weights: Sequence[torch.Tensor]
) -> list[Tensor | None]:
    """The gradients, copies of those that are weights, which change before all are read."""
    if torch.compiler.is_compiling():
        return list(gradients)
    places = set(map(PLACE, weights))
    return [g.clone() if g is not None and PLACE(g) in places else g for g in gradients]


def _by_kind(updates: Sequence[Update]) -> dict[tuple[Any, ...], Sequence[Update]]:
    """Group the updates that one kernel call can do together."""
    parameters, gradients, coefficients, _ = zip(*updates, strict=True)
    weights = _values([parameter.variable for parameter in parameters])
    features = (
        [gradient.dtype for gradient in gradients],
        [w.dtype for w in weights],
        list(map(id, coefficients)),
        [parameter.decays for parameter in parameters],
    )
    if all(len(set(feature)) == 1 for feature in features):  # the usual case
        return {tuple(feature[0] for feature in features): updates}
    alike: dict[tuple[Any, ...], list[Update]] = {}
    for kind, update in zip(zip(*features, strict=True), updates, strict=True):
        alike.setdefault(kind, []).append(update)
    return dict(alike)


def _descend_together(
    updates: Sequence[Update], rate: Tensor, momentum: float, nesterov: bool, decay: float
) -> None:
    """The rules for updates of one dtype and coefficient, where `decay` is the part that goes."""
    step = _folded(rate, updates[0])
    parameters, gradients, _, _ = zip(*updates, strict=True)
    weights = _writable([parameter.variable for parameter in parameters])
    if parameters[0].velocity is None:
        kernels.descend_plainly(weights, gradients, step, decay)
    else:
        velocities = _writable([parameter.velocity for parameter in parameters])
        kernels.descend(weights, velocities, gradients, step, momentum, nesterov, decay)


def _folded(rate: Tensor, update: Update) -> float:
    """The learning rate times the coefficient, rounded as the gradient's dtype is."""
    dtype, coefficient = update.gradient.dtype, update.coefficient
    step = torch.as_tensor(rate, dtype=dtype)
    if not (isinstance(coefficient, float) and coefficient == 1):  # the usual case
        step = step * torch.as_tensor(coefficient, dtype=dtype)
    return float(step)


def _values(variables: Sequence[Variable]) -> list[torch.Tensor]:
    """The tensors that variables hold, or that the scope holds for them."""
    # `value` asks for scopes of several kinds, which costs more than to update a small variable.
    if not in_stateless_scope():
        held = [variable._value for variable in variables]
        if type(None) not in map(type, held):
            return held
    return [variable.value for variable in variables]


def _writable(variables: Sequence[Variable]) -> list[torch.Tensor]:
    """Tensors to write into: the variables' own, or copies that the current scope will hold."""
    if not in_stateless_scope():
        return _values(variables)
    copies = [value.detach().clone() for value in _values(variables)]
    for variable, copy in zip(variables, copies, strict=True):
        variable.assign(copy)
    return copies
