"""The operations of a step, in plain `keras.ops`: the readable implementation, for every backend.

`update.py` calls them in the order of a step. Backends override what measurement justifies, or what
they need to do otherwise; tests hold them equal to this.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import keras

from kerasgd.rules import momentum as momentum_rule
from kerasgd.rules import precision
from kerasgd.rules.ema import averaged
from kerasgd.rules.weight_decay import decay_factor, decayed
from kerasgd.state import ParameterState, Proceed, State, Step, Tensor, Update, Variable


class Backend:
    """The operations of a step."""

    def without_autograph(self, function: Callable[..., None]) -> Callable[..., None]:
        """`function`, not to be rewritten where the backend's compiler rewrites Python code."""
        return function

    def prepare_gradients(
        self,
        gradients: Sequence[Tensor | None],
        parameters: Sequence[ParameterState],
        may_stay_sparse: Callable[[ParameterState], bool],
    ) -> list[Tensor | None]:
        """The gradients for these parameters as tensors of at least float32; None stays.

        A sparse gradient is made dense, or has each row once.
        """
        return [gradient if gradient is None else _widened(gradient) for gradient in gradients]

    def across_replicas(
        self, state: State, gradients: Sequence[Tensor | None], proceed: Proceed
    ) -> None:
        """Sum the gradients over replicas, and `proceed` with one triple for each device.

        A triple holds the context to enter, the device's copy of the state, and the sums.
        """
        proceed([(contextlib.nullcontext(), state, list(gradients))])

    def compiled(self, function: Step, state: State, settings: Hashable) -> Step:
        """`function`, compiled where eager code is slower and that is sound.

        `state`, which it is for, and `settings` alone decide what it does.
        """
        return function

    def when(
        self, condition: Tensor, action: Callable[[], None], writes: Sequence[Variable]
    ) -> None:
        """Do `action`, which writes nothing but `writes`, if `condition` holds."""
        if bool(condition):
            action()

    def choose(
        self, condition: Tensor, yes: Callable[[], Tensor], no: Callable[[], Tensor]
    ) -> Tensor:
        """The one or the other, only that one computed where the backend can."""
        return yes() if bool(condition) else no()

    def call_each_time(self, function: Callable[[], float]) -> Tensor | float:
        """`function()`, anew each time that a step runs, compiled or not (contract 2.3)."""
        return function()

    def is_eager(self) -> bool:
        """Whether this runs now, and is not being compiled."""
        return True

    def colocated_with(
        self, optimizer: Any, variable: Variable
    ) -> contextlib.AbstractContextManager[Any]:
        """Where new variables are created on the devices of `variable`."""
        return contextlib.nullcontext()  # on the device that Keras uses, where its variables are

    def parameter_in_step(self, parameter: ParameterState, variable: Variable) -> ParameterState:
        """The parameter as a step has it that has `variable` for the parameter's weights."""
        return parameter

    def read(self, variable: Variable) -> Tensor:
        """The value of a variable."""
        return variable.value

    def assign(self, variable: Variable, value: Tensor) -> None:
        """Set a variable's value."""
        variable.assign(value)

    def count(self, counter: Variable) -> None:
        """counter <- counter + 1."""
        counter.assign_add(1)

    def squared_norms(self, gradients: Sequence[Tensor], units: Tensor | None = None) -> Tensor:
        """A vector with each gradient's sum of squares; float64 if one of the gradients is.

        Each gradient is measured in its unit, where there are units; these are powers of two.
        """
        ops = keras.ops
        if units is not None:
            factors = ops.unstack(1 / units, len(gradients))
            gradients = [ops.cast(g, f.dtype) * f for g, f in zip(gradients, factors, strict=True)]
        sums = [ops.sum(ops.square(gradient)) for gradient in gradients]
        dtypes = {keras.backend.standardize_dtype(s.dtype) for s in sums}
        widest = "float64" if "float64" in dtypes else "float32"
        return ops.stack([ops.cast(s, widest) for s in sums])

    def values(self, gradient: Tensor) -> Tensor:
        """The gradient's elements; of a sparse one those of the rows that it has."""
        return gradient

    def map_values(self, function: Callable[[Tensor], Tensor], gradient: Tensor) -> Tensor:
        """The gradient with `function` applied to its elements."""
        return function(gradient)

    def rescale(
        self, condition: Tensor, gradients: Sequence[Tensor], factors: Sequence[Tensor]
    ) -> Sequence[Tensor]:
        """Each ``factor * gradient`` if `condition` holds; the factors are 1 where it does not."""
        pairs = zip(gradients, factors, strict=True)
        return [gradient * keras.ops.cast(factor, gradient.dtype) for gradient, factor in pairs]

    def accumulate(self, updates: Sequence[Update]) -> None:
        """accumulator <- accumulator + coefficient * gradient."""
        for update in updates:
            accumulator: Variable = update.parameter.accumulator
            factor = precision.scalar(update.coefficient, update.gradient.dtype)
            total = self.read(accumulator)
            # Contract 1.4: the cast comes last.
            gradient = keras.ops.cast(factor * update.gradient, total.dtype)
            self.assign(accumulator, total + gradient)

    def clear(self, variables: Sequence[Variable]) -> None:
        """Set to zero."""
        for variable in variables:
            self.assign(variable, keras.ops.zeros_like(self.read(variable)))

    def descend(
        self,
        updates: Sequence[Update],
        rate: Tensor,
        momentum: float,
        nesterov: bool,
        weight_decay: float,
    ) -> None:
        """Rule 3.1 where it applies, w <- w - rate * weight_decay * w; then rules 1.1 to 1.3."""
        for update in updates:
            if weight_decay and update.parameter.decays:
                weights = self.read(update.parameter.variable)
                dtype = keras.backend.standardize_dtype(weights.dtype)
                factor = decay_factor(rate, weight_decay, dtype)
                self.assign(update.parameter.variable, decayed(weights, factor))
            momentum_rule.descend(update, rate, momentum, nesterov, self.read, self.assign)

    def average(self, parameters: Sequence[ParameterState], momentum: float, begun: Tensor) -> None:
        """average <- momentum * average + (1 - momentum) * w; the first one is w itself."""
        for parameter in parameters:
            old, weights = self.read(parameter.average), self.read(parameter.variable)
            self.assign(parameter.average, averaged(old, weights, momentum, begun))

    def in_one_pass(
        self, function: Callable[[Sequence[Update]], None], updates: Sequence[Update]
    ) -> frozenset[int]:
        """Do `function`, which takes several passes over memory, in one where that pays.

        It is called with the updates for which it does, if there are any; where the backend goes
        piece by piece, once for each piece. The answer has the `id()` of the updates' parameters.
        """
        return frozenset()

    def overwrite(self, parameters: Sequence[ParameterState]) -> None:
        """w <- average."""
        for parameter in parameters:
            self.assign(parameter.variable, keras.ops.copy(self.read(parameter.average)))


def _widened(gradient: Tensor) -> Tensor:
    gradient = keras.ops.convert_to_tensor(gradient)
    is_wide = keras.backend.standardize_dtype(gradient.dtype) in ("float32", "float64")
    return gradient if is_wide else keras.ops.cast(gradient, "float32")
