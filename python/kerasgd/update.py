"""One step, from the gradients to the new weights: the order of contract 0.

    unscale the loss -> sum duplicate rows -> sum over replicas -> accumulate; and, at an update:
    average -> clip -> decay weights -> update rule -> apply variable constraints -> average the
    weights (EMA) -> overwrite them if due. Last, t grows by one.

Unscaling the loss, averaging over the window and the norm clips are scalings. They are kept as one
scalar, the coefficient of an `Update`, that meets the gradient inside the update rule.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import keras

from kerasgd import clipping, loss_scale
from kerasgd.backends.base import Backend
from kerasgd.errors import StateError, with_full_stop
from kerasgd.rules import precision
from kerasgd.rules.weight_decay import decay_factor, decayed
from kerasgd.settings import Settings
from kerasgd.state import ParameterState, State, Step, Tensor, Update, Variable


def step(
    settings: Settings,
    backend: Backend,
    state: State,
    gradients: Sequence[Tensor | None],
    rate_of_this_step: Callable[[], Tensor | float],
) -> None:
    """Do one step with one gradient, or None, for each variable."""
    summed = backend.prepare_gradients(
        gradients, state.parameters, partial(_moves_by_the_rule_alone, settings)
    )
    proceed = partial(_on_each_device, settings, backend, rate_of_this_step)
    backend.across_replicas(state, summed, proceed)


def _moves_by_the_rule_alone(settings: Settings, parameter: ParameterState) -> bool:
    """Whether nothing else changes this variable, so that a sparse gradient may stay one."""
    if settings.own_rule is not None:
        return False
    decays = parameter.decays and settings.weight_decay
    return not decays and all(
        v is None for v in (parameter.average, parameter.accumulator, parameter.constraint)
    )


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
        if settings.own_rule is not None and state.own and len(devices) > 1:
            raise StateError(
                "An `update_step()` with variables of its own works on one device only: on "
                f"{len(devices)} its variables would change once for each."
            )
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
    pairs = zip(state.parameters, gradients, strict=True)
    updates = [
        Update(parameter, gradient, unscale)
        for parameter, gradient in pairs
        if gradient is not None
    ]
    if settings.window == 1:
        _update(settings, backend, state, updates, rate)
    else:
        _accumulate(settings, backend, state, updates)
        _update_if_due(settings, backend, state, updates, rate)
    backend.count(state.iterations)


def _update(
    settings: Settings, backend: Backend, state: State, updates: Sequence[Update], rate: Tensor
) -> None:
    """Change the weights: clip, decay, rule, constraints, EMA."""
    updates = _clip(settings, backend, _take_values(settings, backend, updates))
    large = _move_large(settings, backend, state, updates, rate)
    small = (
        [update for update in updates if id(update.parameter) not in large] if large else updates
    )
    certain = [update for update in small if update.present is True]
    _descend(settings, backend, certain, rate)
    if len(certain) < len(small):
        uncertain = [update for update in small if update.present is not True]
        _descend_if_present(settings, backend, uncertain, rate, state.own)
    if settings.use_ema:
        _average(
            settings,
            backend,
            state,
            [parameter for parameter in state.parameters if id(parameter) not in large],
        )
        _close_average(settings, backend, state)


def _descend_if_present(
    settings: Settings,
    backend: Backend,
    updates: Sequence[Update],
    rate: Tensor,
    own: Sequence[Variable],
) -> None:
    """As `_descend()`, where only the run can tell whether there is a gradient."""
    for update in updates:
        written = (update.parameter.variable, update.parameter.velocity, *own)
        writes = [v for v in written if v is not None]
        backend.when(update.present, partial(_descend, settings, backend, [update], rate), writes)


def _move_large(
    settings: Settings, backend: Backend, state: State, updates: Sequence[Update], rate: Tensor
) -> frozenset[int]:
    """Update and average the variables so large that it pays to do both in one pass; which ones."""
    if settings.own_rule is not None or not (settings.weight_decay or settings.use_ema):
        return frozenset()  # the rule alone is one pass

    def move_and_average(updates: Sequence[Update]) -> None:
        _descend(settings, backend, updates, rate)
        if settings.use_ema:
            _average(settings, backend, state, [update.parameter for update in updates])

    def takes_several_passes(parameter: ParameterState) -> bool:
        return bool(parameter.decays and settings.weight_decay) or parameter.average is not None

    several = [
        update
        for update in updates
        if update.present is True and takes_several_passes(update.parameter)
    ]
    return backend.in_one_pass(move_and_average, several)


def _clip(settings: Settings, backend: Backend, updates: Sequence[Update]) -> Sequence[Update]:
    if not updates:
        return updates
    if settings.clipvalue is not None:
        return clipping.clip_values(backend, updates, settings.clipvalue)
    if settings.clipnorm is not None:
        return clipping.clip_each_norm(backend, updates, settings.clipnorm)
    if settings.global_clipnorm is not None:
        return clipping.clip_global_norm(backend, updates, settings.global_clipnorm)
    return updates


def _descend(settings: Settings, backend: Backend, updates: Sequence[Update], rate: Tensor) -> None:
    """Decay the weights, apply the rule, then the constraints."""
    if not updates:
        return
    if settings.own_rule is not None:
        _descend_by_own_rule(settings, backend, updates, rate)
    else:
        backend.descend(updates, rate, settings.momentum, settings.nesterov, settings.weight_decay)
    _constrain(settings, backend, [update.parameter for update in updates])


def _descend_by_own_rule(
    settings: Settings, backend: Backend, updates: Sequence[Update], rate: Tensor
) -> None:
    """As `_descend()`, by the `update_step()` of a subclass."""
    for update in updates:
        if settings.weight_decay and update.parameter.decays:
            weights = backend.read(update.parameter.variable)
            dtype = keras.backend.standardize_dtype(weights.dtype)
            factor = decay_factor(rate, settings.weight_decay, dtype)
            backend.assign(update.parameter.variable, decayed(weights, factor))
        gradient = precision.scalar(update.coefficient, update.gradient.dtype) * update.gradient
        settings.own_rule(gradient, update.parameter.variable, rate)  # type: ignore[misc]


def _constrain(settings: Settings, backend: Backend, parameters: Sequence[ParameterState]) -> None:
    try:
        for parameter in parameters:
            if parameter.constraint is not None:
                backend.assign(parameter.variable, parameter.constraint(parameter.variable))
    except Exception as error:
        raise StateError(
            with_full_stop(f"A constraint failed with {type(error).__name__}: {error}")
            + " It failed in the middle of a step, when weights may have changed already: go back "
            "to a saved state."
        ) from error


def _average(
    settings: Settings, backend: Backend, state: State, parameters: Sequence[ParameterState]
) -> None:
    """Average the weights of these variables, with a gradient or not."""
    begun = backend.read(state.averaging) > 0
    averaged = [parameter for parameter in parameters if parameter.average is not None]
    if averaged:
        backend.average(averaged, settings.ema_momentum, begun)


def _close_average(settings: Settings, backend: Backend, state: State) -> None:
    """Note that the averages hold weights now, and overwrite the weights with them if due."""
    backend.assign(state.averaging, keras.ops.ones((), dtype="int32"))
    if settings.ema_overwrite_frequency is not None:
        averaged = [parameter for parameter in state.parameters if parameter.average is not None]
        updates = backend.read(state.iterations) // settings.window + 1
        backend.when(
            updates % settings.ema_overwrite_frequency == 0,
            partial(backend.overwrite, averaged),
            [parameter.variable for parameter in averaged],
        )


def _take_values(
    settings: Settings, backend: Backend, updates: Sequence[Update]
) -> Sequence[Update]:
    """Give variables that take their gradient as value that value; return the other updates."""
    takers = [update for update in updates if update.parameter.overwrite_with_gradient]
    for update in takers:
        value = keras.ops.copy(update.gradient)  # the caller's own stays the caller's
        if update.present is not True:
            value = keras.ops.where(update.present, value, backend.read(update.parameter.variable))
        backend.assign(update.parameter.variable, value)
    return [m for m in updates if not m.parameter.overwrite_with_gradient] if takers else updates


def _accumulate(
    settings: Settings, backend: Backend, state: State, updates: Sequence[Update]
) -> None:
    """Add to the sums of this window, and note which variables have had a gradient in it."""
    in_window = backend.read(state.in_window)
    backend.accumulate(
        [update for update in updates if not update.parameter.overwrite_with_gradient]
    )
    for update in updates:
        if (
            update.parameter.overwrite_with_gradient
        ):  # float8 scales: the largest of the window counts
            so_far = backend.read(update.parameter.accumulator)
            largest = keras.ops.maximum(so_far, update.gradient)
            is_first = in_window[_index(state, update)] == 0
            backend.assign(
                update.parameter.accumulator, keras.ops.where(is_first, update.gradient, largest)
            )
    moved = {id(update.parameter) for update in updates}
    present = [float(id(parameter) in moved) for parameter in state.parameters]
    backend.assign(state.in_window, keras.ops.maximum(in_window, present))


def _update_if_due(
    settings: Settings, backend: Backend, state: State, updates: Sequence[Update], rate: Tensor
) -> None:
    """Close the window at its last step: update with the mean, and begin a new window."""

    def close() -> None:
        in_window = backend.read(state.in_window)
        now = {id(update.parameter) for update in updates}
        share = 1 / settings.window  # shared object: backends batch by coefficient
        means = [
            Update(
                parameter,
                backend.read(parameter.accumulator),
                1.0 if parameter.overwrite_with_gradient else share,
                present=True if id(parameter) in now else in_window[i] > 0,
            )
            for i, parameter in enumerate(state.parameters)
        ]
        _update(settings, backend, state, means, rate)
        backend.clear([parameter.accumulator for parameter in state.parameters] + [state.in_window])

    due = (backend.read(state.iterations) + 1) % settings.window == 0
    backend.when(due, close, state.variables())


def _index(state: State, update: Update) -> int:
    return next(i for i, parameter in enumerate(state.parameters) if parameter is update.parameter)
