"""The arguments that are compared, under Keras' names."""

from __future__ import annotations

from typing import Any

Configuration = dict[str, Any]

RATE = 0.01
# A norm far below those of the workloads, so that there is something to clip, and a decay that the
# comparison of the numbers can see.
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
    "everything": EVERYTHING,
    "everything-nesterov": {**EVERYTHING, "nesterov": True},
}
