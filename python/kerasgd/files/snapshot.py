"""Saves an optimizer to a file: settings and all state, exactly, and nothing that can run code.

The file is a NumPy archive (`.npz`, an uncompressed zip of arrays). The array `optimizer` holds
JSON with the format, the class and the settings. The arrays of the state have the names that
`saved.py` defines; the names of a wrapped optimizer's arrays begin with `inner/`.
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
    """Save an optimizer to a file, with its settings and complete state.

    An existing file is replaced once the new one is complete and flushed to disk; if saving fails,
    it stays unchanged. If variables are sharded over several processes, all processes must call
    this function: each gathers the whole state and writes it.

    Args:
        optimizer: a `kerasgd.SGD` or `kerasgd.LossScaleOptimizer`.
        file: the path of the file.

    Raises:
        StateError: the optimizer cannot be saved: its learning rate is a function, it is an
            instance of a subclass, its weights and averages are swapped, or it is not built and has
            a group that was not selected by patterns.
        OSError: the file cannot be written.
    """
    settings, arrays = _taken_apart(optimizer)
    header = json.dumps({"format": FORMAT, **settings}).encode()
    arrays[HEADER] = np.frombuffer(header, "uint8")
    replacing.write(file, lambda opened: np.savez(opened, **arrays))


def load(file: str, variables: list[Any] | None = None, strict: bool = True) -> Optimizer:
    """Load an optimizer from a file that `save_optimizer()` wrote.

    With `variables`, the optimizer is built and its state restored at once. Without them, `build()`
    restores the state, and raises the error if it does not fit.

    Args:
        file: the path of the file.
        variables: the variables that the optimizer will train, or None.
        strict: whether state that does not fit is an error. If False, the state that fits is
            restored, and one warning names the rest.

    Raises:
        StateError: the file was not written by `save_optimizer()` or is damaged, or its state does
            not fit the variables.
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
            f"An optimizer of class {type(optimizer).__name__} cannot be saved this way: only "
            "kerasgd's own classes can. Save the model as a `.keras` file instead."
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
    """The class of kerasgd that is registered with Keras under this name."""
    return keras.saving.get_registered_object(f"kerasgd>{name}")


def _plain(array: Array) -> Array:
    """The array in a dtype that NumPy itself has; float32 represents every bfloat16 exactly."""
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
    except Exception as error:  # a schedule's class creates it, and may raise anything
        raise StateError(f"Its settings are damaged, or of another version: {error}") from error
