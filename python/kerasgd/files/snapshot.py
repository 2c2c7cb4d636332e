"""An optimizer in a file: settings and all state, exact, and nothing that could run code.

The file is one of NumPy's (`.npz`, a zip of arrays). The array `optimizer` holds JSON: format,
class and settings. The arrays of the state have the names of `state.py`; those of a wrapped
optimizer begin with `inner/`.
"""

from __future__ import annotations

import json
import os
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

import numpy as np

from kerasgd import learning_rate as rates
from kerasgd.errors import StateError
from kerasgd.files import state
from kerasgd.loss_scale_optimizer import LossScaleOptimizer
from kerasgd.sgd import SGD

FORMAT = 1
HEADER = "optimizer"
INNER = "inner/"

Array = np.ndarray[Any, Any]
Load = Callable[[Any, Mapping[str, Any]], None]


def save(optimizer: SGD | LossScaleOptimizer, file: str) -> None:
    """Write the optimizer to the file, or leave what is there as it is.

    Raises:
        StateError: it has what cannot be saved: a function as learning rate, a class of its own,
            weights and averages that are exchanged.
    """
    settings, arrays = _taken_apart(optimizer)
    header = json.dumps({"format": FORMAT, **settings}).encode()
    arrays[HEADER] = np.frombuffer(header, "uint8")
    folder = os.path.dirname(os.path.abspath(file))
    with tempfile.NamedTemporaryFile(dir=folder, delete=False) as written:
        try:
            np.savez(written, **arrays)
        except BaseException:
            os.unlink(written.name)
            raise
    os.replace(written.name, file)


def load(
    file: str, variables: list[Any] | None = None, strict: bool = True
) -> SGD | LossScaleOptimizer:
    """The optimizer that a file of `save_optimizer()` holds.

    With `variables` it is built, and has its state. Without, it takes the state when it is built,
    which is then where an error about state that does not fit comes from.

    Args:
        file: the path of the file.
        variables: the variables that the optimizer is to train, or None.
        strict: whether state that does not fit is an error. If not, what does not fit is left out
            with a warning.

    Raises:
        StateError: the file holds no optimizer, or its state does not fit the variables.
    """
    with open(file, "rb") as opened:
        arrays = _arrays(file, opened)
    header = json.loads(arrays.pop(HEADER).tobytes())
    if header["format"] > FORMAT:
        raise StateError(
            f"The file has format {header['format']}; this version of kerasgd reads formats up to "
            f"{FORMAT}. Install a newer kerasgd."
        )
    optimizer = _put_together(header, arrays, state.load_strictly if strict else state.load)
    if variables is not None:
        optimizer.build(variables)
    return optimizer


def _arrays(file: str, opened: BinaryIO) -> dict[str, Array]:
    try:
        with np.load(opened, allow_pickle=False) as stored:
            arrays = dict(stored.items())
    except (ValueError, EOFError, zipfile.BadZipFile, AttributeError):
        arrays = {}
    if HEADER not in arrays:
        raise StateError(f"`{file}` is no file of an optimizer, or it is damaged.")
    return arrays


def _taken_apart(
    optimizer: SGD | LossScaleOptimizer,
) -> tuple[dict[str, Any], dict[str, Any]]:
    arrays = {role: _plain(array) for role, array in state.stored(optimizer).items()}
    if type(optimizer) is SGD:
        rates.check_can_be_saved(optimizer._learning_rate)
        return {"class": "SGD", "config": optimizer.get_config()}, arrays
    if type(optimizer) is not LossScaleOptimizer:
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


def _plain(array: Array) -> Array:
    """Numbers that NumPy itself knows; float32 holds every bfloat16."""
    return array.astype("float32") if array.dtype.name == "bfloat16" else array


def _put_together(
    settings: Mapping[str, Any], arrays: Mapping[str, Array], load_state: Load
) -> SGD | LossScaleOptimizer:
    own = {role: array for role, array in arrays.items() if not role.startswith(INNER)}
    optimizer: SGD | LossScaleOptimizer
    if settings["class"] == "LossScaleOptimizer":
        of_inner = {k.removeprefix(INNER): v for k, v in arrays.items() if k not in own}
        inner = _put_together(settings["inner"], of_inner, load_state)
        optimizer = LossScaleOptimizer(inner, **settings["config"])
    else:
        optimizer = SGD.from_config(settings["config"])
    load_state(optimizer, own)
    return optimizer
