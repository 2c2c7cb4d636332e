"""Compares the metadata of thousands of tensors in one call."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from kerasgd.backends.torch.kernels import SHAPE

try:  # private: torch.compile() checks with it whether compiled code fits its arguments
    from torch._C._dynamo.guards import TensorGuards
except ImportError:
    TensorGuards = None


class Metadata:
    """Type, dtype, device, shape, strides and `requires_grad` of some tensors."""

    def __init__(self, tensors: Sequence[torch.Tensor]) -> None:
        self._count = len(tensors)
        self._guards = _guards(tensors)

    def surely_matches(self, tensors: Sequence[object]) -> bool:
        """Whether the tensors certainly have this metadata.

        False if that is uncertain: without the private class, in inference mode, under autocast, or
        if a tensor occurs twice.
        """
        return (
            self._guards is not None
            and len(tensors) == self._count
            and bool(self._guards.check(*tensors))
        )


def _guards(tensors: Sequence[torch.Tensor]) -> TensorGuards | None:
    if TensorGuards is None or not tensors:
        return None
    try:
        return TensorGuards(
            *tensors,
            dynamic_dims_sizes=list(map(list, map(SHAPE, tensors))),
            dynamic_dims_strides=list(map(list, map(torch.Tensor.stride, tensors))),
        )
    except (TypeError, SystemError, RuntimeError):  # other arguments than in PyTorch 2.13
        return None
