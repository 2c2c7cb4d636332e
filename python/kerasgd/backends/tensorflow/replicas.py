"""TensorFlow's strategies: the step leaves the replica context once, to sum the gradients.

After that each device runs the same step on its own copies, which are plain variables. So no other
part of an update needs to know about the strategy, and conditionals are allowed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import keras
import tensorflow as tf

from kerasgd.backends.tensorflow import sparse
from kerasgd.backends.tensorflow.choice import Mode
from kerasgd.errors import StateError
from kerasgd.state import ParameterState, Proceed, State, Tensor, Variable
from kerasgd.variables import path_of


def across_replicas(
    mode: Mode, state: State, gradients: Sequence[Tensor | None], proceed: Proceed
) -> None:
    """Sum the gradients, and `proceed` on each device with its copies of the state."""
    if not tf.distribute.has_strategy():
        proceed([(contextlib.nullcontext(), _on_this_device(state), list(gradients))])
        return
    sum_and_proceed = partial(_sum_and_proceed, mode, state, proceed)
    if tf.distribute.in_cross_replica_context():
        _check_single_replica()
        sum_and_proceed(tf.distribute.get_strategy(), list(gradients))
    else:
        # The merged call collects its arguments from all replicas; the state is the same on all.
        # Even a single replica must leave its context, because neither `tf.cond` nor a
        # `tf.function` can write distributed variables inside it.
        tf.distribute.get_replica_context().merge_call(sum_and_proceed, args=(list(gradients),))


def _check_single_replica() -> None:
    replicas = tf.distribute.get_strategy().num_replicas_in_sync
    if replicas > 1:
        raise StateError(
            f"`apply()` was called outside the {replicas} replicas of the strategy, each of which "
            "has its own gradients. Call it in a function passed to `strategy.run()`."
        )


def _sum_and_proceed(
    mode: Mode,
    state: State,
    proceed: Proceed,
    strategy: tf.distribute.Strategy,
    gradients: list[Tensor | None],
) -> None:
    # Only this worker's devices: `num_replicas_in_sync` counts the replicas of all workers.
    devices = len(strategy.extended.worker_devices)
    sums = _sums(mode, strategy, devices, state.parameters, gradients)
    copies = []
    for i in range(devices):
        on_device = _on_replica(strategy, state, devices, i)
        its_sums = [None if s is None else s[i] for s in sums]
        copies.append((tf.device(on_device.iterations.device), on_device, its_sums))
    proceed(copies)


def _sums(
    mode: Mode,
    strategy: tf.distribute.Strategy,
    devices: int,
    parameters: Sequence[ParameterState],
    gradients: Sequence[Tensor | None],
) -> list[Sequence[Tensor] | None]:
    """The sum of each gradient over the replicas, once for each device."""
    if strategy.num_replicas_in_sync == 1:
        return [gradient if gradient is None else [gradient] for gradient in gradients]
    pairs = zip(gradients, parameters, strict=True)
    gradients = [_one_for_each_device(strategy, devices, g, parameter) for g, parameter in pairs]
    present = [
        (gradient, native(parameter.variable))
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
        # The rows of several replicas are concatenated.
        return [
            sparse.each_once(mode, s) if isinstance(s, tf.IndexedSlices) else s
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

    If all replicas pass the same tensor, TensorFlow passes it on only once.
    """
    if gradient is None or devices == 1:
        return gradient
    if isinstance(gradient, tf.distribute.DistributedValues):
        if any(value is None for value in strategy.experimental_local_results(gradient)):
            raise StateError(
                f"`{path_of(parameter.variable)}` has a gradient on some replicas but not on "
                "others. Pass zeros on the others."
            )
        return gradient
    return strategy.experimental_distribute_values_from_function(lambda context: gradient)


def _largest(
    strategy: tf.distribute.Strategy, devices: int, gradient: Tensor, parameter: ParameterState
) -> Tensor:
    """The largest value of all replicas: new values must not be summed like gradients."""
    if strategy.num_replicas_in_sync > devices:
        raise StateError(
            f"`{path_of(parameter.variable)}` needs the largest value over all replicas, which is "
            "not available across workers. Train models with float8 scales on one worker."
        )
    values = strategy.experimental_local_results(gradient)
    return tf.reduce_max(tf.stack(values), axis=0)


def _on_replica(strategy: tf.distribute.Strategy, state: State, devices: int, i: int) -> State:
    """The state on the i-th device of this worker; the parameters are created only once."""

    def local(variable: Variable) -> tf.Variable:
        return _copies(strategy, devices, variable)[i]

    key = ("parameters", i)
    if key not in state.memo:
        state.memo[key] = _parameters_on_device(state, local)
    return _on_device(state, local, state.memo[key])


def _copies(
    strategy: tf.distribute.Strategy, devices: int, variable: Variable
) -> tuple[tf.Variable, ...]:
    copies: tuple[tf.Variable, ...] = strategy.experimental_local_results(native(variable))
    if len(copies) != devices:
        raise StateError(
            f"`{path_of(variable)}` has {len(copies)} copies for {devices} replicas. "
            "Create model and optimizer inside `with strategy.scope():`."
        )
    return copies


def _on_this_device(state: State) -> State:
    """Like `_on_device()`, for a single device: the parameters are created once."""
    if "parameters" not in state.memo:
        state.memo["parameters"] = _parameters_on_device(state, native)
    return _on_device(state, native, state.memo["parameters"])


def _on_device(
    state: State, local: Callable[[Variable], tf.Variable], parameters: Sequence[ParameterState]
) -> State:
    """The state with TensorFlow's plain variables of one device."""
    scale = state.dynamic_scale
    return replace(  # type: ignore[no-any-return]
        _localised(state, local, ("iterations", "averaging", "in_window")),
        parameters=parameters,
        dynamic_scale=scale and _localised(scale, local, ("scale", "finite_steps")),
        skips=state.skips and _localised(state.skips, local, tuple(vars(state.skips))),
        statistics=(
            state.statistics and _localised(state.statistics, local, tuple(vars(state.statistics)))
        ),
        own=[local(variable) for variable in state.own],
    )


def replaced(state: State, substitute: Callable[[tf.Variable], Any]) -> State:
    """The state with a substitute for each variable."""
    return _on_device(state, substitute, _parameters_on_device(state, substitute))


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


def parameter_in_step(parameter: ParameterState, variable: Variable) -> ParameterState:
    """The parameter with the plain variables of the device of `variable`."""
    copies = tf.distribute.get_strategy().experimental_local_results(native(parameter.variable))
    replica = next((i for i, copy in enumerate(copies) if copy is native(variable)), 0)

    def local(kept: Variable) -> tf.Variable:
        return tf.distribute.get_strategy().experimental_local_results(native(kept))[replica]

    present = ("variable", "velocity", "average", "accumulator")
    localised: ParameterState = _localised(parameter, local, present)
    return localised


@contextlib.contextmanager
def colocated_with(optimizer: Any, variable: Variable) -> Iterator[None]:
    """A context that creates variables outside any graph, under the optimizer's strategy."""
    strategy: tf.distribute.Strategy = optimizer._distribution_strategy
    with tf.init_scope(), strategy.extended.colocate_vars_with(native(variable)):
        yield


def native(variable: Variable) -> tf.Variable:
    """TensorFlow's variable inside a Keras variable."""
    return variable.value if isinstance(variable, keras.Variable) else variable
