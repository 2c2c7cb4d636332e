"""One step, from the gradients to the new weights: the order of contract 0.

    unscale the loss -> sum duplicate rows -> sum over replicas -> accumulate; and, at an update:
    average -> clip -> decay weights -> update rule -> apply variable constraints -> average the
    weights (EMA) -> overwrite them if due. Last, t grows by one.

Unscaling the loss, averaging over the window and the norm clips are scalings. They are kept as one
scalar, the coefficient of a `Move`, that meets the gradient inside the update rule.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import keras

from kerasgd import clipping, loss_scale, rule
from kerasgd.backends import Move, Slot, State, Step, Tensor
from kerasgd.errors import StateError, with_full_stop

if TYPE_CHECKING:
    from kerasgd.sgd import SGD


def step(optimizer: SGD, state: State, gradients: Sequence[Tensor | None]) -> None:
    """Do one step with one gradient, or None, for each variable."""
    backend = optimizer.backend
    summed = backend.sum_rows(gradients, state.slots, partial(_moves_by_the_rule_alone, optimizer))
    backend.across_replicas(state, summed, partial(_on_each_device, optimizer))


def _moves_by_the_rule_alone(optimizer: SGD, slot: Slot) -> bool:
    """Whether nothing else changes this variable, so that a sparse gradient may stay one."""
    if optimizer.has_own_rule:
        return False
    decays = slot.decays and optimizer.weight_decay
    return not decays and all(v is None for v in (slot.average, slot.accumulator, slot.constraint))


def _on_each_device(
    optimizer: SGD, devices: Sequence[tuple[Any, State, list[Tensor | None]]]
) -> None:
    """The step from the summed gradients on; every device does the same to its own copies."""
    # Before all else and outside of what is compiled: it may be a function, which may fail.
    rate = optimizer.rate_of_this_step()
    for device, state, gradients in devices:
        on_device: Step = partial(_on_device, optimizer, state)
        with device:
            if not optimizer.has_own_rule:  # it may do anything, at each step
                on_device = optimizer.backend.compiled(on_device, state, optimizer.settings)
            on_device(gradients, rate)


def _on_device(
    optimizer: SGD, state: State, gradients: Sequence[Tensor | None], rate: Tensor
) -> None:
    advance = partial(_advance, optimizer, state, gradients, rate)
    if state.dynamic_scale is None:
        advance(1 / (optimizer.loss_scale_factor or 1.0))
    else:
        loss_scale.if_finite(optimizer.backend, state, gradients, advance)


def _advance(
    optimizer: SGD,
    state: State,
    gradients: Sequence[Tensor | None],
    rate: Tensor | float,
    unscale: Tensor | float,
) -> None:
    """Accumulate or update, and count the step."""
    pairs = zip(state.slots, gradients, strict=True)
    moves = [Move(slot, gradient, unscale) for slot, gradient in pairs if gradient is not None]
    if optimizer.window == 1:
        _update(optimizer, state, moves, rate)
    else:
        _accumulate(optimizer, state, moves)
        _update_if_due(optimizer, state, moves, rate)
    optimizer.backend.count(state.iterations)


def _update(optimizer: SGD, state: State, moves: Sequence[Move], rate: Tensor) -> None:
    """Change the weights: clip, decay, rule, constraints, EMA."""
    moves = _clip(optimizer, _take_values(optimizer, moves))
    large = _move_large(optimizer, state, moves, rate)
    small = [move for move in moves if id(move.slot) not in large] if large else moves
    certain = [move for move in small if move.present is True]
    _descend(optimizer, certain, rate)
    if len(certain) < len(small):
        _descend_if_present(optimizer, [m for m in small if m.present is not True], rate)
    if optimizer.use_ema:
        _average(optimizer, state, [slot for slot in state.slots if id(slot) not in large])
        _close_average(optimizer, state)


def _descend_if_present(optimizer: SGD, moves: Sequence[Move], rate: Tensor) -> None:
    """As `_descend()`, where only the run can tell whether there is a gradient."""
    for move in moves:
        written = (move.slot.variable, move.slot.velocity, *optimizer.state().own)
        writes = [v for v in written if v is not None]
        optimizer.backend.when(move.present, partial(_descend, optimizer, [move], rate), writes)


def _move_large(
    optimizer: SGD, state: State, moves: Sequence[Move], rate: Tensor
) -> frozenset[int]:
    """Move and average the variables so large that it pays to do both in one pass; which ones."""
    if optimizer.has_own_rule or not (optimizer.weight_decay or optimizer.use_ema):
        return frozenset()  # the rule alone is one pass

    def move_and_average(moves: Sequence[Move]) -> None:
        _descend(optimizer, moves, rate)
        if optimizer.use_ema:
            _average(optimizer, state, [move.slot for move in moves])

    def takes_several_passes(slot: Slot) -> bool:
        return bool(slot.decays and optimizer.weight_decay) or slot.average is not None

    several = [move for move in moves if move.present is True and takes_several_passes(move.slot)]
    return optimizer.backend.in_one_pass(move_and_average, several)


def _clip(optimizer: SGD, moves: Sequence[Move]) -> Sequence[Move]:
    if not moves:
        return moves
    if optimizer.clipvalue is not None:
        return clipping.clip_values(optimizer.backend, moves, optimizer.clipvalue)
    if optimizer.clipnorm is not None:
        return clipping.clip_each_norm(optimizer.backend, moves, optimizer.clipnorm)
    if optimizer.global_clipnorm is not None:
        return clipping.clip_global_norm(optimizer.backend, moves, optimizer.global_clipnorm)
    return moves


def _descend(optimizer: SGD, moves: Sequence[Move], rate: Tensor) -> None:
    """Decay the weights, apply the rule, then the constraints."""
    if not moves:
        return
    weight_decay = optimizer.weight_decay or 0.0
    if optimizer.has_own_rule:
        _descend_by_own_rule(optimizer, moves, rate, weight_decay)
    else:
        optimizer.backend.descend(moves, rate, optimizer.momentum, optimizer.nesterov, weight_decay)
    _constrain(optimizer, [move.slot for move in moves])


def _descend_by_own_rule(
    optimizer: SGD, moves: Sequence[Move], rate: Tensor, weight_decay: float
) -> None:
    """As `_descend()`, by the `update_step()` of a subclass."""
    backend = optimizer.backend
    for move in moves:
        weights = backend.read(move.slot.variable)
        if weight_decay and move.slot.decays:
            backend.assign(move.slot.variable, rule.decayed(weights, rate, weight_decay))
        gradient = rule.scalar(move.coefficient, move.gradient.dtype) * move.gradient
        optimizer.update_step(gradient, move.slot.variable, rate)


def _constrain(optimizer: SGD, slots: Sequence[Slot]) -> None:
    try:
        for slot in slots:
            if slot.constraint is not None:
                optimizer.backend.assign(slot.variable, slot.constraint(slot.variable))
    except Exception as error:
        raise StateError(
            with_full_stop(f"A constraint failed with {type(error).__name__}: {error}")
            + " It failed in the middle of a step, when weights may have changed already: go back "
            "to a saved state."
        ) from error


def _average(optimizer: SGD, state: State, slots: Sequence[Slot]) -> None:
    """Average the weights of these variables, with a gradient or not."""
    backend = optimizer.backend
    begun = backend.read(state.averaging) > 0
    averaged = [slot for slot in slots if slot.average is not None]
    if averaged:
        backend.average(averaged, optimizer.ema_momentum, begun)


def _close_average(optimizer: SGD, state: State) -> None:
    """Note that the averages hold weights now, and overwrite the weights with them if due."""
    backend = optimizer.backend
    backend.assign(state.averaging, keras.ops.ones((), dtype="int32"))
    if optimizer.ema_overwrite_frequency is not None:
        averaged = [slot for slot in state.slots if slot.average is not None]
        updates = backend.read(state.iterations) // optimizer.window + 1
        backend.when(
            updates % optimizer.ema_overwrite_frequency == 0,
            partial(backend.overwrite, averaged),
            [slot.variable for slot in averaged],
        )


def _take_values(optimizer: SGD, moves: Sequence[Move]) -> Sequence[Move]:
    """Give variables that take their gradient as value that value; return the other moves."""
    takers = [move for move in moves if move.slot.takes_gradient_as_value]
    for move in takers:
        value = keras.ops.copy(move.gradient)  # the caller's own stays the caller's
        if move.present is not True:
            value = keras.ops.where(move.present, value, optimizer.backend.read(move.slot.variable))
        optimizer.backend.assign(move.slot.variable, value)
    return [m for m in moves if not m.slot.takes_gradient_as_value] if takers else moves


def _accumulate(optimizer: SGD, state: State, moves: Sequence[Move]) -> None:
    """Add to the sums of this window, and note which variables have had a gradient in it."""
    backend = optimizer.backend
    in_window = backend.read(state.in_window)
    backend.accumulate([move for move in moves if not move.slot.takes_gradient_as_value])
    for move in moves:
        if move.slot.takes_gradient_as_value:  # float8 scales: the largest of the window counts
            so_far = backend.read(move.slot.accumulator)
            largest = keras.ops.maximum(so_far, move.gradient)
            is_first = in_window[_index(state, move)] == 0
            backend.assign(move.slot.accumulator, keras.ops.where(is_first, move.gradient, largest))
    moved = {id(move.slot) for move in moves}
    present = [float(id(slot) in moved) for slot in state.slots]
    backend.assign(state.in_window, keras.ops.maximum(in_window, present))


def _update_if_due(optimizer: SGD, state: State, moves: Sequence[Move], rate: Tensor) -> None:
    """Close the window at its last step: update with the mean, and begin a new window."""
    backend = optimizer.backend

    def close() -> None:
        in_window = backend.read(state.in_window)
        now = {id(move.slot) for move in moves}
        share = 1 / optimizer.window  # one number, by which backends know what goes together
        means = [
            Move(
                slot,
                backend.read(slot.accumulator),
                1.0 if slot.takes_gradient_as_value else share,
                present=True if id(slot) in now else in_window[i] > 0,
            )
            for i, slot in enumerate(state.slots)
        ]
        _update(optimizer, state, means, rate)
        backend.clear([slot.accumulator for slot in state.slots] + [state.in_window])

    due = (backend.read(state.iterations) + 1) % optimizer.window == 0
    backend.when(due, close, state.variables())


def _index(state: State, move: Move) -> int:
    return next(i for i, slot in enumerate(state.slots) if slot is move.slot)
