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

from kerasgd import rule
from kerasgd.backends import Move, Slot, State, Tensor, Variable
from kerasgd.backends import torch_kernels as kernels
from kerasgd.keras_internals import in_stateless_scope


def as_is(function: Callable[..., None]) -> Callable[..., None]:
    """As `Backend.as_is`."""
    return function


def sum_rows(gradient: Tensor, shape: Sequence[int], keep_sparse: bool) -> Tensor:
    """As `Backend.sum_rows`; PyTorch's sparse gradients are made dense."""
    gradient = keras.ops.convert_to_tensor(gradient).detach()
    if gradient.is_sparse:
        gradient = gradient.to_dense()
    return gradient if gradient.dtype in (torch.float32, torch.float64) else gradient.float()


def across_replicas(
    state: State,
    gradients: Sequence[Tensor | None],
    proceed: Callable[[list[tuple[Any, State, list[Tensor | None]]]], None],
) -> None:
    """As `Backend.across_replicas`: there is one replica."""
    with torch.no_grad():
        proceed([(contextlib.nullcontext(), state, list(gradients))])


def when(condition: Tensor, action: Callable[[], None], writes: Sequence[Variable]) -> None:
    """As `Backend.when`."""
    if bool(condition):
        action()


def choose(condition: Tensor, yes: Callable[[], Tensor], no: Callable[[], Tensor]) -> Tensor:
    """As `Backend.choose`."""
    return yes() if bool(condition) else no()


def call_each_time(function: Callable[[], float]) -> float:
    """As `Backend.call_each_time`: nothing is compiled."""
    return function()


def is_eager() -> bool:
    """As `Backend.is_eager`."""
    return True


def beside(optimizer: Any, variable: Variable) -> contextlib.AbstractContextManager[Any]:
    """As `Backend.beside`."""
    return contextlib.nullcontext()


def read(variable: Variable) -> Tensor:
    """As `Backend.read`."""
    return variable.value


def assign(variable: Variable, value: Tensor) -> None:
    """As `Backend.assign`."""
    variable.assign(value)


def squared_norms(gradients: Sequence[Tensor]) -> list[Tensor]:
    """As `Backend.squared_norms`."""
    norms = torch._foreach_norm(list(gradients))
    return list(torch._foreach_mul(norms, norms))


def numbers(gradient: Tensor) -> Tensor:
    """As `Backend.numbers`."""
    return gradient


def map_numbers(function: Callable[[Tensor], Tensor], gradient: Tensor) -> Tensor:
    """As `Backend.map_numbers`."""
    return function(gradient)


def rescale(
    condition: Tensor, gradients: Sequence[Tensor], factors: Sequence[Tensor]
) -> Sequence[Tensor]:
    """As `Backend.rescale`."""
    if not bool(condition):
        return gradients
    return [gradient * factor for gradient, factor in zip(gradients, factors, strict=True)]


def accumulate(moves: Sequence[Move]) -> None:
    """As `Backend.accumulate`."""
    for move in moves:
        accumulator = _writable(move.slot.accumulator)
        accumulator.add_(move.gradient.to(accumulator.dtype), alpha=float(move.coefficient))


def clear(variables: Sequence[Variable]) -> None:
    """As `Backend.clear`."""
    for variable in variables:
        _writable(variable).zero_()


def decay(slots: Sequence[Slot], rate: Tensor, weight_decay: float) -> None:
    """As `Backend.decay`."""
    weights = [_writable(slot.variable) for slot in slots]
    if weights:
        # PyTorch computes half precision in float32 inside one operation.
        torch._foreach_add_(weights, weights, alpha=-float(rate) * weight_decay)


def descend(moves: Sequence[Move], rate: Tensor, momentum: float, nesterov: bool) -> None:
    """As `Backend.descend`."""
    together: dict[torch.dtype, list[Move]] = {}
    for move in moves:
        if _in_one_dtype(move):
            together.setdefault(move.gradient.dtype, []).append(move)
        else:
            rule.descend(move, rate, momentum, nesterov, read, assign)
    for alike in together.values():
        _descend_together(alike, rate, momentum, nesterov)


def _in_one_dtype(move: Move) -> bool:
    """Whether the gradient is of its variable's dtype, and that one wide enough to compute in."""
    return bool(_value(move.slot.variable).dtype == move.gradient.dtype)


def _descend_together(moves: Sequence[Move], rate: Tensor, momentum: float, nesterov: bool) -> None:
    by_step: dict[float, list[Move]] = {}
    for move, step in zip(moves, _folded(moves, rate), strict=True):
        by_step.setdefault(step, []).append(move)
    for step, alike in by_step.items():
        weights = [_writable(move.slot.variable) for move in alike]
        gradients = [move.gradient for move in alike]
        if alike[0].slot.velocity is None:
            torch._foreach_add_(weights, gradients, alpha=-step)
        else:
            velocities = [_writable(move.slot.velocity) for move in alike]
            kernels.descend(weights, velocities, gradients, step, momentum, nesterov)


def _folded(moves: Sequence[Move], rate: Tensor) -> list[float]:
    """For each move the learning rate times its coefficient, rounded as the gradient's dtype is."""

    def folded(coefficient: Tensor | float) -> float:
        dtype = moves[0].gradient.dtype
        product = torch.as_tensor(rate, dtype=dtype) * torch.as_tensor(coefficient, dtype=dtype)
        return float(product)

    coefficients = {id(move.coefficient): move.coefficient for move in moves}
    by_identity = {key: folded(coefficient) for key, coefficient in coefficients.items()}
    return [by_identity[id(move.coefficient)] for move in moves]


def average(slots: Sequence[Slot], momentum: float, begun: Tensor) -> None:
    """As `Backend.average`."""
    averages = [_writable(slot.average) for slot in slots]
    weights = [_value(slot.variable).to(a.dtype) for slot, a in zip(slots, averages, strict=True)]
    if not bool(begun):
        torch._foreach_copy_(averages, weights)
        return
    # Not by lerp, whose difference of two infinite numbers is NaN.
    torch._foreach_mul_(averages, momentum)
    torch._foreach_add_(averages, weights, alpha=1 - momentum)


def overwrite(slots: Sequence[Slot]) -> None:
    """As `Backend.overwrite`."""
    for slot in slots:
        _writable(slot.variable).copy_(_value(slot.average))


def _value(variable: Variable) -> torch.Tensor:
    """The tensor that a variable holds, or that the scope holds for it."""
    return _held(variable, in_stateless_scope())


def _held(variable: Variable, is_stateless: bool) -> torch.Tensor:
    # `value` asks for scopes of several kinds, which costs more than to update a small variable.
    value = None if is_stateless else getattr(variable, "_value", None)
    if value is None:
        value = variable.value
    return value.data if isinstance(value, torch.nn.Parameter) else value


def _writable(variable: Variable) -> torch.Tensor:
    """A tensor to write into: the variable's own, or a copy that the current scope will hold."""
    is_stateless = in_stateless_scope()
    value = _held(variable, is_stateless)
    if is_stateless:
        value = value.clone()
        variable.assign(value)
    return value
