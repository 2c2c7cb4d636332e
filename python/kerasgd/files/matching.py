"""Matches the variables of an optimizer to the saved variables of a file (contract 9.4).

Paths change between saving and loading: `load_model()` drops the name of the outer model and may
list a layer's variables in another order, and Keras renumbers layers in every session. So four
rules are tried in turn:

1. every variable has a partner with the same path;
2. every variable has a partner whose path differs only in the name of the outer model;
3. the number of variables is the same, and their shapes agree in order;
4. otherwise, only variables that rule 1 or 2 pairs and whose shapes agree are paired.

If some paths match, and the saved weights confirm the pairs of rule 4 but not those of rule 3, rule
4 is used. This happens, for example, if one layer was frozen and another of the same shape was
unfrozen.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from kerasgd.variables import ALIKE

# For each variable of the optimizer, the index of the saved one or None.
Pairing = list[int | None]
# Returns a checksum of the weights of the variable with this index.
Checksum = Callable[[int], int]


class SavedVariable(NamedTuple):
    """The description of a variable in a file.

    Attributes:
        path: the variable's path.
        shape: its shape.
        checksum: a checksum of its weights when it was saved; None in files without checksums.
    """

    path: str
    shape: tuple[int, ...]
    checksum: int | None = None


def pair(
    own: Sequence[SavedVariable], saved: Sequence[SavedVariable], checksum: Checksum
) -> Pairing:
    """The saved partner of each variable; calls `checksum` only if the paths are ambiguous."""
    by_path = [_one_to_one(own, saved, alike) for alike in ALIKE]
    for whole in by_path:
        if len(own) == len(saved) and None not in whole:
            return _of_equal_shape(whole, own, saved)
    partial = [
        next((j for j in found if j is not None), None) for found in zip(*by_path, strict=True)
    ]
    partial = _of_equal_shape(_without_repeats(partial), own, saved)
    in_order: Pairing = list(range(len(own)))
    if [v.shape for v in own] != [v.shape for v in saved]:
        return partial
    if any(partner is not None for partner in partial):
        fits_partial = _weights_agree(partial, saved, checksum)
        if fits_partial and not _weights_agree(in_order, saved, checksum):
            return partial
    return in_order


def _one_to_one(
    own: Sequence[SavedVariable], saved: Sequence[SavedVariable], alike: Callable[[str, str], bool]
) -> Pairing:
    """Pair variables whose paths match, where exactly one does in both directions."""
    # Matching paths have the same ending: comparing thousands of paths pairwise would be slow.
    candidates: dict[str, list[int]] = {}
    for j, variable in enumerate(saved):
        candidates.setdefault(_ending(variable.path), []).append(j)
    found = [
        [j for j in candidates.get(_ending(o.path), []) if alike(o.path, saved[j].path)]
        for o in own
    ]
    claims: dict[int, int] = {}
    for partners in found:
        for j in partners:
            claims[j] = claims.get(j, 0) + 1
    return [p[0] if len(p) == 1 and claims[p[0]] == 1 else None for p in found]


def _ending(path: str) -> str:
    return "/".join(path.split("/")[-2:])


def _without_repeats(pairing: Pairing) -> Pairing:
    seen: set[int] = set()
    kept: Pairing = []
    for partner in pairing:
        kept.append(None if partner in seen else partner)
        if partner is not None:
            seen.add(partner)
    return kept


def _of_equal_shape(
    pairing: Pairing, own: Sequence[SavedVariable], saved: Sequence[SavedVariable]
) -> Pairing:
    return [
        j if j is not None and saved[j].shape == variable.shape else None
        for j, variable in zip(pairing, own, strict=True)
    ]


def _weights_agree(pairing: Pairing, saved: Sequence[SavedVariable], checksum: Checksum) -> bool:
    """Whether the weights of all pairs equal the saved ones."""
    pairs = [(i, j) for i, j in enumerate(pairing) if j is not None]
    return all(saved[j].checksum == checksum(i) for i, j in pairs)
