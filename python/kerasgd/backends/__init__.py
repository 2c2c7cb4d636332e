"""What differs between TensorFlow, JAX and PyTorch: the same few operations each.

A backend is a module with the functions of `Backend`. They know nothing of arguments, clauses or
the order of a step; `update.py` calls them in that order.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Hashable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol, cast

import keras

from kerasgd.state import ParameterState, Proceed, State, Step, Tensor, Update, Variable

SUPPORTED = ("tensorflow", "jax", "torch")


class Backend(Protocol):
    """The operations that a backend provides."""

    def without_autograph(self, function: Callable[..., None]) -> Callable[..., None]:
        """`function`, not to be rewritten where the backend's compiler rewrites Python code."""

    def prepare_gradients(
        self,
        gradients: Sequence[Tensor | None],
        parameters: Sequence[ParameterState],
        may_stay_sparse: Callable[[ParameterState], bool],
    ) -> list[Tensor | None]:
        """The gradients for these parameters as tensors of at least float32; None stays.

        A sparse gradient is made dense, or has each row once.
        """

    def across_replicas(
        self,
        state: State,
        gradients: Sequence[Tensor | None],
        proceed: Proceed,
    ) -> None:
        """Sum the gradients over replicas, and `proceed` with one triple for each device.

        A triple holds the context to enter, the device's copy of the state, and the sums.
        """

    def compiled(self, function: Step, state: State, settings: Hashable) -> Step:
        """`function`, compiled where eager code is slower and that is sound.

        What it does is decided by `state`, which it is for, and by `settings`.
        """

    def when(
        self, condition: Tensor, action: Callable[[], None], writes: Sequence[Variable]
    ) -> None:
        """Do `action`, which writes nothing but `writes`, if `condition` holds."""

    def call_each_time(self, function: Callable[[], float]) -> Tensor | float:
        """`function()`, anew each time that a step runs, compiled or not (contract 2.3)."""

    def is_eager(self) -> bool:
        """Whether this runs now, and is not being compiled."""

    def colocated_with(self, optimizer: Any, variable: Variable) -> AbstractContextManager[Any]:
        """Where new variables are created on the devices of `variable`."""

    def parameter_in_step(self, parameter: ParameterState, variable: Variable) -> ParameterState:
        """The parameter as a step has it that has `variable` for the parameter's weights."""

    def read(self, variable: Variable) -> Tensor:
        """The value of a variable."""

    def assign(self, variable: Variable, value: Tensor) -> None:
        """Set a variable's value."""

    def count(self, counter: Variable) -> None:
        """counter <- counter + 1."""

    def squared_norms(self, gradients: Sequence[Tensor], units: Tensor | None = None) -> Tensor:
        """A vector with each gradient's sum of squares; float64 if one of the gradients is.

        Each gradient is measured in its unit, where there are units; these are powers of two.
        """

    def values(self, gradient: Tensor) -> Tensor:
        """The gradient's elements; of a sparse one those of the rows that it has."""

    def map_values(self, function: Callable[[Tensor], Tensor], gradient: Tensor) -> Tensor:
        """The gradient with `function` applied to its elements."""

    def choose(
        self, condition: Tensor, yes: Callable[[], Tensor], no: Callable[[], Tensor]
    ) -> Tensor:
        """The one or the other, only that one computed where the backend can."""

    def rescale(
        self, condition: Tensor, gradients: Sequence[Tensor], factors: Sequence[Tensor]
    ) -> Sequence[Tensor]:
        """Each ``factor * gradient`` if `condition` holds; the factors are 1 where it does not."""

    def accumulate(self, updates: Sequence[Update]) -> None:
        """accumulator <- accumulator + coefficient * gradient."""

    def clear(self, variables: Sequence[Variable]) -> None:
        """Set to zero."""

    def descend(
        self,
        updates: Sequence[Update],
        rate: Tensor,
        momentum: float,
        nesterov: bool,
        weight_decay: float,
    ) -> None:
        """Rule 3.1 where it applies, w <- w - rate * weight_decay * w; then rules 1.1 to 1.3."""

    def average(self, parameters: Sequence[ParameterState], momentum: float, begun: Tensor) -> None:
        """average <- momentum * average + (1 - momentum) * w; the first one is w itself."""

    def in_one_pass(
        self, function: Callable[[Sequence[Update]], None], updates: Sequence[Update]
    ) -> frozenset[int]:
        """Do `function`, which takes several passes over memory, in one where that pays.

        It is called with the updates for which it does, if there are any; where the backend goes
        piece by piece, once for each piece. The answer has the `id()` of the updates' parameters.
        """

    def overwrite(self, parameters: Sequence[ParameterState]) -> None:
        """w <- average."""


def current() -> Backend:
    """The backend that Keras runs on."""
    name = keras.config.backend()
    if name not in SUPPORTED:
        raise ImportError(
            f"kerasgd works on {', '.join(SUPPORTED)}; Keras runs on {name}. "
            "Set the environment variable KERAS_BACKEND before Keras is imported."
        )
    return cast(Backend, importlib.import_module(f"kerasgd.backends.{name}"))
