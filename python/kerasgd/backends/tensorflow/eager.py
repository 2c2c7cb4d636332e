"""Runs TensorFlow's eager steps as one compiled function, because single operations are slow.

The first steps are plain, because compiling takes time. The step count decides which ones, so that
a saved and continued training runs the same operations as an uninterrupted one (except for patterns
of gradients beyond the first `MOST_PATTERNS`). Everything that the function reads except its
arguments is in its key.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import tensorflow as tf

from kerasgd.state import DynamicScale, Rates, State, Step, Tensor, Variable

# Calls a compiled function without checking each argument, which takes ten times as long as the
# call. This method of TensorFlow is private; without it the public call is used.
PRIVATE_CALL = "_call_flat"
# This many compiled steps save the time of compiling, as measured on two cores of an Intel Xeon
# with 161 variables, momentum, weight decay, clip and averages.
PLAIN_STEPS = 30
# Cap the cache: changing sets of missing gradients would recompile every step.
MOST_PATTERNS = 8


def can_compile(state: State) -> bool:
    """Whether a compiled step is equivalent to an eager one."""
    return (
        not tf.config.functions_run_eagerly()  # the user is debugging
        and tf.distribute.get_strategy().num_replicas_in_sync == 1
        and all(_is_of_keras(parameter.constraint) for parameter in state.parameters)
    )


def _is_of_keras(constraint: Any) -> bool:
    """Whether the constraint is Keras' own, pure operations; a user's may have side effects."""
    return constraint is None or type(constraint).__module__.startswith("keras.")


def compiled(step: Step, state: State, settings: Hashable) -> Step:
    """`step` as compiled functions, which are kept in the state."""
    key = ("step", settings, _identity(state.dynamic_scale))
    if key not in state.memo:
        state.memo[key] = CompiledStep(step, state.iterations)
    kept: Step = state.memo[key]
    return kept


def _identity(dynamic_scale: DynamicScale | None) -> Hashable:
    if dynamic_scale is None:
        return None
    scale, finite_steps = dynamic_scale.scale, dynamic_scale.finite_steps
    return id(scale), id(finite_steps), dynamic_scale.growth_steps


class CompiledStep:
    """A step, compiled for each pattern of gradients: their presence, dtype and kind.

    Args:
        step: the step.
        iterations: the number of steps so far.
    """

    def __init__(self, step: Step, iterations: Variable) -> None:
        self.step = step
        self.iterations = iterations
        self.function = tf.function(step, autograph=False, reduce_retracing=True)
        # By pattern; None if gradients are sparse, because the number of rows may change.
        self.concrete: dict[Hashable, Any] = {}

    def __call__(self, gradients: Sequence[Tensor | None], rates: Rates) -> None:
        """Run the step."""
        # Tensors, because each Python number would be compiled separately.
        rate = _as_tensor(rates.rate)
        rates = Rates(rate, tuple(map(_as_tensor, rates.factors)))
        dtypes = [rate.dtype, *[factor.dtype for factor in rates.factors]]
        pattern = (*dtypes, *[_kind(gradient) for gradient in gradients])
        with tf.init_scope():  # hides the step from gradient tapes
            if self._is_plain(pattern):
                self.step(gradients, rates)
                return
            if pattern not in self.concrete:
                self.concrete[pattern] = self._compiled(gradients, rates)
            self._call(self.concrete[pattern], gradients, rates)

    def _is_plain(self, pattern: Hashable) -> bool:
        if int(tf.convert_to_tensor(self.iterations)) < PLAIN_STEPS:
            return True
        return pattern not in self.concrete and len(self.concrete) >= MOST_PATTERNS

    def _compiled(self, gradients: Sequence[Tensor | None], rates: Rates) -> Any:
        if any(isinstance(gradient, tf.IndexedSlices) for gradient in gradients):
            return None
        return self.function.get_concrete_function(gradients, rates)

    def _call(self, concrete: Any, gradients: Sequence[Tensor | None], rates: Rates) -> None:
        private_call = getattr(concrete, PRIVATE_CALL, None)
        if private_call is None:
            self.function(gradients, rates)
        else:
            tensors = [gradient for gradient in gradients if gradient is not None]
            private_call([*tensors, rates.rate, *rates.factors], concrete.captured_inputs)


def _as_tensor(rate: Tensor | float) -> Tensor:
    return tf.convert_to_tensor(rate, None if tf.is_tensor(rate) else "float64")


def _kind(gradient: Tensor | None) -> Hashable:
    return gradient is not None and (gradient.dtype, isinstance(gradient, tf.IndexedSlices))
