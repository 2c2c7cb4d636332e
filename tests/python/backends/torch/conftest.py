"""Fixtures and helpers for the tests of PyTorch's implementations."""

import keras
import numpy as np
import pytest
from conftest import PATH_OF_TESTS

from kerasgd.conformance import child
from kerasgd.state import ParameterState, Updates


@pytest.fixture
def all_are_large(monkeypatch):
    """Small tensors are treated as large ones, and cut into several pieces each."""
    from kerasgd.backends.torch import choice, kernels

    monkeypatch.setattr(kernels, "LARGE", 1)
    monkeypatch.setattr(kernels, "LONGEST_SUM", 16)
    monkeypatch.setattr(choice, "PIECE", 16)


def updates_of(*shapes, **roles):
    """An update for each shape, with state variables for the named roles."""
    import torch

    parameters = []
    for index, shape in enumerate(shapes):
        kept = {role: keras.Variable(np.zeros(shape), dtype="float32") for role in roles}
        variable = keras.Variable(np.ones(shape), dtype="float32")
        parameters.append(ParameterState(index, variable, **kept))
    return Updates(parameters, [torch.ones(shape) for shape in shapes], 1.0)


def in_workers(number, function, *arguments):
    """The results of a function of `workers.py` in each of `number` processes."""
    return child.call_in_workers(number, function, *arguments, PYTHONPATH=PATH_OF_TESTS)


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """The results of two workers that train in all ways, and the folder of their saved files."""
    from backends.torch import workers

    folder = str(tmp_path_factory.mktemp("workers"))
    return in_workers(2, workers.in_worker, folder), folder


def too_far(distances):
    """The errors that are larger than rounding explains."""
    return {name: distance for name, distance in distances.items() if not distance <= 1e-6}
