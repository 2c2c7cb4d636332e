"""What differs between TensorFlow, JAX and PyTorch: the same few operations each.

`base.py` has all of them in plain `keras.ops`. The others override what they need to.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, TypeVar

import keras

from kerasgd.backends.base import Backend

Function = TypeVar("Function", bound=Callable[..., Any])

# Where the class of each backend is; its library is imported with it.
CLASSES = {
    "tensorflow": ("kerasgd.backends.tensorflow.backend", "TensorFlowBackend"),
    "jax": ("kerasgd.backends.jax", "JaxBackend"),
    "torch": ("kerasgd.backends.torch.backend", "TorchBackend"),
}


def without_graph(function: Function) -> Function:
    """`function`, not to be looked into by `torch.compile()`.

    A step asks for the values of tensors, and each answer would break the graph in two: a whole
    step in eager code is faster, and it is never compiled again.
    """
    if keras.config.backend() != "torch":
        return function
    from torch.compiler import disable

    opaque: Function = disable(function, reason="it asks for the values of tensors")
    return opaque


def current() -> Backend:
    """The backend that Keras runs on."""
    name = keras.config.backend()
    if name not in CLASSES:
        raise ImportError(
            f"kerasgd works on {', '.join(CLASSES)}; Keras runs on {name}. "
            "Set the environment variable KERAS_BACKEND before Keras is imported."
        )
    module, attribute = CLASSES[name]
    backend: Backend = getattr(importlib.import_module(module), attribute)()
    return backend
