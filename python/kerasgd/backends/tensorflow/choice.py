"""Chooses the implementation that updates a variable on TensorFlow."""

from __future__ import annotations

import enum
from typing import Any

import tensorflow as tf

from kerasgd.backends.tensorflow import kernels
from kerasgd.settings import Settings
from kerasgd.state import ParameterState, Update, Variable

# From this number of elements, a cluster repays its compile time within a few thousand steps.
LARGE = 2**16


class Mode(enum.Enum):
    """The mode in which the current operations are executed."""

    EAGER = "one by one, at once"
    GRAPH = "in a graph, parts of which XLA may compile"
    REPLICAS = "in a graph for several devices, parts of which XLA cannot compile"
    XLA = "in a graph that XLA compiles as a whole"


class Implementation(enum.Enum):
    """A way to update a variable."""

    ROWS = "sparse.py: only the rows with a gradient"
    CLUSTER = "clusters.py: plain operations that XLA fuses into one pass"
    KERNEL = "kernels.py: TensorFlow's own in-place kernels"
    PLAIN = "base.py: plain operations"


def current_mode() -> Mode:
    """The mode of the code that is running or being traced."""
    if tf.executing_eagerly():
        return Mode.EAGER
    # If the test is missing, use plain operations, which are correct in every graph, if slower.
    if _is_for_xla is None or _is_for_xla(tf.compat.v1.get_default_graph()):
        return Mode.XLA
    is_for_one = tf.distribute.get_strategy().num_replicas_in_sync == 1
    return Mode.GRAPH if is_for_one and tf.test.is_built_with_xla() else Mode.REPLICAS


def _private_xla_test() -> Any:
    """TensorFlow's private test of whether XLA will compile a graph; None if there is none."""
    try:
        from tensorflow.python.ops import control_flow_util

        return control_flow_util.GraphOrParentsInXlaContext
    except (ImportError, AttributeError):
        return None


_is_for_xla = _private_xla_test()


def implementation(mode: Mode, update: Update, settings: Settings | None = None) -> Implementation:
    """The implementation that updates a variable.

    With `settings` it is the one for the whole update of the variable, without them the one for the
    rule alone.
    """
    if isinstance(update.gradient, tf.IndexedSlices):
        return Implementation.ROWS
    if mode is Mode.XLA or not kernels.can_apply_rule(update):
        return Implementation.PLAIN
    if settings is not None and mode is Mode.GRAPH and _pays_as_cluster(update, settings):
        return Implementation.CLUSTER
    return Implementation.KERNEL


def of_average(mode: Mode, parameter: ParameterState, momentum: float) -> Implementation:
    """The implementation that averages the weights of a variable."""
    has_kernel = mode is not Mode.XLA and kernels.can_average(parameter, momentum)
    return Implementation.KERNEL if has_kernel else Implementation.PLAIN


def _pays_as_cluster(update: Update, settings: Settings) -> bool:
    """Whether the update takes several passes over a large variable, and XLA can compile it."""
    parameter = update.parameter
    decays = settings.groups[parameter.group].weight_decay > 0
    return (
        settings.own_rule is None
        and (decays or parameter.average is not None)
        and parameter.constraint is None
        and update.present is True
        and is_large(parameter.variable)
    )


def is_large(variable: Variable) -> bool:
    """Whether a cluster pays for this variable alone, as measured on a CPU."""
    elements = tf.TensorShape(variable.shape).num_elements() or 0  # None if unknown
    return elements >= LARGE and "CPU" in variable.device


def stays_sparse(
    mode: Mode, gradient: tf.IndexedSlices, parameter: ParameterState, variable: tf.Variable
) -> bool:
    """Whether this gradient of `variable` should stay sparse."""
    if parameter.velocity is None:
        return True
    # A dense gradient is one more tensor of the variable's size to write and to read. With a sparse
    # one, however, velocity and weights would be copied without XLA.
    return (
        mode in (Mode.XLA, Mode.GRAPH)
        and is_large(variable)
        and variable.dtype == gradient.values.dtype
    )
