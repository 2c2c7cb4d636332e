"""TensorFlow: in-place kernels in graphs and eager code, plain operations that XLA fuses."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import keras
import tensorflow as tf

from kerasgd.backends import grouped_norms
from kerasgd.backends.base import Backend
from kerasgd.backends.tensorflow import choice, clusters, eager, kernels, replicas, scratch, sparse
from kerasgd.backends.tensorflow.choice import Implementation, Mode
from kerasgd.backends.tensorflow.replicas import native
from kerasgd.rules import precision
from kerasgd.rules.weight_decay import decay_factor, decayed
from kerasgd.settings import Settings
from kerasgd.state import ParameterState, Proceed, Rates, State, Step, Tensor, Updates, Variable


class TensorFlowBackend(Backend):
    """Variables are written by operations, in graphs and in eager code alike.

    Attributes:
        mode: the mode of execution; `choice.py` chooses implementations by it.
    """

    def __init__(self, mode: Mode = Mode.EAGER) -> None:
        self.mode = mode

    def of_this_trace(self, gradients: Sequence[Tensor | None] = ()) -> Backend:
        return TensorFlowBackend(choice.current_mode())

    def without_autograph(self, function: Callable[..., None]) -> Callable[..., None]:
        """Exclude `function` from AutoGraph, which slows tracing and is not needed."""
        unconverted: Callable[..., None] = tf.autograph.experimental.do_not_convert(function)
        return unconverted

    def prepare_gradients(
        self,
        gradients: Sequence[Tensor | None],
        parameters: Sequence[ParameterState],
        may_stay_sparse: Callable[[ParameterState], bool],
    ) -> list[Tensor | None]:
        pairs = zip(gradients, parameters, strict=True)
        return [
            g if g is None else _with_summed_rows(self.mode, g, parameter, may_stay_sparse)
            for g, parameter in pairs
        ]

    def compiled(self, function: Callable[..., None], state: State, settings: Hashable) -> Step:
        if self.mode is Mode.EAGER and eager.can_compile(state):
            return eager.compiled(partial(_with_its_operations, function), state, settings)
        return super().compiled(function, state, settings)

    def cond(
        self,
        condition: Tensor,
        action: Callable[[], None],
        writes: Sequence[Variable],
        otherwise: Callable[[], None] | None = None,
    ) -> None:
        scratches = [variable for variable in writes if isinstance(variable, scratch.Scratch)]
        if scratches:
            scratch.cond(condition, action, otherwise or (lambda: None), scratches)
        else:
            tf.cond(condition, action, otherwise or (lambda: None))

    def measure_if(
        self,
        condition: Tensor,
        measured: Callable[[State], None],
        unmeasured: Callable[[State], None],
        state: State,
        updates: Updates,
    ) -> None:
        is_sparse = any(isinstance(each, tf.IndexedSlices) for each in updates.gradients)
        if self.mode is not Mode.XLA or is_sparse:  # sparse updates write into the variables
            super().measure_if(condition, measured, unmeasured, state, updates)
            return
        # As on JAX (see there): XLA copies what a conditional may write.
        assert state.statistics is not None
        discarded = replicas.replaced(state, scratch.Scratch)
        discarded = replace(discarded, statistics=state.statistics)
        tf.cond(condition, lambda: measured(discarded), lambda: None)
        self._write_after_measuring(state)
        unmeasured(state)

    def change_if(
        self,
        condition: Tensor,
        change: Callable[[Backend], None],
        writes: Sequence[Variable],
    ) -> None:
        is_for_xla = self.mode is Mode.XLA
        change_if = self._change_elements_if if is_for_xla else super().change_if
        change_if(condition, change, writes)

    def call_each_time(self, function: Callable[[], float]) -> Tensor | float:
        # A graph gets a placeholder, which the outermost function fills on the main thread at each
        # call.
        graph = tf.compat.v1.get_default_graph()
        if self.is_eager():
            return function()
        while getattr(graph, "outer_graph", None) is not None and hasattr(
            graph.outer_graph, "capture_call_time_value"
        ):
            graph = graph.outer_graph
        dtype = precision.wide(keras.config.floatx())
        return graph.capture_call_time_value(
            lambda: tf.constant(function(), dtype),
            tf.TensorSpec((), dtype),
            key=function,
        )

    def is_eager(self) -> bool:
        return bool(tf.executing_eagerly())

    def read(self, variable: Variable) -> Tensor:
        return tf.convert_to_tensor(variable)

    def assign(self, variable: Variable, value: Tensor) -> None:
        value = self._selected(variable, tf.cast(value, variable.dtype))
        variable.assign(value, read_value=False)

    def squared_norms(self, gradients: Sequence[Tensor], units: Tensor | None = None) -> Tensor:
        elements = [self.values(gradient) for gradient in gradients]
        if self.mode is Mode.XLA:
            return grouped_norms.squared_norms(elements, units, _sum_of_squares_in_lanes)
        if units is not None:
            factors = tf.unstack(1 / units, len(elements))
            elements = [tf.cast(e, f.dtype) * f for e, f in zip(elements, factors, strict=True)]
        # One pass over memory; reduce_sum(square()) would write the squares first.
        halves = [tf.nn.l2_loss(e) for e in elements]
        widest = tf.float64 if tf.float64 in {half.dtype for half in halves} else tf.float32
        return 2 * tf.stack([tf.cast(half, widest) for half in halves])

    def values(self, gradient: Tensor) -> Tensor:
        return gradient.values if isinstance(gradient, tf.IndexedSlices) else gradient

    def map_values(self, function: Callable[[Tensor], Tensor], gradient: Tensor) -> Tensor:
        if isinstance(gradient, tf.IndexedSlices):
            return tf.IndexedSlices(
                function(gradient.values), gradient.indices, gradient.dense_shape
            )
        return function(gradient)

    def cond_value(
        self, condition: Tensor, yes: Callable[[], Tensor], no: Callable[[], Tensor]
    ) -> Tensor:
        return tf.cond(condition, yes, no)

    def rescale(
        self, condition: Tensor, gradients: Sequence[Tensor], factors: Sequence[Tensor]
    ) -> list[Tensor]:

        def products() -> list[Tensor]:
            pairs = zip(factors, gradients, strict=True)
            return [
                self._times(tf.cast(factor, gradient.dtype), gradient) for factor, gradient in pairs
            ]

        if self.mode is Mode.XLA:  # XLA fuses the product, but would copy for a conditional
            return products()
        # One conditional for all gradients, because tracing a conditional is slow.
        rescaled: list[Tensor] = tf.cond(condition, products, lambda: list(gradients))
        return rescaled

    def accumulate(self, updates: Updates) -> None:
        for update in updates:
            accumulator: Variable = update.parameter.accumulator
            gradient = self._times(
                precision.scalar(update.coefficient, update.gradient.dtype), update.gradient
            )
            accumulator.assign_add(tf.cast(gradient, accumulator.dtype), read_value=False)

    def clear(self, variables: Sequence[Variable]) -> None:
        for variable in variables:
            variable.assign(tf.zeros_like(variable), read_value=False)

    def decay_weights(
        self, parameters: Sequence[ParameterState], rate: Tensor, weight_decay: float
    ) -> None:
        factors: dict[str, Tensor] = {}
        for parameter in parameters:
            weights = self.read(parameter.variable)
            dtype = precision.wide(weights.dtype.name)
            if dtype not in factors:  # once per dtype, not for each of thousands of variables
                factors[dtype] = decay_factor(rate, weight_decay, dtype)
            self.assign(parameter.variable, decayed(weights, factors[dtype]))

    def apply_rule(self, updates: Updates, rate: Tensor, momentum: float, nesterov: bool) -> None:
        scalars = kernels.Scalars(rate, momentum, updates)
        for update in updates:
            implementation = choice.implementation(self.mode, update)
            if implementation is Implementation.ROWS:
                sparse.apply_rule(self.mode, update, rate, momentum, nesterov)
            elif implementation is Implementation.KERNEL:
                kernels.apply_rule(update, *scalars.of(update), nesterov)
            else:
                self.apply_rule_to_one(update, rate, momentum, nesterov)

    def average(self, parameters: Sequence[ParameterState], momentum: float, begun: Tensor) -> None:
        by_kernel: list[ParameterState] = []
        plainly: list[ParameterState] = []
        for parameter in parameters:
            implementation = choice.of_average(self.mode, parameter, momentum)
            has_kernel = implementation is Implementation.KERNEL
            (by_kernel if has_kernel else plainly).append(parameter)
        if by_kernel:
            tf.cond(
                begun,
                lambda: kernels.average(by_kernel, momentum),
                lambda: self._first_average(by_kernel),
            )
        super().average(plainly, momentum, begun)

    def in_parts(
        self,
        change: Callable[[Backend, Updates], None],
        updates: Updates,
        settings: Settings,
    ) -> None:
        """Change large variables in one cluster, if that saves passes, and then the others."""
        clustered, others = updates.split(
            [
                choice.implementation(self.mode, update, settings) is Implementation.CLUSTER
                for update in updates
            ]
        )
        if len(clustered):
            clusters.run(partial(change, TensorFlowBackend(Mode.XLA), clustered))
        change(self, others)

    def overwrite(self, parameters: Sequence[ParameterState]) -> None:
        for parameter in parameters:
            self.assign(parameter.variable, self.read(parameter.average))

    def _first_average(self, parameters: Sequence[ParameterState]) -> None:
        for parameter in parameters:
            self.assign(parameter.average, self.read(parameter.variable))

    def _times(self, factor: Tensor, gradient: Tensor) -> Tensor:
        return self.map_values(lambda elements: factor * elements, gradient)

    def across_replicas(
        self, state: State, gradients: Sequence[Tensor | None], proceed: Proceed
    ) -> None:
        replicas.across_replicas(self.mode, state, gradients, proceed)

    def colocated_with(
        self, optimizer: Any, variable: Variable
    ) -> contextlib.AbstractContextManager[Any]:
        return replicas.colocated_with(optimizer, variable)

    def parameter_in_step(self, parameter: ParameterState, variable: Variable) -> ParameterState:
        return replicas.parameter_in_step(parameter, variable)


def _with_its_operations(
    function: Callable[..., None], gradients: Sequence[Tensor | None], rates: Rates
) -> None:
    """Run `function` with the operations for the traced graph, or for eager code."""
    function(TensorFlowBackend(choice.current_mode()), gradients, rates)


def _with_summed_rows(
    mode: Mode,
    gradient: Tensor,
    parameter: ParameterState,
    may_stay_sparse: Callable[[ParameterState], bool],
) -> Tensor:
    if not isinstance(gradient, tf.IndexedSlices):
        return _widened(tf.convert_to_tensor(gradient))
    # Users may pass arrays, lists or tuples as the parts.
    values = _widened(tf.convert_to_tensor(gradient.values))
    indices = tf.convert_to_tensor(gradient.indices, dtype_hint=tf.int64)
    gradient = tf.IndexedSlices(values, indices, _shape(native(parameter.variable)))
    stays = may_stay_sparse(parameter) and choice.stays_sparse(
        mode, gradient, parameter, native(parameter.variable)
    )
    return sparse.each_once(mode, gradient) if stays else tf.convert_to_tensor(gradient)


def _shape(variable: tf.Variable) -> Tensor:
    if variable.shape.is_fully_defined():
        return tf.constant(variable.shape.as_list())
    return tf.shape(variable)


LANES = 8


def _sum_of_squares_in_lanes(values: Tensor) -> Tensor:
    """The sum of the squares of all elements, in a form that XLA computes quickly.

    TensorFlow's XLA adds one element after the other, each time waiting for the last sum. Eight
    sums at a time take a third of the time.
    """
    size = values.shape.num_elements()
    if size is None:
        return grouped_norms.sum_of_squares(values)
    elements = tf.reshape(values, (-1,))
    length = size // LANES
    lanes = tf.reshape(elements[: LANES * length], (LANES, length))
    squares = [tf.square(lane) for lane in tf.unstack(lanes)]
    while len(squares) > 1:
        squares = [one + other for one, other in zip(squares[::2], squares[1::2], strict=True)]
    rest = tf.reduce_sum(tf.square(elements[LANES * length :]))
    return tf.reduce_sum(squares[0]) + rest


def _widened(values: Tensor) -> Tensor:
    return values if values.dtype in (tf.float32, tf.float64) else tf.cast(values, "float32")
