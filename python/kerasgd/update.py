"""One step, from the gradients to the new weights: the order of contract 0.

    unscale the loss -> sum duplicate rows -> sum over replicas -> accumulate; and, at an update:
    average -> clip -> decay weights -> update rule -> apply variable constraints -> average the
    weights (EMA) -> overwrite them if due. Last, t grows by one.

Unscaling the loss, averaging over the window and the norm clips are scalings. They are kept as one
scalar, the coefficient of a `Move`, that meets the gradient inside the update rule.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import keras

from kerasgd import clipping, loss_scale, rule
from kerasgd.backends import Backend
from kerasgd.errors import StateError, with_full_stop
from kerasgd.settings import Settings
from kerasgd.state import Move, Slot, State, Step, Tensor, Variable


def step(
    settings: Settings,
    backend: Backend,
    state: State,
    gradients: Sequence[Tensor | None],
    rate_of_this_step: Callable[[], Tensor | float],
) -> None:
    """Do one step with one gradient, or None, for each variable."""
    summed = backend.sum_rows(gradients, state.slots, partial(_moves_by_the_rule_alone, settings))
    proceed = partial(_on_each_device, settings, backend, rate_of_this_step)
    backend.across_replicas(state, summed, proceed)


def _moves_by_the_rule_alone(settings: Settings, slot: Slot) -> bool:
    """Whether nothing else changes this variable, so that a sparse gradient may stay one."""
    if settings.own_rule is not None:
        return False
    decays = slot.decays and settings.weight_decay
    return not decays and all(v is None for v in (slot.average, slot.accumulator, slot.constraint))


def _on_each_device(
    settings: Settings,
    backend: Backend,
    rate_of_this_step: Callable[[], Tensor | float],
    devices: Sequence[tuple[Any, State, list[Tensor | None]]],
) -> None:
    """The step from the summed gradients on; every device does the same to its own copies."""
    # Before all else and outside of what is compiled: it may be a function, which may fail.
    rate = rate_of_this_step()
    for device, state, gradients in devices:
        on_device: Step = partial(_on_device, settings, backend, state)
        with device:
            if settings.own_rule is None:  # it may do anything, at each step
                on_device = backend.compiled(on_device, state, settings)
            on_device(gradients, rate)


def _on_device(
    settings: Settings,
    backend: Backend,
    state: State,
    gradients: Sequence[Tensor | None],
    rate: Tensor,
) -> None:
    advance = partial(_advance, settings, backend, state, gradients, rate)
    if state.dynamic_scale is None:
        advance(1 / settings.loss_scale_factor)
    else:
        loss_scale.if_finite(backend, state, gradients, advance)


def _advance(
    settings: Settings,
    backend: Backend,
    state: State,
    gradients: Sequence[Tensor | None],
    rate: Tensor | float,
    unscale: Tensor | float,
) -> None:
    """Accumulate or update, and count the step."""
    pairs = zip(state.slots, gradients, strict=True)
    moves = [Move(slot, gradient, unscale) for slot, gradient in pairs if gradient is not None]
    if settings.window == 1:
        _update(settings, backend, state, moves, rate)
    else:
        _accumulate(settings, backend, state, moves)
        _update_if_due(settings, backend, state, moves, rate)
    backend.count(state.iterations)


def _update(
    settings: Settings, backend: Backend, state: State, moves: Sequence[Move], rate: Tensor
) -> None:
    """Change the weights: clip, decay, rule, constraints, EMA."""
    moves = _clip(settings, backend, _take_values(settings, backend, moves))
    large = _move_large(settings, backend, state, moves, rate)
    small = [move for move in moves if id(move.slot) not in large] if large else moves
    certain = [move for move in small if move.present is True]
    _descend(settings, backend, certain, rate)
    if len(certain) < len(small):
        uncertain = [move for move in small if move.present is not True]
        _descend_if_present(settings, backend, uncertain, rate, state.own)
    if settings.use_ema:
        _average(settings, backend, state, [slot for slot in state.slots if id(slot) not in large])
        _close_average(settings, backend, state)


def _descend_if_present(
    settings: Settings,
    backend: Backend,
    moves: Sequence[Move],
    rate: Tensor,
    own: Sequence[Variable],
) -> None:
    """As `_descend()`, where only the run can tell whether there is a gradient."""
    for move in moves:
        written = (move.slot.variable, move.slot.velocity, *own)
        writes = [v for v in written if v is not None]
        backend.when(move.present, partial(_descend, settings, backend, [move], rate), writes)


def _move_large(
    settings: Settings, backend: Backend, state: State, moves: Sequence[Move], rate: Tensor
) -> frozenset[int]:
    """Move and average the variables so large that it pays to do both in one pass; which ones."""
    if settings.own_rule is not None or not (settings.weight_decay or settings.use_ema):
        return frozenset()  # the rule alone is one pass

    def move_and_average(moves: Sequence[Move]) -> None:
        _descend(settings, backend, moves, rate)
        if settings.use_ema:
            _average(settings, backend, state, [move.slot for move in moves])

    def takes_several_passes(slot: Slot) -> bool:
        return bool(slot.decays and settings.weight_decay) or slot.average is not None

    several = [move for move in moves if move.present is True and takes_several_passes(move.slot)]
    return backend.in_one_pass(move_and_average, several)


def _clip(settings: Settings, backend: Backend, moves: Sequence[Move]) -> Sequence[Move]:
    if not moves:
        return moves
    if settings.clipvalue is not None:
        return clipping.clip_values(backend, moves, settings.clipvalue)
    if settings.clipnorm is not None:
        return clipping.clip_each_norm(backend, moves, settings.clipnorm)
    if settings.global_clipnorm is not None:
        return clipping.clip_global_norm(backend, moves, settings.global_clipnorm)
    return moves


def _descend(settings: Settings, backend: Backend, moves: Sequence[Move], rate: Tensor) -> None:
    """Decay the weights, apply the rule, then the constraints."""
    if not moves:
        return
    if settings.own_rule is not None:
        _descend_by_own_rule(settings, backend, moves, rate)
    else:
        backend.descend(moves, rate, settings.momentum, settings.nesterov, settings.weight_decay)
    _constrain(settings, backend, [move.slot for move in moves])


def _descend_by_own_rule(
    settings: Settings, backend: Backend, moves: Sequence[Move], rate: Tensor
) -> None:
    """As `_descend()`, by the `update_step()` of a subclass."""
    for move in moves:
        weights = backend.read(move.slot.variable)
        if settings.weight_decay and move.slot.decays:
            backend.assign(move.slot.variable, rule.decayed(weights, rate, settings.weight_decay))
        gradient = rule.scalar(move.coefficient, move.gradient.dtype) * move.gradient
        settings.own_rule(gradient, move.slot.variable, rate)  # type: ignore[misc]


def _constrain(settings: Settings, backend: Backend, slots: Sequence[Slot]) -> None:
    try:
        for slot in slots:
            if slot.constraint is not None:
                backend.assign(slot.variable, slot.constraint(slot.variable))
    except Exception as error:
        raise StateError(
            with_full_stop(f"A constraint failed with {type(error).__name__}: {error}")
            + " It failed in the middle of a step, when weights may have changed already: go back "
            "to a saved state."
        ) from error


def _average(settings: Settings, backend: Backend, state: State, slots: Sequence[Slot]) -> None:
    """Average the weights of these variables, with a gradient or not."""
    begun = backend.read(state.averaging) > 0
    averaged = [slot for slot in slots if slot.average is not None]
    if averaged:
        backend.average(averaged, settings.ema_momentum, begun)


def _close_average(settings: Settings, backend: Backend, state: State) -> None:
    """Note that the averages hold weights now, and overwrite the weights with them if due."""
    backend.assign(state.averaging, keras.ops.ones((), dtype="int32"))
    if settings.ema_overwrite_frequency is not None:
        averaged = [slot for slot in state.slots if slot.average is not None]
        updates = backend.read(state.iterations) // settings.window + 1
        backend.when(
            updates % settings.ema_overwrite_frequency == 0,
            partial(backend.overwrite, averaged),
            [slot.variable for slot in averaged],
        )


def _take_values(settings: Settings, backend: Backend, moves: Sequence[Move]) -> Sequence[Move]:
    """Give variables that take their gradient as value that value; return the other moves."""
    takers = [move for move in moves if move.slot.takes_gradient_as_value]
    for move in takers:
        value = keras.ops.copy(move.gradient)  # the caller's own stays the caller's
        if move.present is not True:
            value = keras.ops.where(move.present, value, backend.read(move.slot.variable))
        backend.assign(move.slot.variable, value)
    return [m for m in moves if not m.slot.takes_gradient_as_value] if takers else moves


def _accumulate(settings: Settings, backend: Backend, state: State, moves: Sequence[Move]) -> None:
    """Add to the sums of this window, and note which variables have had a gradient in it."""
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


def _update_if_due(
    settings: Settings, backend: Backend, state: State, moves: Sequence[Move], rate: Tensor
) -> None:
    """Close the window at its last step: update with the mean, and begin a new window."""

    def close() -> None:
        in_window = backend.read(state.in_window)
        now = {id(move.slot) for move in moves}
        share = 1 / settings.window  # one number, by which backends know what goes together
        means = [
            Move(
                slot,
                backend.read(slot.accumulator),
                1.0 if slot.takes_gradient_as_value else share,
                present=True if id(slot) in now else in_window[i] > 0,
            )
            for i, slot in enumerate(state.slots)
        ]
        _update(settings, backend, state, means, rate)
        backend.clear([slot.accumulator for slot in state.slots] + [state.in_window])

    due = (backend.read(state.iterations) + 1) % settings.window == 0
    backend.when(due, close, state.variables())


def _index(state: State, move: Move) -> int:
    return next(i for i, slot in enumerate(state.slots) if slot is move.slot)
