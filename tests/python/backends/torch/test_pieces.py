"""Large variables of PyTorch are cut into pieces, which cover them and are small enough."""

import pytest
from conftest import BACKEND

from backends.torch.conftest import updates_of

if BACKEND != "torch":
    pytest.skip("pieces of PyTorch's tensors", allow_module_level=True)

import torch

from kerasgd.backends.torch import pieces


@pytest.mark.parametrize("roles", [{}, {"velocity": 1}, {"velocity": 1, "average": 1}], ids=str)
def test_pieces_are_all_of_the_variables_and_small_enough(roles):
    large = updates_of((7,), (9,), (5, 8), (1,), (33,), **roles)
    groups = list(pieces.of(large, largest=16))
    sizes = [[update.gradient.numel() for update in group] for group in groups]
    assert sizes == [[7, 9], [16], [16], [8, 1], [16], [16], [1]]
    for role in ("variable", *roles):
        for update in (update for group in groups for update in group):
            getattr(update.parameter, role).value.detach().add_(1)
        for update in large:
            tensor = getattr(update.parameter, role).value.detach()
            assert set(tensor.flatten().tolist()) == {2.0 if role == "variable" else 1.0}


def test_tensors_that_are_not_contiguous_are_not_cut():
    updates = updates_of((5, 8))
    updates.gradients[0] = torch.ones(8, 5).T
    (group,) = pieces.of(updates, largest=16)
    assert list(group) == list(updates)
