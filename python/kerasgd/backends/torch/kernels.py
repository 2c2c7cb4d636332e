"""PyTorch's kernels: rules, norms and averages of many tensors in few passes over memory.

For small tensors one call for all is fastest, because each call of PyTorch costs more than the
arithmetic. For large tensors the operations that move the least memory are fastest.
"""

from __future__ import annotations

from collections.abc import Sequence
from ctypes import c_float
from dataclasses import dataclass
from operator import attrgetter

import torch

from kerasgd.state import Tensor

Tensors = Sequence[torch.Tensor]
# The dtypes to compute in directly; half precision must be computed in float32 (contract 8).
WIDE = {torch.float32, torch.float64}
# Functions with which `map()` reads attributes of thousands of tensors without running Python code.
DTYPE, SHAPE = attrgetter("dtype"), attrgetter("shape")
PLACE, IS_CONTIGUOUS = torch.Tensor.data_ptr, torch.Tensor.is_contiguous

# The private kernel of `torch.optim.SGD(fused=True)`; None if it is missing.
_fused = getattr(torch, "_fused_sgd_", None)
# From this many elements, the arithmetic takes longer than the call.
LARGE = 2**15
# This many squares can be summed in float32 with an accuracy of five digits.
LONGEST_SUM = 2**18


@dataclass(slots=True)  # not frozen, because one is created at each step
class Batch:
    """Tensors that one call can update: same dtype, same device, same coefficient.

    Attributes:
        weights: the weights.
        velocities: the velocities; empty without momentum.
        gradients: the gradients, whose dtype may differ from that of weights and velocities.
        step: the learning rate times the coefficient.
        momentum: the momentum; 0 for none.
        nesterov: whether to use the Nesterov rule.
        decay: the learning rate times the weight decay; 0 for none.
    """

    weights: Tensors
    velocities: Tensors
    gradients: Tensors
    step: float
    momentum: float
    nesterov: bool
    decay: float


def has_fused_kernel() -> bool:
    """Whether PyTorch has the kernel that `update_fused()` calls."""
    return _fused is not None


def rate_times_coefficient(
    rate: Tensor | float, coefficient: Tensor | float, dtype: torch.dtype
) -> float:
    """The learning rate times the coefficient, rounded to the gradient's dtype."""
    if isinstance(rate, float) and isinstance(coefficient, float):  # the usual case
        if dtype is torch.float64:
            return rate * coefficient
        # The product of two float32 is exact in float64. (NumPy would warn of an overflow.)
        return c_float(c_float(rate).value * c_float(coefficient).value).value
    step = torch.as_tensor(rate, dtype=dtype) * torch.as_tensor(coefficient, dtype=dtype)
    return float(step)


def update_foreach(batch: Batch) -> None:
    """Apply rules 3.1 and 1.1 to 1.3 in place."""
    _decay(batch)
    if not batch.velocities:
        torch._foreach_add_(batch.weights, batch.gradients, alpha=-batch.step)
        return
    torch._foreach_mul_(batch.velocities, batch.momentum)
    torch._foreach_add_(batch.velocities, batch.gradients, alpha=-batch.step)
    if batch.nesterov:
        torch._foreach_add_(batch.weights, batch.velocities, alpha=batch.momentum)
        torch._foreach_add_(batch.weights, batch.gradients, alpha=-batch.step)
    else:
        torch._foreach_add_(batch.weights, batch.velocities)


def update_fused(batch: Batch) -> None:
    """Apply rules 3.1 and 1.1 to 1.3 in place, by the fused kernel."""
    if not batch.velocities:
        _decay_and_subtract_gradient(batch)
    elif batch.nesterov:
        # The second pass also decays what the first pass adds, so the first adds more to offset it.
        _apply_velocity(batch, ahead=batch.momentum / (1 - batch.decay))
        _decay_and_subtract_gradient(batch)
    else:
        _decay(batch)
        _apply_velocity(batch, ahead=1.0)


def _decay(batch: Batch) -> None:
    """w <- w - decay * w."""
    if batch.decay:
        torch._foreach_add_(batch.weights, batch.weights, alpha=-batch.decay)


def _decay_and_subtract_gradient(batch: Batch) -> None:
    """w <- w - decay * w - step * g."""
    # The kernel: w <- w - lr * (g + weight_decay * w).
    _call_fused(batch, [], lr=batch.step, weight_decay=batch.decay / batch.step)


def _apply_velocity(batch: Batch, ahead: float) -> None:
    """velocity <- momentum * velocity - step * g; w <- w + ahead * velocity."""
    # The kernel: velocity <- momentum * velocity + (1 - dampening) * g; w <- w - lr * velocity.
    # The kernel's own Nesterov rule scales the velocity differently.
    _call_fused(
        batch, batch.velocities, lr=-ahead, momentum=batch.momentum, dampening=1 + batch.step
    )


def _call_fused(
    batch: Batch,
    velocities: Tensors,
    lr: float,
    momentum: float = 0.0,
    dampening: float = 0.0,
    weight_decay: float = 0.0,
) -> None:
    assert _fused is not None
    _fused(
        batch.weights,
        batch.gradients,
        velocities,
        lr=lr,
        momentum=momentum,
        dampening=dampening,
        weight_decay=weight_decay,
        nesterov=False,
        maximize=False,
        is_first_step=False,
    )


def norms(tensors: Tensors) -> list[torch.Tensor]:
    """The L2 norm of each tensor, in its dtype."""
    large = [_is_large(tensor) for tensor in tensors]
    small = [t for t, is_large in zip(tensors, large, strict=True) if not is_large]
    of_small = iter(torch._foreach_norm(small) if small else ())
    return [
        _norm(tensor) if is_large else next(of_small)
        for tensor, is_large in zip(tensors, large, strict=True)
    ]


def square_of_all(tensors: Tensors) -> torch.Tensor:
    """The sum of squares over all tensors."""
    is_small = sum(map(torch.Tensor.numel, tensors)) <= LARGE
    if is_small and len(set(map(DTYPE, tensors))) == 1:
        return square_of_small(tensors)
    return squares(tensors).sum()


def square_of_small(tensors: Tensors) -> torch.Tensor:
    """`square_of_all()` for tensors of one dtype with at most `LARGE` elements together."""
    # `flatten()` returns a vector itself, where `reshape()` makes a view of it.
    flat = torch.cat(list(map(torch.Tensor.flatten, tensors)))
    return torch.dot(flat, flat)


def squares(tensors: Tensors) -> torch.Tensor:
    """A vector with the sum of squares of each tensor; float64 if any tensor is."""
    found = norms(tensors)
    if len(set(map(DTYPE, found))) > 1:
        found = [norm.double() for norm in found]
    return torch.stack(found).square_()


def _norm(tensor: torch.Tensor) -> torch.Tensor:
    # PyTorch's own norm sums the squares in one float32, which loses 2 % for 16 million equal ones.
    flat = tensor.reshape(-1)
    if flat.numel() <= LONGEST_SUM:
        return torch.dot(flat, flat).sqrt_()
    squares = [torch.dot(piece, piece) for piece in flat.split(LONGEST_SUM)]
    return torch.stack(squares).sum().sqrt_()


def average(averages: Tensors, weights: Tensors, momentum: float) -> None:
    """average <- momentum * average + (1 - momentum) * w in place; all have the same dtype."""
    small_averages, small_weights = [], []
    for a, w in zip(averages, weights, strict=True):
        if _is_large(a) and a.is_contiguous() and w.is_contiguous():
            # The outer product with (1) is PyTorch's only operation that scales both terms.
            one = w.new_ones(1)
            a.view(1, -1).addr_(one, w.view(-1), beta=momentum, alpha=1 - momentum)
        else:
            small_averages.append(a)
            small_weights.append(w)
    if small_averages:
        average_small(small_averages, small_weights, momentum)


def average_small(averages: Tensors, weights: Tensors, momentum: float) -> None:
    """`average()` for small tensors, for which one call for all is fastest."""
    # Not by lerp, because its difference of two infinities is NaN. With a number, or a tensor of
    # another dtype, PyTorch takes four times as long.
    torch._foreach_mul_(averages, torch.tensor(momentum, dtype=averages[0].dtype))
    torch._foreach_add_(averages, weights, alpha=1 - momentum)


def _is_large(tensor: torch.Tensor) -> bool:
    """Whether the tensor is faster by itself; on a GPU, one call for all is faster."""
    return bool(tensor.numel() >= LARGE and tensor.is_cpu)
