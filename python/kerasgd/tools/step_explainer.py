"""Explains a step on a model and a batch, stage by stage (contract 18)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from kerasgd import arguments
from kerasgd import groups as groups_of_variables
from kerasgd.errors import ArgumentTypeError, StateError
from kerasgd.from_keras import from_keras
from kerasgd.keras_internals import set_path
from kerasgd.loss_scale_optimizer import scale_of, without_wrapper
from kerasgd.reference import (
    ReferenceGroup,
    ReferenceSGD,
    SparseRows,
    all_finite,
    norm,
    to_dense,
)
from kerasgd.sgd import SGD
from kerasgd.state import ParameterState
from kerasgd.tools.preserving import preserved
from kerasgd.variables import as_numpy, path_of, value_of

Array = np.ndarray[Any, Any]
# The largest allowed difference between a step and the reference, relative to the largest weight
# (contract 8.2); in half precision it allows for two roundings.
BOUNDS = {
    "float64": 1e-12,
    "float32": 2e-6,
    "float16": 2.0**-10,
    "bfloat16": 2.0**-7,
}


def explain_step(
    model: Any, x: Any, y: Any = None, sample_weight: Any = None, check: bool = False
) -> list[dict[str, Any]]:
    """Show how the next step would change each variable of a model, stage by stage.

    The gradients are those of this batch. A reference implementation of the documentation in NumPy
    computes the step in float64 from the model's current weights and state. The model does not
    change.

    Args:
        model: a compiled model with Keras' own `train_step()`, whose optimizer is one of kerasgd or
            a `keras.optimizers.SGD`.
        x: the inputs of one batch.
        y: the targets.
        sample_weight: weights of the samples, or None.
        check: whether to take the real step too, on copies and with the same gradients, and compare
            the two.

    Returns:
        A dict for each variable: `path`, `shape`; the L2 norms `gradient_norm` (of the raw
        gradient), `unscaled_norm`, `mean_norm` (over the accumulation window), `clipped_norm`, with
        `clip_coefficient`; `decay_norm` (of the change by weight decay), `velocity_norm_before`,
        `velocity_norm`, `change_norm` (of the whole change), `constraint_norm` (of the change by
        the constraint), `average_distance` (between weights and their average after the step) and
        `overwritten` (whether the average overwrites the weights). None means that this step does
        not reach the stage: for example, a step of gradient accumulation that is not an update ends
        after `unscaled_norm`. With `check` there are also `largest_difference`, `bound` and
        `holds`.

    Raises:
        ArgumentTypeError: `model` is not a model, `x` is a dataset or a generator, or `check` is
            not True or False.
        StateError: the model is not compiled, has another optimizer, or overrides `train_step()`.

    Example:
        >>> import keras, numpy, kerasgd
        >>> from kerasgd.tools import explain_step
        >>> model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
        >>> model.set_weights([numpy.array([[2.0]])])
        >>> model.compile(kerasgd.SGD(0.5, clipnorm=1.0), loss="mse")
        >>> x = numpy.ones((1, 1), "float32")
        >>> row = explain_step(model, x, 0 * x, check=True)[0]
        >>> [round(row[name], 6) for name in ("gradient_norm", "clip_coefficient", "change_norm")]
        [4.0, 0.25, 0.5]
        >>> row["holds"]
        True
    """
    _check(model)
    _check_batch(x)
    arguments.check("check", check, arguments.flag())
    optimizer = model.optimizer
    gradients = _gradients(model, x, y, sample_weight)
    copies = [_copied(variable) for variable in model.trainable_variables]
    ours = _ours(optimizer, copies)
    reference = _reference(ours, optimizer)
    is_dynamic = without_wrapper(optimizer) is not optimizer
    rows = _Explanation(ours.state().parameters, reference, is_dynamic).rows(gradients)
    if check:
        real = _real_step(optimizer, ours, copies)
        real.apply([_as_tensor(g, v) for g, v in zip(gradients, copies, strict=True)], copies)
        for row, copy, expected in zip(rows, copies, reference.weights, strict=True):
            row.update(_comparison(copy, expected))
    return rows


# -- the model ---------------------------------------------------------------------------------


def _check(model: Any) -> None:
    if not isinstance(model, keras.Model):
        raise ArgumentTypeError("model", "a compiled model", model)
    if getattr(model, "optimizer", None) is None:
        raise StateError("The model is not compiled: call `compile()` first.")
    if type(model).train_step is not keras.Model.train_step:
        raise StateError(
            f"{type(model).__name__} overrides `train_step()`: only steps of Keras' own "
            "`train_step()` can be explained."
        )
    inner = without_wrapper(model.optimizer)
    if not isinstance(inner, keras.optimizers.SGD):
        raise StateError(
            f"The optimizer is {type(inner).__name__}: only steps of SGD can be explained."
        )


def _check_batch(x: Any) -> None:
    """Refuse datasets and generators, which hold several batches."""
    for part in keras.tree.flatten(x):
        has_batches = isinstance(part, Iterable | keras.utils.PyDataset)
        if has_batches and not hasattr(part, "shape"):
            hint = "This object can have several batches: pass the inputs of one of them."
            raise ArgumentTypeError("x", "the inputs of one batch", x, hint)


class _GradientRecorder(keras.optimizers.SGD):  # type: ignore[misc]
    """Records the gradients of a training step and changes nothing."""

    def __init__(self, optimizer: Any) -> None:
        super().__init__(0.0)
        self._scaled_as = optimizer
        self.recorded: list[Any] = []

    def scale_loss(self, loss: Any) -> Any:
        return self._scaled_as.scale_loss(loss)

    def apply(self, grads: Any, trainable_variables: Any = None) -> None:
        self.recorded = list(grads)

    def stateless_apply(
        self, optimizer_variables: Any, grads: Any, trainable_variables: Any
    ) -> tuple[Any, Any]:
        self.recorded = list(grads)
        return trainable_variables, optimizer_variables


def _gradients(model: Any, x: Any, y: Any, sample_weight: Any) -> list[Any]:
    """The gradients of the loss on this batch, as the optimizer scales it; None stays None."""
    with preserved(model):
        recorder = _GradientRecorder(model.optimizer)
        model.optimizer = recorder
        model.train_function = None
        model.run_eagerly = True
        model.train_on_batch(x, y, sample_weight=sample_weight)
        return [_as_array(gradient) for gradient in recorder.recorded]


def _as_array(gradient: Any) -> Any:
    if gradient is None:
        return None
    if type(gradient).__name__ == "IndexedSlices":
        return SparseRows(as_numpy(gradient.values), as_numpy(gradient.indices))
    return np.array(as_numpy(gradient))


def _as_tensor(gradient: Any, variable: Any) -> Any:
    if gradient is None:
        return None
    if isinstance(gradient, SparseRows):
        gradient = to_dense(gradient, variable.shape)
    dtype = "float64" if variable.dtype == "float64" else "float32"
    return keras.ops.convert_to_tensor(gradient, dtype=dtype)


def _copied(variable: Any) -> Any:
    """A new variable with the same value, path and constraint."""
    copy = keras.Variable(as_numpy(variable), dtype=variable.dtype, name=variable.name)
    copy.constraint = getattr(variable, "constraint", None)
    copy.overwrite_with_gradient = bool(getattr(variable, "overwrite_with_gradient", False))
    set_path(copy, path_of(variable))
    return copy


# -- the optimizer -----------------------------------------------------------------------------


def _ours(optimizer: Any, copies: Sequence[Any]) -> SGD:
    """A kerasgd optimizer with the state of `optimizer`, built with the copies."""
    inner = without_wrapper(optimizer)
    ours = inner.update(keep_state=True) if isinstance(inner, SGD) else from_keras(inner)
    ours.build(copies)
    return ours


def _reference(ours: SGD, optimizer: Any) -> ReferenceSGD:
    """The reference with the state of the optimizer."""
    state = ours.state()
    settings = {argument: getattr(ours, argument) for argument in arguments.RULES}
    settings["learning_rate"] = float(keras.ops.convert_to_numpy(ours.learning_rate))
    settings["loss_scale_factor"] = _loss_scale(ours, optimizer)
    reference = ReferenceSGD(**settings).build(
        [as_numpy(parameter.variable) for parameter in state.parameters],
        constraints=[_on_arrays(parameter) for parameter in state.parameters],
        overwrite_with_gradient=[p.index for p in state.parameters if p.overwrite_with_gradient],
        groups=_groups(ours),
        skip_nonfinite=state.skips is not None,
    )
    _set_state(reference, ours)
    return reference


def _loss_scale(ours: SGD, optimizer: Any) -> float | None:
    has_wrapper = without_wrapper(optimizer) is not optimizer
    return scale_of(optimizer) if has_wrapper else ours.loss_scale_factor


def _groups(ours: SGD) -> list[ReferenceGroup]:
    """One group per variable, with the settings of that variable."""
    factors = [g.factor_of_next_step() for g in groups_of_variables.with_factor(ours.groups)]
    groups = []
    for parameter in ours.state().parameters:
        group_settings = ours.settings_of(parameter)
        factor_index = group_settings.factor_index
        factor = None if factor_index is None else factors[factor_index]
        momentum, weight_decay = group_settings.momentum, group_settings.weight_decay
        groups.append(ReferenceGroup([parameter.index], factor, momentum, weight_decay))
    return groups


def _on_arrays(parameter: ParameterState) -> Any:
    """The constraint as a function on NumPy arrays."""
    constraint = parameter.constraint
    if constraint is None:
        return None
    dtype = parameter.variable.dtype
    return lambda w: as_numpy(constraint(keras.ops.convert_to_tensor(w, dtype=dtype)))


def _set_state(reference: ReferenceSGD, ours: SGD) -> None:
    state = ours.state()
    reference.steps = int(value_of(state.iterations, ours))
    reference.updates = reference.steps // ours.window
    if state.skips is not None:
        reference.skipped = int(value_of(state.skips.skipped, ours))
        reference.updates -= reference.skipped
    begun = state.averaging is not None and bool(value_of(state.averaging, ours))
    in_window = None if state.in_window is None else value_of(state.in_window, ours)
    for i, parameter in enumerate(state.parameters):
        if parameter.velocity is not None:
            reference.velocities[i] = _wide(parameter.velocity)
        if parameter.average is not None and begun:
            reference.averages[i] = _wide(parameter.average)
        if in_window is not None and in_window[i]:
            reference.accumulators[i] = _wide(parameter.accumulator)


def _wide(variable: Any) -> Array:
    return np.array(as_numpy(variable), "float64")


def _real_step(optimizer: Any, ours: SGD, copies: Sequence[Any]) -> Any:
    """The optimizer that takes the real step on the copies: ours, or a copy of Keras' own."""
    if without_wrapper(optimizer) is not optimizer:
        scale = _loss_scale(ours, optimizer)
        inner = ours if isinstance(optimizer.inner_optimizer, SGD) else None
        config = optimizer.get_config()
        copy = type(optimizer).from_config({**config, "initial_scale": scale})
        if inner is not None:
            copy.inner_optimizer = inner
        copy.build(copies)
        return copy
    if isinstance(optimizer, SGD):
        return ours
    copy = type(optimizer).from_config(optimizer.get_config())
    copy.build(copies)
    if optimizer.built:
        for variable, value in zip(copy.variables, optimizer.variables, strict=True):
            variable.assign(as_numpy(value))
    return copy


# -- the stages --------------------------------------------------------------------------------


@dataclass
class _Explanation:
    """Runs the stages of contract 0 in the reference, one after the other.

    Attributes:
        parameters: the state that the optimizer keeps for each variable.
        reference: the reference with the state of the optimizer.
        is_dynamic: whether a dynamic loss scale skips steps with non-finite gradients.
    """

    parameters: Sequence[ParameterState]
    reference: ReferenceSGD
    is_dynamic: bool

    def rows(self, gradients: Sequence[Any]) -> list[dict[str, Any]]:
        reference = self.reference
        unscaled = reference.sum_duplicate_rows(reference.unscale(gradients))
        scaled = reference.sum_duplicate_rows(gradients)
        rows = [
            {
                "path": path_of(parameter.variable),
                "shape": tuple(parameter.variable.shape),
                "gradient_norm": _norm(scaled[i]),
                "unscaled_norm": _norm(unscaled[i]),
                **dict.fromkeys(_STAGES_OF_UPDATE),
            }
            for i, parameter in enumerate(self.parameters)
        ]
        if self.is_dynamic and not all_finite([scaled]):
            return rows
        reference.accumulate(unscaled)
        if reference.window_is_complete():
            self._update(rows)
        reference.steps += 1
        return rows

    def _update(self, rows: list[dict[str, Any]]) -> None:
        reference = self.reference
        means = reference.average_over_window()
        for row, mean in zip(rows, means, strict=True):
            row["mean_norm"] = _norm(mean)
        if reference.skip_nonfinite and not all_finite([means]):
            return
        clipped = reference.clip(reference.not_overwritten(means))
        for row, mean, gradient in zip(rows, means, clipped, strict=True):
            row["clipped_norm"] = _norm(gradient)
            row["clip_coefficient"] = _coefficient(_norm(mean), _norm(gradient))
        self._change(rows, means, clipped)

    def _change(
        self, rows: list[dict[str, Any]], means: Sequence[Any], clipped: Sequence[Any]
    ) -> None:
        reference = self.reference
        reference.updates += 1
        factors = reference.learning_rate_factors(reference.steps)
        rates = [reference.current_rate() * factor for factor in factors]
        reference.overwrite_with_gradients(means, factors)
        gradients = reference.leave_frozen_alone(clipped, factors)
        before, velocities = list(reference.weights), list(reference.velocities)
        reference.decay_weights(gradients, rates)
        decayed = list(reference.weights)
        reference.apply_rule(gradients, rates)
        moved = list(reference.weights)
        reference.apply_constraints(gradients)
        constrained = list(reference.weights)
        reference.average_weights()
        averages = list(reference.averages)
        reference.overwrite_weights_if_due(factors)
        for i, row in enumerate(rows):
            if self.parameters[i].velocity is not None:
                row["velocity_norm_before"] = _norm(velocities[i])
                row["velocity_norm"] = _norm(reference.velocities[i])
            row["decay_norm"] = _norm(decayed[i] - before[i])
            row["constraint_norm"] = _norm(constrained[i] - moved[i])
            row["change_norm"] = _norm(reference.weights[i] - before[i])
            average = averages[i]
            if average is not None:
                row["average_distance"] = _norm(reference.weights[i] - average)
            row["overwritten"] = reference.weights[i] is not constrained[i]


_STAGES_OF_UPDATE = (
    "mean_norm",
    "clip_coefficient",
    "clipped_norm",
    "decay_norm",
    "velocity_norm_before",
    "velocity_norm",
    "change_norm",
    "constraint_norm",
    "average_distance",
    "overwritten",
)


def _norm(array: Any) -> float | None:
    return None if array is None else norm([array])


def _coefficient(before: float | None, after: float | None) -> float | None:
    if before is None or after is None:
        return None
    return after / before if before else 1.0


def _comparison(copy: Any, expected: Array) -> dict[str, Any]:
    found = _wide(copy)
    difference = float(np.max(np.abs(found - expected), initial=0.0))
    dtype = keras.backend.standardize_dtype(copy.dtype)
    bound = BOUNDS.get(dtype, 0.0) * float(np.max(np.abs(expected), initial=0.0))
    same = np.array_equal(found, expected, equal_nan=True)
    return {
        "largest_difference": difference,
        "bound": bound,
        "holds": bool(same or difference <= bound),
    }
