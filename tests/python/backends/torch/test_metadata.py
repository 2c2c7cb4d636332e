"""Metadata matches tensors that are alike; any difference is seen."""

import pytest
from conftest import BACKEND

if BACKEND != "torch":
    pytest.skip("metadata of PyTorch's tensors", allow_module_level=True)

import torch

from kerasgd.backends.torch import metadata
from kerasgd.backends.torch.metadata import Metadata


def tensors():
    return [torch.ones(2, 3), torch.ones(4), torch.ones(())]


def test_other_tensors_that_are_alike_match():  # or plans would be slower
    expected = Metadata(tensors())
    assert expected.surely_matches(tensors())
    backpropagated = [t.clone().requires_grad_() for t in tensors()]
    torch.stack([t.sum() for t in backpropagated]).sum().backward()
    assert expected.surely_matches([t.grad for t in backpropagated])
    with torch.no_grad():
        assert expected.surely_matches(tensors())


DIFFERENT = {
    "dtype": torch.ones(4, dtype=torch.float64),
    "half precision": torch.ones(4, dtype=torch.bfloat16),
    "device": torch.ones(4, device="meta"),
    "shape": torch.ones(2, 2),
    "number of elements": torch.ones(1),
    "no dimension": torch.ones(()),
    "strides": torch.ones(8)[::2],
    "broadcast": torch.ones(1).expand(4),
    "gradient": torch.ones(4, requires_grad=True),
    "type": torch.nn.Parameter(torch.ones(4), requires_grad=False),
    "sparse": torch.ones(4).to_sparse(),
    "layout": torch.ones(4).to_mkldnn(),
    "lazily negated": torch.ones(4)._neg_view(),
    "no tensor": 1.0,
    "none": None,
    "array": torch.ones(4).numpy(),
}


@pytest.mark.parametrize("other", DIFFERENT.values(), ids=DIFFERENT)
def test_a_difference_is_seen(other):
    first, _, third = tensors()
    assert not Metadata(tensors()).surely_matches([first, other, third])


def test_another_order_of_dimensions_is_seen():
    _, second, third = tensors()
    assert not Metadata(tensors()).surely_matches([torch.ones(3, 2).t(), second, third])


@pytest.mark.parametrize("number", [0, 2, 4])
def test_another_number_of_tensors_is_seen(number):
    assert not Metadata(tensors()).surely_matches([*tensors(), torch.ones(4)][:number])


def test_a_change_of_data_is_seen():
    first, second, third = tensors()
    expected = Metadata([first, second, third])
    second.data = second.data.view(2, 2)
    assert not expected.surely_matches([first, second, third])


def test_nothing_is_certain_without_the_class_of_pytorch(monkeypatch):
    monkeypatch.setattr(metadata, "TensorGuards", None)
    assert not Metadata(tensors()).surely_matches(tensors())


def test_nothing_is_certain_if_the_class_takes_other_arguments(monkeypatch):
    monkeypatch.setattr(metadata, "TensorGuards", lambda *tensors: None)
    assert not Metadata(tensors()).surely_matches(tensors())


def test_nothing_is_certain_of_no_tensors():
    assert not Metadata([]).surely_matches([])
