"""An optimizer in a file: settings and all state, exact, and nothing that could run code.

The file is one of NumPy's (`.npz`, an uncompressed zip of arrays). The array `optimizer` holds
JSON: format, class and settings. The arrays of the state have the names of `saved.py`; those of a
wrapped optimizer begin with `inner/`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np

from kerasgd.errors import StateError
from kerasgd.files import archive, replacing, state
from kerasgd.files.archive import Array

FORMAT = 1
HEADER = "optimizer"
INNER = "inner/"

Optimizer = Any
Load = Callable[[Any, Mapping[str, Any]], None]


def save(optimizer: Optimizer, file: str) -> None:
    """Write the optimizer to the file, or leave what is there as it is.

    The file is complete, and on the disk, before it takes the place of an earlier one. Where
    variables are sharded over several processes, all of these must call this: each gathers all of
    the state, and writes it.

    Args:
        optimizer: a `kerasgd.SGD` or `kerasgd.LossScaleOptimizer`.
        file: the path of the file.

    Raises:
        StateError: the optimizer has what cannot be saved: a function as learning rate, a class of
            its own, weights and averages that are exchanged, a group that was not selected by
            patterns and is not built yet.
        OSError: the file cannot be written.
    """
    settings, arrays = _taken_apart(optimizer)
    header = json.dumps({"format": FORMAT, **settings}).encode()
    arrays[HEADER] = np.frombuffer(header, "uint8")
    replacing.write(file, lambda opened: np.savez(opened, **arrays))


def load(file: str, variables: list[Any] | None = None, strict: bool = True) -> Optimizer:
    """The optimizer that a file of `save_optimizer()` holds.

    With `variables` it is built, and has its state. Without, it takes the state when it is built,
    which is then where an error about state that does not fit comes from.

    Args:
        file: the path of the file.
        variables: the variables that the optimizer is to train, or None.
        strict: whether state that does not fit is an error. If not, what does not fit is left out
            with a warning.

    Raises:
        StateError: the file holds no optimizer, it is damaged, or its state does not fit the
            variables.
        OSError: the file cannot be opened.
    """
    arrays = archive.read(file)
    if arrays is None or HEADER not in arrays:
        raise StateError(f"`{file}` is not a file written by `save_optimizer()`, or it is damaged.")
    try:
        header = _header(arrays.pop(HEADER))
        optimizer = _put_together(header, arrays, state.load_strictly if strict else state.load)
    except StateError as error:
        raise StateError(f"`{file}` cannot be loaded. {error}") from error
    if variables is not None:
        optimizer.build(variables)
    return optimizer


# -- writing -----------------------------------------------------------------------------------


def _taken_apart(optimizer: Optimizer) -> tuple[dict[str, Any], dict[str, Any]]:
    arrays = {role: _plain(array) for role, array in state.stored(optimizer).items()}
    if type(optimizer) is _class("SGD"):
        optimizer.check_can_be_saved()
        return {"class": "SGD", "config": optimizer.get_config()}, arrays
    if type(optimizer) is not _class("LossScaleOptimizer"):
        raise StateError(
            f"An optimizer of class {type(optimizer).__name__} cannot be saved in this way, "
            "only those of kerasgd itself. Save the model as a `.keras` file."
        )
    inner, inner_arrays = _taken_apart(optimizer.inner_optimizer)
    arrays |= {INNER + role: array for role, array in inner_arrays.items()}
    config = {
        "initial_scale": optimizer.initial_scale,
        "dynamic_growth_steps": optimizer.dynamic_growth_steps,
        "name": optimizer.name,
    }
    return {"class": "LossScaleOptimizer", "config": config, "inner": inner}, arrays


def _class(name: str) -> Any:
    """A class of kerasgd's own, by the name under which Keras knows it."""
    return keras.saving.get_registered_object(f"kerasgd>{name}")


def _plain(array: Array) -> Array:
    """Numbers that NumPy itself knows; float32 holds every bfloat16."""
    return array.astype("float32") if array.dtype.name == "bfloat16" else array


# -- reading -----------------------------------------------------------------------------------


def _header(array: Array) -> dict[str, Any]:
    try:
        header = json.loads(array.tobytes())
    except (ValueError, RecursionError):
        raise StateError("It is damaged: its header is not JSON.") from None
    if not (isinstance(header, dict) and isinstance(header.get("format"), int)):
        raise StateError("It is damaged: its header names no format.")
    if header["format"] > FORMAT:
        raise StateError(
            f"The file has format {header['format']}; this version of kerasgd reads formats up to "
            f"{FORMAT}. Install a newer kerasgd."
        )
    return header


def _put_together(
    settings: Mapping[str, Any], arrays: Mapping[str, Array], load_state: Load
) -> Optimizer:
    kind = settings.get("class")
    if kind == "LossScaleOptimizer":
        inner_settings = settings.get("inner")
        if not isinstance(inner_settings, dict) or inner_settings.get("class") != "SGD":
            raise StateError("It is damaged: its header has no inner optimizer.")
        of_inner = {k.removeprefix(INNER): v for k, v in arrays.items() if k.startswith(INNER)}
        inner = _put_together(inner_settings, of_inner, load_state)
        own = {role: array for role, array in arrays.items() if not role.startswith(INNER)}
        optimizer = _made(lambda config: _class(kind)(inner, **config), settings)
    elif kind == "SGD":
        own = dict(arrays)
        if "iterations" not in own:
            raise StateError("It is damaged: it has no count of steps.")
        optimizer = _made(_class(kind).from_config, settings)
    else:
        raise StateError(f"It is damaged: there is no class {kind!r}.")
    load_state(optimizer, own)
    return optimizer


def _made(make: Callable[[dict[str, Any]], Optimizer], settings: Mapping[str, Any]) -> Optimizer:
    config = settings.get("config")
    if not isinstance(config, dict):
        raise StateError("It is damaged: its header has no settings.")
    try:
        return make(config)
    except Exception as error:  # a schedule is made by its own class, which may raise anything
        raise StateError(f"Its settings are damaged, or of another version: {error}") from error
