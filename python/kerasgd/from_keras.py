"""Converts a Keras optimizer to one of kerasgd, with its state (contract 9.4c)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from kerasgd.errors import ArgumentTypeError
from kerasgd.files import state as files
from kerasgd.files.saved import SavedState
from kerasgd.keras_internals import decays
from kerasgd.loss_scale_optimizer import LossScaleOptimizer
from kerasgd.rules import precision
from kerasgd.sgd import SGD

Array = np.ndarray[Any, Any]


def from_keras(optimizer: Any) -> SGD | LossScaleOptimizer:
    """Convert a Keras SGD optimizer to one of kerasgd, with its settings and its state.

    The new optimizer takes over all settings and the whole state: the step count, the learning rate
    or schedule, the velocities, the averages, the gradients accumulated for the next update, and
    the loss scale. It restores the state in `build()`. The Keras optimizer does not change.

    Args:
        optimizer: a `keras.optimizers.SGD`, or a `keras.optimizers.LossScaleOptimizer` around one.

    Raises:
        ArgumentTypeError: `optimizer` is of another class.
        ArgumentValueError: Keras accepts a setting that kerasgd refuses.

    Example:
        >>> import keras, kerasgd
        >>> w = keras.Variable([1.0])
        >>> theirs = keras.optimizers.SGD(0.5, momentum=0.5)
        >>> theirs.apply([keras.ops.ones(1)], [w])
        >>> ours = kerasgd.from_keras(theirs)
        >>> ours.apply([keras.ops.ones(1)], [w])
        >>> w.numpy().tolist()  # 1 - 0.5 - (0.25 + 0.5)
        [-0.25]
    """
    if _is_of_keras(optimizer, keras.optimizers.LossScaleOptimizer):
        return _from_loss_scale_optimizer(optimizer)
    if not _is_sgd(optimizer):
        raise ArgumentTypeError(
            "optimizer",
            "a `keras.optimizers.SGD`, or a `keras.optimizers.LossScaleOptimizer` around one",
            optimizer,
            _hint(optimizer),
        )
    return _from_sgd(optimizer)


def _is_of_keras(optimizer: Any, kind: type) -> bool:
    """Whether the class is Keras' own, including the subclass that Keras creates for PyTorch."""
    return isinstance(optimizer, kind) and type(optimizer).__module__.startswith("keras.")


def _is_sgd(optimizer: Any) -> bool:
    return _is_of_keras(optimizer, keras.optimizers.SGD)


def _hint(optimizer: Any) -> str | None:
    if isinstance(optimizer, SGD | LossScaleOptimizer):
        return "It is already an optimizer of kerasgd."
    if isinstance(optimizer, keras.optimizers.Optimizer):
        name = type(optimizer).__name__
        return f"Only SGD can be converted: the state of {name} means something else."
    return None


def _from_loss_scale_optimizer(optimizer: Any) -> LossScaleOptimizer:
    inner = optimizer.inner_optimizer
    # Under mixed_float16, `compile()` puts our optimizer into Keras' wrapper.
    ours = LossScaleOptimizer(
        inner.update(keep_state=True) if isinstance(inner, SGD) else from_keras(inner),
        initial_scale=optimizer.initial_scale,
        dynamic_growth_steps=optimizer.dynamic_growth_steps,
        name=optimizer.name,
    )
    if optimizer.built:
        scale = {
            "dynamic_scale": _array(optimizer.dynamic_scale),
            "step_counter": _array(optimizer.step_counter),
        }
        files.hand_over(ours, SavedState(True, [], scale, None, None))
    return ours


def _from_sgd(optimizer: Any) -> SGD:
    config = optimizer.get_config()
    config["learning_rate"] = _rate(optimizer)
    ours = SGD.from_config(config)
    variables = optimizer._trainable_variables
    if optimizer.weight_decay:
        excluded = [v for v in variables if not decays(optimizer, v)]
        if excluded:
            ours.exclude_from_weight_decay(excluded)
    files.hand_over(ours, _state(optimizer, variables))
    return ours


def _rate(optimizer: Any) -> Any:
    rate = optimizer._learning_rate
    if isinstance(rate, keras.Variable):
        return float(str(_array(rate)[()]))  # 0.1 rather than 0.10000000149
    return rate


def _state(optimizer: Any, variables: Sequence[Any]) -> SavedState:
    values = {"iterations": _array(optimizer._iterations)}
    is_number = isinstance(optimizer._learning_rate, keras.Variable)
    if is_number:
        values["learning_rate"] = _array(optimizer._learning_rate)
    if optimizer.built:
        values |= _velocities(optimizer) | _averages(optimizer) | _window(optimizer)
    return SavedState(
        built=bool(optimizer.built),
        variables=files.described(variables) if optimizer.built else [],
        values=values,
        window=optimizer.gradient_accumulation_steps or 1,
        rate_is_number=is_number,
    )


def _velocities(optimizer: Any) -> dict[str, Array]:
    return _each("velocity", optimizer.momentums if optimizer.momentum else [])


def _averages(optimizer: Any) -> dict[str, Array]:
    if not optimizer.use_ema:
        return {}
    averages = _each("average", optimizer._model_variables_moving_average)
    updates = int(_array(optimizer._iterations)) // (optimizer.gradient_accumulation_steps or 1)
    begun = updates > 0
    return {"averaging": np.array(begun, "int32"), **_wide(averages)}


def _window(optimizer: Any) -> dict[str, Array]:
    """The sums of an incomplete window; 0 between two windows, where Keras may hold leftovers."""
    steps = optimizer.gradient_accumulation_steps
    if not steps:
        return {}
    sums = _wide(_each("accumulator", optimizer._accumulated_gradients))
    if int(_array(optimizer._iterations)) % steps == 0:
        sums = {role: np.zeros_like(value) for role, value in sums.items()}
    present = [sums.get(f"accumulator_{i}", np.zeros(())).any() for i in range(len(sums))]
    return {"in_window": np.array(present, "int32"), **sums}


def _each(kind: str, variables: Sequence[Any]) -> dict[str, Array]:
    return {f"{kind}_{i}": _array(v) for i, v in enumerate(variables) if v is not None}


def _wide(values: dict[str, Array]) -> dict[str, Array]:
    """The arrays in at least float32, as kerasgd keeps them."""
    return {role: value.astype(precision.wide(value.dtype.name)) for role, value in values.items()}


def _array(variable: Any) -> Array:
    array: Array = keras.ops.convert_to_numpy(variable)
    return array
