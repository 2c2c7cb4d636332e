"""SGD for Keras whose documentation is true.

Importing the package imports Keras and registers the classes, so that
``import kerasgd; keras.saving.load_model(file)`` finds them.
"""

from kerasgd import callbacks, schedules
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
from kerasgd.loss_scale_optimizer import LossScaleOptimizer
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
    "LossScaleOptimizer",
    "StateError",
    "UnknownArgumentError",
    "callbacks",
    "schedules",
]
