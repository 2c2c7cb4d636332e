"""PyTorch: tensors are written in place, by functions that take all variables at once.

Inside a `keras.StatelessScope` nothing may be written in place: the values belong to the caller.
There `_writable()` hands out copies, which the scope then holds.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import keras
import torch

from kerasgd import rule
from kerasgd.backends import Move, Proceed, Slot, SparseForm, State, Step, Tensor, Variable
from kerasgd.backends import torch_kernels as kernels
from kerasgd.keras_internals import in_stateless_scope

# Half precision must not be computed in half precision (contract 8).
WIDE = (torch.float32, torch.float64)


def as_is(function: Callable[..., None]) -> Callable[..., None]:
    """As `Backend.as_is`."""
    return function


def sum_rows(gradient: Tensor, slot: Slot, sparse_form: Callable[[Slot], SparseForm]) -> Tensor:
    """As `Backend.sum_rows`; PyTorch's sparse gradients are made dense."""
    held = getattr(slot.variable, "_value", None)
    # A number is faster to get than a device; CPU has none.
    if (
        not isinstance(gradient, torch.Tensor)
        or held is None
        or gradient.get_device() != held.get_device()
    ):
        gradient = keras.ops.convert_to_tensor(gradient)
    if gradient.is_sparse:
        gradient = gradient.to_dense()
    if gradient.requires_grad:
        gradient = gradient.detach()
    return gradient if gradient.dtype in WIDE else gradient.float()


def across_replicas(state: State, gradients: Sequence[Tensor | None], proceed: Proceed) -> None:
    """As `Backend.across_replicas`: there is one replica."""
    with torch.no_grad():
        apart = _apart_from_weights(gradients, state.slots)
        proceed([(contextlib.nullcontext(), state, apart)])


def _apart_from_weights(
    gradients: Sequence[Tensor | None], slots: Sequence[Slot]
) -> list[Tensor | None]:
    """The gradients, copies of those that are weights, which change before all are read."""
    if torch.compiler.is_compiling():  # tensors have no memory yet
        return list(gradients)
    place = torch.Tensor.data_ptr
    weights = set(map(place, _values([slot.variable for slot in slots])))
    if weights.isdisjoint(map(place, [g for g in gradients if g is not None])):
        return list(gradients)  # as mostly, which is found out fastest so
    return [g.clone() if g is not None and place(g) in weights else g for g in gradients]


def compiled(function: Step, state: State, settings: Hashable) -> Step:
    """As `Backend.compiled`: nothing is to be gained."""
    return function


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
    """As `Backend.beside`: on the device that Keras uses, where its variables are."""
    return contextlib.nullcontext()


def read(variable: Variable) -> Tensor:
    """As `Backend.read`."""
    return variable.value


def assign(variable: Variable, value: Tensor) -> None:
    """As `Backend.assign`."""
    variable.assign(value)


def squared_norms(gradients: Sequence[Tensor]) -> Tensor:
    """As `Backend.squared_norms`."""
    norms = kernels.norms(gradients)
    if len({norm.dtype for norm in norms}) > 1:
        norms = [norm.double() for norm in norms]
    return torch.stack(norms).square_()


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
    accumulators = _writable([move.slot.accumulator for move in moves])
    for move, accumulator in zip(moves, accumulators, strict=True):
        gradient, coefficient = move.gradient, float(move.coefficient)
        if gradient.dtype == accumulator.dtype:
            accumulator.add_(gradient, alpha=coefficient)
        else:  # contract 1.4: the cast comes last
            accumulator.add_((coefficient * gradient).to(accumulator.dtype))


def clear(variables: Sequence[Variable]) -> None:
    """As `Backend.clear`."""
    if variables:
        torch._foreach_zero_(_writable(variables))


def descend(
    moves: Sequence[Move], rate: Tensor, momentum: float, nesterov: bool, weight_decay: float
) -> None:
    """As `Backend.descend`."""
    together: dict[tuple[torch.dtype, int, bool], list[Move]] = {}
    for move, weights in zip(moves, _values([move.slot.variable for move in moves]), strict=True):
        dtype = move.gradient.dtype  # of those that are wide enough to compute in
        decays = weight_decay > 0 and move.slot.decays
        if weights.dtype == dtype:
            together.setdefault((dtype, id(move.coefficient), decays), []).append(move)
            continue
        if decays:
            # PyTorch computes half precision in float32 inside one operation.
            (written,) = _writable([move.slot.variable])
            written.add_(written, alpha=-float(rate) * weight_decay)
        rule.descend(move, rate, momentum, nesterov, read, assign)
    for (_, _, decays), alike in together.items():
        decay = float(rate) * weight_decay if decays else 0.0
        _descend_together(alike, rate, momentum, nesterov, decay)


def _descend_together(
    moves: Sequence[Move], rate: Tensor, momentum: float, nesterov: bool, decay: float
) -> None:
    """The rules for moves of one dtype and one coefficient, where `decay` is the part that goes."""
    step = _folded(rate, moves[0])
    weights = _writable([move.slot.variable for move in moves])
    gradients = [move.gradient for move in moves]
    if moves[0].slot.velocity is None:
        kernels.descend_plainly(weights, gradients, step, decay)
    else:
        velocities = _writable([move.slot.velocity for move in moves])
        kernels.descend(weights, velocities, gradients, step, momentum, nesterov, decay)


def _folded(rate: Tensor, move: Move) -> float:
    """The learning rate times the coefficient, rounded as the gradient's dtype is."""
    dtype = move.gradient.dtype
    product = torch.as_tensor(rate, dtype=dtype) * torch.as_tensor(move.coefficient, dtype=dtype)
    return float(product)


def average(slots: Sequence[Slot], momentum: float, begun: Tensor) -> None:
    """As `Backend.average`."""
    averages = _writable([slot.average for slot in slots])
    weights = [
        w if w.dtype == a.dtype else w.to(a.dtype)
        for w, a in zip(_values([slot.variable for slot in slots]), averages, strict=True)
    ]
    if not bool(begun):
        torch._foreach_copy_(averages, weights)
        return
    kernels.average(averages, weights, momentum)


def in_one_pass(
    function: Callable[[Sequence[Move]], None], moves: Sequence[Move]
) -> frozenset[int]:
    """As `Backend.in_one_pass`: PyTorch has no such kernel."""
    return frozenset()


def overwrite(slots: Sequence[Slot]) -> None:
    """As `Backend.overwrite`."""
    weights = _writable([slot.variable for slot in slots])
    for w, average in zip(weights, _values([slot.average for slot in slots]), strict=True):
        w.copy_(average)


def _values(variables: Sequence[Variable]) -> list[torch.Tensor]:
    """The tensors that variables hold, or that the scope holds for them."""
    if in_stateless_scope():
        return [variable.value for variable in variables]
    # `value` asks for scopes of several kinds, which costs more than to update a small variable.
    return [v if (v := getattr(w, "_value", None)) is not None else w.value for w in variables]


def _writable(variables: Sequence[Variable]) -> list[torch.Tensor]:
    """Tensors to write into: the variables' own, or copies that the current scope will hold."""
    if not in_stateless_scope():
        return _values(variables)
    copies = [value.detach().clone() for value in _values(variables)]
    for variable, copy in zip(variables, copies, strict=True):
        variable.assign(copy)
    return copies
