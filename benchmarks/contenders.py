"""What is timed: one update by Keras, by kerasgd, or by a peer.

Each maker gets a workload, a configuration and a mode, and gives a `Contender`; it raises
`Unavailable` where the peer is not installed or has no such argument.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

import kerasgd
from benchmarks.configurations import RATE, Configuration
from benchmarks.floor import Unavailable
from benchmarks.workloads import Workload

BACKEND = keras.config.backend()
MODES = {"tensorflow": ["eager", "graph", "xla"], "jax": ["jit"], "torch": ["eager"]}[BACKEND]


@dataclass
class Contender:
    """One way to do an update.

    Attributes:
        step: do one, and wait until it is done.
        weights: their values now.
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
    """The gradients, as the backend has them."""
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
        gradients = tensors(workload)
        optimizer = cls(RATE, **configuration)
        if mode == "jit":
            return _jax(optimizer, variables, gradients)
        return Contender(
            _in_mode(mode, lambda: optimizer.apply(gradients, variables)),
            lambda: [keras.ops.convert_to_numpy(v) for v in variables],
        )

    return make


def _in_mode(mode: str, apply: Callable[[], Any]) -> Callable[[], Any]:
    def update() -> None:
        apply()

    if mode == "eager":
        return update
    return optional("tensorflow").function(update, jit_compile=mode == "xla")


def _jax(optimizer: Any, variables: list[Any], gradients: list[Any]) -> Contender:
    import jax

    optimizer.build(variables)
    step = jax.jit(optimizer.stateless_apply, donate_argnums=(0, 2))
    # Copies, since the step gives away what it gets.
    values = [[jax.numpy.copy(v.value) for v in vs] for vs in (optimizer.variables, variables)]

    def update() -> None:
        weights, state = step(values[0], gradients, values[1])
        values[:] = [state, weights]
        jax.block_until_ready(values)

    return Contender(update, lambda: [np.asarray(w) for w in values[1]])


def legacy(workload: Workload, configuration: Configuration, mode: str) -> Contender:
    """`tf_keras.optimizers.legacy.SGD`, which uses TensorFlow's own kernels."""
    if set(configuration) - {"momentum", "nesterov"}:
        raise Unavailable("tf_keras legacy has no such arguments")
    tf = optional("tensorflow")
    optimizer = optional("tf_keras").optimizers.legacy.SGD(RATE, **configuration)
    variables = [tf.Variable(w) for w in workload.weights()]
    pairs = list(zip(tensors(workload), variables, strict=True))
    optimizer._create_all_weights(variables)
    return Contender(
        _in_mode(mode, lambda: optimizer.apply_gradients(pairs)),
        lambda: [v.numpy() for v in variables],
    )


def torch_sgd(kind: str) -> Maker:
    """`torch.optim.SGD` with `foreach=True` or `fused=True`, clip and averages by PyTorch too."""

    def make(workload: Workload, configuration: Configuration, mode: str) -> Contender:
        import torch

        if configuration.get("weight_decay"):
            raise Unavailable("torch.optim.SGD has no decoupled weight decay")
        if configuration.get("nesterov") and kind == "foreach":
            raise Unavailable("torch.optim.SGD adds to the gradients themselves")
        variables = [torch.nn.Parameter(torch.from_numpy(w)) for w in workload.weights()]
        for variable, gradient in zip(variables, tensors(workload), strict=True):
            variable.grad = gradient
        optimizer = torch.optim.SGD(variables, RATE, **configuration, **{kind: True})
        return Contender(optimizer.step, lambda: [v.detach().numpy() for v in variables])

    return make


def optax(workload: Workload, configuration: Configuration, mode: str) -> Contender:
    """optax, with the same chain of transformations."""
    import jax

    library = optional("optax")
    chain = library.sgd(RATE, configuration.get("momentum"), configuration.get("nesterov", False))
    if "global_clipnorm" in configuration:
        raise Unavailable("optax decays and averages in another order")
    gradients = tensors(workload)
    weights = [jax.numpy.asarray(w) for w in workload.weights()]
    values = [weights, chain.init(weights)]

    def update(weights: Any, state: Any, gradients: Any) -> tuple[Any, Any]:
        updates, state = chain.update(gradients, state, weights)
        return library.apply_updates(weights, updates), state

    compiled = jax.jit(update, donate_argnums=(0, 1))

    def step() -> None:
        values[:] = compiled(*values, gradients)
        jax.block_until_ready(values)

    return Contender(step, lambda: [np.asarray(w) for w in values[0]])


# Keras twice: how far the two are apart is how far apart equals are on this machine.
BASELINE, AGAIN = "keras", "keras again"
CONTENDERS: dict[str, Maker] = {
    BASELINE: keras_like(keras.optimizers.SGD),
    AGAIN: keras_like(keras.optimizers.SGD),
    "kerasgd": keras_like(kerasgd.SGD),
    **{
        "tensorflow": {"tf_keras legacy": legacy},
        "jax": {"optax": optax},
        "torch": {"torch foreach": torch_sgd("foreach"), "torch fused": torch_sgd("fused")},
    }[BACKEND],
}
