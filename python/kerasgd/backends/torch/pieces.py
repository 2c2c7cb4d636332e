"""Large PyTorch variables are updated piece by piece.

What takes several passes over memory takes them over one piece after the other, each of which stays
in the cache of the processor from its first pass to its last. On two cores of an AMD EPYC decay,
rule, average and norm of 25 million parameters take 0.9 of the time so.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from kerasgd.keras_internals import in_stateless_scope
from kerasgd.state import Update

# So many elements of weights, velocity, average and gradient, 16 MB in float32, stay in the cache.
# Smaller pieces cost more in calls, of which each piece takes some.
PIECE = 2**20
# What of a parameter an update reads and writes.
ROLES = ("variable", "velocity", "average")


@dataclass(frozen=True, slots=True)
class Piece:
    """Some elements of a variable, to be read and written as a variable is."""

    _value: torch.Tensor

    @property
    def value(self) -> torch.Tensor:
        """The elements themselves."""
        return self._value


def pay_for(updates: Sequence[Update]) -> bool:
    """Whether there is more than one piece, and memory that may be written piece by piece."""
    if in_stateless_scope() or torch.compiler.is_compiling():
        return False
    # A GPU has no cache of this size, and takes large pieces best.
    gradients = [update.gradient for update in updates if update.gradient.is_cpu]
    elements: int = sum(map(torch.Tensor.numel, gradients))
    return elements > PIECE


def groups(updates: Sequence[Update]) -> Iterator[Sequence[Update]]:
    """The updates, large ones cut, in groups of up to `PIECE` elements; one group if none pays."""
    if not pay_for(updates):
        yield updates
        return
    group: list[Update] = []
    room = PIECE
    for update in updates:
        for part in [update] if update.gradient.numel() <= PIECE else _cut(update):
            size = part.gradient.numel()
            if group and size > room:
                yield group
                group, room = [], PIECE
            group.append(part)
            room -= size
    yield group


def _cut(update: Update) -> Sequence[Update]:
    parameter, gradient = update.parameter, update.gradient
    kept = [role for role in ROLES if getattr(parameter, role) is not None]
    tensors = [gradient, *(getattr(parameter, role)._value for role in kept)]
    # Between dtypes updates are made one by one, for which a variable must be one.
    if len({tensor.dtype for tensor in tensors}) > 1 or not all(map(_can_be_cut, tensors)):
        return [update]
    parts = zip(*(tensor.view(-1).split(PIECE) for tensor in tensors), strict=True)
    return [
        _part(update, gradient, dict(zip(kept, rest, strict=True))) for gradient, *rest in parts
    ]


def _can_be_cut(tensor: torch.Tensor) -> bool:
    return bool(tensor.is_cpu and tensor.is_contiguous())


def _part(update: Update, gradient: torch.Tensor, values: Mapping[str, torch.Tensor]) -> Update:
    pieces: dict[str, Any] = {role: Piece(value) for role, value in values.items()}
    return Update(replace(update.parameter, **pieces), gradient, update.coefficient)
