"""The configurations that are compared, with Keras' argument names."""

from __future__ import annotations

from typing import Any

Configuration = dict[str, Any]

RATE = 0.01
# The clip is far below the norms of the workloads, so that it acts, and the decay is large enough
# to show in the comparison of the weights.
EVERYTHING: Configuration = {
    "momentum": 0.9,
    "weight_decay": 0.1,
    "global_clipnorm": 1.0,
    "use_ema": True,
    "ema_momentum": 0.99,
}

CONFIGURATIONS: dict[str, Configuration] = {
    "plain": {},
    "momentum": {"momentum": 0.9},
    "nesterov": {"momentum": 0.9, "nesterov": True},
    "clipnorm": {"clipnorm": 1.0},
    "everything": EVERYTHING,
    "everything-nesterov": {**EVERYTHING, "nesterov": True},
}
