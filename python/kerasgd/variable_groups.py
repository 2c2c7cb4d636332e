"""The resulting settings of each variable, for inspection before training (contract 14.9)."""

from __future__ import annotations

import math
from typing import Any

import keras

from kerasgd import groups
from kerasgd.alignment import index_of
from kerasgd.errors import ArgumentTypeError, StateError
from kerasgd.loss_scale_optimizer import without_wrapper
from kerasgd.selection import is_layer
from kerasgd.settings import GroupSettings
from kerasgd.sgd import SGD
from kerasgd.variables import check_available, checked_list, path_of, shape_of

MODEL = "a model, a layer, or a list of variables"


def variable_groups(optimizer: Any, model: Any) -> list[dict[str, Any]]:
    """Show the settings of each variable: its rate, momentum, weight decay and groups.

    Use it before training to check your groups. It changes nothing and does not build the
    optimizer. If a group is selected by a function, it calls that function once for each variable;
    before the first step, it also calls a learning rate that is a function.

    Args:
        optimizer: a `kerasgd.SGD`, or a loss-scale optimizer (kerasgd's or Keras') around one.
        model: a model or layer, which stands for its trainable variables, or a list of variables.
            If the optimizer is not built yet, they must be all the variables that it will train.

    Returns:
        A dict for each variable: `path`; `shape`; `parameters`, the number of its elements;
        `learning_rate_factor`, at the next step; `learning_rate`, the optimizer's rate at the next
        step times the factor; `momentum`; `weight_decay`; `groups`, the numbers of its groups, from
        0 in the order of `set_group()`.

    Raises:
        ArgumentTypeError: `optimizer` is of another class, or `model` is invalid.
        ArgumentValueError: a group or an exclusion from weight decay selects no variable.
        StateError: the model has no variables yet, the optimizer was built with other variables, or
            `fit()` is running on JAX, during which the optimizer does not have its state.

    Example:
        >>> import keras, kerasgd
        >>> base, head = keras.Variable([1.0], name="base"), keras.Variable([1.0], name="head")
        >>> optimizer = kerasgd.SGD(0.5).set_group("base", learning_rate_factor=0.5)
        >>> for row in kerasgd.variable_groups(optimizer, [base, head]):
        ...     print(row["path"], row["learning_rate"], row["groups"])
        base 0.25 [0]
        head 0.5 []
    """
    sgd = inner_sgd(optimizer)
    variables = _variables_of(model)
    check_available([sgd._iterations], sgd)
    rate = _rate_now(sgd)
    factors = [group.factor_of_next_step() for group in groups.with_factor(sgd.groups)]
    if sgd.built:
        selections = [group.selection for group in sgd.groups]
        settings = [_settings_as_built(sgd, variable) for variable in variables]
    else:
        selections, exclusions = groups.resolve(sgd.groups, sgd._exclusions, variables)
        settings = [
            groups.settings_of(sgd, selections, exclusions, variable) for variable in variables
        ]
    rows = []
    for variable, group_settings in zip(variables, settings, strict=True):
        factor_index = group_settings.factor_index
        factor = 1.0 if factor_index is None else factors[factor_index]
        shape = shape_of(variable)
        rows.append(
            {
                "path": path_of(variable),
                "shape": shape,
                "parameters": math.prod(shape),
                "learning_rate_factor": factor,
                "learning_rate": rate * factor,
                "momentum": group_settings.momentum,
                "weight_decay": group_settings.weight_decay,
                "groups": [i for i, found in enumerate(selections) if found.covers(variable)],
            }
        )
    return rows


def inner_sgd(optimizer: Any) -> SGD:
    """The `SGD` of an optimizer, inside its wrapper if there is one.

    Raises:
        ArgumentTypeError: `optimizer` is neither an `SGD` nor a wrapper around one.
    """
    inner = without_wrapper(optimizer)
    if isinstance(inner, SGD):
        return inner
    hint = None
    if isinstance(inner, keras.optimizers.SGD):
        hint = "{from_keras} converts it into an optimizer that can have groups."
    requirement = "an optimizer made by {sgd}, or a loss-scale optimizer around one"
    raise ArgumentTypeError("optimizer", requirement, inner, hint)


def check_has_variables(model: Any) -> None:
    """Refuse a model whose variables do not exist yet.

    Raises:
        StateError: they do not exist.
    """
    if not model.built:
        raise StateError(
            f"`{model.name}` has no variables yet. Call the model on data, or call its `build()` "
            "with the shape of the input."
        )


def _variables_of(model: Any) -> list[Any]:
    if not is_layer(model):
        return checked_list(model, "model", MODEL)
    check_has_variables(model)
    return list(model.trainable_variables)


def _settings_as_built(sgd: SGD, variable: Any) -> GroupSettings:
    parameter = sgd.state().parameters[index_of(sgd, variable)]
    return sgd.settings_of(parameter)


def _rate_now(sgd: SGD) -> float:
    rate: Any = sgd._rate
    now = rate.as_argument() if rate.is_number() else sgd.learning_rate
    return float(keras.ops.convert_to_numpy(now))
