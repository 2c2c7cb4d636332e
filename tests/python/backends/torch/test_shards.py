"""DTensors, whose shards each process updates by itself (contract 10.2)."""

import pytest
from conftest import BACKEND

from backends.torch.conftest import too_far

pytestmark = pytest.mark.skipif(BACKEND != "torch", reason="tensors of PyTorch")


def test_shards_follow_the_reference(trained):  # contract 10.2, 10.3
    for distances, counts, _ in trained[0]:
        of_kind = {name: d for name, d in distances.items() if name.startswith("sharded")}
        assert len(of_kind) == 5
        assert too_far(of_kind) == {}
        # One for norms, one for whether all is finite.
        assert {name: counts[name] for name in of_kind} == {
            "sharded, plain": 0,
            "sharded, momentum": 0,
            "sharded, clipnorm, nesterov, decay": 1,
            "sharded, everything": 1,
            "sharded, groups, dynamic scale": 1,
        }


def test_steps_that_cannot_be_right_are_refused(trained):  # contract 10.2
    for _, _, said in trained[0]:
        assert said["measured"].startswith("`track_statistics()` does not work where variables are")
        assert "is a DTensor, which this step does not work with" in said["plain gradients"]
        assert "is not what the model trains: `fully_shard()`" in said["sharded gradients"]
        assert "is not what the model trains: `fully_shard()`" in said["left behind"]
