"""TensorFlow's eager code: the step is one compiled function, since each operation alone is slow.

It is compiled at the first step, so that a training that is saved and continued does the same
operations as one that is not. What it reads beside its arguments is in its key.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any

import tensorflow as tf

from kerasgd.backends import DynamicScale, State, Step, Tensor

# The call of a compiled function without a look at each argument, which takes ten times as long
# as the call. It is private to TensorFlow: the public one is taken where there is none.
PRIVATE_CALL = "_call_flat"


def can_compile(state: State) -> bool:
    """Whether a compiled step does what an eager one does."""
    return (
        not tf.config.functions_run_eagerly()  # somebody looks for an error
        and tf.distribute.get_strategy().num_replicas_in_sync == 1
        and all(_is_of_keras(slot.constraint) for slot in state.slots)
    )


def _is_of_keras(constraint: Any) -> bool:
    """Whether it is nothing but operations; a user's own may do anything, at each step."""
    return constraint is None or type(constraint).__module__.startswith("keras.")


def compiled(step: Step, state: State, settings: Hashable) -> Step:
    """`step` as one function that is kept in the state."""
    function = _kept(
        state,
        ("step", settings, _identity(state.dynamic_scale)),
        lambda: tf.function(step, autograph=False, reduce_retracing=True),
    )

    def run(gradients: Sequence[Tensor | None], rate: Tensor) -> None:
        # A tensor, since each Python number would be compiled for itself.
        rate = tf.convert_to_tensor(rate, None if tf.is_tensor(rate) else "float64")
        with tf.init_scope():  # A tape would want the gradient of the step.
            if any(isinstance(gradient, tf.IndexedSlices) for gradient in gradients):
                function(gradients, rate)
            else:
                _call_with_tensors(state, function, gradients, rate)

    return run


def _call_with_tensors(
    state: State, function: Any, gradients: Sequence[Tensor | None], rate: Tensor
) -> None:
    """``function(gradients, rate)``, where gradients are dense, hence of their variable's shape."""
    dtypes = tuple([None if gradient is None else gradient.dtype for gradient in gradients])
    concrete = _kept(
        state,
        (function, dtypes, rate.dtype),
        lambda: function.get_concrete_function(gradients, rate),
    )
    call_flat = getattr(concrete, PRIVATE_CALL, None)
    if call_flat is None:
        concrete(gradients, rate)
    else:
        tensors = [*(gradient for gradient in gradients if gradient is not None), rate]
        call_flat(tensors, concrete.captured_inputs)


def _kept(state: State, key: Hashable, make: Callable[[], Any]) -> Any:
    if key not in state.memo:
        state.memo[key] = make()
    return state.memo[key]


def _identity(dynamic_scale: DynamicScale | None) -> Hashable:
    if dynamic_scale is None:
        return None
    scale, finite_steps = dynamic_scale.scale, dynamic_scale.finite_steps
    return id(scale), id(finite_steps), dynamic_scale.growth_steps
