"""What a step reads and writes: variables with what is kept for them, and the updates to do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

# The tensors and variables of three libraries, none of which ships types.
Tensor = Any
Variable = Any
# A function of the gradients and the learning rate.
Step = Callable[[Sequence[Tensor | None], Tensor], None]


@dataclass(frozen=True)
class ParameterState:
    """A trainable variable with all that the optimizer keeps for it.

    Attributes:
        variable: the weights.
        velocity: None without momentum.
        average: the EMA of the weights; None without EMA.
        accumulator: the sum of gradients in this window; None without accumulation.
        constraint: a function of the weights, or None.
        decays: whether weight decay applies.
        overwrite_with_gradient: the gradient *is* the new value (float8 scales of Keras).
    """

    variable: Variable
    velocity: Variable | None
    average: Variable | None
    accumulator: Variable | None
    constraint: Callable[[Any], Any] | None
    decays: bool
    overwrite_with_gradient: bool


@dataclass(frozen=True)
class DynamicScale:
    """A loss scale that follows the gradients (contract 6.3).

    Attributes:
        scale: what the loss was multiplied by.
        finite_steps: the number of steps in a row, since the scale last changed, whose gradients
            were finite.
        growth_steps: after how many of them the scale doubles.
    """

    scale: Variable
    finite_steps: Variable
    growth_steps: int


@dataclass(frozen=True)
class State:
    """All that one step reads and writes, on one device.

    Attributes:
        iterations: `t`, the number of steps so far.
        averaging: 1 once the averages hold weights, 0 before.
        in_window: for each parameter 1 if it has had a gradient in this accumulation window.
        parameters: one for each trainable variable, in the order of `build()`.
        dynamic_scale: None where the loss scale is a fixed number.
        own: what a subclass keeps beside this.
        memo: what the backend keeps from one step to the next; copies of the state share it.
    """

    iterations: Variable
    averaging: Variable | None
    in_window: Variable | None
    parameters: Sequence[ParameterState]
    dynamic_scale: DynamicScale | None = None
    own: Sequence[Variable] = ()
    memo: dict[Any, Any] = field(default_factory=dict, repr=False)

    def variables(self) -> list[Variable]:
        """Everything that an update may write, the step counter excepted."""
        of_slots = [
            v
            for parameter in self.parameters
            for v in (
                parameter.variable,
                parameter.velocity,
                parameter.average,
                parameter.accumulator,
            )
        ]
        others = [self.averaging, self.in_window, *self.own]
        return [v for v in [*of_slots, *others] if v is not None]


class Update(NamedTuple):
    """One variable's part in an update. (A tuple, since a step makes one for each variable.)

    Attributes:
        parameter: what is updated.
        gradient: in at least float32.
        coefficient: the scalar that makes it the gradient of the update: inverse loss scale, 1/n of
            accumulation and clip in one, so that a scaled gradient need not be written to memory.
        present: whether there is a gradient at all; a tensor where only the run can tell.
    """

    parameter: ParameterState
    gradient: Tensor
    coefficient: Tensor | float
    present: Tensor | bool = True


# Goes on with the step on all devices, for each with the context to enter, its copy of the state,
# and the gradients.
Proceed = Callable[[list[tuple[Any, State, list[Tensor | None]]]], None]
