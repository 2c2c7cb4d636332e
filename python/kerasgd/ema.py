"""Writes the averages of the weights into the weights (contract 5.4, 5.6).

`update.py` updates the averages, as part of a step.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import keras

from kerasgd.errors import KerasgdWarning, StateError
from kerasgd.keras_internals import is_taken_away
from kerasgd.state import Variable
from kerasgd.variables import check_available, checked_list, path_of, value_of


def finalize(optimizer: Any, variables: Iterable[Any] | None) -> None:
    """Write the averages into `variables`; None means all variables of `build()`."""
    asked = optimizer._trainable_variables if variables is None else checked_list(variables)
    if _are_lost(optimizer) or not averages_exist(optimizer):
        return
    check_not_swapped(optimizer)
    found = [(variable, optimizer.parameter_of(variable)) for variable in asked]
    _report([variable for variable, parameter in found if parameter is None], asked)
    for variable, parameter in found:
        has_average = parameter is not None and parameter.average is not None
        if has_average and not optimizer.is_frozen(parameter):
            # A copy: otherwise both would share memory on JAX, where `fit()` donates buffers.
            variable.assign(keras.ops.copy(parameter.average))


def _are_lost(optimizer: Any) -> bool:
    """Whether an error or an interrupt in JAX's `fit()` has destroyed the averages.

    `fit()` finalizes in that case too, and an error here would hide the original one.
    """
    if not (optimizer.use_ema and optimizer.built):
        return False
    state = optimizer.state()
    averages = [
        parameter.average for parameter in state.parameters if parameter.average is not None
    ]
    return any(map(is_taken_away, [state.averaging, *averages]))


def averages_exist(optimizer: Any) -> bool:
    """Whether there has been an update since the averages were created.

    Raises:
        StateError: JAX's trainer holds the averages, or JAX has deleted them.
    """
    if not (optimizer.use_ema and optimizer.built):
        return False
    return bool(value_of(optimizer.state().averaging, optimizer) > 0)


def _report(missing: Sequence[Any], asked: Sequence[Any]) -> None:
    names = ", ".join(f"`{path_of(variable)}`" for variable in missing)
    if missing and len(missing) == len(asked):
        raise StateError(
            f"There is no average for {names}: the optimizer was built with other variables. "
            "A new set of variables needs a new optimizer."
        )
    if missing:
        warnings.warn(
            f"There is no average for {names}: left unchanged.", KerasgdWarning, stacklevel=4
        )


def swap(optimizer: Any) -> None:
    """Swap weights and averages; a second call restores both exactly."""
    if not averages_exist(optimizer):
        return
    parameters = optimizer.state().parameters
    pairs: list[tuple[Variable, Variable]] = [
        (parameter.variable, parameter.average)
        for parameter in parameters
        if parameter.average is not None
    ]
    check_available([variable for pair in pairs for variable in pair], optimizer)
    if optimizer._swapped is None:
        # Half-precision weights cannot hold an average exactly, so keep a copy of it.
        kept = optimizer.backend.copies([average for _, average in pairs])
        for (variable, average), value in zip(pairs, kept, strict=True):
            average.assign(variable)
            variable.assign(value)
        optimizer._swapped = kept
    else:
        for (variable, average), value in zip(pairs, optimizer._swapped, strict=True):
            variable.assign(average)
            average.assign(value)
        optimizer._swapped = None


def check_not_swapped(optimizer: Any) -> None:
    """Refuse an operation that would mix up weights and averages.

    Raises:
        StateError: weights and averages are swapped.
    """
    if optimizer._swapped is not None:
        raise StateError(
            f"The weights and the averages of `{optimizer.name}` are swapped. "
            "Call `swap_ema_weights()` again to restore them."
        )


def for_callback(optimizer: Any) -> list[Any]:
    """The averages, in the order of the variables, for Keras' `SwapEMAWeights`.

    Raises:
        AttributeError: there are none; the callback tests this with `hasattr()`.
        StateError: the callback cannot swap them exactly: on TensorFlow it adds and subtracts.
    """
    if not (optimizer.use_ema and optimizer.built):
        raise AttributeError("There are no averages.")
    parameters = optimizer.state().parameters
    differing = [s for s in parameters if s.average is None or s.average.dtype != s.variable.dtype]
    if differing and keras.config.backend() == "tensorflow":
        raise StateError(
            f"On TensorFlow, `SwapEMAWeights` cannot swap `{path_of(differing[0].variable)}` "
            f"({differing[0].variable.dtype}) and its float32 average. "
            "Call `swap_ema_weights()` of the optimizer before and after evaluating: it is exact."
        )
    if keras.config.backend() == "tensorflow" and not averages_exist(optimizer):
        # Averages that were created while the first step was traced do not equal the weights yet.
        for parameter in parameters:
            if parameter.average is not None:
                parameter.average.assign(parameter.variable)
    return [parameter.average for parameter in parameters]
