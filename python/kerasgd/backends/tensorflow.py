"""TensorFlow: variables are written by operations, in graphs and in eager code alike.

With replicas the step leaves the replicas once, when the gradients are summed. From there on each
device runs the same step on its own copies, which are plain variables: no part of an update needs
to know of the strategy, and conditionals are allowed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import keras
import tensorflow as tf

from kerasgd.backends import tensorflow_clusters as clusters
from kerasgd.backends import tensorflow_eager as eager
from kerasgd.backends import tensorflow_kernels as kernels
from kerasgd.backends import tensorflow_rows as rows
from kerasgd.backends import xla
from kerasgd.errors import StateError
from kerasgd.rules import momentum as momentum_rule
from kerasgd.rules import precision
from kerasgd.rules.ema import averaged
from kerasgd.rules.weight_decay import decay_factor, decayed
from kerasgd.state import ParameterState, Proceed, State, Step, Tensor, Update, Variable
from kerasgd.variables import path_of


def without_autograph(function: Callable[..., None]) -> Callable[..., None]:
    """As `Backend.without_autograph`: AutoGraph makes tracing slow and has nothing to do here."""
    unconverted: Callable[..., None] = tf.autograph.experimental.do_not_convert(function)
    return unconverted


def prepare_gradients(
    gradients: Sequence[Tensor | None],
    parameters: Sequence[ParameterState],
    may_stay_sparse: Callable[[ParameterState], bool],
) -> list[Tensor | None]:
    """As `Backend.prepare_gradients`."""
    pairs = zip(gradients, parameters, strict=True)
    return [
        g if g is None else _with_summed_rows(g, parameter, may_stay_sparse)
        for g, parameter in pairs
    ]


def _with_summed_rows(
    gradient: Tensor, parameter: ParameterState, may_stay_sparse: Callable[[ParameterState], bool]
) -> Tensor:
    if not isinstance(gradient, tf.IndexedSlices):
        return _widened(tf.convert_to_tensor(gradient))
    # Users may pass arrays, lists or tuples as parts.
    values = _widened(tf.convert_to_tensor(gradient.values))
    indices = tf.convert_to_tensor(gradient.indices, dtype_hint=tf.int64)
    gradient = tf.IndexedSlices(values, indices, _shape(_native(parameter.variable)))
    stays = may_stay_sparse(parameter) and rows.pay_for(
        gradient, parameter, _native(parameter.variable)
    )
    return rows.each_once(gradient) if stays else tf.convert_to_tensor(gradient)


def _shape(variable: tf.Variable) -> Tensor:
    if variable.shape.is_fully_defined():
        return tf.constant(variable.shape.as_list())
    return tf.shape(variable)


def _widened(values: Tensor) -> Tensor:
    return values if values.dtype in (tf.float32, tf.float64) else tf.cast(values, "float32")


def across_replicas(state: State, gradients: Sequence[Tensor | None], proceed: Proceed) -> None:
    """As `Backend.across_replicas`."""
    if not tf.distribute.has_strategy():
        proceed([(contextlib.nullcontext(), _on_this_device(state), list(gradients))])
        return
    sum_and_proceed = partial(_sum_and_proceed, state, proceed)
    if tf.distribute.in_cross_replica_context():
        _check_single_replica()
        sum_and_proceed(tf.distribute.get_strategy(), list(gradients))
    else:
        # Arguments of the merged call come together from all replicas; state is the same for all.
        # Even a single replica must leave its context: inside it, neither `tf.cond` nor a
        # `tf.function` may write distributed variables.
        tf.distribute.get_replica_context().merge_call(sum_and_proceed, args=(list(gradients),))


def _check_single_replica() -> None:
    replicas = tf.distribute.get_strategy().num_replicas_in_sync
    if replicas > 1:
        raise StateError(
            f"`apply()` was called outside the {replicas} replicas of the strategy, each of which "
            "has its own gradients. Call it in a function passed to `strategy.run()`."
        )


def _sum_and_proceed(
    state: State,
    proceed: Proceed,
    strategy: tf.distribute.Strategy,
    gradients: list[Tensor | None],
) -> None:
    # Only this worker's devices: `num_replicas_in_sync` counts the replicas of all workers.
    devices = len(strategy.extended.worker_devices)
    sums = _sums(strategy, devices, state.parameters, gradients)
    copies = []
    for i in range(devices):
        on_device = _on_replica(strategy, state, devices, i)
        its_sums = [None if s is None else s[i] for s in sums]
        copies.append((tf.device(on_device.iterations.device), on_device, its_sums))
    proceed(copies)


def _sums(
    strategy: tf.distribute.Strategy,
    devices: int,
    parameters: Sequence[ParameterState],
    gradients: Sequence[Tensor | None],
) -> list[Sequence[Tensor] | None]:
    """For each gradient its sum over the replicas, once for each device."""
    if strategy.num_replicas_in_sync == 1:
        return [gradient if gradient is None else [gradient] for gradient in gradients]
    pairs = zip(gradients, parameters, strict=True)
    gradients = [_one_for_each_device(strategy, devices, g, parameter) for g, parameter in pairs]
    present = [
        (gradient, _native(parameter.variable))
        for gradient, parameter in zip(gradients, parameters, strict=True)
        if gradient is not None and not parameter.overwrite_with_gradient
    ]
    reduced = strategy.extended.batch_reduce_to(tf.distribute.ReduceOp.SUM, present)
    sums = iter(reduced if present else [])

    def on_devices(gradient: Tensor | None, parameter: ParameterState) -> Sequence[Tensor] | None:
        if gradient is None:
            return None
        if parameter.overwrite_with_gradient:
            return [_largest(strategy, devices, gradient, parameter)] * devices
        # Rows of several replicas come side by side.
        return [
            rows.each_once(s) if isinstance(s, tf.IndexedSlices) else s
            for s in strategy.experimental_local_results(next(sums))
        ]

    return [
        on_devices(gradient, parameter)
        for gradient, parameter in zip(gradients, parameters, strict=True)
    ]


def _one_for_each_device(
    strategy: tf.distribute.Strategy,
    devices: int,
    gradient: Tensor | None,
    parameter: ParameterState,
) -> Tensor | None:
    """The gradient as one value for each device (10.4).

    If all replicas pass the same tensor, TensorFlow hands it over once.
    """
    if gradient is None or devices == 1:
        return gradient
    if isinstance(gradient, tf.distribute.DistributedValues):
        if any(its is None for its in strategy.experimental_local_results(gradient)):
            raise StateError(
                f"`{path_of(parameter.variable)}` has a gradient on some replicas but not on "
                "others. Pass zeros on the others."
            )
        return gradient
    return strategy.experimental_distribute_values_from_function(lambda context: gradient)


def _largest(
    strategy: tf.distribute.Strategy, devices: int, gradient: Tensor, parameter: ParameterState
) -> Tensor:
    """The largest value of all replicas: new values must not be summed as gradients are."""
    if strategy.num_replicas_in_sync > devices:
        raise StateError(
            f"`{path_of(parameter.variable)}` needs the largest value over all replicas, which is "
            "not available across workers. Train models with float8 scales on one worker."
        )
    values = strategy.experimental_local_results(gradient)
    return tf.reduce_max(tf.stack(values), axis=0)


def _on_replica(strategy: tf.distribute.Strategy, state: State, devices: int, i: int) -> State:
    """The state on the i-th device of this worker; the parameters are made only once."""

    def local(variable: Variable) -> tf.Variable:
        return _copies(strategy, devices, variable)[i]

    key = ("parameters", i)
    if key not in state.memo:
        state.memo[key] = _parameters_on_device(state, local)
    return _on_device(state, local, state.memo[key])


def _copies(
    strategy: tf.distribute.Strategy, devices: int, variable: Variable
) -> tuple[tf.Variable, ...]:
    copies: tuple[tf.Variable, ...] = strategy.experimental_local_results(_native(variable))
    if len(copies) != devices:
        raise StateError(
            f"`{path_of(variable)}` has {len(copies)} copies for {devices} replicas. "
            "Make model and optimizer inside `with strategy.scope():`."
        )
    return copies


def _on_this_device(state: State) -> State:
    """As `_on_device()`, where there is one device only: the parameters are made once."""
    if "parameters" not in state.memo:
        state.memo["parameters"] = _parameters_on_device(state, _native)
    return _on_device(state, _native, state.memo["parameters"])


def _on_device(
    state: State, local: Callable[[Variable], tf.Variable], parameters: Sequence[ParameterState]
) -> State:
    """The state with TensorFlow's own variables of one device in it."""
    scale = state.dynamic_scale
    return replace(  # type: ignore[no-any-return]
        _localised(state, local, ("iterations", "averaging", "in_window")),
        parameters=parameters,
        dynamic_scale=scale and _localised(scale, local, ("scale", "finite_steps")),
    )


def _parameters_on_device(
    state: State, local: Callable[[Variable], tf.Variable]
) -> list[ParameterState]:
    variables = ("variable", "velocity", "average", "accumulator")
    return [_localised(parameter, local, variables) for parameter in state.parameters]


def _localised(
    record: Any, local: Callable[[Variable], tf.Variable], variables: Sequence[str]
) -> Any:
    present = {name: getattr(record, name) for name in variables}
    return replace(record, **{k: local(v) for k, v in present.items() if v is not None})


def compiled(function: Step, state: State, settings: Hashable) -> Step:
    """As `Backend.compiled`."""
    if is_eager() and eager.can_compile(state):
        return eager.compiled(function, state, settings)
    return function


def when(condition: Tensor, action: Callable[[], None], writes: Sequence[Variable]) -> None:
    """As `Backend.when`."""
    tf.cond(condition, action, lambda: None)


def choose(condition: Tensor, yes: Callable[[], Tensor], no: Callable[[], Tensor]) -> Tensor:
    """As `Backend.choose`."""
    return tf.cond(condition, yes, no)


def call_each_time(function: Callable[[], float]) -> Tensor | float:
    """As `Backend.call_each_time`.

    A graph gets a placeholder that the outermost function fills, on the main thread, each time that
    it is called.
    """
    graph = tf.compat.v1.get_default_graph()
    if is_eager():
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


def is_eager() -> bool:
    """As `Backend.is_eager`."""
    return bool(tf.executing_eagerly())


@contextlib.contextmanager
def colocated_with(optimizer: Any, variable: Variable) -> Iterator[None]:
    """As `Backend.colocated_with`: outside of any graph, under the strategy of the optimizer."""
    strategy: tf.distribute.Strategy = optimizer._distribution_strategy
    with tf.init_scope(), strategy.extended.colocate_vars_with(_native(variable)):
        yield


def _native(variable: Variable) -> tf.Variable:
    return variable.value if isinstance(variable, keras.Variable) else variable


def parameter_in_step(parameter: ParameterState, variable: Variable) -> ParameterState:
    """As `Backend.parameter_in_step`: with the plain variables of the device of `variable`."""
    copies = tf.distribute.get_strategy().experimental_local_results(_native(parameter.variable))
    replica = next((i for i, copy in enumerate(copies) if copy is _native(variable)), 0)

    def local(kept: Variable) -> tf.Variable:
        return tf.distribute.get_strategy().experimental_local_results(_native(kept))[replica]

    present = ("variable", "velocity", "average", "accumulator")
    localised: ParameterState = _localised(parameter, local, present)
    return localised


def read(variable: Variable) -> Tensor:
    """As `Backend.read`."""
    return tf.convert_to_tensor(variable)


def assign(variable: Variable, value: Tensor) -> None:
    """As `Backend.assign`."""
    variable.assign(tf.cast(value, variable.dtype), read_value=False)


def count(counter: Variable) -> None:
    """As `Backend.count`."""
    counter.assign_add(1)


def squared_norms(gradients: Sequence[Tensor], units: Tensor | None = None) -> Tensor:
    """As `Backend.squared_norms`."""
    elements = [values(gradient) for gradient in gradients]
    if not kernels.are_better():
        return xla.squared_norms(elements, units)
    if units is not None:
        factors = tf.unstack(1 / units, len(elements))
        elements = [tf.cast(e, f.dtype) * f for e, f in zip(elements, factors, strict=True)]
    # One pass over memory; reduce_sum(square()) writes the squares first.
    halves = [tf.nn.l2_loss(e) for e in elements]
    widest = tf.float64 if tf.float64 in {half.dtype for half in halves} else tf.float32
    return 2 * tf.stack([tf.cast(half, widest) for half in halves])


def values(gradient: Tensor) -> Tensor:
    """As `Backend.values`."""
    return gradient.values if isinstance(gradient, tf.IndexedSlices) else gradient


def map_values(function: Callable[[Tensor], Tensor], gradient: Tensor) -> Tensor:
    """As `Backend.map_values`."""
    if isinstance(gradient, tf.IndexedSlices):
        return tf.IndexedSlices(function(gradient.values), gradient.indices, gradient.dense_shape)
    return function(gradient)


def rescale(
    condition: Tensor, gradients: Sequence[Tensor], factors: Sequence[Tensor]
) -> list[Tensor]:
    """As `Backend.rescale`."""

    def products() -> list[Tensor]:
        pairs = zip(factors, gradients, strict=True)
        return [_times(tf.cast(factor, gradient.dtype), gradient) for factor, gradient in pairs]

    if not kernels.are_better():  # XLA fuses the product, and would copy for a conditional
        return products()
    # One conditional for all: each one takes long to trace.
    rescaled: list[Tensor] = tf.cond(condition, products, lambda: list(gradients))
    return rescaled


def accumulate(updates: Sequence[Update]) -> None:
    """As `Backend.accumulate`."""
    for update in updates:
        accumulator: Variable = update.parameter.accumulator
        gradient = _times(
            precision.scalar(update.coefficient, update.gradient.dtype), update.gradient
        )
        accumulator.assign_add(tf.cast(gradient, accumulator.dtype), read_value=False)


def clear(variables: Sequence[Variable]) -> None:
    """As `Backend.clear`."""
    for variable in variables:
        variable.assign(tf.zeros_like(variable), read_value=False)


def _decay(parameters: Sequence[ParameterState], rate: Tensor, weight_decay: float) -> None:
    factors: dict[str, Tensor] = {}
    for parameter in parameters:
        weights = read(parameter.variable)
        dtype = precision.wide(weights.dtype.name)
        if dtype not in factors:  # once, and not once for each of thousands of variables
            factors[dtype] = decay_factor(rate, weight_decay, dtype)
        assign(parameter.variable, decayed(weights, factors[dtype]))


def descend(
    updates: Sequence[Update], rate: Tensor, momentum: float, nesterov: bool, weight_decay: float
) -> None:
    """As `Backend.descend`."""
    if weight_decay:
        _decay(
            [update.parameter for update in updates if update.parameter.decays], rate, weight_decay
        )
    use_kernels = kernels.are_better()
    # Each scalar once, not once for each of thousands of variables: updates share coefficients.
    scalars: dict[tuple[Any, int], tuple[Tensor, Tensor]] = {}
    for update in updates:
        if isinstance(update.gradient, tf.IndexedSlices):
            rows.descend(update, rate, momentum, nesterov)
        elif use_kernels and kernels.can_move(update):
            dtype = update.gradient.dtype
            key = (dtype, id(update.coefficient))
            if key not in scalars:
                step = precision.scalar(rate, dtype) * precision.scalar(update.coefficient, dtype)
                scalars[key] = step, tf.constant(momentum, dtype)
            kernels.descend(update, *scalars[key], nesterov)
        else:
            momentum_rule.descend(update, rate, momentum, nesterov, read, assign)


def average(parameters: Sequence[ParameterState], momentum: float, begun: Tensor) -> None:
    """As `Backend.average`."""
    by_kernel: list[ParameterState] = []
    plainly: list[ParameterState] = []
    use_kernels = kernels.are_better()
    for parameter in parameters:
        has_kernel = use_kernels and kernels.can_average(parameter, momentum)
        (by_kernel if has_kernel else plainly).append(parameter)
    if by_kernel:
        tf.cond(
            begun, lambda: kernels.average(by_kernel, momentum), lambda: _first_average(by_kernel)
        )
    for parameter in plainly:
        _average(parameter, momentum, begun)


def _first_average(parameters: Sequence[ParameterState]) -> None:
    for parameter in parameters:
        assign(parameter.average, read(parameter.variable))


def _average(parameter: ParameterState, momentum: float, begun: Tensor) -> None:
    old, weights = read(parameter.average), read(parameter.variable)
    assign(parameter.average, averaged(old, weights, momentum, begun))


def in_one_pass(
    function: Callable[[Sequence[Update]], None], updates: Sequence[Update]
) -> frozenset[int]:
    """As `Backend.in_one_pass`: one cluster of operations that XLA compiles."""
    large = [update for update in updates if clusters.are_possible() and clusters.pays_for(update)]
    if large:
        clusters.run(partial(function, large))
    return frozenset(id(update.parameter) for update in large)


def overwrite(parameters: Sequence[ParameterState]) -> None:
    """As `Backend.overwrite`."""
    for parameter in parameters:
        assign(parameter.variable, read(parameter.average))


def _times(factor: Tensor, gradient: Tensor) -> Tensor:
    return map_values(lambda values: factor * values, gradient)
