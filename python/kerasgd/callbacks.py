"""Keras callbacks that belong to the optimizer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras

from kerasgd import arguments
from kerasgd.errors import StateError, in_words
from kerasgd.rules import learning_rate as rate_rule


class LearningRateFunction(keras.callbacks.Callback):  # type: ignore[misc]
    """Sets the learning rate to the value of a function, before each batch (contract 2.3).

    This is right on every backend, and the only way on JAX, whose compiled training step cannot
    call a function. It is called once a batch, on the main thread; with `steps_per_execution = n`
    once every n batches. The optimizer's own `learning_rate` must be a number.

    Args:
        learning_rate: a function without arguments that returns a finite number >= 0.

    Raises:
        ArgumentTypeError: it is no function, or needs arguments.
        LearningRateError: during training, if it fails or returns anything else.
        StateError: at the beginning of training, if the optimizer has a schedule or a function.

    Example:
        >>> import keras, kerasgd
        >>> from kerasgd.callbacks import LearningRateFunction
        >>> model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
        >>> model.compile(optimizer=kerasgd.SGD(), loss="mse")
        >>> rates = iter([0.5, 0.25])
        >>> halving = LearningRateFunction(lambda: next(rates))
        >>> x = keras.ops.ones((4, 1))
        >>> history = model.fit(x, x, batch_size=2, callbacks=[halving], verbose=0)
        >>> float(model.optimizer.learning_rate)
        0.25
    """

    def __init__(self, learning_rate: Any) -> None:
        super().__init__()
        self.learning_rate: Any = arguments.check(
            "learning_rate", learning_rate, arguments.RATE_FUNCTION
        )

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        """Make sure that a number set on the optimizer has an effect."""
        optimizer = self.model.optimizer
        optimizer = getattr(optimizer, "inner_optimizer", optimizer)
        if not isinstance(optimizer._learning_rate, keras.Variable):
            raise StateError(
                in_words(
                    "The callback {rate_callback} sets `learning_rate`, which must be a number to "
                    "begin with. Give the optimizer a number, or leave the callback out."
                )
            )

    def on_train_batch_begin(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Set the rate of this batch."""
        rate = rate_rule.value_of(self.learning_rate)
        if hasattr(self.model, "jax_state_sync"):
            # The JAX trainer holds the values of all variables; they have to come back first.
            self.model.jax_state_sync()
        self.model.optimizer.learning_rate = rate
