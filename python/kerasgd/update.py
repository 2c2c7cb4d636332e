"""One step, from the gradients to the new weights: the order of contract 0.

    unscale the gradients -> sum duplicate rows -> sum over replicas -> accumulate; at an update:
    average -> clip -> decay weights -> update rule -> apply variable constraints -> average the
    weights (EMA) -> overwrite them if due. Last, t grows by one.

An update may be measured, and is skipped if its gradient is not finite and skipping is on.

Unscaling, averaging over the window and the norm clips are scalings. They are combined in
one scalar, the coefficient of `Updates`, which multiplies the gradient inside the update rule.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
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
    """Take one step with one gradient, or None, for each variable."""
    backend = backend.of_this_trace(gradients)
    summed = backend.prepare_gradients(
        gradients, state.parameters, partial(_rule_alone_changes, settings)
    )
    proceed = partial(_on_each_device, settings, backend, rates_of_this_step)
    backend.across_replicas(state, summed, proceed)


def _rule_alone_changes(settings: Settings, parameter: ParameterState) -> bool:
    """Whether only the rule changes this variable, so that a sparse gradient may stay sparse."""
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
    """The rest of the step, after gradients are summed; each device runs it on its own copies."""
    # Before any change, and outside of compiled code, because a rate function may fail.
    rates = rates_of_this_step()
    if settings.own_rule is not None:
        backend.check_own_rule()
    for device, state, gradients in devices:
        on_device = partial(_on_device, settings, state)
        if settings.own_rule is not None and state.own and len(devices) > 1:
            raise StateError(
                "A subclass whose `update_step()` has its own variables works only on one device: "
                f"on {len(devices)} devices they would change {len(devices)} times in each step."
            )
        with device:
            if settings.own_rule is None:
                backend.compiled(on_device, state, settings)(gradients, rates)
            else:  # the subclass's rule may run any code, at each step
                on_device(backend, gradients, rates)


def _on_device(
    settings: Settings,
    state: State,
    backend: Backend,
    gradients: Sequence[Tensor | None],
    rates: Rates,
) -> None:
    """The step on one device."""
    _StepOnDevice(settings, state, backend, rates).take(gradients)


@dataclass(slots=True)  # not frozen, because one is created at each step of eager code
class _StepOnDevice:
    """One step on one device: its stages in order, and their shared data.

    Attributes:
        settings: the settings of the optimizer.
        state: the state that the step reads and writes.
        backend: the operations.
        rates: the learning rate of this step.
    """

    settings: Settings
    state: State
    backend: Backend
    rates: Rates

    # -- loss scale ----------------------------------------------------------------------------

    def take(self, gradients: Sequence[Tensor | None]) -> None:
        """Take the step; with a dynamic scale, only if all gradients are finite."""
        if self.state.dynamic_scale is None:
            self._accumulate_or_update(gradients, self.settings.loss_scale_factor)
        else:
            self._step_if_finite(gradients)

    def _step_if_finite(self, gradients: Sequence[Tensor | None]) -> None:
        """Take the step if all gradients are finite, else halve the dynamic scale."""
        state, backend = self.state, self.backend
        dynamic = state.dynamic_scale
        assert dynamic is not None
        finite = backend.all_finite([g for g in gradients if g is not None])

        def step_and_count(step: _StepOnDevice) -> None:
            read, assign = step.backend.read, step.backend.assign
            scale, finite_steps = read(dynamic.scale), read(dynamic.finite_steps)
            step._accumulate_or_update(gradients, scale)
            scale, finite_steps = loss_scale.after_finite_step(
                scale, finite_steps, dynamic.growth_steps
            )
            assign(dynamic.scale, scale)
            assign(dynamic.finite_steps, finite_steps)

        def skip() -> None:
            backend.assign(
                dynamic.scale, loss_scale.after_nonfinite_step(backend.read(dynamic.scale))
            )
            backend.clear([dynamic.finite_steps])

        own = [dynamic.scale, dynamic.finite_steps]
        self._change_if(finite, step_and_count, [*state.variables(), state.iterations, *own])
        backend.cond(keras.ops.logical_not(finite), skip, own)

    # -- accumulation --------------------------------------------------------------------------

    def _accumulate_or_update(
        self, gradients: Sequence[Tensor | None], scale: Tensor | float
    ) -> None:
        """Accumulate, update at the last step of the window, and count the step."""
        coefficient = loss_scale.unscaling(scale)
        updates = Updates(self.state.parameters, gradients, coefficient)
        updates = updates.where([gradient is not None for gradient in gradients])
        update = partial(self._measure_or_not, scale)
        if self.settings.window == 1:
            update(updates)
        else:
            self._accumulate(updates)
            self._update_if_due(updates, update)
        self.backend.count(self.state.iterations)

    def _accumulate(self, updates: Updates) -> None:
        """Add to the sums of this window, and record which variables have had a gradient in it."""
        state, backend = self.state, self.backend
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

    def _update_if_due(self, updates: Updates, update: Callable[[Updates], None]) -> None:
        """Close the window at its last step: update with the means, and start a new window."""
        state, backend = self.state, self.backend

        def close() -> None:
            update(self._means(updates))
            accumulators = [parameter.accumulator for parameter in state.parameters]
            backend.clear([*accumulators, state.in_window])

        due = accumulation.is_update(backend.read(state.iterations), self.settings.window)
        backend.cond(due, close, state.variables())

    def _means(self, updates: Updates) -> Updates:
        """The means of the window, for variables with a gradient in this or an earlier step."""
        parameters = self.state.parameters
        in_window = self.backend.read(self.state.in_window)
        in_this_step = {parameter.index for parameter in updates.parameters}
        return Updates(
            parameters,
            [self.backend.read(parameter.accumulator) for parameter in parameters],
            accumulation.mean_coefficient(self.settings.window),
            [i in in_this_step or in_window[i] > 0 for i in range(len(parameters))],
        )

    # -- measuring and skipping ----------------------------------------------------------------

    def _measure_or_not(self, scale: Tensor | float, updates: Updates) -> None:
        """Do an update, and measure it if its turn has come."""
        state, backend = self.state, self.backend
        every = self.settings.statistics_every
        if every is None:
            self._skip_or_update(updates, None)
            return

        def measured(state: State) -> None:
            step, on_state = self._on(state, updates)
            measurement = Measurement(backend, state, on_state, self.rates, scale)
            step._skip_or_update(on_state, measurement)

        def unmeasured(state: State) -> None:
            step, on_state = self._on(state, updates)
            step._skip_or_update(on_state, None)

        if every == 1:
            measured(state)
            return
        steps = backend.read(state.iterations) + 1
        due = steps % (self.settings.window * every) == 0
        if self._calls_code_of_users():  # which may need the variables themselves
            writes = state.variables()
            backend.cond(due, partial(measured, state), writes, partial(unmeasured, state))
        else:
            backend.measure_if(due, measured, unmeasured, state, updates)

    def _calls_code_of_users(self) -> bool:
        """Whether an update calls the rule of a subclass, or a constraint."""
        has_constraint = any(p.constraint is not None for p in self.state.parameters)
        return has_constraint or self.settings.own_rule is not None

    def _change_if(
        self,
        condition: Tensor,
        change: Callable[[_StepOnDevice], None],
        writes: Sequence[Variable],
    ) -> None:
        """Run `change`, which nearly always happens, if `condition` is true."""
        if self._calls_code_of_users():  # which must not run unless the change happens
            self.backend.cond(condition, partial(change, self), writes)
        else:
            self.backend.change_if(condition, lambda b: change(replace(self, backend=b)), writes)

    def _on(self, state: State, updates: Updates) -> tuple[_StepOnDevice, Updates]:
        """The same step and updates, on other variables."""
        parameters = [state.parameters[parameter.index] for parameter in updates.parameters]
        return replace(self, state=state), replace(updates, parameters=parameters)

    def _skip_or_update(self, updates: Updates, measurement: Measurement | None) -> None:
        """Do an update, or skip it if its gradient is not finite and skipping is on."""
        backend, skips = self.backend, self.state.skips
        if skips is None:
            self._update(updates, measurement)
            return

        def update_and_count(step: _StepOnDevice) -> None:
            step._update(updates, measurement)
            step.backend.clear([skips.in_a_row])

        def skip_and_count() -> None:
            if measurement is not None:
                _, clippable = updates.split(_overwriting(updates))
                measurement.write(self._clip(clippable), self._update_number() - 1)
            backend.assign(skips.nonfinite, self._count_nonfinite(updates))
            backend.count(skips.skipped)
            backend.count(skips.in_a_row)

        finite = backend.all_finite(updates.gradients)
        self._change_if(finite, update_and_count, self.state.variables())
        backend.cond(keras.ops.logical_not(finite), skip_and_count, self.state.records())

    def _update_number(self) -> Tensor:
        """k: this is the k-th update, from 1, not counting skipped ones."""
        state = self.state
        attempts = self.backend.read(state.iterations) // self.settings.window + 1
        if state.skips is None:
            return attempts
        return attempts - keras.ops.cast(self.backend.read(state.skips.skipped), attempts.dtype)

    def _count_nonfinite(self, updates: Updates) -> Tensor:
        """The numbers of NaN and of infinite elements in the gradient of each variable."""
        counts = [(keras.ops.zeros((), "int32"),) * 2] * len(self.state.parameters)
        for update in updates:
            values = self.backend.values(update.gradient)
            counts[update.parameter.index] = statistics.count_nan_and_infinite(values)
        return keras.ops.stack([keras.ops.stack(column) for column in zip(*counts, strict=True)])

    # -- an update -----------------------------------------------------------------------------

    def _update(self, updates: Updates, measurement: Measurement | None) -> None:
        """Change the weights: clip, decay, rule, constraints, EMA, overwriting."""
        settings, state, backend = self.settings, self.state, self.backend
        updates = self._overwrite_with_gradients(updates)
        updates = self._clip(updates)
        backend.in_parts(self._change_part, updates, settings)
        if measurement is not None:
            measurement.write(updates, self._update_number())
        if settings.use_ema:
            updated = {parameter.index for parameter in updates.parameters}
            self._average_weights([p for p in state.parameters if p.index not in updated])
            backend.assign(state.averaging, keras.ops.ones((), dtype="int32"))
            self._overwrite_weights_if_due()

    def _overwrite_with_gradients(self, updates: Updates) -> Updates:
        """Give variables whose gradient is their new value that value; return the other updates."""
        overwriting, others = updates.split(_overwriting(updates))
        for update in overwriting:
            value = keras.ops.copy(update.gradient)  # the caller keeps the original
            for condition in (update.present, self._is_active(update.parameter.group)):
                if condition is not True:
                    old = self.backend.read(update.parameter.variable)
                    value = keras.ops.where(condition, value, keras.ops.cast(old, value.dtype))
            self.backend.assign(update.parameter.variable, value)
        return others

    def _is_active(self, group: int) -> Tensor | bool:
        """Whether the variables of a group change: not if their rate factor is 0 (14.3)."""
        factor_index = self.settings.groups[group].factor_index
        return True if factor_index is None else self.rates.factors[factor_index] > 0

    def _clip(self, updates: Updates) -> Updates:
        settings, backend = self.settings, self.backend
        if not len(updates):
            return updates
        if settings.clipvalue is not None:
            return backend.clip_values(updates, settings.clipvalue)
        if settings.clipnorm is not None:
            return backend.clip_each_norm(updates, settings.clipnorm)
        if settings.global_clipnorm is not None:
            return backend.clip_global_norm(updates, settings.global_clipnorm)
        return updates

    def _change_part(self, backend: Backend, updates: Updates) -> None:
        """Change the weights of a part of the variables, with the operations for that part."""
        _StepOnDevice(self.settings, self.state, backend, self.rates)._change_and_average(updates)

    def _change_and_average(self, updates: Updates) -> None:
        """Change the weights of these variables, and average them."""
        certain, uncertain = updates.by_presence()
        self._change_weights(certain)
        for update in uncertain:
            alone = Updates([update.parameter], [update.gradient], update.coefficient)
            change = partial(self._change_weights, alone)
            self.backend.cond(update.present, change, self._written_by_change(alone))
        if self.settings.use_ema:
            self._average_weights(updates.parameters)

    def _written_by_change(self, updates: Updates) -> list[Variable]:
        """The variables that the change of these weights may write."""
        of_each = [(parameter.variable, parameter.velocity) for parameter in updates.parameters]
        kept = [v for of_one in of_each for v in of_one if v is not None]
        return [*kept, *self.state.own]

    def _change_weights(self, updates: Updates) -> None:
        """Change the weights by group; a group with a factor of 0 does not change."""
        for group, of_group in updates.by_group():
            group_settings = self.settings.groups[group]
            if group_settings.factor_index is None:
                self._change_group(group_settings, self.rates.rate, of_group)
                continue
            factor = self.rates.factors[group_settings.factor_index]
            rate = learning_rate.of_group(self.rates.rate, factor)
            change = partial(self._change_group_by, group_settings, rate, of_group)
            written = self._written_by_change(of_group)
            self.backend.change_if(self._is_active(group), change, written)

    def _change_group_by(
        self,
        group_settings: GroupSettings,
        rate: Tensor | float,
        updates: Updates,
        backend: Backend,
    ) -> None:
        """`_change_group()` by these operations; the rule of a subclass writes without any."""
        step = self if self.settings.own_rule is not None else replace(self, backend=backend)
        step._change_group(group_settings, rate, updates)

    def _change_group(
        self, group_settings: GroupSettings, rate: Tensor | float, updates: Updates
    ) -> None:
        """Decay the weights, apply the rule, then the constraints."""
        if self.settings.own_rule is not None:
            self._apply_own_rule(self.settings.own_rule, updates, rate, group_settings.weight_decay)
        else:
            self.backend.decay_and_apply_rule(
                updates,
                rate,
                group_settings.momentum,
                self.settings.nesterov,
                group_settings.weight_decay,
            )
        self._apply_constraints(updates.parameters)

    def _apply_own_rule(
        self,
        own_rule: Callable[[Tensor, Variable, Any], None],
        updates: Updates,
        rate: Tensor | float,
        weight_decay: float,
    ) -> None:
        """Decay the weights, and apply the `update_step()` of a subclass in place of the rule."""
        for update in updates:
            if weight_decay:
                self.backend.decay_weights([update.parameter], rate, weight_decay)
            gradient = scalar(update.coefficient, update.gradient.dtype) * update.gradient
            own_rule(gradient, update.parameter.variable, rate)

    def _apply_constraints(self, parameters: Sequence[ParameterState]) -> None:
        try:
            for parameter in parameters:
                if parameter.constraint is not None:
                    constrained = parameter.constraint(parameter.variable)
                    self.backend.assign(parameter.variable, constrained)
        except Exception as error:
            raise StateError(
                with_full_stop(f"A constraint failed with {type(error).__name__}: {error}")
                + " Some weights may have changed before that: restore a saved state."
            ) from error

    # -- averages ------------------------------------------------------------------------------

    def _average_weights(self, parameters: Sequence[ParameterState]) -> None:
        """Average the weights of these variables, with or without a gradient."""
        averaged = [parameter for parameter in parameters if parameter.average is not None]
        if averaged:
            begun = self.backend.read(self.state.averaging) > 0
            self.backend.average(averaged, self.settings.ema_momentum, begun)

    def _overwrite_weights_if_due(self) -> None:
        """Overwrite the weights with their averages, except in a group with a factor of 0."""
        frequency = self.settings.ema_overwrite_frequency
        if frequency is None:
            return
        due = ema.overwrites(self._update_number(), frequency)
        alike: dict[int | None, list[ParameterState]] = {}
        for parameter in self.state.parameters:
            if parameter.average is not None:
                factor_index = self.settings.groups[parameter.group].factor_index
                alike.setdefault(factor_index, []).append(parameter)
        for parameters in alike.values():
            active = self._is_active(parameters[0].group)
            condition = due if active is True else keras.ops.logical_and(due, active)
            written = [parameter.variable for parameter in parameters]
            self.backend.cond(condition, partial(self.backend.overwrite, parameters), written)


def _overwriting(updates: Updates) -> list[bool]:
    return [parameter.overwrite_with_gradient for parameter in updates.parameters]
