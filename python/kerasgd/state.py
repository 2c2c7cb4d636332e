"""What a step reads and writes: variables with what is kept for them, and the updates to do."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import compress
from typing import Any, NamedTuple

# The tensors and variables of three libraries, none of which ships types.
Tensor = Any
Variable = Any


class Rates(NamedTuple):
    """The learning rate of a step.

    Attributes:
        rate: the rate of the optimizer.
        factors: what groups of variables multiply it by (see `GroupSettings.factor_index`).
    """

    rate: Tensor | float
    factors: tuple[Tensor, ...] = ()


# A function of the gradients and the rates.
Step = Callable[[Sequence[Tensor | None], Rates], None]


@dataclass(frozen=True)
class ParameterState:
    """A trainable variable with all that the optimizer keeps for it.

    Attributes:
        index: its place among the variables of `build()`.
        variable: the weights.
        velocity: None without momentum.
        average: the EMA of the weights; None without EMA.
        accumulator: the sum of gradients in this window; None without accumulation.
        constraint: a function of the weights, or None.
        overwrite_with_gradient: the gradient *is* the new value (float8 scales of Keras).
        group: which of `Settings.groups` the variable belongs to.
    """

    index: int
    variable: Variable
    velocity: Variable | None = None
    average: Variable | None = None
    accumulator: Variable | None = None
    constraint: Callable[[Any], Any] | None = None
    overwrite_with_gradient: bool = False
    group: int = 0


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
class Skips:
    """Counts of the updates that are skipped because a gradient is not finite (contract 16).

    Attributes:
        skipped: the number of updates that were skipped.
        in_a_row: those since the last one that was done.
        nonfinite: of the last one that was skipped, for each variable the number of NaN (first
            row) and of infinite elements (second row).
    """

    skipped: Variable
    in_a_row: Variable
    nonfinite: Variable


@dataclass(frozen=True)
class Statistics:
    """The variables that hold the measurements of an update (contract 15).

    Attributes:
        of_update: one for each of `rules.statistics.MEASURED_OF_UPDATE`.
        of_variables: a row for each of `rules.statistics.MEASURED`, a column for each variable.
        updates: how many updates had been done then.
        measured: how many updates have been measured.
    """

    of_update: Variable
    of_variables: Variable
    updates: Variable
    measured: Variable


@dataclass(frozen=True)
class State:
    """All that one step reads and writes, on one device.

    Attributes:
        iterations: `t`, the number of steps so far.
        averaging: 1 once the averages hold weights, 0 before.
        in_window: for each parameter 1 if it has had a gradient in this accumulation window.
        parameters: one for each trainable variable, in the order of `build()`.
        dynamic_scale: None where the loss scale is a fixed number.
        skips: None where no update is skipped.
        statistics: None where nothing is measured.
        own: what a subclass keeps beside this.
        memo: what the backend keeps from one step to the next; copies of the state share it.
    """

    iterations: Variable
    averaging: Variable | None
    in_window: Variable | None
    parameters: Sequence[ParameterState]
    dynamic_scale: DynamicScale | None = None
    skips: Skips | None = None
    statistics: Statistics | None = None
    own: Sequence[Variable] = ()
    memo: dict[Any, Any] = field(default_factory=dict, repr=False)

    def variables(self) -> list[Variable]:
        """Everything that an update may write, the step counter excepted."""
        of_parameters = [
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
        for record in (self.skips, self.statistics):
            others += vars(record).values() if record is not None else []
        return [v for v in [*of_parameters, *others] if v is not None]


class Update(NamedTuple):
    """One variable's part in an update.

    Attributes:
        parameter: what is updated.
        gradient: in at least float32.
        coefficient: the scalar that makes it the gradient of the update (see `Updates`).
        present: whether there is a gradient at all; a tensor where only the run can tell.
    """

    parameter: ParameterState
    gradient: Tensor
    coefficient: Tensor | float
    present: Tensor | bool


@dataclass(frozen=True)
class Updates:
    """The variables to update, side by side with their gradients.

    Attributes:
        parameters: what is updated.
        gradients: one for each, in at least float32.
        coefficient: the scalar that makes them the gradients of the update: the inverse loss scale,
            1/n of accumulation and the clip in one, so that a scaled gradient need not be written
            to memory. One for all of them, or a list with one for each.
        present: for each whether there is a gradient at all, as in `Update`; None if all have one.
    """

    parameters: Sequence[ParameterState]
    gradients: Sequence[Tensor]
    coefficient: Tensor | float | list[Tensor | float]
    present: Sequence[Tensor | bool] | None = None

    def __len__(self) -> int:
        return len(self.parameters)

    def __iter__(self) -> Iterator[Update]:
        present = self.present or [True] * len(self)
        columns = (self.parameters, self.gradients, self.each_coefficient(), present)
        return map(Update, *columns)

    def shares_coefficient(self) -> bool:
        """Whether one coefficient is for all of them."""
        return not isinstance(self.coefficient, list)

    def each_coefficient(self) -> list[Tensor | float]:
        """A coefficient for each."""
        if isinstance(self.coefficient, list):
            return self.coefficient
        return [self.coefficient] * len(self)

    def where(self, keep: Sequence[bool]) -> Updates:
        """Those of the updates for which `keep` holds."""
        if all(keep):
            return self
        if not any(keep):
            return NOTHING

        def kept(column: Sequence[Any]) -> list[Any]:
            return list(compress(column, keep))

        coefficient = self.coefficient
        return Updates(
            kept(self.parameters),
            kept(self.gradients),
            kept(coefficient) if isinstance(coefficient, list) else coefficient,
            None if self.present is None else kept(self.present),
        )

    def split(self, by: Sequence[bool]) -> tuple[Updates, Updates]:
        """Those for which `by` holds, and the others."""
        if not any(by):
            return NOTHING, self
        return self.where(by), self.where([not chosen for chosen in by])

    def by_presence(self) -> tuple[Updates, Updates]:
        """Those that have a gradient for certain, and those of which only the run can tell."""
        if self.present is None:
            return self, NOTHING
        certain, uncertain = self.split([present is True for present in self.present])
        return replace(certain, present=None), uncertain

    def by_group(self) -> Iterator[tuple[int, Updates]]:
        """The updates of each group of variables, with its number."""
        places: dict[int, list[int]] = {}
        for place, parameter in enumerate(self.parameters):
            places.setdefault(parameter.group, []).append(place)
        for group, its_places in sorted(places.items()):
            yield group, self if len(places) == 1 else self._at(its_places)

    def _at(self, places: Sequence[int]) -> Updates:
        """The updates at these places; for many groups faster than to look at all for each."""

        def picked(column: Sequence[Any]) -> list[Any]:
            return [column[place] for place in places]

        coefficient = self.coefficient
        return Updates(
            picked(self.parameters),
            picked(self.gradients),
            picked(coefficient) if isinstance(coefficient, list) else coefficient,
            None if self.present is None else picked(self.present),
        )


NOTHING = Updates([], [], 1.0)


# Goes on with the step on all devices, for each with the context to enter, its copy of the state,
# and the gradients.
Proceed = Callable[[list[tuple[Any, State, list[Tensor | None]]]], None]
