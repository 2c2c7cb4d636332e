"""Checks that all contenders compute the same weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from benchmarks.comparison import BASELINE

Weights = Sequence[np.ndarray]


def check_equal(weights: Mapping[str, Weights], tolerance: float) -> None:
    """Check that all weights equal Keras', relative to the largest weight of each variable.

    Raises:
        AssertionError: a contender's weights differ.
    """
    expected = weights[BASELINE]
    for name, own in weights.items():
        for ours, theirs in zip(own, expected, strict=True):
            error = np.max(np.abs(ours - theirs))
            # Written so that NaN fails.
            close = error <= tolerance * np.max(np.abs(theirs))
            assert close, f"{name} is off by {error}"
