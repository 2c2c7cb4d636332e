"""What the tests of PyTorch's implementations share."""

import keras
import numpy as np
import pytest

from kerasgd.state import ParameterState, Updates


@pytest.fixture
def all_are_large(monkeypatch):
    """Small tensors are treated as large ones, and cut into several pieces each."""
    from kerasgd.backends.torch import choice, kernels

    monkeypatch.setattr(kernels, "LARGE", 1)
    monkeypatch.setattr(kernels, "LONGEST_SUM", 16)
    monkeypatch.setattr(choice, "PIECE", 16)


def updates_of(*shapes, **roles):
    """An update for each shape, with variables for the roles that are named."""
    import torch

    parameters = []
    for index, shape in enumerate(shapes):
        kept = {role: keras.Variable(np.zeros(shape), dtype="float32") for role in roles}
        variable = keras.Variable(np.ones(shape), dtype="float32")
        parameters.append(ParameterState(index, variable, **kept))
    return Updates(parameters, [torch.ones(shape) for shape in shapes], 1.0)
