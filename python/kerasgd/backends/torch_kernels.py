"""PyTorch's kernels for several tensors at once: rules 1.2 and 1.3 in few passes over memory."""

from __future__ import annotations

from collections.abc import Sequence

import torch

Tensors = Sequence[torch.Tensor]

# The kernel of `torch.optim.SGD(fused=True)`, which is private; None where there is none.
_fused = getattr(torch, "_fused_sgd_", None)
# The kernel gets 1 + step as a double, which keeps the digits of a float32 step above this.
SMALLEST_FUSED_STEP = 1e-8


def descend(
    weights: Tensors,
    velocities: Tensors,
    gradients: Tensors,
    step: float,
    momentum: float,
    nesterov: bool,
) -> None:
    """Rules 1.2 and 1.3 in place, where `step` is the learning rate times the coefficient.

    All tensors are of one dtype.
    """
    # Under torch.compile() tensors have no memory yet, which the kernel asks for.
    can_fuse = _fused is not None and not torch.compiler.is_compiling()
    if can_fuse and step >= SMALLEST_FUSED_STEP and _are_fusible(weights, velocities, gradients):
        _descend_fused(weights, velocities, gradients, step, momentum, nesterov)
    else:
        _descend_foreach(weights, velocities, gradients, step, momentum, nesterov)


def _are_fusible(*lists: Tensors) -> bool:
    if lists[0][0].dtype != torch.float32:
        return False
    return all(
        {t.is_cpu for t in tensors} == {t.is_contiguous() for t in tensors} == {True}
        for tensors in lists
    )


def _descend_fused(
    weights: Tensors,
    velocities: Tensors,
    gradients: Tensors,
    step: float,
    momentum: float,
    nesterov: bool,
) -> None:
    # The kernel: velocity <- momentum * velocity + (1 - dampening) * g; w <- w - lr * velocity.
    # Its own nesterov has another scale of velocity.
    assert _fused is not None
    _fused(
        weights,
        gradients,
        velocities,
        lr=-momentum if nesterov else -1.0,
        momentum=momentum,
        dampening=1 + step,
        weight_decay=0.0,
        nesterov=False,
        maximize=False,
        is_first_step=False,
    )
    if nesterov:
        torch._foreach_add_(weights, gradients, alpha=-step)


def _descend_foreach(
    weights: Tensors,
    velocities: Tensors,
    gradients: Tensors,
    step: float,
    momentum: float,
    nesterov: bool,
) -> None:
    torch._foreach_mul_(velocities, momentum)
    torch._foreach_add_(velocities, gradients, alpha=-step)
    if nesterov:
        torch._foreach_add_(weights, velocities, alpha=momentum)
        torch._foreach_add_(weights, gradients, alpha=-step)
    else:
        torch._foreach_add_(weights, velocities)
