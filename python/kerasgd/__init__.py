"""SGD for Keras that does what its documentation says.

`SGD` is the optimizer. Importing the package registers its classes with Keras, so that ``import
kerasgd; keras.saving.load_model(file)`` finds them.
"""

from kerasgd import callbacks, schedules, tools
from kerasgd.errors import (
    ArgumentError,
    ArgumentTypeError,
    ArgumentValueError,
    KerasgdError,
    KerasgdWarning,
    LearningRateError,
    NonfiniteGradientError,
    StateError,
    SubclassError,
    UnknownArgumentError,
)
from kerasgd.files.snapshot import load as load_optimizer
from kerasgd.files.snapshot import save as save_optimizer
from kerasgd.from_keras import from_keras
from kerasgd.layer_decay import layer_decay
from kerasgd.loss_scale_optimizer import LossScaleOptimizer
from kerasgd.sgd import SGD
from kerasgd.variable_groups import variable_groups

__version__ = "0.1.0"

__all__ = [
    "SGD",
    "ArgumentError",
    "ArgumentTypeError",
    "ArgumentValueError",
    "KerasgdError",
    "KerasgdWarning",
    "LearningRateError",
    "LossScaleOptimizer",
    "NonfiniteGradientError",
    "StateError",
    "SubclassError",
    "UnknownArgumentError",
    "callbacks",
    "from_keras",
    "layer_decay",
    "load_optimizer",
    "save_optimizer",
    "schedules",
    "tools",
    "variable_groups",
]
