"""Which implementation updates which variable on TensorFlow."""

from __future__ import annotations

import enum
from typing import Any

import tensorflow as tf

from kerasgd.backends.tensorflow import kernels
from kerasgd.settings import Settings
from kerasgd.state import ParameterState, Update, Variable

# The number of elements from which on some thousand steps make up for compiling a cluster.
LARGE = 2**16


class Mode(enum.Enum):
    """How the operations that are called now are executed."""

    EAGER = "they run, one by one"
    GRAPH = "they are put into a graph, parts of which XLA may compile"
    REPLICAS = "they are put into a graph for several devices, which XLA cannot compile parts of"
    XLA = "they are put into a graph that XLA compiles as a whole"


class Implementation(enum.Enum):
    """A way to update a variable."""

    ROWS = "sparse.py: the rows that have a gradient"
    CLUSTER = "clusters.py: plain operations that XLA makes one pass of"
    KERNEL = "kernels.py: TensorFlow's own kernels, in place"
    PLAIN = "base.py: plain operations"


def current_mode() -> Mode:
    """The mode of the code that runs now, or that is being traced."""
    if tf.executing_eagerly():
        return Mode.EAGER
    # Without the test plain operations are right, if slower, in every graph.
    if _is_for_xla is None or _is_for_xla(tf.compat.v1.get_default_graph()):
        return Mode.XLA
    is_for_one = tf.distribute.get_strategy().num_replicas_in_sync == 1
    return Mode.GRAPH if is_for_one and tf.test.is_built_with_xla() else Mode.REPLICAS


def _private_xla_test() -> Any:
    """TensorFlow's test whether a graph is to be compiled by XLA; None where it has none."""
    try:
        from tensorflow.python.ops import control_flow_util

        return control_flow_util.GraphOrParentsInXlaContext
    except (ImportError, AttributeError):
        return None


_is_for_xla = _private_xla_test()


def implementation(mode: Mode, update: Update, settings: Settings | None = None) -> Implementation:
    """How to update a variable.

    With `settings` the question is how to do all that an update does to it, without them how to do
    the rule alone.
    """
    if isinstance(update.gradient, tf.IndexedSlices):
        return Implementation.ROWS
    if mode is Mode.XLA or not kernels.can_apply_rule(update):
        return Implementation.PLAIN
    if settings is not None and mode is Mode.GRAPH and _pays_as_cluster(update, settings):
        return Implementation.CLUSTER
    return Implementation.KERNEL


def of_average(mode: Mode, parameter: ParameterState, momentum: float) -> Implementation:
    """How to average the weights of a variable."""
    has_kernel = mode is not Mode.XLA and kernels.can_average(parameter, momentum)
    return Implementation.KERNEL if has_kernel else Implementation.PLAIN


def _pays_as_cluster(update: Update, settings: Settings) -> bool:
    """Whether it takes several passes over much memory, and XLA can compile them."""
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
    """Whether a cluster of this variable alone is measured to pay: on a processor."""
    elements = tf.TensorShape(variable.shape).num_elements() or 0  # None if unknown
    return elements >= LARGE and "CPU" in variable.device


def stays_sparse(
    mode: Mode, gradient: tf.IndexedSlices, parameter: ParameterState, variable: tf.Variable
) -> bool:
    """Whether this gradient of `variable` is better not made dense."""
    if parameter.velocity is None:
        return True
    # As a dense gradient it is one more tensor of the variable's size to write and to read. But
    # without XLA, velocity and weights would be copied instead.
    return (
        mode in (Mode.XLA, Mode.GRAPH)
        and is_large(variable)
        and variable.dtype == gradient.values.dtype
    )
