"""The workloads: shapes of variables, with initial values and gradients."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Workload:
    """Variables with one gradient each.

    Attributes:
        shapes: the shapes of the variables.
        rows: the number of rows that have a gradient; None if all rows have one.
    """

    shapes: list[Shape]
    rows: int | None = None

    @property
    def parameters(self) -> int:
        return sum(math.prod(shape) for shape in self.shapes)

    def weights(self) -> list[np.ndarray]:
        return _numbers(self.shapes, seed=1)

    def gradients(self) -> list[np.ndarray]:
        return _numbers(self.shapes, seed=2)

    def sparse_gradients(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """For each variable, the indices of the rows with a gradient, and their gradients."""
        generator = np.random.default_rng(3)
        rows = [generator.integers(shape[0], size=self.rows) for shape in self.shapes]
        values = _numbers([(self.rows, *shape[1:]) for shape in self.shapes], seed=2)
        return list(zip(rows, values, strict=True))


def _numbers(shapes: list[Shape], seed: int) -> list[np.ndarray]:
    generator = np.random.default_rng(seed)
    return [generator.standard_normal(shape, dtype="float32") / 10 for shape in shapes]


def resnet_like(scale: float = 1.0) -> Workload:
    """161 variables like those of ResNet-50 (He et al. 2016): convolutions, scales and a head."""
    shapes: list[Shape] = [(7, 7, 3, 64), (64,), (64,)]
    before = 64
    for blocks, width in ((3, 64), (4, 128), (6, 256), (3, 512)):
        for block in range(blocks):
            shapes += _convolution(1, before, width) + _convolution(3, width, width)
            shapes += _convolution(1, width, 4 * width)
            if block == 0:
                shapes += _convolution(1, before, 4 * width)
            before = 4 * width
    shapes += [(before, 1000), (1000,)]
    return Workload([_shrunk(shape, scale) for shape in shapes])


def _convolution(kernel: int, before: int, width: int) -> list[Shape]:
    return [(kernel, kernel, before, width), (width,), (width,)]


def _shrunk(shape: Shape, scale: float) -> Shape:
    return (*shape[:-1], max(1, round(shape[-1] * scale)))


def large(scale: float = 1.0) -> Workload:
    return Workload([_shrunk((16, 1_000_000), scale)] * 3)


def tiny(scale: float = 1.0) -> Workload:
    return Workload([(8,)] * max(1, round(1_000 * scale)))


def few(scale: float = 1.0) -> Workload:
    """Six small variables, for which the call overhead of an optimizer dominates."""
    return even(6, round(600 * scale))


def embedding(scale: float = 1.0) -> Workload:
    return Workload([(max(1_000, round(1_000_000 * scale)), 64)], rows=1_000)


def even(variables: int, parameters: int) -> Workload:
    """`variables` variables of equal size, to measure how time grows."""
    return Workload([(max(1, parameters // variables),)] * variables)


WORKLOADS = {
    "resnet": resnet_like,
    "large": large,
    "tiny": tiny,
    "few": few,
    "embedding": embedding,
}
