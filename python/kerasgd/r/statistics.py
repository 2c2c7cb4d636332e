"""The statistics of updates as columns, for R's data frames.

Columns are bytes of doubles: reticulate would convert a list of dicts slowly, row by row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kerasgd.callbacks import Statistics
from kerasgd.errors import StateError
from kerasgd.loss_scale_optimizer import without_wrapper
from kerasgd.rules.statistics import OF_UPDATE, OF_VARIABLE

WHERE = ("epoch", "batch", "updates")

Columns = dict[str, Any]


def of_updates(source: Any) -> Columns | None:
    """The columns of a callback's measured updates, or of an optimizer's last measured update."""
    rows = _rows(source)
    if rows is None:
        return None
    columns = {
        name: _doubles([row[name] for row in rows]) for name in (*_where(source), *OF_UPDATE)
    }
    return {**columns, "clip_limit": _limit(source, "global_clipnorm")}


def of_variables(source: Any) -> Columns | None:
    """The same for each variable; the column `path` holds indices into `paths`, from 0.

    Raises:
        StateError: the variables are not measured.
    """
    rows = _rows(source)
    if rows is None:
        return None
    if any("variables" not in row for row in rows):
        raise StateError(
            "The variables are not measured. Call `track_statistics(optimizer, per_variable = "
            "TRUE)` before the first step."
        )
    pairs = [(row, variable) for row in rows for variable in row["variables"]]
    paths = list(dict.fromkeys(variable["path"] for _, variable in pairs))
    indices = {path: index for index, path in enumerate(paths)}
    columns = {name: _doubles([row[name] for row, _ in pairs]) for name in _where(source)}
    columns["path"] = _doubles([indices[variable["path"]] for _, variable in pairs])
    columns |= {name: _doubles([variable[name] for _, variable in pairs]) for name in OF_VARIABLE}
    return {**columns, "paths": paths, "clip_limit": _limit(source, "clipnorm")}


def _rows(source: Any) -> Sequence[Mapping[str, Any]] | None:
    if isinstance(source, Statistics):
        return source.rows
    last = source.statistics
    return None if last is None else [last]


def _where(source: Any) -> Sequence[str]:
    """The columns that identify an update; an optimizer does not know epochs."""
    return WHERE if isinstance(source, Statistics) else ("updates",)


def _doubles(values: Sequence[float]) -> bytearray:
    return bytearray(np.asarray(values, dtype="<f8").tobytes())


def _limit(source: Any, argument: str) -> float | None:
    """The optimizer's current limit on the norms."""
    optimizer = source
    if isinstance(source, Statistics):
        optimizer = getattr(source.model, "optimizer", None)
    return getattr(without_wrapper(optimizer), argument, None)
