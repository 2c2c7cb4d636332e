"""The choice of updates that PyTorch computes piece by piece."""

import keras
import numpy as np
import pytest
from conftest import BACKEND

import kerasgd
from backends.torch.conftest import updates_of

if BACKEND != "torch":
    pytest.skip("a choice on PyTorch", allow_module_level=True)

import torch

from kerasgd.backends.torch import choice
from kerasgd.backends.torch.choice import Mode
from kerasgd.settings import GroupSettings, Settings


def chosen_for_pieces(updates, mode=Mode.IN_PLACE, weight_decay=0.1):
    """The updates that are computed piece by piece."""
    groups = (GroupSettings(0.0, weight_decay),)
    nothing = dict.fromkeys(("clipnorm", "clipvalue", "global_clipnorm"))
    ema = {"use_ema": False, "ema_momentum": 0.99, "ema_overwrite_frequency": None}
    settings = Settings(groups, nesterov=False, loss_scale_factor=1.0, window=1, **nothing, **ema)
    in_pieces, _ = choice.in_pieces(mode, updates, settings)
    return [update.parameter.index for update in in_pieces]


def test_large_updates_of_several_passes_are_cut_into_pieces(all_are_large):
    large = updates_of((7,), (10,))
    assert chosen_for_pieces(large) == [0, 1]
    assert chosen_for_pieces(updates_of((7,), (9,))) == []  # they fit into one piece
    assert chosen_for_pieces(large, Mode.COPIES) == []
    assert chosen_for_pieces(large, weight_decay=0.0) == []  # one pass


def test_large_variables_with_a_constraint_are_not_cut(all_are_large):  # contract 5.3
    w = keras.Variable(np.zeros((5, 8)), dtype="float32")
    w.constraint = keras.constraints.UnitNorm(axis=0)
    optimizer = kerasgd.SGD(0.5, weight_decay=0.1, use_ema=True)
    optimizer.apply([torch.full((5, 8), -1.0)], [w])
    unit = np.full((5, 8), 1 / np.sqrt(5))
    for value in (w, optimizer.state().parameters[0].average):
        np.testing.assert_allclose(keras.ops.convert_to_numpy(value), unit, rtol=1e-6)
