"""The operations of a step that differ between TensorFlow, JAX and PyTorch.

`base.py` has all of them in plain `keras.ops`. The other modules override some of them.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, TypeVar

import keras

from kerasgd.backends.base import Backend

Function = TypeVar("Function", bound=Callable[..., Any])

# The module and the class of each backend; importing the module imports the library.
CLASSES = {
    "tensorflow": ("kerasgd.backends.tensorflow.backend", "TensorFlowBackend"),
    "jax": ("kerasgd.backends.jax", "JaxBackend"),
    "torch": ("kerasgd.backends.torch.backend", "TorchBackend"),
}


def without_graph(function: Function) -> Function:
    """Exclude `function` from `torch.compile()`.

    A step reads values of tensors, and each read would break the graph in two. Running the whole
    step in eager code is faster, and never recompiles.
    """
    if keras.config.backend() != "torch":
        return function
    from torch.compiler import disable

    opaque: Function = disable(function, reason="it reads values of tensors")
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
