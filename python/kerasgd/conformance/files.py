"""Helpers of the checks for saving and loading."""

from __future__ import annotations

import contextlib
import pathlib
import tempfile
from collections.abc import Iterator
from typing import Any

import keras


@contextlib.contextmanager
def folder() -> Iterator[pathlib.Path]:
    """A temporary folder."""
    with tempfile.TemporaryDirectory(prefix="kerasgd-conformance-") as path:
        yield pathlib.Path(path)


def unchanged(model: Any) -> Any:
    """The model itself, without a file in between."""
    return model


def saved_and_loaded(model: Any) -> Any:
    """The model after saving to a `.keras` file and loading."""
    with folder() as path:
        model.save(path / "model.keras")
        return keras.saving.load_model(path / "model.keras")


def state_of(optimizer: Any) -> dict[str, Any]:
    """The state that an optimizer saves."""
    store: dict[str, Any] = {}
    optimizer.save_own_variables(store)
    return store
