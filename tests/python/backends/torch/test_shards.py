"""DTensors, of which each process updates its own shards (contract 10.2)."""

from types import SimpleNamespace

import pytest
from conftest import BACKEND

from backends.torch.conftest import too_far

pytestmark = pytest.mark.skipif(BACKEND != "torch", reason="tensors of PyTorch")


def test_shards_follow_the_reference(trained):  # contract 10.2, 10.3
    for distances, counts, _ in trained[0]:
        of_kind = {name: d for name, d in distances.items() if name.startswith("sharded")}
        assert len(of_kind) == 6
        assert too_far(of_kind) == {}
        # One for norms, and one for the check that all is finite.
        assert {name: counts[name] for name in of_kind if name in counts} == {
            "sharded, plain": 0,
            "sharded, momentum": 0,
            "sharded, clipnorm, nesterov, decay": 1,
            "sharded, everything": 1,
            "sharded, groups, dynamic scale": 1,
        }


def test_steps_that_cannot_be_right_are_refused(trained):  # contract 10.2
    left_behind = "is not what the model trains: `fully_shard()`"
    expected = {
        "measured": "`track_statistics()` does not work with DTensors",
        "plain gradients": "is a DTensor, which this step does not support",
        "sharded gradients": left_behind,
        "left behind": left_behind,
        "wrapped too early": left_behind,
        "constraint": "A constraint does not work with DTensors",
        "own rule": "An `update_step()` of a subclass does not work with DTensors",
    }
    for _, _, said in trained[0]:
        assert len(said) == 3 * len(expected)
        for name, message in said.items():
            assert expected[name.partition(",")[0]] in message


def test_shards_of_all_kinds_are_summed():  # contract 4.1, 10.2
    """After tensor parallelism, `fully_shard()` uses another placement than `Shard`."""
    from torch.distributed.tensor import Replicate, Shard, placement_types

    from kerasgd.backends.torch import shards

    placements = (placement_types._StridedShard(0, split_factor=2), Shard(0), Replicate())
    assert shards._sharded_dimensions(SimpleNamespace(placements=placements)) == (0, 1)
