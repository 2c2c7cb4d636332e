"""PyTorch's kernels: rules, norms and averages of many tensors in few passes over memory.

Small tensors are best taken all at once, since each call of PyTorch costs more than they do. Large
ones are best taken by what reads and writes least memory.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

Tensors = Sequence[torch.Tensor]

# The kernel of `torch.optim.SGD(fused=True)`, which is private; None where there is none.
_fused = getattr(torch, "_fused_sgd_", None)
# The kernel gets 1 + step as a double, which keeps the digits of a float32 step above this.
SMALLEST_FUSED_STEP = 1e-8
# Beyond, what is divided by 1 - decay would lose digits.
LARGEST_FUSED_DECAY = 0.5
# A tensor of this many elements takes longer than the call that is made for it.
LARGE = 2**15
# So many squares can be added up in float32 without losing more than the fifth digit.
LONGEST_SUM = 2**18


def descend_plainly(weights: Tensors, gradients: Tensors, step: float, decay: float) -> None:
    """Rules 3.1 and 1.1 in place: w <- w - decay * w - step * g.

    `step` is the learning rate times the coefficient, `decay` the learning rate times the weight
    decay. All tensors are of one dtype and on one device.
    """
    if decay and _can_fuse(step, decay, weights, gradients):
        _descend_fused(weights, gradients, step, decay)
    else:
        _decay(weights, decay)
        torch._foreach_add_(weights, gradients, alpha=-step)


def descend(
    weights: Tensors,
    velocities: Tensors,
    gradients: Tensors,
    step: float,
    momentum: float,
    nesterov: bool,
    decay: float = 0.0,
) -> None:
    """Rules 3.1, 1.2 and 1.3 in place; `step`, `decay` and the tensors as above."""
    # Without momentum, set so after the velocities were made, the kernel takes none.
    if not (momentum > 0 and _can_fuse(step, decay, weights, velocities, gradients)):
        _decay(weights, decay)
        _descend_foreach(weights, velocities, gradients, step, momentum, nesterov)
    elif nesterov:
        # The decay comes with the second pass: what is added before must outlast it.
        ahead = momentum / (1 - decay)
        _move_fused(weights, velocities, gradients, step, momentum, ahead)
        _descend_fused(weights, gradients, step, decay)
    else:
        _decay(weights, decay)
        _move_fused(weights, velocities, gradients, step, momentum, ahead=1.0)


def _can_fuse(step: float, decay: float, *lists: Tensors) -> bool:
    # Under torch.compile() tensors have no memory yet, which the kernel asks for.
    if _fused is None or torch.compiler.is_compiling():
        return False
    # They are all of one dtype and on one device. Thousands of attributes take longer than `map()`.
    first = lists[0][0]
    if first.dtype != torch.float32 or not first.is_cpu:
        return False
    if step < SMALLEST_FUSED_STEP or decay > LARGEST_FUSED_DECAY:
        return False
    return all(all(map(torch.Tensor.is_contiguous, tensors)) for tensors in lists)


def _descend_fused(weights: Tensors, gradients: Tensors, step: float, decay: float) -> None:
    """w <- w - decay * w - step * g."""
    # The kernel: w <- w - lr * (g + weight_decay * w).
    _call_fused(weights, gradients, [], lr=step, weight_decay=decay / step)


def _move_fused(
    weights: Tensors,
    velocities: Tensors,
    gradients: Tensors,
    step: float,
    momentum: float,
    ahead: float,
) -> None:
    """velocity <- momentum * velocity - step * g; w <- w + ahead * velocity."""
    # The kernel: velocity <- momentum * velocity + (1 - dampening) * g; w <- w - lr * velocity.
    # Its own nesterov has another scale of velocity.
    _call_fused(weights, gradients, velocities, lr=-ahead, momentum=momentum, dampening=1 + step)


def _call_fused(
    weights: Tensors,
    gradients: Tensors,
    velocities: Tensors,
    lr: float,
    momentum: float = 0.0,
    dampening: float = 0.0,
    weight_decay: float = 0.0,
) -> None:
    assert _fused is not None
    _fused(
        weights,
        gradients,
        velocities,
        lr=lr,
        momentum=momentum,
        dampening=dampening,
        weight_decay=weight_decay,
        nesterov=False,
        maximize=False,
        is_first_step=False,
    )


def _decay(weights: Tensors, decay: float) -> None:
    if decay:
        torch._foreach_add_(weights, weights, alpha=-decay)


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


def norms(tensors: Tensors) -> list[torch.Tensor]:
    """The L2 norm of each tensor, in its dtype."""
    large = [_is_large(tensor) for tensor in tensors]
    small = [t for t, is_large in zip(tensors, large, strict=True) if not is_large]
    of_small = iter(torch._foreach_norm(small) if small else ())
    return [
        _norm(tensor) if is_large else next(of_small)
        for tensor, is_large in zip(tensors, large, strict=True)
    ]


def _norm(tensor: torch.Tensor) -> torch.Tensor:
    # PyTorch's own norm adds up the squares in one float32: of 16 million equal ones it loses 2 %.
    squares = [torch.dot(piece, piece) for piece in tensor.reshape(-1).split(LONGEST_SUM)]
    return torch.stack(squares).sum().sqrt()


def average(averages: Tensors, weights: Tensors, momentum: float) -> None:
    """average <- momentum * average + (1 - momentum) * w in place; all of one dtype."""
    # Not by lerp, whose difference of two infinite numbers is NaN.
    small_averages, small_weights = [], []
    for a, w in zip(averages, weights, strict=True):
        if _is_large(a) and a.is_contiguous() and w.is_contiguous():
            # The outer product with (1): of PyTorch's operations the one that scales both terms.
            one = w.new_ones(1)
            a.view(1, -1).addr_(one, w.view(-1), beta=momentum, alpha=1 - momentum)
        else:
            small_averages.append(a)
            small_weights.append(w)
    if small_averages:
        # PyTorch takes four times as long by a number, or by a tensor of another dtype.
        torch._foreach_mul_(small_averages, torch.tensor(momentum, dtype=averages[0].dtype))
        torch._foreach_add_(small_averages, small_weights, alpha=1 - momentum)


def _is_large(tensor: torch.Tensor) -> bool:
    """Whether the tensor is best taken by itself; on a GPU, all at once is best."""
    return bool(tensor.numel() >= LARGE and tensor.is_cpu)
