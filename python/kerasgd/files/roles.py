"""The names of an optimizer's state in files."""

from __future__ import annotations

from typing import Any

from kerasgd.files.saved import GROUP_FACTOR


def by_role(optimizer: Any) -> dict[str, Any]:
    """All variables of the state, by the name under which each is saved."""
    roles = {
        "iterations": optimizer._iterations,
        "learning_rate": optimizer._rate.variable,
        "rate_replaced": optimizer._rate.replaced,
        **{GROUP_FACTOR + str(i): group.variable for i, group in enumerate(optimizer.groups)},
    }
    if optimizer.built:
        roles |= _of_state(optimizer.state())
    roles |= optimizer._own.by_role()
    return {role: variable for role, variable in roles.items() if variable is not None}


def _of_state(state: Any) -> dict[str, Any]:
    roles = {"averaging": state.averaging, "in_window": state.in_window}
    if state.skips is not None:
        roles["skipped"] = state.skips.skipped
        roles["skipped_in_a_row"] = state.skips.in_a_row
    for i, parameter in enumerate(state.parameters):
        roles |= {
            f"velocity_{i}": parameter.velocity,
            f"average_{i}": parameter.average,
            f"accumulator_{i}": parameter.accumulator,
        }
    return roles


def kinds(optimizer: Any) -> set[str]:
    """The kinds of state that the arguments require for each variable."""
    kept = {
        "velocity": _has_velocities(optimizer),
        "average": optimizer.use_ema,
        "accumulator": optimizer.window > 1,
    }
    return {kind for kind, is_kept in kept.items() if is_kept}


def _has_velocities(optimizer: Any) -> bool:
    """Whether any variable has momentum."""
    if optimizer.built:
        return len(optimizer.momentums) > 0
    return optimizer.momentum > 0 or any(group.momentum for group in optimizer.groups)
