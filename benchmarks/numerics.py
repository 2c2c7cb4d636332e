"""Whoever is compared computes the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from benchmarks.comparison import BASELINE

Weights = Sequence[np.ndarray]


def check_equal(weights: Mapping[str, Weights], tolerance: float) -> None:
    """All have the weights that Keras has, relative to the largest of each variable.

    Raises:
        AssertionError: one has not.
    """
    expected = weights[BASELINE]
    for name, own in weights.items():
        for ours, theirs in zip(own, expected, strict=True):
            error = np.max(np.abs(ours - theirs))
            # So written that NaN does not pass.
            close = error <= tolerance * np.max(np.abs(theirs))
            assert close, f"{name} is off by {error}"
