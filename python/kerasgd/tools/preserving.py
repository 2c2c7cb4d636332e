"""Restores everything that training changes: weights, metrics, and random generators."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import keras
import numpy as np

from kerasgd.keras_internals import global_seed_state
from kerasgd.variables import as_numpy, check_available

# The attributes of a model that `fit()` or a change of the optimizer sets.
ATTRIBUTES = (
    "optimizer",
    "train_function",
    "stop_training",
    "steps_per_execution",
    "history",
    "_initial_epoch",
    "run_eagerly",
)
Restore = Callable[[], None]


@contextlib.contextmanager
def preserved(model: Any) -> Iterator[None]:
    """A context in which the model may be trained; on exit it is restored, bit for bit.

    The model's own optimizer must not be trained: assign another one inside the context.
    """
    restores = [
        _reset_metrics(model),
        *_variables(model),
        *_attributes(model),
        *_unbuilt(model),
        *_random_states(),
    ]
    try:
        yield
    finally:
        if hasattr(model, "_jax_state"):
            # After an interrupt JAX's trainer still holds values, and would write them back.
            model._jax_state = None
        _do_all(restores)


def _do_all(restores: Iterable[Restore]) -> None:
    """Restore everything, even if the user interrupts again."""
    interrupt = None
    for restore in restores:
        try:
            restore()
        except KeyboardInterrupt as again:
            interrupt = again
            restore()
    if interrupt is not None:
        raise interrupt


def _reset_metrics(model: Any) -> Restore:
    """Reset all metrics, since some create their variables only at the first batch."""

    def reset() -> None:
        for metric in model.metrics:
            metric.reset_state()

    return reset


def _variables(model: Any) -> Iterator[Restore]:
    variables = {id(v): v for v in [*model.variables, *model.metrics_variables]}.values()
    check_available(variables, model)
    for variable in variables:
        # A copy, because the array may share memory with the variable.
        yield _assigning(variable, np.array(as_numpy(variable)))


def _assigning(variable: Any, value: np.ndarray[Any, Any]) -> Restore:
    return lambda: variable.assign(value)


def _attributes(model: Any) -> Iterator[Restore]:
    for name in ATTRIBUTES:
        if hasattr(model, name):
            yield _setting(model, name, getattr(model, name))


def _unbuilt(model: Any) -> Iterator[Restore]:
    """The loss and the metrics, if the model has not seen a batch, which builds them.

    Building draws one more batch, which shifts the random generators: the first `fit()` after the
    context must do it again.
    """
    metrics = getattr(model, "_compile_metrics", None)
    if metrics is not None and not metrics.built:
        yield _setting(metrics, "built", False)
    loss = getattr(model, "_compile_loss", None)
    if loss is not None and not loss.built:
        yield _setting(loss, "built", False)
        yield loss.metrics.clear  # because building adds them again


def _setting(owner: Any, name: str, value: Any) -> Restore:
    return lambda: setattr(owner, name, value)


def _random_states() -> Iterator[Restore]:
    """The random generators of Python, NumPy, Keras and the backend."""
    of_python, of_numpy = random.getstate(), np.random.get_state()
    yield lambda: random.setstate(of_python)
    yield lambda: np.random.set_state(of_numpy)
    seeds = global_seed_state()
    yield _assigning(seeds, np.array(keras.ops.convert_to_numpy(seeds)))
    yield from {"tensorflow": _of_tensorflow, "torch": _of_torch, "jax": _of_jax}[
        keras.config.backend()
    ]()


def _of_torch() -> Iterator[Restore]:
    import torch

    state = torch.get_rng_state()
    yield lambda: torch.set_rng_state(state)


def _of_jax() -> Iterator[Restore]:
    """Nothing, because JAX has no global random state."""
    yield from ()


def _of_tensorflow() -> Iterator[Restore]:
    import tensorflow as tf

    generator = tf.random.get_global_generator()
    value = generator.state.numpy()
    yield lambda: generator.state.assign(value)
    # Operations like `tf.random.shuffle` draw their seeds from a generator of the eager context.
    from tensorflow.python.eager import context

    seeds = getattr(context.context(), "_rng", None)
    if seeds is not None:
        state = seeds.getstate()
        yield lambda: seeds.setstate(state)
