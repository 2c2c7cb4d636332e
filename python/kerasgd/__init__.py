"""SGD for Keras whose documentation is true.

Importing the package imports Keras and registers the classes, so that
``import kerasgd; keras.saving.load_model(file)`` finds them.
"""

from kerasgd.errors import (
    ArgumentError,
    ArgumentTypeError,
    ArgumentValueError,
    KerasgdError,
    KerasgdWarning,
    LearningRateError,
    StateError,
    UnknownArgumentError,
)
from kerasgd.sgd import SGD

__version__ = "0.0.1"

__all__ = [
    "SGD",
    "ArgumentError",
    "ArgumentTypeError",
    "ArgumentValueError",
    "KerasgdError",
    "KerasgdWarning",
    "LearningRateError",
    "StateError",
    "UnknownArgumentError",
]
