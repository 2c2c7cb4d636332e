"""One step, from the gradients to the new weights: the order of contract 0.

    unscale the loss -> sum duplicate rows -> sum over replicas -> accumulate; and, at an update:
    average -> clip -> decay weights -> update rule -> apply variable constraints -> average the
    weights (EMA) -> overwrite them if due. Last, t grows by one.

Unscaling the loss, averaging over the window and the norm clips are scalings. They are kept as one
scalar, the coefficient of `Updates`, that meets the gradient inside the update rule.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import keras

from kerasgd.backends.base import Backend
from kerasgd.errors import StateError, with_full_stop
from kerasgd.measurement import Measurement
from kerasgd.rules import accumulation, ema, learning_rate, loss_scale, statistics
from kerasgd.rules.precision import scalar
from kerasgd.settings import GroupSettings, Settings
from kerasgd.state import ParameterState, Rates, State, Tensor, Updates, Variable

RatesOfThisStep = Callable[[], Rates]


def step(
    settings: Settings,
    backend: Backend,
    state: State,
    gradients: Sequence[Tensor | None],
    rates_of_this_step: RatesOfThisStep,
) -> None:
    """Do one step with one gradient, or None, for each variable."""
    backend = backend.of_this_trace()
    summed = backend.prepare_gradients(
        gradients, state.parameters, partial(_rule_alone_changes, settings)
    )
    proceed = partial(_on_each_device, settings, backend, rates_of_this_step)
    backend.across_replicas(state, summed, proceed)


def _rule_alone_changes(settings: Settings, parameter: ParameterState) -> bool:
    """Whether nothing but the rule changes this variable: then a sparse gradient may stay one."""
    if settings.own_rule is not None or settings.groups[parameter.group].weight_decay:
        return False
    kept = (parameter.average, parameter.accumulator, parameter.constraint)
    return all(each is None for each in kept)


def _on_each_device(
    settings: Settings,
    backend: Backend,
    rates_of_this_step: RatesOfThisStep,
    devices: Sequence[tuple[Any, State, list[Tensor | None]]],
) -> None:
    """The step from the summed gradients on; every device does the same to its own copies."""
    # Before all else and outside of what is compiled: it may be a function, which may fail.
    rates = rates_of_this_step()
    for device, state, gradients in devices:
        on_device = partial(_on_device, settings, state)
        if settings.own_rule is not None and state.own and len(devices) > 1:
            raise StateError(
                "An `update_step()` with variables of its own works on one device only: on "
                f"{len(devices)} its variables would change once for each."
            )
        with device:
            if settings.own_rule is None:
                backend.compiled(on_device, state, settings)(gradients, rates)
            else:  # it may do anything, at each step
                on_device(backend, gradients, rates)


def _on_device(
    settings: Settings,
    state: State,
    backend: Backend,
    gradients: Sequence[Tensor | None],
    rates: Rates,
) -> None:
    """Unscale the loss; with a dynamic scale, skip the step if a gradient is not finite."""
    go_on = partial(_accumulate_or_update, settings, backend, state, gradients, rates)
    if state.dynamic_scale is None:
        go_on(settings.loss_scale_factor)
    else:
        _if_finite(backend, state, gradients, go_on)


def _if_finite(
    backend: Backend,
    state: State,
    gradients: Sequence[Tensor | None],
    go_on: Callable[[Tensor], None],
) -> None:
    """Do the step if all gradients are finite, else halve the dynamic scale."""
    dynamic = state.dynamic_scale
    assert dynamic is not None
    finite = loss_scale.all_finite([backend.values(g) for g in gradients if g is not None])

    def step_and_count() -> None:
        scale, finite_steps = backend.read(dynamic.scale), backend.read(dynamic.finite_steps)
        go_on(scale)
        scale, finite_steps = loss_scale.after_finite_step(
            scale, finite_steps, dynamic.growth_steps
        )
        backend.assign(dynamic.scale, scale)
        backend.assign(dynamic.finite_steps, finite_steps)

    def skip() -> None:
        backend.assign(dynamic.scale, loss_scale.after_other_step(backend.read(dynamic.scale)))
        backend.clear([dynamic.finite_steps])

    own = [dynamic.scale, dynamic.finite_steps]
    backend.cond(finite, step_and_count, [*state.variables(), state.iterations, *own])
    backend.cond(keras.ops.logical_not(finite), skip, own)


def _accumulate_or_update(
    settings: Settings,
    backend: Backend,
    state: State,
    gradients: Sequence[Tensor | None],
    rates: Rates,
    scale: Tensor | float,
) -> None:
    """Accumulate, and update at the last step of the window; count the step."""
    updates = _updates(state, gradients, loss_scale.unscaling(scale))
    update = partial(_measure_or_not, settings, backend, state, rates, scale)
    if settings.window == 1:
        update(updates)
    else:
        _accumulate(backend, state, updates)
        _update_if_due(settings, backend, state, updates, update)
    backend.count(state.iterations)


def _updates(
    state: State, gradients: Sequence[Tensor | None], coefficient: Tensor | float
) -> Updates:
    """The variables that have a gradient, with it."""
    updates = Updates(state.parameters, gradients, coefficient)
    return updates.where([gradient is not None for gradient in gradients])


# -- accumulation ------------------------------------------------------------------------------


def _accumulate(backend: Backend, state: State, updates: Updates) -> None:
    """Add to the sums of this window, and note which variables have had a gradient in it."""
    in_window = backend.read(state.in_window)
    overwriting, summed = updates.split(_overwriting(updates))
    backend.accumulate(summed)
    for update in overwriting:
        accumulator = update.parameter.accumulator
        is_first = in_window[update.parameter.index] == 0
        so_far = backend.read(accumulator)
        backend.assign(accumulator, accumulation.largest(so_far, update.gradient, is_first))
    with_gradient = {parameter.index for parameter in updates.parameters}
    present = [float(parameter.index in with_gradient) for parameter in state.parameters]
    backend.assign(state.in_window, keras.ops.maximum(in_window, present))


def _update_if_due(
    settings: Settings,
    backend: Backend,
    state: State,
    updates: Updates,
    update: Callable[[Updates], None],
) -> None:
    """Close the window at its last step: update with the mean, and begin a new window."""

    def close() -> None:
        update(_means(settings, backend, state, updates))
        backend.clear([parameter.accumulator for parameter in state.parameters] + [state.in_window])

    due = accumulation.is_update(backend.read(state.iterations), settings.window)
    backend.cond(due, close, state.variables())


def _means(settings: Settings, backend: Backend, state: State, updates: Updates) -> Updates:
    """The means of the window, where it has gradients: this step's `updates` or earlier ones."""
    in_window = backend.read(state.in_window)
    in_this_step = {parameter.index for parameter in updates.parameters}
    return Updates(
        state.parameters,
        [backend.read(parameter.accumulator) for parameter in state.parameters],
        accumulation.mean_coefficient(settings.window),
        [i in in_this_step or in_window[i] > 0 for i in range(len(state.parameters))],
    )


# -- an update ---------------------------------------------------------------------------------


def _measure_or_not(
    settings: Settings,
    backend: Backend,
    state: State,
    rates: Rates,
    scale: Tensor | float,
    updates: Updates,
) -> None:
    """Do an update, and measure every so many of them."""
    every = settings.statistics_every
    unmeasured = partial(_skip_or_update, settings, backend, state, updates, rates, None)
    if every is None:
        unmeasured()
        return

    def measured() -> None:
        measurement = Measurement(backend, state, updates, rates, scale)
        _skip_or_update(settings, backend, state, updates, rates, measurement)

    if every == 1:
        measured()
    else:
        steps = backend.read(state.iterations) + 1
        backend.measure_if(steps % (settings.window * every) == 0, measured, unmeasured, state)


def _skip_or_update(
    settings: Settings,
    backend: Backend,
    state: State,
    updates: Updates,
    rates: Rates,
    measurement: Measurement | None,
) -> None:
    """Do an update, or skip it if its gradient is not finite and that is what the user wants."""
    update = partial(_update, settings, backend, state, updates, rates, measurement)
    skips = state.skips
    if skips is None:
        update()
        return

    def update_and_count() -> None:
        update()
        backend.clear([skips.in_a_row])

    def skip_and_count() -> None:
        if measurement is not None:
            _, clippable = updates.split(_overwriting(updates))
            clipped = _clip(settings, backend, clippable)
            measurement.write(clipped, _number_of_update(settings, backend, state) - 1)
        backend.assign(skips.nonfinite, _count_nonfinite(backend, state, updates))
        backend.count(skips.skipped)
        backend.count(skips.in_a_row)

    finite = loss_scale.all_finite([backend.values(gradient) for gradient in updates.gradients])
    backend.cond(finite, update_and_count, state.variables(), skip_and_count)


def _number_of_update(settings: Settings, backend: Backend, state: State) -> Tensor:
    """k, which counts from 1 the updates that are done."""
    attempts = backend.read(state.iterations) // settings.window + 1
    if state.skips is None:
        return attempts
    return attempts - keras.ops.cast(backend.read(state.skips.skipped), attempts.dtype)


def _count_nonfinite(backend: Backend, state: State, updates: Updates) -> Tensor:
    """For each variable the number of NaN, and of infinite elements, in its gradient."""
    counts = [(keras.ops.zeros((), "int32"),) * 2] * len(state.parameters)
    for update in updates:
        values = backend.values(update.gradient)
        counts[update.parameter.index] = statistics.count_nan_and_infinite(values)
    return keras.ops.stack([keras.ops.stack(column) for column in zip(*counts, strict=True)])


def _update(
    settings: Settings,
    backend: Backend,
    state: State,
    updates: Updates,
    rates: Rates,
    measurement: Measurement | None,
) -> None:
    """Change the weights: clip, decay, rule, constraints, EMA, overwriting."""
    updates = _overwrite_with_gradients(settings, backend, updates, rates)
    updates = _clip(settings, backend, updates)
    backend.in_parts(partial(_change_and_average, settings, state, rates), updates, settings)
    if measurement is not None:
        measurement.write(updates, _number_of_update(settings, backend, state))
    if settings.use_ema:
        updated = {parameter.index for parameter in updates.parameters}
        others = [p for p in state.parameters if p.index not in updated]
        _average_weights(settings, state, backend, others)
        backend.assign(state.averaging, keras.ops.ones((), dtype="int32"))
        _overwrite_weights_if_due(settings, backend, state, rates)


def _is_active(settings: Settings, rates: Rates, group: int) -> Tensor | bool:
    """Whether the variables of a group change: not if the factor of their rate is 0 (14.3)."""
    factor = settings.groups[group].factor_index
    return True if factor is None else rates.factors[factor] > 0


def _overwriting(updates: Updates) -> list[bool]:
    return [parameter.overwrite_with_gradient for parameter in updates.parameters]


def _overwrite_with_gradients(
    settings: Settings, backend: Backend, updates: Updates, rates: Rates
) -> Updates:
    """Give the variables whose gradient is their new value that value; return the other updates."""
    overwriting, others = updates.split(_overwriting(updates))
    for update in overwriting:
        value = keras.ops.copy(update.gradient)  # the caller's own stays the caller's
        for condition in (update.present, _is_active(settings, rates, update.parameter.group)):
            if condition is not True:
                old = keras.ops.cast(backend.read(update.parameter.variable), value.dtype)
                value = keras.ops.where(condition, value, old)
        backend.assign(update.parameter.variable, value)
    return others


def _clip(settings: Settings, backend: Backend, updates: Updates) -> Updates:
    if not len(updates):
        return updates
    if settings.clipvalue is not None:
        return backend.clip_values(updates, settings.clipvalue)
    if settings.clipnorm is not None:
        return backend.clip_each_norm(updates, settings.clipnorm)
    if settings.global_clipnorm is not None:
        return backend.clip_global_norm(updates, settings.global_clipnorm)
    return updates


def _change_and_average(
    settings: Settings, state: State, rates: Rates, backend: Backend, updates: Updates
) -> None:
    """All that happens to the weights of these variables, and to their averages."""
    certain, uncertain = updates.by_presence()
    _change_weights(settings, state, rates, backend, certain)
    for update in uncertain:
        alone = Updates([update.parameter], [update.gradient], update.coefficient)
        change = partial(_change_weights, settings, state, rates, backend, alone)
        backend.cond(update.present, change, _written(state, alone))
    if settings.use_ema:
        _average_weights(settings, state, backend, updates.parameters)


def _written(state: State, updates: Updates) -> list[Variable]:
    """The variables that changing these weights may write."""
    of_each = [(parameter.variable, parameter.velocity) for parameter in updates.parameters]
    kept = [v for of_one in of_each for v in of_one if v is not None]
    return [*kept, *state.own]


def _change_weights(
    settings: Settings, state: State, rates: Rates, backend: Backend, updates: Updates
) -> None:
    """Change the weights group by group; those of a group whose factor is 0 stay as they are."""
    for group, of_group in updates.by_group():
        its = settings.groups[group]
        if its.factor_index is None:
            _change_group(settings, its, rates.rate, backend, of_group)
            continue
        rate = learning_rate.of_group(rates.rate, rates.factors[its.factor_index])
        change = partial(_change_group, settings, its, rate, backend, of_group)
        active = _is_active(settings, rates, group)
        backend.change_if(active, change, _written(state, of_group))


def _change_group(
    settings: Settings,
    its: GroupSettings,
    rate: Tensor | float,
    backend: Backend,
    updates: Updates,
) -> None:
    """Decay the weights, apply the rule, then the constraints."""
    if settings.own_rule is not None:
        _apply_own_rule(settings.own_rule, backend, updates, rate, its.weight_decay)
    else:
        backend.decay_and_apply_rule(
            updates, rate, its.momentum, settings.nesterov, its.weight_decay
        )
    _apply_constraints(backend, updates.parameters)


def _apply_own_rule(
    own_rule: Callable[[Tensor, Variable, Any], None],
    backend: Backend,
    updates: Updates,
    rate: Tensor | float,
    weight_decay: float,
) -> None:
    """Decay the weights, and apply the `update_step()` of a subclass in place of the rule."""
    for update in updates:
        if weight_decay:
            backend.decay_weights([update.parameter], rate, weight_decay)
        gradient = scalar(update.coefficient, update.gradient.dtype) * update.gradient
        own_rule(gradient, update.parameter.variable, rate)


def _apply_constraints(backend: Backend, parameters: Sequence[ParameterState]) -> None:
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


def _average_weights(
    settings: Settings, state: State, backend: Backend, parameters: Sequence[ParameterState]
) -> None:
    """Average the weights of these variables, with a gradient or not."""
    averaged = [parameter for parameter in parameters if parameter.average is not None]
    if averaged:
        backend.average(averaged, settings.ema_momentum, backend.read(state.averaging) > 0)


def _overwrite_weights_if_due(
    settings: Settings, backend: Backend, state: State, rates: Rates
) -> None:
    if settings.ema_overwrite_frequency is None:
        return
    updates = _number_of_update(settings, backend, state)
    due = ema.overwrites(updates, settings.ema_overwrite_frequency)
    averaged = [parameter for parameter in state.parameters if parameter.average is not None]
    for factor in dict.fromkeys(settings.groups[p.group].factor_index for p in averaged):
        alike = [p for p in averaged if settings.groups[p.group].factor_index == factor]
        is_active = True if factor is None else rates.factors[factor] > 0
        condition = due if is_active is True else keras.ops.logical_and(due, is_active)
        written = [parameter.variable for parameter in alike]
        backend.cond(condition, partial(backend.overwrite, alike), written)
