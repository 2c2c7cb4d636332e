"""Repeats a step on PyTorch with a cached plan, in few calls.

For small models the Python calls take longer than the arithmetic. Most steps have the same
settings, variables, shapes and devices as the step before. A plan caches everything that these
determine, and checks at each step that they have not changed. It calls the same kernels as an
ordinary step, in the order of `update.py`, so that the weights are the same bit for bit. A step
that differs in any way is an ordinary one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter, is_
from typing import Any

import numpy as np
import torch

from kerasgd.backends.torch import choice, kernels, pieces, shards
from kerasgd.backends.torch.choice import Implementation, Mode
from kerasgd.backends.torch.kernels import DTYPE, IS_CONTIGUOUS, PLACE, SHAPE, Batch
from kerasgd.backends.torch.metadata import Metadata
from kerasgd.keras_internals import in_stateless_scope
from kerasgd.rules import clipping, learning_rate, loss_scale
from kerasgd.settings import GroupSettings, Settings
from kerasgd.state import ParameterState, Rates, State, Tensor, Updates, Variable

# Like those of `kernels.py`.
HELD, REQUIRES_GRADIENT = attrgetter("_value"), attrgetter("requires_grad")
IS_ON_CPU = attrgetter("is_cpu")


@dataclass(frozen=True, slots=True)
class Part:
    """Weights that one call updates: those of one group in one pass over memory.

    Attributes:
        settings: the settings of the group.
        places: the indices of their gradients in the list of all gradients (see `Plan._cut()`).
        weights: the weights as tensors, for which PyTorch does not track gradients.
        velocities: the velocities as tensors; empty without momentum.
    """

    settings: GroupSettings
    places: Sequence[int] | slice
    weights: list[torch.Tensor]
    velocities: list[torch.Tensor]

    def update(
        self,
        gradients: list[torch.Tensor],
        rate: Tensor | float,
        coefficient: float,
        nesterov: bool,
    ) -> None:
        """Decay the weights and apply the rule."""
        its, places = self.settings, self.places
        batch = Batch(
            self.weights,
            self.velocities,
            gradients[places] if isinstance(places, slice) else [gradients[i] for i in places],
            kernels.rate_times_coefficient(rate, coefficient, torch.float32),
            its.momentum,
            nesterov,
            float(rate) * its.weight_decay if its.weight_decay else 0.0,
        )
        is_fused = choice.of_contiguous(batch) is Implementation.FUSED
        (kernels.update_fused if is_fused else kernels.update_foreach)(batch)


@dataclass(frozen=True, slots=True)
class Pass:
    """Weights that are updated and then averaged while they are in the cache.

    Attributes:
        parts: the weights by group.
        weights: all these weights.
        averages: the averages as tensors; empty without EMA.
        is_small: whether one call for all averages is fastest.
    """

    parts: list[Part]
    weights: list[torch.Tensor]
    averages: list[torch.Tensor]
    is_small: bool

    def average(self, momentum: float) -> None:
        """Average the weights."""
        average = kernels.average_small if self.is_small else kernels.average
        average(self.averages, self.weights, momentum)


@dataclass(frozen=True, slots=True)
class Plan:
    """The cached data that all steps of an optimizer share.

    Attributes:
        settings: the settings of the optimizer.
        variables: the variables of `build()`, in that order.
        held: the tensors that the variables hold, for which PyTorch tracks gradients.
        places: the memory addresses of the weights.
        own_places: the same as a set.
        shapes: the shapes of the weights, and so of their gradients.
        of_held: the metadata of the tensors that the variables hold.
        of_gradients: the metadata of their gradients.
        elements: the number of elements of all weights.
        order: the index of each gradient in the order of the passes, and whether it is cut; None
            if the passes keep the order of the gradients and cut none.
        passes: the weights by passes over memory (see `pieces.py`).
        kept: the optimizer's own variables that a step reads or writes.
        kept_tensors: the tensors that these variables hold.
        kept_places: their memory addresses.
        of_kept: their metadata.
        averaging: whether the averages have been started; None without EMA.
        skipped_in_a_row: the number of updates just skipped; None without skipping.
        iterations: the step counter.
        one: 1 as a tensor, which PyTorch adds three times as fast as a number.
    """

    settings: Settings
    variables: list[Variable]
    held: list[torch.Tensor]
    places: list[int]
    own_places: frozenset[int]
    shapes: list[torch.Size]
    of_held: Metadata
    of_gradients: Metadata
    elements: int
    order: list[tuple[int, bool]] | None
    passes: list[Pass]
    kept: list[Variable]
    kept_tensors: list[torch.Tensor]
    kept_places: list[int]
    of_kept: Metadata
    averaging: torch.Tensor | None
    skipped_in_a_row: torch.Tensor | None
    iterations: torch.Tensor
    one: torch.Tensor

    def fits(self, gradients: Any, variables: Any) -> bool:
        """Whether a step with these arguments fits the plan, if the plan is still valid."""
        return (
            type(gradients) is list
            and (variables is None or self._has(variables))
            and not in_stateless_scope()
            and not self._is_measured()
            and (self.of_gradients.surely_matches(gradients) or self._are_usual(gradients))
            and self._are_apart_from_weights(gradients)
        )

    def _are_usual(self, gradients: list[Any]) -> bool:
        """As `of_gradients` says, but certain in every mode, and six times as slow."""
        return (
            set(map(type, gradients)) == {torch.Tensor}
            and set(map(DTYPE, gradients)) == {torch.float32}
            and all(map(IS_ON_CPU, gradients))
            and not any(map(REQUIRES_GRADIENT, gradients))
            and list(map(SHAPE, gradients)) == self.shapes
            and all(map(IS_CONTIGUOUS, gradients))
        )

    def _has(self, variables: Any) -> bool:
        return (
            isinstance(variables, list | tuple)
            and len(variables) == len(self.variables)
            and all(map(is_, variables, self.variables))
        )

    def _are_apart_from_weights(self, gradients: list[torch.Tensor]) -> bool:
        """Whether no gradient is a weight, which must be read before the weight changes."""
        try:
            return self.own_places.isdisjoint(map(PLACE, gradients))
        except RuntimeError:  # only a strided tensor has a memory address
            return False

    def is_unchanged(self) -> bool:
        """Whether the plan is still valid: the variables hold the same, unchanged tensors."""
        held, kept = self.held, self.kept_tensors
        return (
            all(map(is_, map(HELD, self.variables), held))
            # Detects `tensor.data = ...`. (Another dtype would use other memory.)
            and list(map(PLACE, held)) == self.places
            and (self.of_held.surely_matches(held) or self._are_as_planned(held))
            and all(map(is_, map(HELD, self.kept), kept))
            and list(map(PLACE, kept)) == self.kept_places
            and (self.of_kept.surely_matches(kept) or all(map(IS_CONTIGUOUS, kept)))
            and (self.averaging is None or self.averaging.item() == 1)
        )

    def _are_as_planned(self, held: list[torch.Tensor]) -> bool:
        return list(map(SHAPE, held)) == self.shapes and all(map(IS_CONTIGUOUS, held))

    def _is_measured(self) -> bool:
        """Whether this step has statistics."""
        every = self.settings.statistics_every
        return every is not None and bool((self.iterations.item() + 1) % every == 0)

    def run(self, gradients: list[torch.Tensor], rates_of_this_step: Callable[[], Rates]) -> bool:
        """Run the step; False, with nothing changed, if only an ordinary step can do it."""
        coefficient = self._clipped_coefficient(gradients)
        if coefficient is None:
            return False
        rates = rates_of_this_step()
        settings, gradients = self.settings, self._cut(gradients)
        for each in self.passes:
            for part in each.parts:
                index = part.settings.factor_index
                if index is None:
                    part.update(gradients, rates.rate, coefficient, settings.nesterov)
                elif rates.factors[index] > 0:
                    rate = learning_rate.of_group(rates.rate, rates.factors[index])
                    part.update(gradients, rate, coefficient, settings.nesterov)
            if settings.use_ema:
                each.average(settings.ema_momentum)
        if self.skipped_in_a_row is not None:
            self.skipped_in_a_row.zero_()
        self.iterations.add_(self.one)
        return True

    def _cut(self, gradients: list[torch.Tensor]) -> list[torch.Tensor]:
        """The gradients in the order of the passes, with large ones cut."""
        if self.order is None:
            return gradients
        cut: list[torch.Tensor] = []
        for place, is_cut in self.order:
            if is_cut:
                cut += gradients[place].view(-1).split(choice.PIECE)
            else:
                cut.append(gradients[place])
        return cut

    def _clipped_coefficient(self, gradients: list[torch.Tensor]) -> float | None:
        """The coefficient of the gradients; None if they may not be finite, or need units."""
        settings = self.settings
        coefficient = loss_scale.unscaling(settings.loss_scale_factor)
        if settings.global_clipnorm is None and not settings.skip_nonfinite:
            return coefficient
        is_small = self.elements <= kernels.LARGE
        of_all = kernels.square_of_small if is_small else kernels.square_of_all
        square = of_all(gradients).numpy()
        if settings.skip_nonfinite and not np.isfinite(square):
            return None
        if settings.global_clipnorm is None:
            return coefficient
        clipped = clipping.clip_norm_in_numpy(square, coefficient, settings.global_clipnorm)
        return None if clipped is None else float(clipped)


def of(state: State, settings: Settings) -> Plan | None:
    """The plan for the steps of an optimizer; None if its steps cannot be planned.

    It is created once for these settings, after an ordinary step, and kept in the state.
    """
    kept = state.memo.get("plan")
    if kept is None or kept[0] is not settings:
        if not shards.are_ruled_out(state):
            return None
        kept = state.memo["plan"] = (settings, _made(state, settings))
    plan: Plan | None = kept[1]
    return plan


def forget(state: State) -> None:
    """Discard the plan; the next step creates a new one."""
    del state.memo["plan"]


def _made(state: State, settings: Settings) -> Plan | None:
    if not _has_usual_stages(state, settings):
        return None
    parameters = state.parameters
    variables = [parameter.variable for parameter in parameters]
    held = list(map(HELD, variables))
    if [tuple(variable.shape) for variable in variables] != list(map(tuple, map(SHAPE, held))):
        return None
    skipped_in_a_row = None if state.skips is None else state.skips.in_a_row
    kept = [kept for p in parameters for kept in (p.velocity, p.average) if kept is not None]
    if not all(map(_is_plain, [*held, *map(HELD, kept)])):
        return None
    counters = [state.averaging, skipped_in_a_row, state.iterations]
    kept += [counter for counter in counters if counter is not None]
    kept_tensors = list(map(HELD, kept))
    order, passes = _passes(parameters, settings)
    return Plan(
        settings,
        variables,
        held,
        list(map(PLACE, held)),
        frozenset(map(PLACE, held)),
        list(map(SHAPE, held)),
        Metadata(held),
        Metadata(list(map(torch.Tensor.detach, held))),
        sum(map(torch.Tensor.numel, held)),
        order,
        passes,
        kept,
        kept_tensors,
        list(map(PLACE, kept_tensors)),
        Metadata(kept_tensors),
        None if state.averaging is None else state.averaging._value,
        None if skipped_in_a_row is None else skipped_in_a_row._value,
        state.iterations._value,
        torch.ones_like(state.iterations._value),
    )


def _passes(
    parameters: Sequence[ParameterState], settings: Settings
) -> tuple[list[tuple[int, bool]] | None, list[Pass]]:
    """`Plan.order` and `Plan.passes`: the pieces of an ordinary step, cut once."""
    # Only shapes matter here, and gradients have the shapes of their weights.
    weights = [parameter.variable._value.detach() for parameter in parameters]
    updates = Updates(parameters, weights, 1.0)
    in_pieces, others = choice.in_pieces(Mode.IN_PLACE, updates, settings)
    if not len(in_pieces):
        return None, [_pass(updates, settings, 0)]
    order = [(u.parameter.index, u.gradient.numel() > choice.PIECE) for u in in_pieces]
    order += [(update.parameter.index, False) for update in others]
    passes, before = [], 0
    for one in [*pieces.of(in_pieces, choice.PIECE), others]:
        if len(one):
            passes.append(_pass(one, settings, before))
            before += len(one)
    return order, passes


def _pass(updates: Updates, settings: Settings, before: int) -> Pass:
    """The pass over these weights; `before` is the number of gradients in earlier passes."""
    places = {id(parameter): before + i for i, parameter in enumerate(updates.parameters)}
    averages = [p.average._value for p in updates.parameters if p.average is not None]
    elements = sum(map(torch.Tensor.numel, updates.gradients))
    return Pass(
        [_part(of_group, settings.groups[group], places) for group, of_group in updates.by_group()],
        list(updates.gradients),
        averages,
        elements < kernels.LARGE,
    )


def _part(updates: Updates, its: GroupSettings, place_of: Mapping[int, int]) -> Part:
    places = [place_of[id(parameter)] for parameter in updates.parameters]
    in_a_row = slice(places[0], places[-1] + 1)
    velocities = [p.velocity._value for p in updates.parameters if p.velocity is not None]
    return Part(
        its,
        in_a_row if len(places) == in_a_row.stop - in_a_row.start else places,
        list(updates.gradients),
        velocities,
    )


def _has_usual_stages(state: State, settings: Settings) -> bool:
    """Whether the stages of a step are those that a plan has.

    These are global clip, decay, rule, EMA and skipping.
    """
    return (
        settings.own_rule is None
        and settings.window == 1
        and settings.clipvalue is None
        and settings.clipnorm is None
        and settings.ema_overwrite_frequency is None
        and settings.statistics_every != 1
        and not any(map(_is_unusual, state.parameters))
    )


def _is_unusual(parameter: ParameterState) -> bool:
    return parameter.constraint is not None or parameter.overwrite_with_gradient


def _is_plain(tensor: Any) -> bool:
    is_of_torch = type(tensor) in (torch.Tensor, torch.nn.Parameter)
    return (
        is_of_torch and tensor.dtype == torch.float32 and tensor.is_cpu and tensor.is_contiguous()
    )
