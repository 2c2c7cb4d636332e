"""The statistics of an update (contract 15.2)."""

from __future__ import annotations

from typing import NamedTuple

import keras

from kerasgd.state import Tensor

# The fields that are kept of a measured update, in this order,
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
# and of each of its variables.
OF_VARIABLE = ("gradient_norm", "update_norm", "weight_norm", "update_ratio", "nonfinite")


class Norms(NamedTuple):
    """The L2 norms of an update: vectors with an element for each variable, or scalars.

    Attributes:
        gradient: of the gradient before the clip.
        clipped: of the gradient after the clip.
        update: of the change of the weights.
        weights: of the weights before the update.
    """

    gradient: Tensor
    clipped: Tensor
    update: Tensor
    weights: Tensor


def of_update(norms: Norms, nonfinite: Tensor) -> dict[str, Tensor]:
    """The fields of an update, from the norms and counts of its variables."""
    joint = Norms(*keras.ops.unstack(joint_norms(keras.ops.stack(norms)), len(norms)))
    return {
        **of_variables(joint, keras.ops.sum(nonfinite)),
        "clip_coefficient": clip_coefficient(joint.gradient, joint.clipped),
    }


def of_variables(norms: Norms, nonfinite: Tensor) -> dict[str, Tensor]:
    """The fields of each variable, or of one update by its joint norms."""
    return {
        "gradient_norm": norms.gradient,
        "update_norm": norms.update,
        "weight_norm": norms.weights,
        "update_ratio": update_ratio(norms.update, norms.weights),
        "nonfinite": nonfinite,
    }


def joint_norms(norms: Tensor) -> Tensor:
    """For each row of norms the L2 norm of all elements of those arrays, safe against overflow."""
    ops = keras.ops
    largest = ops.max(norms, axis=1, keepdims=True)
    unit = ops.where(ops.logical_and(largest > 0, ops.isfinite(largest)), largest, 1.0)
    return unit[:, 0] * ops.sqrt(ops.sum(ops.square(norms / unit), axis=1))


# The bound for float32 (contract 8.2).
ROUNDING = 2e-6


def clip_coefficient(norm: Tensor, clipped_norm: Tensor) -> Tensor:
    """The norm after the clip by that before: 1 for a norm of 0, NaN for one that is not finite.

    XLA may add up the two norms in different orders: a difference of that size is not a clip.
    """
    ops = keras.ops
    ratio = clipped_norm / ops.where(norm > 0, norm, 1.0)
    ratio = ops.where(ops.abs(ratio - 1) < ROUNDING, 1.0, ratio)
    return ops.where(ops.isfinite(norm), ops.where(norm > 0, ratio, 1.0), float("nan"))


def update_ratio(update_norm: Tensor, weight_norm: Tensor) -> Tensor:
    """The norm of the change by that of the weights; 0 for weights of norm 0, as biases have."""
    ops = keras.ops
    has_weights = weight_norm > 0
    ratio = update_norm / ops.where(has_weights, weight_norm, 1.0)
    ratio = ops.where(has_weights, ratio, ops.zeros_like(ratio))
    return ops.where(ops.isnan(weight_norm), weight_norm, ratio)


def count_nonfinite(gradient: Tensor) -> Tensor:
    """How many elements are NaN or infinite, as a float."""
    ops = keras.ops
    return ops.sum(ops.cast(ops.logical_not(ops.isfinite(gradient)), "float32"))


def count_nan_and_infinite(gradient: Tensor) -> tuple[Tensor, Tensor]:
    """How many elements are NaN, and how many are infinite."""
    ops = keras.ops
    nan = ops.sum(ops.cast(ops.isnan(gradient), "int32"))
    return nan, ops.sum(ops.cast(ops.isinf(gradient), "int32"))
