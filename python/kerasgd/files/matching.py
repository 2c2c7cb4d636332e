"""Which saved variable each variable of an optimizer is (contract 9.4).

Paths change between saving and loading: `load_model()` drops the name of the outer model and may
list a layer's variables in another order, and Keras numbers layers anew in every session. So four
rules are tried in turn:

1. every variable has a partner of the same path;
2. every variable has a partner whose path differs in the name of the outer model only;
3. number and shapes agree in order;
4. otherwise those variables are paired that rule 1 or 2 pairs, and whose shapes agree.

Rule 3 yields to rule 4 where some paths are alike and the weights show that rule 4 is right: one
layer was frozen and another of the same shape unfrozen.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from kerasgd.variables import ALIKE

# For each variable of the optimizer the index of the saved one, or None.
Pairing = list[int | None]
# A checksum of the weights of the variable with this index.
Checksum = Callable[[int], int]


class Described(NamedTuple):
    """A variable as a file knows it.

    Attributes:
        path: the variable's path.
        shape: its shape.
        checksum: of its weights when it was saved; None in files that have none.
    """

    path: str
    shape: tuple[int, ...]
    checksum: int | None = None


def pair(own: Sequence[Described], saved: Sequence[Described], checksum: Checksum) -> Pairing:
    """The saved partner of each variable; `checksum` is asked only where paths leave a doubt."""
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
    own: Sequence[Described], saved: Sequence[Described], alike: Callable[[str, str], bool]
) -> Pairing:
    """Partners with paths that are alike, where there is exactly one in both directions."""
    # Alike are only paths that end alike: comparing all with all takes long for thousands.
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
    pairing: Pairing, own: Sequence[Described], saved: Sequence[Described]
) -> Pairing:
    return [
        j if j is not None and saved[j].shape == variable.shape else None
        for j, variable in zip(pairing, own, strict=True)
    ]


def _weights_agree(pairing: Pairing, saved: Sequence[Described], checksum: Checksum) -> bool:
    """Whether the weights of all pairs are those that were saved."""
    pairs = [(i, j) for i, j in enumerate(pairing) if j is not None]
    return all(saved[j].checksum == checksum(i) for i, j in pairs)
