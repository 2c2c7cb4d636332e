"""What a saved optimizer holds, and how it comes back (contract 9.4).

State is stored by role and variable: `velocity_3` is the velocity of the fourth variable. A
description beside it, JSON in an array of bytes so that every kind of file can hold it, names the
variables and says whether the optimizer was built.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any

import numpy as np

from kerasgd.errors import StateError
from kerasgd.variables import path_of, shape_of, value_of

Array = np.ndarray[Any, Any]

FORMAT = 1
DESCRIPTION = "description"


def save(optimizer: Any, store: MutableMapping[str, Any]) -> None:
    """Write the variables of the optimizer into `store`.

    Raises:
        StateError: JAX's trainer holds the values, or JAX has deleted them.
    """
    for role, variable in optimizer._by_role().items():
        store[role] = value_of(variable, optimizer)
    description = json.dumps(_describe(optimizer)).encode()
    store[DESCRIPTION] = np.frombuffer(description, "uint8")


def load(optimizer: Any, store: Mapping[str, Any]) -> None:
    """Set the variables of the optimizer from `store`, or none of them.

    State of an optimizer that was not built restores what that one had: step count and rate.

    Raises:
        StateError: the state was saved by another class, or for other variables or arguments.
    """
    roles = optimizer._by_role()
    saved = _read_description(optimizer, store)
    values = {role: np.asarray(store[role]) for role in store.keys() if role != DESCRIPTION}  # noqa: SIM118
    if saved["built"]:
        _check_built(optimizer, saved["variables"])
        own = _described(optimizer._trainable_variables)
        values = _reordered(values, _partners(optimizer, own, saved["variables"]))
        _check_roles(optimizer, set(roles), set(values))
    known = {role: value for role, value in values.items() if role in roles}
    _check_shapes(optimizer, roles, known)
    for role, value in known.items():
        roles[role].assign(value)


def stored(optimizer: Any) -> dict[str, Any]:
    """All state of the optimizer; what still waits for the variables, if some does."""
    if optimizer._pending is not None:
        return dict(optimizer._pending)
    store: dict[str, Any] = {}
    optimizer.save_own_variables(store)
    return store


def take_pending(optimizer: Any) -> None:
    """Set the state that has waited for the variables, if some has."""
    if optimizer._pending is not None:
        optimizer.load_own_variables(optimizer._pending)
        optimizer._pending = None


def check_fits(optimizer: Any, variables: Sequence[Any], store: Mapping[str, Any]) -> None:
    """Refuse variables that the state in `store` does not belong to.

    Raises:
        StateError: their number or a shape differs.
    """
    saved = _read_description(optimizer, store)
    if saved["built"]:
        _partners(optimizer, _described(variables), saved["variables"])


Described = list[tuple[str, list[int]]]


def _partners(optimizer: Any, own: Described, saved: Described) -> list[int]:
    """For each variable of the optimizer the index of the saved one that its state comes from.

    They are paired by path if both have the same paths, whatever their order. Else, since Keras
    numbers layers anew in every session, they are paired in their order.
    """
    own_paths = [path for path, _ in own]
    saved_paths = [path for path, _ in saved]
    same = sorted(own_paths) == sorted(saved_paths) and len(set(own_paths)) == len(own_paths)
    partners = [saved_paths.index(path) for path in own_paths] if same else list(range(len(saved)))
    _check_variables(optimizer, own, [saved[i] for i in partners])
    return partners


def _reordered(values: Mapping[str, Array], partners: Sequence[int]) -> dict[str, Array]:
    """The saved values under the names that the optimizer has for them."""
    own_index = {saved: own for own, saved in enumerate(partners)}

    def own_name(role: str) -> str:
        kind, _, index = role.rpartition("_")
        return f"{kind}_{own_index[int(index)]}" if index.isdigit() else role

    reordered = {own_name(role): value for role, value in values.items()}
    if "in_window" in reordered:
        reordered["in_window"] = reordered["in_window"][partners]
    return reordered


def _describe(optimizer: Any) -> dict[str, Any]:
    variables = optimizer._trainable_variables if optimizer.built else []
    return {
        "format": FORMAT,
        "built": optimizer.built,
        "variables": _described(variables),
    }


def _described(variables: Sequence[Any]) -> Described:
    return [(path_of(v), list(shape_of(v))) for v in variables]


def _read_description(optimizer: Any, store: Mapping[str, Any]) -> dict[str, Any]:
    if DESCRIPTION not in store.keys():  # noqa: SIM118 (a store of Keras has keys(), but not `in`)
        raise StateError(
            f"This state was not saved by kerasgd: `{optimizer.name}` cannot take it. "
            "Train on with the class that saved it, or begin with a new optimizer."
        )
    described: dict[str, Any] = json.loads(np.asarray(store[DESCRIPTION]).tobytes())
    if described["format"] > FORMAT:
        raise StateError(
            f"This state has format {described['format']}; this version of kerasgd reads formats "
            f"up to {FORMAT}. Install a newer kerasgd."
        )
    return described


def _variables(described: Described) -> str:
    return "1 variable" if len(described) == 1 else f"{len(described)} variables"


def _check_built(optimizer: Any, saved: Described) -> None:
    if not optimizer.built:
        raise StateError(
            f"The saved state belongs to {_variables(saved)}, but `{optimizer.name}` is not "
            "built. Call `build()` with the model's trainable variables first."
        )


def _check_variables(optimizer: Any, own: Described, saved: Described) -> None:
    if len(own) != len(saved):
        extra = (own if len(own) > len(saved) else saved)[min(len(own), len(saved))]
        raise StateError(
            f"The saved state belongs to {_variables(saved)}, but `{optimizer.name}` has "
            f"{len(own)}; the first without a partner is `{extra[0]}`."
        )
    for (path, shape), (saved_path, saved_shape) in zip(own, saved, strict=True):
        if shape != saved_shape:
            raise StateError(
                f"`{path}` has shape {tuple(shape)}, but the saved state belongs to "
                f"`{saved_path}` of shape {tuple(saved_shape)}."
            )


# Which argument an optimizer has state for, by role.
ARGUMENTS = {
    "velocity": "momentum",
    "average": "use_ema",
    "averaging": "use_ema",
    "accumulator": "gradient_accumulation_steps",
    "in_window": "gradient_accumulation_steps",
}


def _check_roles(optimizer: Any, own: set[str], saved: set[str]) -> None:
    for role in sorted(own ^ saved):
        argument = ARGUMENTS.get(role.rsplit("_", 1)[0], ARGUMENTS.get(role, "unknown"))
        has, lacks = ("The saved state", f"`{optimizer.name}`")
        if role in own:
            has, lacks = lacks, "the saved state"
        raise StateError(
            f"{has} has `{role}`, which {lacks} lacks: the two differ in `{argument}`."
        )


def _check_shapes(optimizer: Any, roles: Mapping[str, Any], values: Mapping[str, Array]) -> None:
    for role, value in values.items():
        if tuple(value.shape) != tuple(roles[role].shape):
            raise StateError(
                f"`{role}` has shape {tuple(roles[role].shape)} in `{optimizer.name}`, but "
                f"{tuple(value.shape)} in the saved state."
            )
