"""Collects the state of an optimizer for a file, and restores it (contract 9.4).

`load()` is for files that Keras loads: it restores all that fits and warns about the rest.
`load_strictly()` restores everything or raises an error. If the optimizer is not built yet, its
state waits for `build()`, except the step count and the learning rate.
"""

from __future__ import annotations

import warnings
import zlib
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np

from kerasgd import backends
from kerasgd.errors import KerasgdWarning, StateError, describe, in_words, number_of
from kerasgd.files import matching, saved
from kerasgd.files.matching import Pairing, SavedVariable
from kerasgd.files.saved import ARGUMENTS, PARTNERS, Array, Role, SavedState
from kerasgd.keras_internals import entry_around, vars_of_wrapper
from kerasgd.variables import check_available, find_path, path_of, shape_of

RATE = ("learning_rate", "rate_replaced")
# Restored as soon as a file is read, whether the optimizer is built or not.
AT_ONCE = ("iterations", *RATE)


@dataclass(frozen=True)
class Pending:
    """State that waits for `build()`.

    Attributes:
        state: the state that was read from a file.
        strict: whether it must fit.
    """

    state: SavedState
    strict: bool


def save(optimizer: Any, store: MutableMapping[str, Any]) -> None:
    """Write the state of the optimizer into `store`, including state that waits for `build()`."""
    saved.write(current(optimizer), store)


def current(optimizer: Any) -> SavedState:
    """The state of the optimizer, including state that waits for `build()`.

    Raises:
        StateError: JAX's trainer holds the values, or JAX has deleted them.
    """
    pending = optimizer._pending
    by_role = optimizer._by_role()
    check_available(by_role.values(), optimizer)
    backend = backends.current()
    values = {role: backend.as_numpy(variable) for role, variable in by_role.items()}
    if pending is not None:
        waiting: SavedState = pending.state
        return replace(
            waiting,
            values={**waiting.values, **values},
            rate_is_number=_rate_is_number(optimizer),
        )
    return SavedState(
        built=optimizer.built,
        variables=_described_with_checksums(optimizer._trainable_variables),
        values=values,
        window=getattr(optimizer, "window", None),
        rate_is_number=_rate_is_number(optimizer),
    )


def _rate_is_number(optimizer: Any) -> bool | None:
    """Whether its rate is a number; None for a wrapper, whose rate is the inner optimizer's."""
    return None if optimizer._rate is None else optimizer._rate.is_number()


def load(optimizer: Any, store: Mapping[str, Any]) -> None:
    """Restore what fits, with one warning about the rest.

    Raises:
        StateError: the state is damaged. Nothing is changed in that case.
    """
    is_wrapper = hasattr(optimizer, "inner_optimizer")
    if is_wrapper and "iterations" in store.keys():  # noqa: SIM118 (no `in` for Keras' stores)
        return  # the saved optimizer was not wrapped: the inner optimizer takes this state
    inside = None if is_wrapper else _inside_of_wrapper(store)
    if inside is not None:
        load(optimizer, inside)
        _warn_of_left_out(optimizer, ["the dynamic loss scale of the saved optimizer"])
        return
    if not len(store.keys()):
        store = vars_of_wrapper(store)
        if saved.DESCRIPTION not in store:
            return
    _load(optimizer, store)


def _load(optimizer: Any, store: Mapping[str, Any]) -> None:
    state = saved.read(store)
    optimizer._left_out = []
    optimizer._pending = optimizer._restored_own = None
    if state is None:
        _warn_of_left_out(optimizer, [_foreign_arrays(store)])
    elif optimizer.built:
        _restore(optimizer, state)
    else:
        hand_over(optimizer, state)


def _inside_of_wrapper(store: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The entry of the inner optimizer, if the file was saved with a `LossScaleOptimizer`.

    `compile()` wraps an optimizer under mixed_float16. If such a file is loaded under another
    policy, the optimizer finds the wrapper's entry in place of its own.
    """
    entry = entry_around(store)
    inner: Mapping[str, Any] = entry.get("inner_optimizer/vars", {}) if entry is not None else {}
    return inner if saved.DESCRIPTION in inner else None


def load_strictly(optimizer: Any, store: Mapping[str, Any]) -> None:
    """Restore everything.

    Raises:
        StateError: the state does not fit; the error names the difference, and nothing is changed.
            If the optimizer is not built yet, `build()` raises the error.
    """
    state = saved.read(store)
    if state is None:
        raise StateError(
            f"`{optimizer.name}` cannot load this state, because kerasgd did not save it. "
            "Continue with the class that saved it, or start with a new optimizer."
        )
    if not optimizer.built:
        _keep_until_built(optimizer, state, strict=True)
        return
    _check_fits(optimizer, optimizer._trainable_variables, state)
    _restore(optimizer, state)


def hand_over(optimizer: Any, state: SavedState) -> None:
    """Give this state to an unbuilt optimizer, whose `build()` takes what fits."""
    _keep_until_built(optimizer, _without_unknown_kinds(optimizer, state), strict=False)


def stored(optimizer: Any) -> dict[str, Any]:
    """All state of the optimizer as a dict."""
    store: dict[str, Any] = {}
    optimizer.save_own_variables(store)
    return store


def check_pending(optimizer: Any, variables: Sequence[Any]) -> None:
    """If the waiting state was loaded strictly, check that it fits these variables.

    Raises:
        StateError: the number of variables, a shape or an argument differs.
    """
    pending = optimizer._pending
    if pending is not None and pending.strict:
        _check_fits(optimizer, variables, pending.state)


def restore_pending(optimizer: Any) -> None:
    """Restore the state that waits for `build()`, if there is any."""
    pending = optimizer._pending
    if pending is not None:
        optimizer._pending = None
        optimizer._restored_own = pending.state.only(saved.is_own)
        _restore(optimizer, pending.state)


def restore_late(optimizer: Any, role: str, variable: Any) -> None:
    """Restore a variable that a subclass adds after the rest of the state was restored."""
    state = optimizer._restored_own
    if state is not None:
        pairing = _pair(optimizer, optimizer._trainable_variables, state)
        value = state.values.get(_source(Role.of(role), pairing) or "")
        if value is not None and tuple(value.shape) == tuple(variable.shape):
            # `fit()` may be tracing its step, where an assignment would run at every step.
            with optimizer.backend.colocated_with(optimizer, optimizer._iterations):
                variable.assign(value)
    with optimizer.backend.colocated_with(optimizer, optimizer._iterations):
        restore_pending_weights(optimizer)


def hold_weights(optimizer: Any, weights: Sequence[Any]) -> None:
    """Load the unnamed values of a legacy file: counters now, the rest at `build()`.

    Raises:
        StateError: the value of a counter is invalid.
    """
    counters = {"iterations": optimizer._iterations, "learning_rate": optimizer._rate.variable}
    values = [np.asarray(weight) for weight in weights[: len(counters)]]
    for role, value in zip(counters, values, strict=False):
        saved.check_value(role, value)
    for variable, value in zip(counters.values(), values, strict=False):
        variable.assign(value)
    # Copies, because the file is closed before `build()`.
    optimizer._pending_weights = [np.array(weight) for weight in weights[len(counters) :]]


def restore_pending_weights(optimizer: Any) -> None:
    """Restore the unnamed values, if they fit."""
    weights = optimizer._pending_weights
    if weights is None:
        return
    counters = (optimizer._iterations, optimizer._rate.variable, optimizer._rate.replaced)
    variables = [v for v in optimizer.variables if all(v is not counter for counter in counters)]
    for candidate in _without_flag(weights):
        if [tuple(v.shape) for v in variables] == [np.shape(w) for w in candidate]:
            for variable, weight in zip(variables, candidate, strict=True):
                variable.assign(weight)
            optimizer._pending_weights = None
            return
    if type(optimizer).__module__ == "kerasgd":  # `build()` of a subclass may still add variables
        optimizer._pending_weights = None
        _warn_of_left_out(
            optimizer,
            ["the arrays of the file, which have no names, and whose shapes in order do not fit"],
        )


def _without_flag(weights: list[Any]) -> Iterator[list[Any]]:
    """The values as they are, then without the flag of a replaced rate, which is first or last.

    The flag is not needed: the settings hold the number that replaced the rate.
    """
    yield weights
    if weights and _is_flag(weights[0]):
        yield weights[1:]
    if weights and _is_flag(weights[-1]):
        yield weights[:-1]


def _is_flag(value: Any) -> bool:
    return np.shape(value) == () and np.asarray(value).dtype.kind == "i"


def _keep_until_built(optimizer: Any, state: SavedState, strict: bool) -> None:
    known = optimizer._by_role()
    _assign(optimizer, known, {k: v for k, v in _usable(optimizer, state).items() if k in known})
    optimizer._pending = Pending(state.only(lambda role: role not in AT_ONCE), strict)


def _restore(optimizer: Any, state: SavedState) -> None:
    """Restore what fits into a built optimizer, and warn about the rest."""
    own_roles = optimizer._by_role()
    pairing = _pair(optimizer, optimizer._trainable_variables, state) if state.built else []
    usable = _usable(optimizer, state)
    values: dict[str, Array] = {}
    for name, variable in own_roles.items():
        role = Role.of(name)
        source = _source(role, pairing)
        if source == "in_window" and "in_window" in usable:
            values[name] = _reordered(usable["in_window"], pairing)
        elif source in usable and tuple(usable[source].shape) == tuple(variable.shape):
            values[name] = usable[source]
    _assign(optimizer, own_roles, values)
    _begin_averages(optimizer, values)
    if state.built:
        _warn_of_left_out(optimizer, _left_out(optimizer, state, pairing, set(usable)))


def _usable(optimizer: Any, state: SavedState) -> dict[str, Array]:
    """The values that have the same meaning here as in the saved optimizer."""
    values = dict(state.values)
    if not _restores_rate(optimizer, state):
        values.pop("learning_rate", None)
    if not values.get("rate_replaced", np.zeros(())).any():
        values.pop("rate_replaced", None)
    window = getattr(optimizer, "window", None)
    if state.window is not None and state.window != window and _window_is_open(state):
        values = {k: v for k, v in values.items() if not k.startswith(("accumulator", "in_window"))}
    return values


def _restores_rate(optimizer: Any, state: SavedState) -> bool:
    """Whether the file holds a rate that this optimizer takes (contract 2.7)."""
    if state.values.get("rate_replaced", np.zeros(())).any():
        return True
    if not _rate_is_number(optimizer):
        return False
    if state.rate_is_number is None:  # older files hold 0 in place of a schedule
        return bool(state.values.get("learning_rate", np.zeros(())) > 0)
    return state.rate_is_number


def _window_is_open(state: SavedState) -> bool:
    """Whether the state has gradients of an incomplete accumulation window."""
    return bool(state.values.get("in_window", np.zeros(())).any())


def _source(role: Role, pairing: Pairing) -> str | None:
    """The name in the file of the array for this role."""
    if role.index is None:
        return str(role)
    partner = pairing[role.index] if role.index < len(pairing) else None
    return None if partner is None else str(Role(role.kind, partner))


def _reordered(flags: Array, pairing: Pairing) -> Array:
    return np.array([0 if j is None else flags[j] for j in pairing], flags.dtype)


def _assign(optimizer: Any, roles: Mapping[str, Any], values: Mapping[str, Array]) -> None:
    backend = backends.current()
    for role, value in values.items():
        backend.assign_array(roles[role], value)
    if "rate_replaced" in values or "learning_rate" in values:
        optimizer._rate.was_loaded()
    if any(role.startswith(saved.GROUP_FACTOR) for role in values):
        for group in optimizer.groups:
            group.was_loaded()


def _begin_averages(optimizer: Any, values: Mapping[str, Array]) -> None:
    """Start the averages of new variables at their weights, if the restored averages continue."""
    if "averaging" not in values or not values["averaging"]:
        return
    for i, parameter in enumerate(optimizer.state().parameters):
        if parameter.average is not None and f"average_{i}" not in values:
            parameter.average.assign(keras.ops.copy(parameter.variable))


def _pair(optimizer: Any, variables: Sequence[Any], state: SavedState) -> Pairing:
    return matching.pair(
        described(variables), state.variables, lambda index: _checksum(variables[index])
    )


def described(variables: Sequence[Any]) -> list[SavedVariable]:
    """The descriptions of the variables, without checksums."""
    return [SavedVariable(path_of(v), shape_of(v)) for v in variables]


def _described_with_checksums(variables: Sequence[Any]) -> list[SavedVariable]:
    pairs = zip(described(variables), variables, strict=True)
    return [known._replace(checksum=_checksum(variable)) for known, variable in pairs]


def _checksum(variable: Any) -> int:
    return zlib.crc32(np.ascontiguousarray(backends.current().as_numpy(variable)).tobytes())


# -- what is left out --------------------------------------------------------------------------


def _foreign_arrays(store: Mapping[str, Any]) -> str:
    count = len(store.keys())
    arrays = "1 array" if count == 1 else f"{count} arrays"
    return (
        f"the {arrays} of the file, which kerasgd did not save. If `keras.optimizers.SGD` did, "
        "load the model with that class, and convert its optimizer with {from_keras}"
    )


def _without_unknown_kinds(optimizer: Any, state: SavedState) -> SavedState:
    """The state without the kinds that the arguments do not need; warns about those now."""
    kinds = optimizer._kinds()
    unknown = [kind for kind in ARGUMENTS if kind not in kinds and _contains(state, kind)]
    _warn_of_left_out(optimizer, [_unused_kind(optimizer, state, kind) for kind in unknown])

    def is_known(name: str) -> bool:
        kind = Role.of(name).kind
        return PARTNERS.get(kind, kind) not in unknown

    return state.only(is_known)


def _contains(state: SavedState, kind: str) -> bool:
    if kind == "accumulator" and not _window_is_open(state):
        return False  # the sums of a complete window are 0
    return any(Role.of(name).kind == kind for name in state.values)


def _unused_kind(optimizer: Any, state: SavedState, kind: str) -> str:
    count = sum(Role.of(name).kind == kind for name in state.values)
    what = f"the {kind} of {_counted(count)}"
    argument = ARGUMENTS[kind]
    if not hasattr(optimizer, argument):
        return f"{what}, which {type(optimizer).__name__} does not have"
    return f"{what}, because `{argument}` is now {describe(getattr(optimizer, argument))}"


def _indices(state: SavedState, kind: str) -> list[int]:
    roles = [Role.of(name) for name in state.values]
    return [role.index for role in roles if role.kind == kind and role.index is not None]


def _counted(count: int) -> str:
    return "1 variable" if count == 1 else f"{count} variables"


def _left_out(optimizer: Any, state: SavedState, pairing: Pairing, usable: set[str]) -> list[str]:
    """A phrase for each piece of state that is left out, with the reason."""
    own_kinds = optimizer._kinds()
    phrases = _lost_own(optimizer, state) + _lost_factors(optimizer, state)
    phrases += _lost_velocities(optimizer, state, pairing)
    phrases += _lost_skips(optimizer, state)
    kinds = list(dict.fromkeys(Role.of(name).kind for name in state.values))
    lost: dict[int, list[str]] = {}
    for kind in kinds:
        if kind not in ARGUMENTS or not _contains(state, kind):
            continue
        if kind not in own_kinds:
            phrases.append(_unused_kind(optimizer, state, kind))
            continue
        for index in _indices(state, kind):
            if index not in pairing:
                lost.setdefault(index, []).append(kind)
    if "in_window" in state.values and "in_window" not in usable and "accumulator" in own_kinds:
        phrases.append(
            f"the gradients of an incomplete accumulation window of {state.window} steps, because "
            f"the window now has {optimizer.window}"
        )
    return phrases + _lost_variables(optimizer, state, lost)


def _lost_own(optimizer: Any, state: SavedState) -> list[str]:
    """A phrase for the state of a subclass that the optimizer does not have."""
    if optimizer._restored_own is not None and type(optimizer).__module__ != "kerasgd":
        return []  # its `build()` may still add variables
    known = {Role.of(name).kind for name in optimizer._by_role()}
    lost = {Role.of(name).kind for name in state.values if saved.is_own(name)} - known
    if not lost:
        return []
    names = ", ".join(f"`{saved.name_of_own(kind)}`" for kind in sorted(lost))
    return [f"{names} of a subclass, which {type(optimizer).__name__} does not have"]


def _lost_factors(optimizer: Any, state: SavedState) -> list[str]:
    """A phrase for the factors of groups that the optimizer does not have."""
    factors = {role for role in state.values if role.startswith(saved.GROUP_FACTOR)}
    lost = factors - set(optimizer._by_role())
    numbers = sorted(int(role.removeprefix(saved.GROUP_FACTOR)) for role in lost)
    if not numbers:
        return []
    groups = "group" if len(numbers) == 1 else "groups"
    named = ", ".join(map(number_of, numbers))
    return [
        f"the `learning_rate_factor` of {groups} {named}, which `{optimizer.name}` does not have"
    ]


def _lost_velocities(optimizer: Any, state: SavedState, pairing: Pairing) -> list[str]:
    """A phrase for the velocities of variables that are in a group without momentum here."""
    if "velocity" not in optimizer._kinds():
        return []  # the phrase about the argument covers all velocities
    own_roles = optimizer._by_role()
    lost = [
        f"`{path_of(optimizer._trainable_variables[i])}`"
        for i, partner in enumerate(pairing)
        if f"velocity_{partner}" in state.values and f"velocity_{i}" not in own_roles
    ]
    if not lost:
        return []
    names = ", ".join(lost[:3]) + (", ..." if len(lost) > 3 else "")
    return [f"the velocity of {_counted(len(lost))} that now have no momentum ({names})"]


def _lost_skips(optimizer: Any, state: SavedState) -> list[str]:
    """A phrase for the count of skipped updates, if the optimizer does not count them."""
    skipped = int(state.values.get("skipped", np.zeros((), "int32")))
    if not skipped or "skipped" in optimizer._by_role():
        return []
    what = "1 skipped update" if skipped == 1 else f"{skipped} skipped updates"
    return [f"the count of {what}, because `{optimizer.name}` does not skip updates"]


def _lost_variables(
    optimizer: Any, state: SavedState, lost: Mapping[int, Sequence[str]]
) -> list[str]:
    own = described(optimizer._trainable_variables)
    paths = [variable.path for variable in own]
    phrases = []
    gone = []
    for index, kinds in lost.items():
        variable = state.variables[index]
        here = find_path(variable.path, paths)
        if here is not None and own[here].shape != variable.shape:
            phrases.append(
                f"the {' and '.join(kinds)} of `{variable.path}`, whose shape was "
                f"{variable.shape} and is now {own[here].shape}"
            )
        else:
            gone.append(variable.path)
    if gone:
        kinds = list(dict.fromkeys(kind for of_one in lost.values() for kind in of_one))
        names = ", ".join(f"`{path}`" for path in gone[:3]) + (", ..." if len(gone) > 3 else "")
        phrases.append(
            f"the {' and '.join(kinds)} of {_counted(len(gone))} that `{optimizer.name}` does not "
            f"train ({names})"
        )
    return phrases


def _warn_of_left_out(optimizer: Any, phrases: list[str]) -> None:
    """Warn once about the state left out, and keep the phrases for R's `summary()`."""
    if not phrases:
        return
    phrases = [in_words(phrase) for phrase in phrases]
    optimizer._left_out = optimizer._left_out + phrases
    warnings.warn(
        f"State left out of `{optimizer.name}`: {'; '.join(phrases)}.",
        KerasgdWarning,
        stacklevel=2,
    )


# -- what does not fit --------------------------------------------------------------------------


def _check_fits(optimizer: Any, variables: Sequence[Any], state: SavedState) -> None:
    if not state.built:
        return
    own = described(variables)
    _check_variables(optimizer, own, state, _pair(optimizer, variables, state))
    if own:
        _check_kinds(optimizer, state)
    window = getattr(optimizer, "window", None)
    if state.window not in (None, window) and _window_is_open(state):
        raise StateError(
            f"The saved state is inside an accumulation window of {state.window} steps, but "
            f"`gradient_accumulation_steps` of `{optimizer.name}` is {window}."
        )


def _check_variables(
    optimizer: Any, own: Sequence[SavedVariable], state: SavedState, pairing: Pairing
) -> None:
    without = [v for v, partner in zip(own, pairing, strict=True) if partner is None]
    not_taken = [v for j, v in enumerate(state.variables) if j not in pairing]
    if len(own) != len(state.variables):
        longer, shorter = without, [v.path for v in state.variables]
        if len(own) < len(state.variables):
            longer, shorter = not_taken, [v.path for v in own]
        # Prefer a variable whose path is missing to one that exists with another shape.
        longer = [v for v in longer if find_path(v.path, shorter) is None] or longer
        raise StateError(
            f"The saved state is for {_counted(len(state.variables))}, but `{optimizer.name}` "
            f"has {len(own)}; the first without a counterpart is `{longer[0].path}`."
        )
    if without and without[0].shape != not_taken[0].shape:
        raise StateError(
            f"`{without[0].path}` has shape {without[0].shape}, but the saved state is for "
            f"`{not_taken[0].path}` of shape {not_taken[0].shape}."
        )
    if without:
        raise StateError(
            f"The saved state is for `{not_taken[0].path}`, which `{optimizer.name}` does not "
            f"train, and it has none for `{without[0].path}`."
        )


def _check_kinds(optimizer: Any, state: SavedState) -> None:
    lost = _lost_own(optimizer, state) if optimizer.built else []
    if optimizer.built:
        lost += _lost_factors(optimizer, state)
    if lost:
        raise StateError(f"The saved state has {lost[0]}.")
    own = optimizer._kinds()
    of_file = {Role.of(name).kind for name in state.values}
    for kind, argument in ARGUMENTS.items():
        if (kind in own) != (kind in of_file):
            has, lacks = "The saved state", f"`{optimizer.name}`"
            if kind in own:
                has, lacks = lacks, "the saved state"
            raise StateError(
                f"{has} has a {kind} for each variable, but {lacks} has none: the two differ in "
                f"`{argument}`."
            )
