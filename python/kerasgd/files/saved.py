"""Reads and checks the state of an optimizer in a file, before any of it is used (contract 9.4).

State is stored by role and variable: `velocity_3` is the velocity of the fourth variable. A
description, stored with it, names the variables and says whether the optimizer was built. The
description is JSON in an array of bytes, because every file format can hold arrays.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from kerasgd.arguments import LARGEST_WHOLE_NUMBER
from kerasgd.errors import StateError
from kerasgd.files.matching import SavedVariable
from kerasgd.limits import LARGEST_NORMAL, SMALLEST_NORMAL

Array = np.ndarray[Any, Any]

FORMAT = 1
DESCRIPTION = "description"
# A description of a hundred thousand variables takes 10 MB.
LARGEST_DESCRIPTION = 2**28
# Prefixes for the state of a subclass: for each variable, and for the optimizer as a whole.
OWN_OF_VARIABLE = "own."
OWN = "own:"
# The prefix for the rate factor of a group; the number of the group follows.
GROUP_FACTOR = "group_factor:"
# The argument that requires each kind of state for a variable.
ARGUMENTS = {
    "velocity": "momentum",
    "average": "use_ema",
    "accumulator": "gradient_accumulation_steps",
}
PARTNERS = {"averaging": "average", "in_window": "accumulator"}


def is_own(name: str) -> bool:
    """Whether an array is state of a subclass."""
    return name.startswith((OWN, OWN_OF_VARIABLE))


def name_of_own(kind: str) -> str:
    """The name that the subclass gave to its variable."""
    return kind.removeprefix(OWN).removeprefix(OWN_OF_VARIABLE)


@dataclass(frozen=True)
class Role:
    """The parsed name of an array in a file: `velocity_3` is the velocity of variable 3.

    Attributes:
        kind: the kind of state, such as `velocity`.
        index: the index of its variable, or None.
    """

    kind: str
    index: int | None = None

    @classmethod
    def of(cls, name: str) -> Role:
        """Parse the name of an array."""
        kind, _, index = name.rpartition("_")
        of_variable = kind in ARGUMENTS or kind.startswith(OWN_OF_VARIABLE)
        return cls(kind, int(index)) if of_variable and index.isdecimal() else cls(name)

    def __str__(self) -> str:
        return self.kind if self.index is None else f"{self.kind}_{self.index}"


@dataclass(frozen=True)
class SavedState:
    """The state of an optimizer, read from a file.

    Attributes:
        built: whether the optimizer was built.
        variables: the variables that it was built with.
        values: an array for each role.
        window: its `gradient_accumulation_steps`; None if the file does not record it.
        rate_is_number: whether its rate was the stored number rather than a schedule or function;
            None if the file does not record it.
    """

    built: bool
    variables: list[SavedVariable]
    values: Mapping[str, Array]
    window: int | None
    rate_is_number: bool | None

    def only(self, keep: Callable[[str], bool]) -> SavedState:
        """This state, reduced to the values whose role satisfies `keep`."""
        return replace(self, values={k: v for k, v in self.values.items() if keep(k)})


def read(store: Mapping[str, Any]) -> SavedState | None:
    """The state in the store; None if kerasgd did not write it.

    Raises:
        StateError: the state is damaged, or a newer kerasgd wrote it.
    """
    names = list(store.keys())
    if DESCRIPTION not in names:
        return None
    description = _description(store[DESCRIPTION])
    for name in description.get("arrays", []):
        if name not in names:
            raise _damage_error(f"`{name}` is missing")
    state = SavedState(
        built=description["built"],
        variables=_variables(description),
        values={},
        window=description.get("window"),
        rate_is_number=description.get("rate_is_number"),
    )
    values = {}
    for name in names:
        if name != DESCRIPTION:
            values[name] = _value(name, store[name], state.variables)
    return replace(state, values=values)


def write(state: SavedState, store: Any) -> None:
    """Write the state into a Keras store, or into a dict."""
    for name, value in state.values.items():
        store[name] = value
    description = {
        "format": FORMAT,
        "built": state.built,
        "variables": [(v.path, list(v.shape)) for v in state.variables],
        "checksums": [v.checksum for v in state.variables],
        "window": state.window,
        "rate_is_number": state.rate_is_number,
        "arrays": sorted(state.values),
    }
    store[DESCRIPTION] = np.frombuffer(json.dumps(description).encode(), "uint8")


def _description(stored: Any) -> dict[str, Any]:
    # Check the shape first: a damaged file may claim any size.
    shape = tuple(getattr(stored, "shape", ()))
    if len(shape) != 1 or shape[0] > LARGEST_DESCRIPTION or str(stored.dtype) != "uint8":
        raise _damage_error("its description is not an array of bytes")
    try:
        description = json.loads(np.asarray(stored).tobytes())
    except (ValueError, RecursionError):
        raise _damage_error("its description is not JSON") from None
    if not (isinstance(description, dict) and _is_count(description.get("format"))):
        raise _damage_error("its description names no format")
    version = description["format"]
    if version > FORMAT:
        raise StateError(
            f"This state has format {version}; this version of kerasgd reads formats up to "
            f"{FORMAT}. Install a newer kerasgd."
        )
    if not isinstance(description.get("built"), bool):
        raise _damage_error("its description does not say whether the optimizer was built")
    if not (description.get("window") is None or _is_count(description["window"])):
        raise _damage_error("the length of its accumulation window is not a whole number")
    arrays = description.get("arrays", [])
    if not (isinstance(arrays, list) and all(isinstance(name, str) for name in arrays)):
        raise _damage_error("its description does not list its arrays")
    if description.get("rate_is_number") not in (None, True, False):
        raise _damage_error("its description does not say whether its rate is a number")
    return description


def _variables(description: Mapping[str, Any]) -> list[SavedVariable]:
    variables = description.get("variables")
    if not (isinstance(variables, list) and all(map(_is_variable, variables))):
        raise _damage_error("its description does not list its variables")
    checksums = description.get("checksums") or [None] * len(variables)
    if not (isinstance(checksums, list) and len(checksums) == len(variables)):
        raise _damage_error("its description does not have one checksum for each variable")
    return [
        SavedVariable(path, tuple(shape), checksum)
        for (path, shape), checksum in zip(variables, checksums, strict=True)
    ]


def _is_variable(described: Any) -> bool:
    if not (isinstance(described, list) and len(described) == 2):
        return False
    path, shape = described
    return isinstance(path, str) and isinstance(shape, list) and all(map(_is_count, shape))


def _is_count(value: Any) -> bool:
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    return is_whole and 0 <= value <= LARGEST_WHOLE_NUMBER


def _damage_error(problem: str) -> StateError:
    return StateError(f"This state is damaged: {problem}.")


def _whole(value: Array) -> bool:
    return value.dtype.kind in "iu" and 0 <= int(value) <= LARGEST_WHOLE_NUMBER


def _flags(value: Array) -> bool:
    return value.dtype.kind in "iu" and bool(np.isin(value, (0, 1)).all())


def _rate(value: Array) -> bool:
    return value.dtype.kind == "f" and math.isfinite(value) and bool(value >= 0)


def _scale(value: Array) -> bool:
    return value.dtype.kind == "f" and bool(SMALLEST_NORMAL <= value <= LARGEST_NORMAL)


def _floats(value: Array) -> bool:
    # NumPy itself does not know bfloat16 and similar dtypes, so compare the name.
    return value.dtype.kind == "f" or str(value.dtype).startswith(("bfloat", "float"))


# For each kind of value, the requirement in words and the function that checks it.
RULES: Mapping[str, tuple[str, Callable[[Array], bool]]] = {
    "iterations": (f"a whole number from 0 to {LARGEST_WHOLE_NUMBER}", _whole),
    "learning_rate": ("a finite number >= 0", _rate),
    "rate_replaced": ("0 or 1", _flags),
    "group_factor": ("a finite number >= 0", _rate),
    "averaging": ("0 or 1", _flags),
    "skipped": (f"a whole number from 0 to {LARGEST_WHOLE_NUMBER}", _whole),
    "skipped_in_a_row": (f"a whole number from 0 to {LARGEST_WHOLE_NUMBER}", _whole),
    "in_window": ("0 or 1 for each variable", _flags),
    "dynamic_scale": ("a number from 2^-126 to 2^126", _scale),
    "step_counter": (f"a whole number from 0 to {LARGEST_WHOLE_NUMBER}", _whole),
    "velocity": ("floating-point numbers", _floats),
    "average": ("floating-point numbers", _floats),
    "accumulator": ("floating-point numbers", _floats),
}


def _value(name: str, stored: Any, variables: list[SavedVariable]) -> Array:
    role = Role.of(name)
    if is_own(role.kind):
        value = np.asarray(stored)
        if value.dtype.kind not in "biuf" and not _floats(value):
            raise _damage_error(f"`{name}` does not contain numbers")
        return value
    is_factor = name.startswith(GROUP_FACTOR) and name.removeprefix(GROUP_FACTOR).isdecimal()
    kind = "group_factor" if is_factor else role.kind
    if kind not in RULES:
        raise _damage_error(f"it has `{name}`, which no optimizer has")
    expected = _shape_of(role, variables)
    shape = tuple(getattr(stored, "shape", ()))
    if expected != shape:
        raise _damage_error(f"`{name}` has shape {shape} instead of {expected}")
    value = np.asarray(stored)
    check_value(kind, value)
    return value


def check_value(kind: str, value: Array) -> None:
    """Check that `value` is valid for this kind of state.

    Raises:
        StateError: it is not.
    """
    requirement, holds = RULES[kind]
    if not holds(value):
        raise _damage_error(f"`{kind}` must be {requirement}")


def _shape_of(role: Role, variables: list[SavedVariable]) -> tuple[int, ...] | None:
    if role.index is not None:
        return variables[role.index].shape if role.index < len(variables) else None
    return (len(variables),) if role.kind == "in_window" else ()
