"""The training tools for R: results as columns, with the data that R's plots need."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras

from kerasgd import tools
from kerasgd.arguments import check_no_unknown
from kerasgd.loss_scale_optimizer import without_wrapper
from kerasgd.sgd import SGD
from kerasgd.tools.learning_rate_finder import OF_FIT
from kerasgd.variables import value_of

# An R function that draws a progress bar. It raises nothing.
Progress = Callable[[int, int], object]
# The message of reticulate's error for an interrupt while Python calls R.
INTERRUPT_OF_R = "(Unknown exception occurred)"
SECONDS_BETWEEN_CALLS = 0.2
# The possible outcomes of a step.
DONE, IN_WINDOW, SKIPPED = "done", "in_window", "skipped"


def find_learning_rate(
    model: Any,
    x: Any,
    y: Any,
    progress: Progress | None,
    arguments: Mapping[str, Any],
) -> dict[str, Any]:
    """`find_learning_rate()`: the rows as columns, and the suggestions."""
    # R's function has no such argument: it draws a progress bar with cli.
    not_in_r = {name: value for name, value in arguments.items() if name == "progress"}
    check_no_unknown(not_in_r, "find_learning_rate()", OF_FIT)
    told = None if progress is None else _now_and_then(progress)
    try:
        search = tools.find_learning_rate(model, x, y, progress=told, **arguments)
    except RuntimeError as error:
        if str(error) == INTERRUPT_OF_R:
            raise KeyboardInterrupt from None
        raise
    return {"rows": _columns(search.rows), "suggestion": search.suggestion}


def _now_and_then(progress: Progress) -> Progress:
    """Limit how often `progress` calls R, which is slow."""
    last = time.monotonic()

    def told(done: int, steps: int) -> None:
        nonlocal last
        if time.monotonic() - last < SECONDS_BETWEEN_CALLS:
            return
        last = time.monotonic()
        progress(done, steps)

    return told


def explain_step(model: Any, x: Any, y: Any, sample_weight: Any, check: Any) -> dict[str, Any]:
    """`explain_step()`: the rows as columns, and a description of the whole step."""
    rows = tools.explain_step(model, x, y, sample_weight, check)
    optimizer = model.optimizer
    inner = without_wrapper(optimizer)
    window = getattr(inner, "gradient_accumulation_steps", None) or 1
    position = int(value_of(inner._iterations, inner)) % window + 1
    outcome = DONE
    if all(row["change_norm"] is None for row in rows):
        is_skipped = position == window or (optimizer is not inner and not _all_finite(rows))
        outcome = SKIPPED if is_skipped else IN_WINDOW
    return {
        "rows": _columns([{**row, "shape": [float(n) for n in row["shape"]]} for row in rows]),
        "optimizer": type(inner).__name__ if isinstance(inner, SGD) else "keras.optimizers.SGD",
        "is_ours": isinstance(inner, SGD),
        "learning_rate": float(keras.ops.convert_to_numpy(inner.learning_rate)),
        "position": position,
        "window": window,
        "outcome": outcome,
    }


def _all_finite(rows: Sequence[Mapping[str, Any]]) -> bool:
    norms = [row["gradient_norm"] for row in rows]
    return all(norm is None or math.isfinite(norm) for norm in norms)


def _columns(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    return {name: [row[name] for row in rows] for name in rows[0]} if rows else {}
