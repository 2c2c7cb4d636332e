"""The optimizer's methods as R calls them: a model stands for its trainable variables."""

from __future__ import annotations

from typing import Any

from kerasgd.errors import ArgumentTypeError, StateError
from kerasgd.loss_scale_optimizer import LossScaleOptimizer
from kerasgd.sgd import SGD
from kerasgd.weight_decay import path_of

Optimizer = SGD | LossScaleOptimizer


def set_learning_rate(optimizer: Optimizer, learning_rate: Any) -> None:
    """Replace the rate.

    Raises:
        ArgumentError: it is no rate.
    """
    optimizer.learning_rate = learning_rate


def exclude_from_weight_decay(optimizer: Optimizer, var_names: Any, var_list: Any) -> None:
    """As `SGD.exclude_from_weight_decay()`; one variable stands for a list of it."""
    if hasattr(var_list, "shape"):
        var_list = [var_list]
    optimizer.exclude_from_weight_decay(var_list, var_names)


def finalize_variable_values(optimizer: Optimizer, model: Any) -> None:
    """As `SGD.finalize_variable_values()`."""
    optimizer.finalize_variable_values(variables_of(model, "model"))


def swap_ema_weights(optimizer: Optimizer, model: Any) -> None:
    """As `SGD.swap_ema_weights()`.

    Raises:
        StateError: a variable of the model is not among those of the optimizer.
    """
    check_trained_by(optimizer, variables_of(model, "model"))
    optimizer.swap_ema_weights()


def variables_of(model: Any, argument: str) -> list[Any] | None:
    """The trainable variables of a model, or those of a list, or one; None stays None.

    Raises:
        ArgumentTypeError: it is something else.
    """
    if model is None:
        return None
    if hasattr(model, "trainable_variables"):
        return list(model.trainable_variables)
    variables = list(model) if isinstance(model, list | tuple) else [model]
    if all(hasattr(variable, "assign") for variable in variables):
        return variables
    raise ArgumentTypeError(argument, "a Keras model, or a list of variables, or {null}", model)


def check_trained_by(optimizer: Optimizer, variables: list[Any] | None) -> None:
    """Refuse variables that the optimizer was not built with.

    Raises:
        StateError: there is one.
    """
    if not optimizer.built:
        return
    known = optimizer._trainable_variables_indices
    for variable in variables or []:
        if optimizer._var_key(variable) not in known:
            raise StateError(
                f"`{path_of(variable)}` is not among the variables that `{optimizer.name}` was "
                "built with."
            )
