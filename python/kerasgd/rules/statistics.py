"""The statistics of an update (contract 15.2).

A measured update writes only the norms and counts of its variables; the fields are computed from
these in NumPy when the statistics are read.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from kerasgd.state import Tensor

# The fields of an update, in this order.
OF_UPDATE = (
    "learning_rate",
    "gradient_norm",
    "clip_coefficient",
    "update_norm",
    "weight_norm",
    "update_ratio",
    "nonfinite",
    "loss_scale",
)
# The fields of each variable in an update, in this order.
OF_VARIABLE = ("gradient_norm", "update_norm", "weight_norm", "update_ratio", "nonfinite")

# The measurements of each variable: the L2 norms of the gradient before and after the clip, of the
# change of the weights, and of the weights before the update; and the number of non-finite elements
# in the gradient.
MEASURED = ("gradient_norm", "clipped_norm", "update_norm", "weight_norm", "nonfinite")
# The measurements of an update as a whole.
MEASURED_OF_UPDATE = ("learning_rate", "loss_scale")

Array = np.ndarray[Any, Any]


def of_update(measured: Mapping[str, Array], whole: Mapping[str, float]) -> dict[str, float]:
    """The fields of an update, from the measurements of its variables and of the whole."""
    norms = {name: joint_norm(measured[name]) for name in MEASURED if name != "nonfinite"}
    fields = {
        **_fields(norms),
        "learning_rate": whole["learning_rate"],
        "loss_scale": whole["loss_scale"],
        "clip_coefficient": clip_coefficient(norms["gradient_norm"], norms["clipped_norm"]),
        "nonfinite": int(np.sum(measured["nonfinite"])),
    }
    return {name: fields[name] for name in OF_UPDATE}


def of_variable(measured: Mapping[str, float]) -> dict[str, float]:
    """The fields of a variable, from its measurements."""
    fields = {**_fields(measured), "nonfinite": int(measured["nonfinite"])}
    return {name: fields[name] for name in OF_VARIABLE}


def _fields(norms: Mapping[str, float]) -> dict[str, float]:
    return {
        "gradient_norm": float(norms["gradient_norm"]),
        "update_norm": float(norms["update_norm"]),
        "weight_norm": float(norms["weight_norm"]),
        "update_ratio": update_ratio(float(norms["update_norm"]), float(norms["weight_norm"])),
    }


def joint_norm(norms: Array) -> float:
    """The joint L2 norm of arrays with these norms."""
    joint = math.hypot(*norms.tolist())  # does not overflow
    # An infinite norm hides a NaN from `hypot()`.
    return math.nan if math.isinf(joint) and np.isnan(norms).any() else joint


# The bound for float32 (contract 8.2).
ROUNDING = 2e-6


def clip_coefficient(norm: float, clipped_norm: float) -> float:
    """The norm after the clip divided by the norm before: 1 if that is 0, NaN if it is not finite.

    XLA may sum the two norms in different orders; a difference of that size is not a clip.
    """
    if not math.isfinite(norm):
        return math.nan
    ratio = clipped_norm / norm if norm > 0 else 1.0
    return 1.0 if abs(ratio - 1) < ROUNDING else ratio


def update_ratio(update_norm: float, weight_norm: float) -> float:
    """The norm of the change divided by that of the weights; 0 if the weights have norm 0."""
    if math.isnan(weight_norm):
        return weight_norm
    return update_norm / weight_norm if weight_norm > 0 else 0.0


def count_nonfinite(gradient: Tensor) -> Tensor:
    """The number of elements that are NaN or infinite, as a float."""
    ops = keras.ops
    return ops.sum(ops.cast(ops.logical_not(ops.isfinite(gradient)), "float32"))


def count_nan_and_infinite(gradient: Tensor) -> tuple[Tensor, Tensor]:
    """The number of NaN elements, and the number of infinite elements."""
    ops = keras.ops
    nan = ops.sum(ops.cast(ops.isnan(gradient), "int32"))
    return nan, ops.sum(ops.cast(ops.isinf(gradient), "int32"))
