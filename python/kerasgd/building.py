"""Creates an optimizer's state when it is built."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import keras

from kerasgd import groups as groups_of_variables
from kerasgd.keras_internals import rename
from kerasgd.rules import precision
from kerasgd.rules.statistics import MEASURED, MEASURED_OF_UPDATE
from kerasgd.settings import GroupSettings, Settings
from kerasgd.state import ParameterState, Skips, State, Statistics
from kerasgd.variables import path_of, shape_of


def build(optimizer: Any, variables: Sequence[Any]) -> tuple[State, Settings]:
    """Create the state for these variables, and the settings that a step reads.

    Raises:
        ArgumentError: a group or an exclusion selects no variable.
    """
    of_variables = _settings_of_variables(optimizer, variables)
    groups = tuple(dict.fromkeys(of_variables))
    parameters = [
        _parameter_state(optimizer, index, variable, group_settings, groups.index(group_settings))
        for index, (variable, group_settings) in enumerate(
            zip(variables, of_variables, strict=True)
        )
    ]
    return _state(optimizer, parameters), _settings(optimizer, groups)


def _settings_of_variables(optimizer: Any, variables: Sequence[Any]) -> list[GroupSettings]:
    """Resolve groups and exclusions, and return the settings of each variable."""
    selected, exclusions = groups_of_variables.resolve(
        optimizer.groups, optimizer._exclusions, variables
    )
    for group, resolved in zip(optimizer.groups, selected, strict=True):
        group.selection = resolved
    optimizer._exclusions = exclusions
    for group in optimizer.groups:
        group.build()
    return [
        groups_of_variables.settings_of(optimizer, selected, exclusions, variable)
        for variable in variables
    ]


def _state(optimizer: Any, parameters: list[ParameterState]) -> State:
    count = len(parameters)
    in_window = optimizer._add_numbers("in_window", (count,)) if optimizer.window > 1 else None
    return State(
        iterations=optimizer._iterations,
        averaging=optimizer._add_numbers("averaging") if optimizer.use_ema else None,
        in_window=in_window,
        parameters=parameters,
        skips=_skips(optimizer, count) if optimizer._skips_nonfinite else None,
        statistics=_statistics(optimizer, parameters) if optimizer._statistics_every else None,
        own=optimizer._own.variables(),
    )


def _settings(optimizer: Any, groups: tuple[GroupSettings, ...]) -> Settings:
    return Settings(
        groups=groups,
        nesterov=optimizer.nesterov,
        clipnorm=optimizer.clipnorm,
        clipvalue=optimizer.clipvalue,
        global_clipnorm=optimizer.global_clipnorm,
        use_ema=optimizer.use_ema,
        ema_momentum=optimizer.ema_momentum,
        ema_overwrite_frequency=optimizer.ema_overwrite_frequency,
        loss_scale_factor=optimizer.loss_scale_factor or 1.0,
        window=optimizer.window,
        skip_nonfinite=optimizer._skips_nonfinite,
        statistics_every=optimizer._statistics_every,
        own_rule=optimizer._own_rule(),
    )


def _parameter_state(
    optimizer: Any, index: int, variable: Any, settings: GroupSettings, group: int
) -> ParameterState:
    takes_value = bool(getattr(variable, "overwrite_with_gradient", False))
    if takes_value:
        return ParameterState(
            index,
            variable,
            accumulator=_accumulator(optimizer, variable),
            overwrite_with_gradient=True,
            group=group,
        )
    return ParameterState(
        index,
        variable,
        velocity=_velocity(optimizer, variable) if settings.momentum else None,
        average=_average(optimizer, variable) if optimizer.use_ema else None,
        accumulator=_accumulator(optimizer, variable),
        constraint=getattr(variable, "constraint", None),
        group=group,
    )


def _statistics(optimizer: Any, parameters: Sequence[ParameterState]) -> Statistics:
    """The variables that hold the measurements of an update."""
    dtypes = {keras.config.floatx(), *(_dtype(parameter.variable) for parameter in parameters)}
    dtype = "float64" if "float64" in dtypes else "float32"
    of_each = (len(MEASURED), len(parameters))
    return Statistics(
        of_update=optimizer._add_numbers("statistics", (len(MEASURED_OF_UPDATE),), dtype),
        of_variables=optimizer._add_numbers("statistics_of_variables", of_each, dtype),
        updates=optimizer._add_numbers("statistics_updates"),
        measured=optimizer._add_numbers("statistics_measured"),
    )


def _skips(optimizer: Any, variables: int) -> Skips:
    """The counts of skipped updates."""
    return Skips(
        skipped=optimizer._add_numbers("skipped"),
        in_a_row=optimizer._add_numbers("skipped_in_a_row"),
        nonfinite=optimizer._add_numbers("nonfinite", (2, variables)),
    )


def _velocity(optimizer: Any, variable: Any) -> Any:
    return _colocated(optimizer, variable, "velocity", _dtype(variable))


def _accumulator(optimizer: Any, variable: Any) -> Any:
    if optimizer.window == 1:
        return None
    # 8.1: sums and averages in half precision would stall.
    return _colocated(optimizer, variable, "accumulator", precision.wide(_dtype(variable)))


def _average(optimizer: Any, variable: Any) -> Any:
    # A copy of the weights: swapping both before the first update must change nothing.
    wide = precision.wide(_dtype(variable))
    create = partial(_colocated, optimizer, variable, "average", wide)
    return optimizer.backend.create_as_copy(create, variable)


def _dtype(variable: Any) -> str:
    dtype: str = keras.backend.standardize_dtype(variable.dtype)
    return dtype


def _colocated(
    optimizer: Any, variable: Any, role: str, dtype: str, initializer: Any = None
) -> Any:
    """A new variable with the shape and the devices of `variable`."""
    with optimizer.backend.colocated_with(optimizer, variable):
        # Keras' own method: `SGD` overrides it for subclasses.
        created = keras.optimizers.SGD.add_variable(
            optimizer,
            shape=shape_of(variable),
            initializer=initializer or optimizer.backend.initializer_for(variable),
            dtype=dtype,
            layout=getattr(variable, "_layout", None),
            # The same name each time: a new variable name is the costliest part on TensorFlow.
            name=role,
        )
    rename(created, f"{path_of(variable).replace('/', '_').replace(':', '_')}_{role}")
    return created
