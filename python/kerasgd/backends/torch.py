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
from kerasgd.backends import torch_kernels as kernels
from kerasgd.backends import torch_pieces as pieces
from kerasgd.keras_internals import in_stateless_scope
from kerasgd.state import Move, Proceed, Slot, State, Step, Tensor, Variable

# Half precision must not be computed in half precision (contract 8).
WIDE = {torch.float32, torch.float64}
# What is asked of thousands of tensors is asked by functions that `map()` calls without Python.
DEVICE, PLACE = torch.Tensor.get_device, torch.Tensor.data_ptr


def as_is(function: Callable[..., None]) -> Callable[..., None]:
    """As `Backend.as_is`."""
    return function


def sum_rows(
    gradients: Sequence[Tensor | None],
    slots: Sequence[Slot],
    may_stay_sparse: Callable[[Slot], bool],
) -> list[Tensor | None]:
    """As `Backend.sum_rows`; PyTorch's sparse gradients are made dense."""
    weights = _values([slot.variable for slot in slots])
    if _are_ready([gradient for gradient in gradients if gradient is not None], weights):
        return list(gradients)
    pairs = zip(gradients, weights, strict=True)
    ready = [g if g is None else _made_ready(g, its_weights) for g, its_weights in pairs]
    return _apart_from_weights(ready, weights)


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


def across_replicas(state: State, gradients: Sequence[Tensor | None], proceed: Proceed) -> None:
    """As `Backend.across_replicas`: there is one replica."""
    with torch.no_grad():
        proceed([(contextlib.nullcontext(), state, list(gradients))])


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


def slot_in_step(slot: Slot, variable: Variable) -> Slot:
    """As `Backend.slot_in_step`: a step has the slots as they are."""
    return slot


def read(variable: Variable) -> Tensor:
    """As `Backend.read`."""
    return variable.value


def assign(variable: Variable, value: Tensor) -> None:
    """As `Backend.assign`."""
    variable.assign(value)


def count(counter: Variable) -> None:
    """As `Backend.count`."""
    (count,) = _writable([counter])
    count.add_(1)


def squared_norms(gradients: Sequence[Tensor], units: Tensor | None = None) -> Tensor:
    """As `Backend.squared_norms`."""
    if units is not None:
        factors = (1 / units).unbind()
        gradients = [g.to(f.dtype) * f for g, f in zip(gradients, factors, strict=True)]
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
    for (dtype, of_weights, _, decays), alike in _by_kind(moves).items():
        decay = float(rate) * weight_decay if decays else 0.0
        if dtype != of_weights:
            _descend_one_by_one(alike, rate, momentum, nesterov, decay)
            continue
        # To look ahead takes a second pass.
        for group in pieces.groups(alike) if nesterov else [alike]:
            _descend_together(group, rate, momentum, nesterov, decay)


def _by_kind(moves: Sequence[Move]) -> dict[tuple[Any, ...], Sequence[Move]]:
    """The moves by what they must have in common to be done together."""
    slots, gradients, coefficients, _ = zip(*moves, strict=True)
    weights = _values([slot.variable for slot in slots])
    features = (
        [gradient.dtype for gradient in gradients],
        [w.dtype for w in weights],
        list(map(id, coefficients)),
        [slot.decays for slot in slots],
    )
    if all(len(set(feature)) == 1 for feature in features):  # as mostly
        return {tuple(feature[0] for feature in features): moves}
    alike: dict[tuple[Any, ...], list[Move]] = {}
    for kind, move in zip(zip(*features, strict=True), moves, strict=True):
        alike.setdefault(kind, []).append(move)
    return dict(alike)


def _descend_one_by_one(
    moves: Sequence[Move], rate: Tensor, momentum: float, nesterov: bool, decay: float
) -> None:
    """The rules for weights of another dtype than their gradients, which are wide enough."""
    for move in moves:
        if decay:
            # PyTorch computes half precision in float32 inside one operation.
            (written,) = _writable([move.slot.variable])
            written.add_(written, alpha=-decay)
        rule.descend(move, rate, momentum, nesterov, read, assign)


def _descend_together(
    moves: Sequence[Move], rate: Tensor, momentum: float, nesterov: bool, decay: float
) -> None:
    """The rules for moves of one dtype and one coefficient, where `decay` is the part that goes."""
    step = _folded(rate, moves[0])
    slots, gradients, _, _ = zip(*moves, strict=True)
    weights = _writable([slot.variable for slot in slots])
    if slots[0].velocity is None:
        kernels.descend_plainly(weights, gradients, step, decay)
    else:
        velocities = _writable([slot.velocity for slot in slots])
        kernels.descend(weights, velocities, gradients, step, momentum, nesterov, decay)


def _folded(rate: Tensor, move: Move) -> float:
    """The learning rate times the coefficient, rounded as the gradient's dtype is."""
    dtype, coefficient = move.gradient.dtype, move.coefficient
    step = torch.as_tensor(rate, dtype=dtype)
    if not (isinstance(coefficient, float) and coefficient == 1):  # as mostly
        step = step * torch.as_tensor(coefficient, dtype=dtype)
    return float(step)


def average(slots: Sequence[Slot], momentum: float, begun: Tensor) -> None:
    """As `Backend.average`."""
    averages = _writable([slot.average for slot in slots])
    weights = _values([slot.variable for slot in slots])
    if not bool(begun):
        torch._foreach_copy_(averages, weights)
        return
    for dtype in {a.dtype for a in averages}:
        alike = [a for a in averages if a.dtype == dtype]
        of_alike = [w.to(dtype) for w, a in zip(weights, averages, strict=True) if a.dtype == dtype]
        kernels.average(alike, of_alike, momentum)


def in_one_pass(
    function: Callable[[Sequence[Move]], None], moves: Sequence[Move]
) -> frozenset[int]:
    """As `Backend.in_one_pass`: piece by piece, over memory once and the rest over the cache."""
    if not pieces.pay_for(moves):
        return frozenset()
    alone = [move for move in moves if move.slot.constraint is None]
    for group in pieces.groups(alone):
        function(group)
    return frozenset(id(move.slot) for move in alone)


def overwrite(slots: Sequence[Slot]) -> None:
    """As `Backend.overwrite`."""
    weights = _writable([slot.variable for slot in slots])
    for w, average in zip(weights, _values([slot.average for slot in slots]), strict=True):
        w.copy_(average)


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
