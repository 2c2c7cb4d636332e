"""The operations of a step, in plain `keras.ops`: the readable implementation, for every backend.

`update.py` calls them in the order of a step. A backend overrides an operation only if it must, or
if measurements justify it; tests compare the overrides with these implementations.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import keras
import numpy as np

from kerasgd.rules import accumulation, clipping, loss_scale
from kerasgd.rules import momentum as momentum_rule
from kerasgd.rules.ema import averaged
from kerasgd.rules.precision import scalar, wide
from kerasgd.rules.weight_decay import decay_factor, decayed
from kerasgd.settings import Settings
from kerasgd.state import (
    ParameterState,
    Proceed,
    Rates,
    State,
    Step,
    Tensor,
    Update,
    Updates,
    Variable,
)
from kerasgd.variables import shape_of

# Returns the sums of squares, one for each norm, of the gradients in the given units (None: 1).
SquaresIn = Callable[[Tensor | None], Tensor]

# An instance, because Keras would look up the name "zeros" for each of thousands of variables.
ZEROS = keras.initializers.Zeros()


class Selection(NamedTuple):
    """A condition on which variables change, and the ids of those assigned under it."""

    condition: Tensor
    assigned: set[int]


class Backend:
    """The operations of a step."""

    _selection: Selection | None = None

    def of_this_trace(self, gradients: Sequence[Tensor | None] = ()) -> Backend:
        """The operations for the code that is running or being traced.

        A step calls this once. A backend with several modes of execution chooses one here.
        """
        return self

    def repeat(
        self,
        state: State,
        settings: Settings,
        gradients: Any,
        variables: Any,
        rates_of_this_step: Callable[[], Rates],
    ) -> bool:
        """Repeat the previous step with new gradients, if there is a faster way to do that.

        Gradients and variables are the user's, and not checked yet. The result says whether the
        step is done.
        """
        return False

    def without_autograph(self, function: Callable[..., None]) -> Callable[..., None]:
        """Exclude `function` from a compiler that rewrites Python code."""
        return function

    def prepare_gradients(
        self,
        gradients: Sequence[Tensor | None],
        parameters: Sequence[ParameterState],
        may_stay_sparse: Callable[[ParameterState], bool],
    ) -> list[Tensor | None]:
        """The gradients for these parameters as tensors of at least float32; None stays None.

        Sparse gradients become dense, or stay sparse with each row once.
        """
        return [gradient if gradient is None else _widened(gradient) for gradient in gradients]

    def check_own_rule(self) -> None:
        """Refuse the `update_step()` of a subclass if it cannot work here.

        Raises:
            StateError: it would see only shards of variables.
        """

    def across_replicas(
        self, state: State, gradients: Sequence[Tensor | None], proceed: Proceed
    ) -> None:
        """Sum the gradients over replicas, and `proceed` with one triple for each device.

        A triple holds the context to enter, the device's copy of the state, and the sums.
        """
        proceed([(contextlib.nullcontext(), state, list(gradients))])

    def compiled(self, function: Callable[..., None], state: State, settings: Hashable) -> Step:
        """`function` with its first argument, the operations, filled in; perhaps compiled.

        It is compiled if eager code is slower and compiling is safe. The behaviour of `function`
        must depend only on `state` and `settings`.
        """
        return partial(function, self)

    def cond(
        self,
        condition: Tensor,
        action: Callable[[], None],
        writes: Sequence[Variable],
        otherwise: Callable[[], None] | None = None,
    ) -> None:
        """Run `action` if `condition` is true, else `otherwise`; both write only to `writes`."""
        if bool(condition):
            action()
        elif otherwise is not None:
            otherwise()

    def measure_if(
        self,
        condition: Tensor,
        measured: Callable[[State], None],
        unmeasured: Callable[[State], None],
        state: State,
        updates: Updates,
    ) -> None:
        """Update the state, by `measured` if `condition` is true, else by `unmeasured`.

        Or run `measured` for the measurements alone, discard what else it writes, and always update
        the state by `unmeasured`.
        """
        writes = state.variables()
        self.cond(condition, partial(measured, state), writes, partial(unmeasured, state))

    def _write_after_measuring(self, state: State) -> None:
        """Make everything but the statistics depend on them, for XLA.

        XLA copies what a conditional reads and the update writes, unless the update certainly comes
        second. The number of measured updates, which is never negative, makes it so.
        """
        assert state.statistics is not None
        never = self.read(state.statistics.measured) < 0
        for variable in replace(state, statistics=None).variables():
            value = self.read(variable)
            zero = keras.ops.zeros((), keras.backend.standardize_dtype(value.dtype))
            self.assign(variable, keras.ops.where(never, zero, value))

    def change_if(
        self,
        condition: Tensor,
        change: Callable[[Backend], None],
        writes: Sequence[Variable],
    ) -> None:
        """Like `cond()`, for a change that nearly always happens.

        The change takes the operations to use. A compiler that fuses it does better to select the
        old or new value of each element.
        """
        self.cond(condition, partial(change, self), writes)

    def _change_elements_if(
        self,
        condition: Tensor,
        change: Callable[[Backend], None],
        writes: Sequence[Variable],
    ) -> None:
        """Run `change`, and keep the old values if `condition` is false.

        They are selected as soon as they are assigned: the weights then follow from the selected
        velocity. If they followed from the new one, XLA would compute that twice, from a copy of
        the old one. What writes into a variable in another way is selected afterwards.
        """
        before = [self.read(variable) for variable in writes]
        outer, selecting = self._selection, copy.copy(self)
        if outer is not None:
            condition = keras.ops.logical_and(outer.condition, condition)
        selection = selecting._selection = Selection(condition, set())
        change(selecting)
        for variable, old in zip(writes, before, strict=True):
            if id(variable) not in selection.assigned:
                self.assign(variable, keras.ops.where(condition, self.read(variable), old))
        if outer is not None:
            outer.assigned.update(selection.assigned)

    def _selected(self, variable: Variable, value: Tensor) -> Tensor:
        """The value to assign: in `_change_elements_if()`, the new value or the old one."""
        if self._selection is None:
            return value
        self._selection.assigned.add(id(variable))
        old = self.read(variable)
        return keras.ops.where(self._selection.condition, keras.ops.cast(value, old.dtype), old)

    def cond_value(
        self, condition: Tensor, yes: Callable[[], Tensor], no: Callable[[], Tensor]
    ) -> Tensor:
        """`yes()` or `no()`; only the selected one is computed if the backend allows it."""
        return yes() if bool(condition) else no()

    def call_each_time(self, function: Callable[[], float]) -> Tensor | float:
        """`function()`, called each time that a step runs, compiled or not (contract 2.3)."""
        return function()

    def is_eager(self) -> bool:
        """Whether the code runs now, rather than being traced."""
        return True

    def colocated_with(
        self, optimizer: Any, variable: Variable
    ) -> contextlib.AbstractContextManager[Any]:
        """A context in which new variables are created on the devices of `variable`."""
        return contextlib.nullcontext()  # Keras' device, where its variables are

    def initializer_for(self, variable: Variable) -> Any:
        """An initializer of zeros with the layout of the variable."""
        return ZEROS

    def assign_array(self, variable: Variable, array: np.ndarray[Any, Any]) -> None:
        """Set a variable's value to an array from a file."""
        variable.assign(array)

    def create_as_copy(self, create: Callable[..., Variable], variable: Variable) -> Variable:
        """Create a variable with the values of `variable`, by `create(initializer)`."""

        def initializer(shape: Any, dtype: str) -> Tensor:
            # The copy is needed: the two must not share memory.
            value = np.array(keras.ops.convert_to_numpy(variable), dtype)
            # On TensorFlow, a variable created in the traced function has no value yet.
            return value if value.shape == shape_of(variable) else np.zeros(shape, dtype)

        return create(initializer)

    def as_numpy(self, variable: Variable) -> np.ndarray[Any, Any]:
        """The whole value; if it is sharded over processes, all of them must call this."""
        value: np.ndarray[Any, Any] = keras.ops.convert_to_numpy(variable)
        return value

    def parameter_in_step(self, parameter: ParameterState, variable: Variable) -> ParameterState:
        """The parameter inside a step, where `variable` holds the parameter's weights."""
        return parameter

    def read_rate(self, variable: Variable) -> Tensor | float:
        """The value of a variable that holds a learning rate or a factor."""
        return keras.ops.convert_to_tensor(variable)

    def read(self, variable: Variable) -> Tensor:
        """The value of a variable."""
        return variable.value

    def assign(self, variable: Variable, value: Tensor) -> None:
        """Set a variable's value."""
        variable.assign(self._selected(variable, value))

    def count(self, counter: Variable) -> None:
        """counter <- counter + 1."""
        counter.assign_add(1)

    def squared_norms(self, gradients: Sequence[Tensor], units: Tensor | None = None) -> Tensor:
        """A vector with each gradient's sum of squares; float64 if any gradient is.

        If `units` is given, each gradient is divided by its unit, a power of two.
        """
        ops = keras.ops
        if units is not None:
            factors = ops.unstack(1 / units, len(gradients))
            pairs = zip(gradients, factors, strict=True)
            gradients = [clipping.times(ops.cast(g, f.dtype), f) for g, f in pairs]
        sums = [ops.sum(ops.square(gradient)) for gradient in gradients]
        dtypes = {keras.backend.standardize_dtype(s.dtype) for s in sums}
        widest = "float64" if "float64" in dtypes else "float32"
        return ops.stack([ops.cast(s, widest) for s in sums])

    def squares_of(self, updates: Updates, units: Tensor | None) -> Tensor:
        """`squared_norms()` of whole gradients, even if they are sharded."""
        return self.squared_norms(updates.gradients, units)

    def all_finite(self, gradients: Sequence[Tensor]) -> Tensor:
        """Whether all elements of all gradients are finite."""
        return loss_scale.all_finite([self.values(gradient) for gradient in gradients])

    def norms(self, arrays: Sequence[Tensor]) -> Tensor:
        """A vector with each array's L2 norm, safe against overflow of the squares (4.3).

        The arrays are at least float32.
        """
        ops = keras.ops
        if not arrays:
            return ops.zeros((0,), dtype="float32")
        squares = self.squared_norms(arrays)

        def measured_in_units() -> Tensor:
            units = clipping.units_for(squares)
            return ops.sqrt(self.squared_norms(arrays, units)) * units

        in_units = clipping.needs_units(squares)
        return self.cond_value(in_units, measured_in_units, lambda: ops.sqrt(squares))

    def copies(self, variables: Sequence[Variable]) -> list[Tensor]:
        """Copies of the values, in at least float32, which later writes do not change."""
        return [_widened(keras.ops.copy(self.read(variable))) for variable in variables]

    def differences(self, copies: Sequence[Tensor], variables: Sequence[Variable]) -> list[Tensor]:
        """`copies` minus the current values of the variables; may overwrite `copies`."""
        values = [_widened(self.read(variable)) for variable in variables]
        return [copy - value for copy, value in zip(copies, values, strict=True)]

    def assign_rows(self, variable: Variable, rows: Sequence[Tensor]) -> None:
        """Set a variable to these rows, which must have its dtype."""
        self.assign(variable, keras.ops.stack(rows))

    def values(self, gradient: Tensor) -> Tensor:
        """The elements of the gradient; for a sparse gradient, those of its rows."""
        return gradient

    def map_values(self, function: Callable[[Tensor], Tensor], gradient: Tensor) -> Tensor:
        """The gradient with `function` applied to its elements."""
        return function(gradient)

    def clip_values(self, updates: Updates, limit: float) -> Updates:
        """`clipvalue` (contract 4.1)."""

        def clipped(update: Update) -> Tensor:
            # The limit before the multiplication by the coefficient.
            its_limit = limit / scalar(update.coefficient, update.gradient.dtype)
            return self.map_values(
                lambda values: clipping.clip_value(values, its_limit), update.gradient
            )

        return replace(updates, gradients=list(map(clipped, updates)))

    def clip_each_norm(self, updates: Updates, limit: float) -> Updates:
        """`clipnorm` (contract 4.1)."""
        squares_in = partial(self.squares_of, updates)
        clip, in_units = self._clip_norms(squares_in, updates.coefficient, limit)
        count = len(updates)
        scales, coefficients = (list(keras.ops.unstack(part, count)) for part in clip)
        gradients = self.rescale(in_units, updates.gradients, scales)
        return replace(updates, gradients=gradients, coefficient=coefficients, scale=scales)

    def clip_global_norm(self, updates: Updates, limit: float) -> Updates:
        """`global_clipnorm` (contract 4.1)."""
        count = len(updates)

        def squares_in(units: Tensor | None) -> Tensor:
            if units is not None:
                units = keras.ops.broadcast_to(units, (count,))
            squares = self.squares_of(updates, units)
            return keras.ops.reshape(keras.ops.sum(squares), (1,))

        clip, in_units = self._clip_norms(squares_in, updates.coefficient, limit)
        scale, coefficient = clip.scale[0], clip.coefficient[0]
        gradients = self.rescale(in_units, updates.gradients, [scale] * count)
        return replace(updates, gradients=gradients, coefficient=coefficient, scale=scale)

    def _clip_norms(
        self, squares_in: SquaresIn, unclipped: Any, limit: float
    ) -> tuple[clipping.NormClip, Tensor]:
        """The factors that clip the norms, and whether the norms were measured in units.

        The second measurement, in units, runs only if it is needed (contract 4.3).
        """
        ops = keras.ops
        squares = squares_in(None)
        unclipped = scalar(unclipped, squares.dtype)
        in_units = clipping.needs_units(squares)

        def as_usual() -> Tensor:
            coefficients = clipping.clip_norm(squares, unclipped, limit)
            return ops.stack([ops.ones_like(coefficients), coefficients])

        def measured_in_units() -> Tensor:
            units = clipping.units_for(squares)
            clip = clipping.clip_norm_in_units(squares_in(units), units, unclipped, limit)
            return ops.stack(clip)

        scale, coefficient = ops.unstack(self.cond_value(in_units, measured_in_units, as_usual), 2)
        return clipping.NormClip(scale, coefficient), in_units

    def rescale(
        self, condition: Tensor, gradients: Sequence[Tensor], factors: Sequence[Tensor]
    ) -> Sequence[Tensor]:
        """Each ``factor * gradient`` if `condition` is true; otherwise all factors are 1."""
        pairs = zip(gradients, factors, strict=True)
        return [gradient * keras.ops.cast(factor, gradient.dtype) for gradient, factor in pairs]

    def accumulate(self, updates: Updates) -> None:
        """accumulator <- accumulator + coefficient * gradient."""
        for update in updates:
            accumulator: Variable = update.parameter.accumulator
            total = self.read(accumulator)
            self.assign(
                accumulator, accumulation.accumulated(total, update.gradient, update.coefficient)
            )

    def clear(self, variables: Sequence[Variable]) -> None:
        """Set variables to zero."""
        for variable in variables:
            self.assign(variable, keras.ops.zeros_like(self.read(variable)))

    def decay_and_apply_rule(
        self,
        updates: Updates,
        rate: Tensor,
        momentum: float,
        nesterov: bool,
        weight_decay: float,
    ) -> None:
        """Weight decay (contract 3.1), then the update rule (contract 1.1 to 1.3)."""
        if weight_decay:
            self.decay_weights(updates.parameters, rate, weight_decay)
        self.apply_rule(updates, rate, momentum, nesterov)

    def decay_weights(
        self, parameters: Sequence[ParameterState], rate: Tensor, weight_decay: float
    ) -> None:
        """w <- w - rate * weight_decay * w."""
        for parameter in parameters:
            weights = self.read(parameter.variable)
            dtype = keras.backend.standardize_dtype(weights.dtype)
            factor = decay_factor(rate, weight_decay, dtype)
            self.assign(parameter.variable, decayed(weights, factor))

    def apply_rule(self, updates: Updates, rate: Tensor, momentum: float, nesterov: bool) -> None:
        """Rules 1.1 to 1.4."""
        for update in updates:
            self.apply_rule_to_one(update, rate, momentum, nesterov)

    def apply_rule_to_one(
        self, update: Update, rate: Tensor, momentum: float, nesterov: bool
    ) -> None:
        """Rules 1.1 to 1.4 for one variable."""
        variable, velocity = update.parameter.variable, update.parameter.velocity
        weights = self.read(variable)
        dtype = keras.backend.standardize_dtype(weights.dtype)
        step = momentum_rule.learning_rate_times_gradient(
            update.gradient, update.coefficient, rate, dtype
        )
        if velocity is None:
            self.assign(variable, momentum_rule.without_momentum(weights, step))
            return
        self.assign(velocity, momentum_rule.new_velocity(self.read(velocity), step, momentum))
        ahead = self.read(velocity)
        self.assign(variable, momentum_rule.with_momentum(weights, ahead, step, momentum, nesterov))

    def average(self, parameters: Sequence[ParameterState], momentum: float, begun: Tensor) -> None:
        """average <- momentum * average + (1 - momentum) * w; the first average is w itself."""
        for parameter in parameters:
            old, weights = self.read(parameter.average), self.read(parameter.variable)
            self.assign(parameter.average, averaged(old, weights, momentum, begun))

    def in_parts(
        self,
        change: Callable[[Backend, Updates], None],
        updates: Updates,
        settings: Settings,
    ) -> None:
        """Run `change`, the whole change of the weights in an update, for all updates.

        The change takes several passes over memory. A backend may divide the updates into parts
        that fit into the cache, or that a compiler fuses; it calls `change` with each part and the
        operations for it.
        """
        change(self, updates)

    def overwrite(self, parameters: Sequence[ParameterState]) -> None:
        """w <- average."""
        for parameter in parameters:
            self.assign(parameter.variable, keras.ops.copy(self.read(parameter.average)))


def _widened(gradient: Tensor) -> Tensor:
    gradient = keras.ops.convert_to_tensor(gradient)
    dtype = keras.backend.standardize_dtype(gradient.dtype)
    return gradient if wide(dtype) == dtype else keras.ops.cast(gradient, wide(dtype))
