"""Reads statistics and skipped updates from an optimizer (contract 15, 16)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kerasgd import arguments
from kerasgd.errors import ArgumentValueError, StateError
from kerasgd.rules import statistics as rules
from kerasgd.variables import path_of, value_of

# The keys of these settings in a configuration.
STATISTICS = "track_statistics"
SKIPPING = "skip_nonfinite"
KEYS = (STATISTICS, SKIPPING)


def statistics(optimizer: Any) -> dict[str, Any] | None:
    """The statistics of the last measured update; None before the first one."""
    if not optimizer._statistics_every:
        raise StateError(
            f"`{optimizer.name}` does not measure its updates. Call `track_statistics()` before "
            "the first step."
        )
    if not optimizer.built or measured(optimizer) == 0:
        return None
    kept = optimizer.state().statistics
    whole = value_of(kept.of_update, optimizer).tolist()
    rows = value_of(kept.of_variables, optimizer)
    found: dict[str, Any] = rules.of_update(
        dict(zip(rules.MEASURED, rows, strict=True)),
        dict(zip(rules.MEASURED_OF_UPDATE, whole, strict=True)),
    )
    found["updates"] = int(value_of(kept.updates, optimizer))
    if optimizer._statistics_per_variable:
        pairs = zip(optimizer._trainable_variables, rows.T.tolist(), strict=True)
        found["variables"] = [
            {
                "path": path_of(variable),
                **rules.of_variable(dict(zip(rules.MEASURED, column, strict=True))),
            }
            for variable, column in pairs
        ]
    return found


def measured(optimizer: Any) -> int:
    """The number of measured updates."""
    kept = optimizer.state().statistics if optimizer.built else None
    return 0 if kept is None else int(value_of(kept.measured, optimizer))


def steps(optimizer: Any) -> int:
    """The number of steps done."""
    return int(value_of(optimizer._iterations, optimizer))


def skipped(optimizer: Any) -> int:
    """The number of skipped updates."""
    skips = optimizer.state().skips if optimizer.built else None
    return 0 if skips is None else int(value_of(skips.skipped, optimizer))


def skipped_in_a_row(optimizer: Any) -> int:
    """The number of updates skipped since the last one that was done."""
    skips = optimizer.state().skips if optimizer.built else None
    return 0 if skips is None else int(value_of(skips.in_a_row, optimizer))


def nonfinite(optimizer: Any) -> dict[str, tuple[int, int]]:
    """The counts of NaN and infinite elements in the gradients of the last skipped update."""
    counts = value_of(optimizer.state().skips.nonfinite, optimizer)
    pairs = zip(optimizer._trainable_variables, counts.T, strict=True)
    return {path_of(v): (int(nan), int(inf)) for v, (nan, inf) in pairs if nan or inf}


# -- configuration -----------------------------------------------------------------------------


def get_config(optimizer: Any) -> dict[str, Any]:
    """These settings in a configuration; empty if they are off."""
    config: dict[str, Any] = {}
    if optimizer._statistics_every:
        config[STATISTICS] = {
            "per_variable": optimizer._statistics_per_variable,
            "every": optimizer._statistics_every,
        }
    if optimizer._skips_nonfinite:
        config[SKIPPING] = True
    return config


def set_from_config(optimizer: Any, config: Mapping[str, Any]) -> None:
    """Restore the settings that `get_config()` returned.

    Raises:
        ArgumentError: the configuration is damaged.
    """
    settings = config.get(STATISTICS)
    if settings is not None:
        if not (isinstance(settings, dict) and settings.keys() == {"per_variable", "every"}):
            raise ArgumentValueError(STATISTICS, "what `get_config()` returns", settings)
        optimizer.track_statistics(**settings)
    if arguments.check(SKIPPING, config.get(SKIPPING, False), arguments.flag()):
        optimizer.skip_nonfinite()
