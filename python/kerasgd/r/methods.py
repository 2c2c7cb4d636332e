"""Adapters for R's functions, which accept a model in place of its variables, and R arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from kerasgd import arguments, gradients, groups, limits, schedules
from kerasgd.errors import ArgumentTypeError, ArgumentValueError, Element, StateError
from kerasgd.files import snapshot
from kerasgd.loss_scale_optimizer import LossScaleOptimizer
from kerasgd.r import transfer
from kerasgd.rules import precision
from kerasgd.sgd import SGD
from kerasgd.variable_groups import variable_groups as rows_of_variables
from kerasgd.variables import check_variables, is_variable, path_of

Optimizer = SGD | LossScaleOptimizer
Array = np.ndarray[Any, Any]


def updated_schedule(
    schedule: schedules.Schedule, changes: Mapping[str, Any]
) -> schedules.Schedule:
    """The schedule with these arguments changed.

    Raises:
        ArgumentError: as from the constructor.
    """
    return type(schedule)(**(schedule.settings | dict(changes)))


def checked_table(fn: Any, steps: Any, name: Any = "Table") -> dict[str, Any]:
    """Check the arguments of `Table.of_function()`, and return them converted.

    Raises:
        ArgumentError: an argument is refused.
    """
    given = {"fn": fn, "steps": steps, "name": name}
    checked = arguments.check_all(given, schedules.TABLE_RULES)
    return {"steps": checked["steps"], "name": checked["name"]}


def table(data: bytes, name: str) -> schedules.Table:
    """A table of rates, which R passes as the bytes of doubles."""
    rates = transfer.from_doubles(data, [len(data) // 8])
    return schedules.Table(tuple(rates.tolist()), name=name)


def exclude_from_weight_decay(
    optimizer: Optimizer, var_names: Any, var_list: Any, rank_below: Any
) -> None:
    """`exclude_from_weight_decay()`, which here accepts a single variable too."""
    optimizer.exclude_from_weight_decay(_listed(var_list), var_names, rank_below)


def set_group(optimizer: Optimizer, select: Any, **settings: Any) -> None:
    """`set_group()`, which here accepts a single variable too."""
    optimizer.set_group(_listed(select), **settings)


def set_learning_rate_factor(optimizer: Optimizer, group: Any, factor: Any) -> None:
    """`set_learning_rate_factor()`, with groups counted from 1.

    Raises:
        ArgumentError: there is no such group, or the factor is refused.
        StateError: there are no groups, or the factor would have no effect.
    """
    groups.find(optimizer.groups, group, first=1).set_factor(factor, "factor")


def variable_groups(optimizer: Any, model: Any) -> list[dict[str, Any]]:
    """`variable_groups()`, which here accepts a single variable too."""
    return rows_of_variables(optimizer, _listed(model))


def _listed(value: Any) -> Any:
    return [value] if is_variable(value) else value


def finalize_variable_values(optimizer: Optimizer, model: Any) -> None:
    """`finalize_variable_values()` for the variables of `model`."""
    optimizer.finalize_variable_values(variables_of_model(model))


def swap_ema_weights(optimizer: Optimizer, model: Any) -> None:
    """`swap_ema_weights()`, if the optimizer trains the variables of `model`.

    Raises:
        StateError: a variable of the model is not among those of the optimizer.
    """
    check_trained_by(optimizer, variables_of_model(model))
    optimizer.swap_ema_weights()


def variables_of_model(model: Any) -> list[Any] | None:
    """The variables of the argument `model`; None stays None.

    Raises:
        ArgumentTypeError: it is not a model or a list of variables.
    """
    if model is None:
        return None
    requirement = "a Keras model, a list of variables, or {null}"
    return variables_of(model, "model", requirement)


def variables_of(source: Any, argument: str, requirement: str) -> list[Any]:
    """The variables given as a model (its trainable ones), as a list, or as a single variable.

    Raises:
        ArgumentTypeError: `source` is invalid.
    """
    if hasattr(source, "trainable_variables"):
        return list(source.trainable_variables)
    if isinstance(source, list | tuple):
        variables = list(source)
        check_variables(variables, argument, requirement)
        return variables
    if not is_variable(source):
        raise ArgumentTypeError(argument, requirement, source)
    return [source]


def check_trained_by(optimizer: Optimizer, variables: list[Any] | None) -> None:
    """Check that the optimizer was built with these variables.

    Raises:
        StateError: it was not built with one of them.
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


def load_optimizer(file: str, model: Any, strict: Any) -> Optimizer:
    """`snapshot.load()` for the variables of `model`.

    Raises:
        ArgumentError: `model` or `strict` is refused.
    """
    is_strict = bool(arguments.check("strict", strict, arguments.flag()))
    loaded: Optimizer = snapshot.load(file, variables_of_model(model), is_strict)
    return loaded


def variables_to_train(variables: Any, grads: list[Any]) -> list[Any]:
    """The variables of the argument `variables` of a step, which must not be empty.

    `grads` are the gradients passed with them, as far as they are Python objects.

    Raises:
        ArgumentTypeError: `variables` is invalid.
    """
    requirement = "a list of variables, or a Keras model"
    are_models = [hasattr(gradient, "trainable_variables") for gradient in grads]
    if any(are_models) or gradients.are_swapped(grads, variables):
        hint = "The gradients come first, then the variables."
        raise ArgumentTypeError("variables", requirement, variables, hint)
    found = variables_of(variables, "variables", requirement)
    if not found:
        is_model = hasattr(variables, "trainable_variables")
        reason = "This model has no trainable variables. Was it built?" if is_model else None
        raise ArgumentTypeError("variables", requirement, variables, reason)
    return found


def gradient(data: bytes, shape: list[float], variable: Any) -> Any:
    """Convert an R array (see `transfer`) to a gradient tensor for this variable.

    The tensor is at least float32; only the update rule casts it to the variable's dtype
    (contract 1.4).

    Raises:
        ArgumentValueError: the shape differs from the variable's, or a number exceeds float32.
    """
    array = transfer.from_doubles(data, shape)
    wanted = tuple(int(n) for n in variable.shape)
    if wanted == () and array.shape == (1,):  # R has no arrays without dimensions
        array = array.reshape(())
    if array.shape != wanted:
        raise ArgumentValueError("grads", f"{_shaped(wanted)} for `{path_of(variable)}`", array)
    dtype = precision.wide(keras.backend.standardize_dtype(variable.dtype))
    if dtype == "float32":
        _check_is_float32(array.ravel(order="F"), variable)
    return keras.ops.convert_to_tensor(array.astype(dtype), dtype)


def _check_is_float32(values: Array, variable: Any) -> None:
    """Refuse a finite number that float32 would round to infinity."""
    too_large = np.flatnonzero(np.isfinite(values) & (np.abs(values) > limits.LARGEST))
    if len(too_large):
        requirement = f"numbers up to 3.4e38 for `{path_of(variable)}`"
        element = Element(int(too_large[0]))
        raise ArgumentValueError("grads", requirement, values, element=element)


def _shaped(shape: tuple[int, ...]) -> str:
    if len(shape) < 2:
        return f"a vector of length {shape[0]}" if shape else "one number"
    noun = "a matrix" if len(shape) == 2 else "an array"
    return f"{noun} of {' x '.join(map(str, shape))}"
