"""The data of a step: the variables with their state, and the updates to do."""

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
        factors: the factors of the groups of variables (see `GroupSettings.factor_index`).
    """

    rate: Tensor | float
    factors: tuple[Tensor, ...] = ()


# A function of the gradients and the rates.
Step = Callable[[Sequence[Tensor | None], Rates], None]


@dataclass(frozen=True)
class ParameterState:
    """A trainable variable and the state that the optimizer keeps for it.

    Attributes:
        index: its index among the variables of `build()`.
        variable: the weights.
        velocity: None without momentum.
        average: the EMA of the weights; None without EMA.
        accumulator: the sum of gradients in this window; None without accumulation.
        constraint: a function of the weights, or None.
        overwrite_with_gradient: whether the gradient *is* the new value (Keras' float8 scales).
        group: the index in `Settings.groups` of its group.
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
        scale: the factor that multiplied the loss.
        finite_steps: the number of steps in a row with finite gradients since the scale changed.
        growth_steps: the number of such steps after which the scale doubles.
    """

    scale: Variable
    finite_steps: Variable
    growth_steps: int


@dataclass(frozen=True)
class Skips:
    """Counts of the updates that are skipped because a gradient is not finite (contract 16).

    Attributes:
        skipped: the number of skipped updates.
        in_a_row: the number of updates skipped since the last one that was done.
        nonfinite: for the last skipped update, the number of NaN elements (first row) and of
            infinite elements (second row) in the gradient of each variable.
    """

    skipped: Variable
    in_a_row: Variable
    nonfinite: Variable


@dataclass(frozen=True)
class Statistics:
    """The variables that hold the measurements of an update (contract 15).

    Attributes:
        of_update: an element for each of `rules.statistics.MEASURED_OF_UPDATE`.
        of_variables: a row for each of `rules.statistics.MEASURED`, a column for each variable.
        updates: the number of updates done at the last measurement.
        measured: the number of updates that have been measured.
    """

    of_update: Variable
    of_variables: Variable
    updates: Variable
    measured: Variable


@dataclass(frozen=True)
class State:
    """Everything that one step reads and writes, on one device.

    Attributes:
        iterations: `t`, the number of steps so far.
        averaging: 1 once the averages have been started, 0 before.
        in_window: for each parameter, 1 if it has had a gradient in this accumulation window.
        parameters: one for each trainable variable, in the order of `build()`.
        dynamic_scale: None if the loss scale is a fixed number.
        skips: None if updates are never skipped.
        statistics: None if nothing is measured.
        own: the additional state of a subclass.
        memo: data that the backend keeps between steps; copies of the state share it.
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
        """Everything that an update may write, except the step counter."""
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
        others = [self.averaging, self.in_window, *self.own, *self.records()]
        return [v for v in [*of_parameters, *others] if v is not None]

    def records(self) -> list[Variable]:
        """What is recorded of updates: skipped ones, and statistics."""
        kept = [record for record in (self.skips, self.statistics) if record is not None]
        return [variable for record in kept for variable in vars(record).values()]


class Update(NamedTuple):
    """The update of one variable.

    Attributes:
        parameter: the variable and its state.
        gradient: the gradient, in at least float32.
        coefficient: the scalar that turns it into the gradient of the update (see `Updates`).
        present: whether there is a gradient at all; a tensor if only known at run time.
    """

    parameter: ParameterState
    gradient: Tensor
    coefficient: Tensor | float
    present: Tensor | bool


@dataclass(frozen=True)
class Updates:
    """The variables to update, with their gradients, as parallel sequences.

    Attributes:
        parameters: the variables and their state.
        gradients: one for each, in at least float32.
        coefficient: the scalar that turns them into the gradients of the update. It combines the
            inverse loss scale, the 1/n of accumulation and the clip, so that no scaled gradient is
            written to memory. One scalar for all of them, or a list with one for each.
        present: for each, whether there is a gradient at all, as in `Update`; None if all have one.
        scale: the `scale` of `NormClip`, by which a norm clip has multiplied the gradients: one for
            all of them, or a list with one for each; None without such a clip.
    """

    parameters: Sequence[ParameterState]
    gradients: Sequence[Tensor]
    coefficient: Tensor | float | list[Tensor | float]
    present: Sequence[Tensor | bool] | None = None
    scale: Tensor | list[Tensor] | None = None

    def __len__(self) -> int:
        return len(self.parameters)

    def __iter__(self) -> Iterator[Update]:
        present = self.present or [True] * len(self)
        columns = (self.parameters, self.gradients, self.each_coefficient(), present)
        return map(Update, *columns)

    def shares_coefficient(self) -> bool:
        """Whether all updates share one coefficient."""
        return not isinstance(self.coefficient, list)

    def each_coefficient(self) -> list[Tensor | float]:
        """The coefficient of each update."""
        if isinstance(self.coefficient, list):
            return self.coefficient
        return [self.coefficient] * len(self)

    def where(self, keep: Sequence[bool]) -> Updates:
        """The updates for which `keep` is true."""
        if all(keep):
            return self
        if not any(keep):
            return NOTHING

        return self._picked(lambda column: list(compress(column, keep)))

    def split(self, by: Sequence[bool]) -> tuple[Updates, Updates]:
        """The updates for which `by` is true, and the others."""
        if not any(by):
            return NOTHING, self
        return self.where(by), self.where([not chosen for chosen in by])

    def by_presence(self) -> tuple[Updates, Updates]:
        """The updates that certainly have a gradient, and those known only at run time."""
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
        """The updates at these indices; faster than `where()` if there are many groups."""
        return self._picked(lambda column: [column[place] for place in places])

    def _picked(self, pick: Callable[[Sequence[Any]], list[Any]]) -> Updates:
        """The updates whose entries `pick` takes from each sequence."""

        def of_each(factor: Any) -> Any:
            return pick(factor) if isinstance(factor, list) else factor

        return Updates(
            pick(self.parameters),
            pick(self.gradients),
            of_each(self.coefficient),
            None if self.present is None else pick(self.present),
            of_each(self.scale),
        )


NOTHING = Updates([], [], 1.0)


# Continues the step on all devices. For each device it takes the context to enter, the device's
# copy of the state, and the gradients.
Proceed = Callable[[list[tuple[Any, State, list[Tensor | None]]]], None]
