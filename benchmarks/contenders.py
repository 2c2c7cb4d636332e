"""The contenders that are timed: one update by Keras, by kerasgd, or by a peer.

Each maker takes a workload, a configuration and a mode, and returns a `Contender`. It raises
`Unavailable` if the peer is not installed or does not have an argument.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

import kerasgd
from benchmarks.comparison import AGAIN, BASELINE, OURS
from benchmarks.configurations import RATE, Configuration
from benchmarks.floor import Unavailable
from benchmarks.workloads import Workload

BACKEND = keras.config.backend()
MODES = {"tensorflow": ["eager", "graph", "xla"], "jax": ["jit"], "torch": ["eager"]}[BACKEND]

# TensorFlow warns about repeated tracing, but each contender is a function of its own.
logging.getLogger("tensorflow").setLevel(logging.ERROR)


@dataclass
class Contender:
    """One implementation of an update.

    Attributes:
        step: runs one update, and waits until it is done.
        weights: returns the current weights.
    """

    step: Callable[[], Any]
    weights: Callable[[], Sequence[Any]]


Maker = Callable[[Workload, Configuration, str], Contender]


def optional(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError:
        raise Unavailable(f"{module} is not installed") from None


def tensors(workload: Workload) -> list[Any]:
    """The gradients as tensors of the backend."""
    if workload.rows is None:
        return [keras.ops.convert_to_tensor(g) for g in workload.gradients()]
    if BACKEND != "tensorflow":
        raise Unavailable(f"{BACKEND} has no sparse gradients here")
    tf = optional("tensorflow")
    return [
        tf.IndexedSlices(tf.constant(values), tf.constant(rows), tf.constant(shape))
        for (rows, values), shape in zip(workload.sparse_gradients(), workload.shapes, strict=True)
    ]


def keras_like(cls: type) -> Maker:
    """An optimizer class of Keras: stock SGD, or ours."""

    def make(workload: Workload, configuration: Configuration, mode: str) -> Contender:
        variables = [keras.Variable(w) for w in workload.weights()]
        return optimizer_step(cls(RATE, **configuration), variables, workload, mode)

    return make


def optimizer_step(
    optimizer: Any, variables: list[Any], workload: Workload, mode: str
) -> Contender:
    """An update by an optimizer of Keras."""
    gradients = tensors(workload)
    if mode == "jit":
        return _jax(optimizer, variables, gradients)
    return Contender(
        _in_mode(mode, lambda: optimizer.apply(gradients, variables)),
        lambda: [keras.ops.convert_to_numpy(v) for v in variables],
    )


def settle(step: Callable[[], Any], mode: str) -> None:
    """Run our first eager steps on TensorFlow, which are not compiled yet."""
    if (BACKEND, mode) == ("tensorflow", "eager"):
        from kerasgd.backends.tensorflow.eager import PLAIN_STEPS

        for _ in range(PLAIN_STEPS):
            step()


def _in_mode(mode: str, apply: Callable[[], Any]) -> Callable[[], Any]:
    def update() -> None:
        apply()

    if mode == "eager":
        return update
    return optional("tensorflow").function(update, jit_compile=mode == "xla")


def _jax(optimizer: Any, variables: list[Any], gradients: list[Any]) -> Contender:
    import jax

    optimizer.build(variables)

    # As in `fit()`: donated buffers are returned in the same order, or XLA makes copies.
    def update(weights: Any, state: Any, gradients: Any) -> tuple[Any, Any]:
        return optimizer.stateless_apply(state, gradients, weights)

    compiled = jax.jit(update, donate_argnums=(0, 1))
    # Copies, because the step donates its arguments.
    values = [[jax.numpy.copy(v.value) for v in vs] for vs in (variables, optimizer.variables)]

    def step() -> None:
        values[:] = compiled(*values, gradients)
        jax.block_until_ready(values)

    return Contender(step, lambda: [np.asarray(w) for w in values[0]])


def legacy(workload: Workload, configuration: Configuration, mode: str) -> Contender:
    """`tf_keras.optimizers.legacy.SGD`, which uses TensorFlow's own kernels."""
    if set(configuration) - {"momentum", "nesterov"}:
        raise Unavailable("tf_keras legacy does not have these arguments")
    if workload.rows is not None and mode == "xla":
        raise Unavailable("XLA has no kernel for its sparse gradients")
    if workload.rows is not None and configuration.get("momentum"):
        # Equal here, where the same rows have gradients in every step.
        raise Unavailable("tf_keras legacy moves only the rows that have a gradient")
    tf = optional("tensorflow")
    optimizer = optional("tf_keras").optimizers.legacy.SGD(RATE, **configuration)
    variables = [tf.Variable(w) for w in workload.weights()]
    pairs = list(zip(tensors(workload), variables, strict=True))
    return Contender(
        _in_mode(mode, lambda: optimizer.apply_gradients(pairs)),
        lambda: [v.numpy() for v in variables],
    )


def torch_sgd(kind: str) -> Maker:
    """`torch.optim.SGD` with `foreach=True` or `fused=True`; PyTorch's functions do the rest."""

    def make(workload: Workload, configuration: Configuration, mode: str) -> Contender:
        import torch

        if "clipnorm" in configuration:
            raise Unavailable("PyTorch has no function that clips each norm")
        if configuration.get("nesterov") and kind == "foreach":
            raise Unavailable("torch.optim.SGD adds weight decay to the gradients")
        weights = [torch.nn.Parameter(torch.from_numpy(w)) for w in workload.weights()]
        for weight, gradient in zip(weights, tensors(workload), strict=True):
            weight.grad = gradient
        known = {
            key: configuration[key] for key in ("momentum", "nesterov") if key in configuration
        }
        optimizer = torch.optim.SGD(weights, RATE, **known, **{kind: True})
        step = optimizer.step
        if "global_clipnorm" in configuration:
            step = _torch_everything(optimizer, weights, configuration)
        return Contender(step, lambda: [w.detach().numpy() for w in weights])

    return make


def _torch_everything(
    optimizer: Any, weights: list[Any], configuration: Configuration
) -> Callable[[], None]:
    import torch

    averages = [w.detach().clone() for w in weights]
    keep = 1 - RATE * configuration["weight_decay"]

    @torch.no_grad()
    def step() -> None:
        # It clips in place, so the gradients of later steps are already at the limit.
        torch.nn.utils.clip_grad_norm_(weights, configuration["global_clipnorm"])
        torch._foreach_mul_(weights, keep)
        optimizer.step()
        torch._foreach_lerp_(averages, weights, 1 - configuration["ema_momentum"])

    return step


def optax(workload: Workload, configuration: Configuration, mode: str) -> Contender:
    """optax, with the same chain of transformations."""
    import jax

    library = optional("optax")
    chain = _chain(library, configuration)
    gradients = tensors(workload)
    weights = [jax.numpy.asarray(w) for w in workload.weights()]
    averages = [jax.numpy.copy(w) for w in weights] if configuration.get("use_ema") else []
    values = [weights, chain.init(weights), averages]

    def update(weights: Any, state: Any, averages: Any, gradients: Any) -> tuple[Any, Any, Any]:
        updates, state = chain.update(gradients, state, weights)
        weights = library.apply_updates(weights, updates)
        if averages:
            rate = 1 - configuration["ema_momentum"]
            averages = library.incremental_update(weights, averages, rate)
        return weights, state, averages

    compiled = jax.jit(update, donate_argnums=(0, 1, 2))

    def step() -> None:
        values[:] = compiled(*values, gradients)
        jax.block_until_ready(values)

    return Contender(step, lambda: [np.asarray(w) for w in values[0]])


def _chain(library: Any, configuration: Configuration) -> Any:
    parts = []
    if "clipnorm" in configuration:
        raise Unavailable("optax has no transformation that clips each norm")
    if "global_clipnorm" in configuration:
        parts.append(library.clip_by_global_norm(configuration["global_clipnorm"]))
    if "momentum" in configuration:
        nesterov = configuration.get("nesterov", False)
        parts.append(library.trace(configuration["momentum"], nesterov))
    if "weight_decay" in configuration:
        parts.append(library.add_decayed_weights(configuration["weight_decay"]))
    return library.chain(*parts, library.scale(-RATE))


OPTIMIZERS: dict[str, type] = {
    BASELINE: keras.optimizers.SGD,
    AGAIN: keras.optimizers.SGD,
    OURS: kerasgd.SGD,
}
CONTENDERS: dict[str, Maker] = {
    **{name: keras_like(cls) for name, cls in OPTIMIZERS.items()},
    **{
        "tensorflow": {"tf_keras legacy": legacy},
        "jax": {"optax": optax},
        "torch": {"torch foreach": torch_sgd("foreach"), "torch fused": torch_sgd("fused")},
    }[BACKEND],
}
