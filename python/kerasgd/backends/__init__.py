"""What differs between TensorFlow, JAX and PyTorch: the same few operations each.

`base.py` has all of them in plain `keras.ops`. The others override what they need to.
"""

from __future__ import annotations

import importlib

import keras

from kerasgd.backends.base import Backend

# Where the class of each backend is; its library is imported with it.
CLASSES = {
    "tensorflow": ("kerasgd.backends.tensorflow.backend", "TensorFlowBackend"),
    "jax": ("kerasgd.backends.jax", "JaxBackend"),
    "torch": ("kerasgd.backends.torch.backend", "TorchBackend"),
}


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
