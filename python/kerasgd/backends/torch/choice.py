"""Chooses the implementation that updates variables on PyTorch."""

from __future__ import annotations

import enum

import torch

from kerasgd.backends.torch.kernels import IS_CONTIGUOUS, Batch, has_fused_kernel
from kerasgd.keras_internals import in_stateless_scope
from kerasgd.settings import Settings
from kerasgd.state import Update, Updates

# This many elements of weights, velocity, average and gradient, 8 MB in float32, stay in the cache.
# Smaller pieces cost more in calls than they save in memory traffic.
PIECE = 2**19
# The fused kernel takes 1 + step as a double, which keeps all digits of a float32 step above this.
SMALLEST_FUSED_STEP = 1e-8
# The fused kernel starts threads, which pays for a single operation from this many tensors.
MANY = 32
# With a larger decay, the division by 1 - decay would lose digits.
LARGEST_FUSED_DECAY = 0.5


class Mode(enum.Enum):
    """The way in which the tensors of variables may be written."""

    IN_PLACE = "in place"
    COPIES = "as copies in a `keras.StatelessScope`: the tensors belong to the caller"


class Implementation(enum.Enum):
    """A way to update variables."""

    FUSED = "kernels.py: PyTorch's fused kernel"
    FOREACH = "kernels.py: one call per operation, for all tensors"
    ONE_BY_ONE = "base.py: plain operations, one variable after another"


def current_mode() -> Mode:
    """The mode of the current step."""
    return Mode.COPIES if in_stateless_scope() else Mode.IN_PLACE


def implementation(batch: Batch) -> Implementation:
    """The implementation of decay and rule for a batch, whose tensors are alike."""
    if batch.gradients[0].dtype != batch.weights[0].dtype:
        return Implementation.ONE_BY_ONE
    chosen = of_contiguous(batch)
    if chosen is Implementation.FUSED and not _are_contiguous(batch):
        return Implementation.FOREACH
    return chosen


def of_contiguous(batch: Batch) -> Implementation:
    """`implementation()` for contiguous tensors of one dtype."""
    weights = batch.weights[0]
    if not batch.velocities and not batch.decay and len(batch.weights) < MANY:
        return Implementation.FOREACH  # one operation
    # The momentum may have been set to 0 after velocities were created; then the kernel takes none.
    takes_velocities = not batch.velocities or batch.momentum > 0
    can_fuse = (
        has_fused_kernel()
        and takes_velocities
        and weights.dtype == torch.float32
        and weights.is_cpu
        and batch.step >= SMALLEST_FUSED_STEP
        and batch.decay <= LARGEST_FUSED_DECAY
    )
    return Implementation.FUSED if can_fuse else Implementation.FOREACH


def _are_contiguous(batch: Batch) -> bool:
    columns = (batch.weights, batch.velocities, batch.gradients)
    return all(all(map(IS_CONTIGUOUS, column)) for column in columns)


def in_pieces(mode: Mode, updates: Updates, settings: Settings) -> tuple[Updates, Updates]:
    """The updates to compute piece by piece, and the others."""
    chosen = [False] * len(updates)
    if has_several_passes(settings) and _is_more_than_a_piece(mode, updates):
        chosen = [_takes_several_passes(update, settings) for update in updates]
    return updates.split(chosen)


def has_several_passes(settings: Settings) -> bool:
    """Whether an update may take more than one elementwise pass over a variable's memory."""
    if settings.own_rule is not None:
        return False
    return settings.nesterov or settings.use_ema or any(g.weight_decay for g in settings.groups)


def _is_more_than_a_piece(mode: Mode, updates: Updates) -> bool:
    if mode is not Mode.IN_PLACE:
        return False
    # A GPU has no cache of this size, and is fastest with large tensors.
    gradients = [gradient for gradient in updates.gradients if gradient.is_cpu]
    elements: int = sum(map(torch.Tensor.numel, gradients))
    return elements > PIECE


def _takes_several_passes(update: Update, settings: Settings) -> bool:
    parameter = update.parameter
    looks_ahead = settings.nesterov and parameter.velocity is not None
    decays = settings.groups[parameter.group].weight_decay > 0
    return (
        parameter.constraint is None
        and update.present is True
        and (looks_ahead or decays or parameter.average is not None)
    )
