"""Checks of the gradients and variables of a step, before anything changes (contract 1.6, 12.7).

They run at every step, so all shapes are first compared at once; they are compared one by one only
if that fails.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from kerasgd.errors import ArgumentTypeError, ArgumentValueError, Described
from kerasgd.variables import is_variable, listed, path_of

ORDER = "The order is gradients, then variables: `apply(grads, trainable_variables)`."


def listed_gradients(grads: Any, variables: Any) -> list[Any]:
    """The argument `grads` of a step as a list.

    Args:
        grads: the user's argument.
        variables: the user's argument for the variables.

    Raises:
        ArgumentTypeError: it is not a list, for example a single gradient.
    """
    is_list = isinstance(grads, Iterable) and not isinstance(grads, str | Mapping)
    if not is_list or hasattr(grads, "shape"):
        hint = "Put a single gradient into a list." if hasattr(grads, "shape") else None
        hint = ORDER if are_swapped(grads, variables) else hint
        requirement = "a list with a gradient for each variable"
        raise ArgumentTypeError("grads", requirement, grads, hint)
    return list(grads)


def listed_variables(variables: Any, grads: Sequence[Any]) -> list[Any]:
    """The argument `trainable_variables` of a step as a list.

    Raises:
        ArgumentTypeError: it is not a list, for example a single variable.
    """
    hint = ORDER if are_swapped(grads, variables) else None
    return listed(variables, "trainable_variables", "a list of variables", hint)


def check_variables(variables: Sequence[Any], grads: Sequence[Any]) -> None:
    """Check that every element of `variables` is a variable.

    Raises:
        ArgumentTypeError: an element is not a variable.
    """
    for variable in variables:
        if not is_variable(variable):
            hint = ORDER if are_swapped(grads, variables) else None
            raise ArgumentTypeError("trainable_variables", "a list of variables", variable, hint)


def are_swapped(grads: Any, variables: Any) -> bool:
    """Whether the user swapped the two arguments: `grads` has variables, `variables` has none."""
    return _holds_a_variable(grads) and not _holds_a_variable(variables)


def _holds_a_variable(values: Any) -> bool:
    return any(map(is_variable, values if isinstance(values, list | tuple) else [values]))


def check(grads: Sequence[Any], variables: Sequence[Any]) -> None:
    """Check that the gradients fit the variables.

    Raises:
        ArgumentTypeError: an element is not a gradient.
        ArgumentValueError: all are None, or the number or a shape does not fit.
    """
    if len(grads) != len(variables):
        raise ArgumentValueError(
            "grads", f"one gradient for each variable, {len(variables)} in all", len(grads)
        )
    # All at once first: they usually fit, and there may be thousands.
    if [getattr(gradient, "shape", None) for gradient in grads] != [v.shape for v in variables]:
        for gradient, variable in zip(grads, variables, strict=True):
            _check_shape(gradient, variable)
    if all(gradient is None for gradient in grads):
        raise ArgumentValueError(
            "grads",
            "a gradient for at least one variable",
            Described("only {null}"),
            "No gradients provided for any variable: does the loss depend on them?",
        )


def warn_of_missing(grads: Sequence[Any], variables: Sequence[Any]) -> None:
    """Warn about variables without a gradient in a step that updates the others."""
    missing = [path_of(v) for g, v in zip(grads, variables, strict=True) if g is None]
    if missing:
        warnings.warn(
            f"There is no gradient for {', '.join(f'`{path}`' for path in missing)}: left "
            "unchanged in this step. Does the loss depend on all of these?",
            stacklevel=6,
        )


# None stands for an unknown size, or for an unknown rank.
Shape = tuple[int | None, ...] | None


def _check_shape(gradient: Any, variable: Any) -> None:
    """Refuse a gradient that would otherwise be broadcast to its variable's shape."""
    if gradient is None:
        return
    wanted = _sizes(variable.shape)
    for shape in _shapes_of(gradient):
        if not _fit(shape, wanted):
            raise ArgumentValueError("grads", f"of shape {wanted} for `{path_of(variable)}`", shape)


def _fit(one: Shape, other: Shape) -> bool:
    if one is None or other is None:
        return True
    pairs = zip(one, other, strict=False)
    return len(one) == len(other) and all(a is None or b is None or a == b for a, b in pairs)


def _shapes_of(gradient: Any) -> list[Shape]:
    """The shape of the gradient; for `IndexedSlices`, its declared shape and that of its rows.

    The parts of `IndexedSlices` may be tensors, arrays, lists or tuples.
    """
    if type(gradient).__name__ == "IndexedSlices":
        rows = _shape_of(gradient.values)
        in_rows: Shape = rows and (None, *rows[1:])
        if isinstance(gradient.dense_shape, list | tuple | np.ndarray):
            return [tuple(int(size) for size in gradient.dense_shape), in_rows]
        return [_sizes(gradient.shape), in_rows]
    return [_shape_of(gradient)]


def _shape_of(values: Any) -> Shape:
    if isinstance(values, list | tuple | int | float):
        return np.shape(values)
    if not hasattr(values, "shape"):
        requirement = "tensors, arrays of numbers, or {null} for no gradient"
        raise ArgumentTypeError("grads", requirement, values)
    return _sizes(values.shape)


def _sizes(shape: Any) -> Shape:
    # Only TensorFlow's shapes have a rank, which may be unknown.
    return None if getattr(shape, "rank", 0) is None else tuple(shape)
