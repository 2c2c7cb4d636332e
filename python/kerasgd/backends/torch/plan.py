"""A step that is like the one before, on PyTorch: checked at once, and done in few calls.

For small models the calls of Python take longer than the arithmetic. Most steps have the settings,
variables, shapes and devices of the step before. A plan caches what these determine, and checks at
each step that they have not changed. It calls the kernels that the usual way calls, in the order
of `update.py`, so that the weights are the same bit for bit. Anything unusual takes the usual way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter, is_
from typing import Any

import torch

from kerasgd.backends.torch import choice, kernels, shards
from kerasgd.backends.torch.choice import Implementation
from kerasgd.backends.torch.kernels import DTYPE, IS_CONTIGUOUS, PLACE, SHAPE, Batch
from kerasgd.keras_internals import in_stateless_scope
from kerasgd.rules import clipping, loss_scale
from kerasgd.settings import Settings
from kerasgd.state import ParameterState, State, Variable

# As those of `kernels.py`.
HELD, REQUIRES_GRADIENT = attrgetter("_value"), attrgetter("requires_grad")
LAYOUT, IS_ON_CPU = attrgetter("layout"), attrgetter("is_cpu")


@dataclass(slots=True)
class Plan:
    """What the steps of an optimizer have in common.

    Attributes:
        settings: what the arguments say; they have one group.
        variables: those of `build()`, in its order.
        held: the tensors that they hold, of which PyTorch tracks gradients.
        weights: the same memory as tensors of which it does not.
        places: where the elements of the weights are in memory.
        own_places: the same as a set.
        shapes: of the weights, and so of their gradients.
        velocities: tensors; none without momentum.
        averages: tensors; none without EMA.
        kept: the variables of both.
        averaging: whether the averages hold weights already; None without EMA.
        iterations: the counter of steps.
    """

    settings: Settings
    variables: list[Variable]
    held: list[torch.Tensor]
    weights: list[torch.Tensor]
    places: list[int]
    own_places: frozenset[int]
    shapes: list[torch.Size]
    velocities: list[torch.Tensor]
    averages: list[torch.Tensor]
    kept: list[Variable]
    averaging: torch.Tensor | None
    iterations: torch.Tensor

    def fits(self, gradients: Any, variables: Any) -> bool:
        """Whether a step with these arguments is one that is planned, if the plan holds."""
        return (
            type(gradients) is list
            and (variables is None or self._has(variables))
            and not in_stateless_scope()
            and not self._is_measured()
            and set(map(type, gradients)) == {torch.Tensor}
            and set(map(DTYPE, gradients)) == {torch.float32}
            and set(map(LAYOUT, gradients)) == {torch.strided}
            and all(map(IS_ON_CPU, gradients))
            and all(map(IS_CONTIGUOUS, gradients))
            and not any(map(REQUIRES_GRADIENT, gradients))
            and list(map(SHAPE, gradients)) == self.shapes
            # A gradient that is a weight must be read before that changes.
            and self.own_places.isdisjoint(map(PLACE, gradients))
        )

    def _has(self, variables: Any) -> bool:
        return (
            isinstance(variables, list | tuple)
            and len(variables) == len(self.variables)
            and all(map(is_, variables, self.variables))
        )

    def is_unchanged(self) -> bool:
        """Whether the plan holds: the variables have the tensors that they had, as they were."""
        held, kept = self.held, [*self.velocities, *self.averages]
        return (
            all(map(is_, map(HELD, self.variables), held))
            # `tensor.data = ...` leaves no trace. (Another dtype takes other memory.)
            and list(map(PLACE, held)) == self.places
            and list(map(SHAPE, held)) == self.shapes
            and all(map(IS_CONTIGUOUS, held))
            and all(map(is_, map(HELD, self.kept), kept))
            and all(map(IS_CONTIGUOUS, kept))
            and (self.averaging is None or self.averaging.item() == 1)
        )

    def _is_measured(self) -> bool:
        """Whether this step has statistics."""
        every = self.settings.statistics_every
        return every is not None and bool((self.iterations.item() + 1) % every == 0)

    def run(self, gradients: list[torch.Tensor], rate: float) -> bool:
        """Do the step; False, with nothing done, where the usual way has a careful one for it."""
        settings, its = self.settings, self.settings.groups[0]
        coefficient = loss_scale.unscaling(settings.loss_scale_factor)
        if settings.global_clipnorm is not None:
            square = kernels.square_of_all(gradients).numpy()
            clipped = clipping.clip_norm_in_numpy(square, coefficient, settings.global_clipnorm)
            if clipped is None:
                return False
            coefficient = float(clipped)
        step = kernels.rate_times_coefficient(rate, coefficient, torch.float32)
        decay = rate * its.weight_decay if its.weight_decay else 0.0
        batch = Batch(
            self.weights,
            self.velocities,
            gradients,
            step,
            its.momentum,
            settings.nesterov,
            decay,
        )
        is_fused = choice.of_contiguous(batch) is Implementation.FUSED
        (kernels.update_fused if is_fused else kernels.update_foreach)(batch)
        if self.averages:
            kernels.average(self.averages, self.weights, settings.ema_momentum)
        self.iterations.add_(1)
        return True


def of(state: State, settings: Settings) -> Plan | None:
    """The plan for the steps of an optimizer; None where there is none.

    It is made once for these settings, after a step of the usual way, and kept in the state.
    """
    kept = state.memo.get("plan")
    if kept is None or kept[0] is not settings:
        if not shards.are_ruled_out(state):
            return None
        kept = state.memo["plan"] = (settings, _made(state, settings))
    plan: Plan | None = kept[1]
    return plan


def forget(state: State) -> None:
    """Make the plan anew at the next step."""
    del state.memo["plan"]


def _made(state: State, settings: Settings) -> Plan | None:
    if not _has_usual_stages(state, settings):
        return None
    parameters = state.parameters
    held = [parameter.variable._value for parameter in parameters]
    of_velocities = [p.velocity for p in parameters if p.velocity is not None]
    of_averages = [p.average for p in parameters if p.average is not None]
    velocities, averages = list(map(HELD, of_velocities)), list(map(HELD, of_averages))
    all_there = {len(velocities), len(averages)} <= {0, len(held)}
    tensors = [*held, *velocities, *averages]
    if not (all_there and all(map(_is_plain, tensors)) and _is_in_one_piece(held, settings)):
        return None
    variables = [parameter.variable for parameter in parameters]
    if [tuple(variable.shape) for variable in variables] != list(map(tuple, map(SHAPE, held))):
        return None
    return Plan(
        settings,
        variables,
        held,
        [weights.detach() for weights in held],
        list(map(PLACE, held)),
        frozenset(map(PLACE, held)),
        list(map(SHAPE, held)),
        velocities,
        averages,
        [*of_velocities, *of_averages],
        None if state.averaging is None else state.averaging._value,
        state.iterations._value,
    )


def _has_usual_stages(state: State, settings: Settings) -> bool:
    """Whether a step is an update, by the clip of the global norm, decay, rule and EMA alone."""
    (its, *others) = settings.groups
    return (
        settings.own_rule is None
        and settings.window == 1
        and settings.clipvalue is None
        and settings.clipnorm is None
        and settings.ema_overwrite_frequency is None
        and settings.statistics_every != 1
        and not settings.skip_nonfinite
        and not others
        and its.factor_index is None
        and not any(map(_is_unusual, state.parameters))
    )


def _is_unusual(parameter: ParameterState) -> bool:
    return parameter.constraint is not None or parameter.overwrite_with_gradient


def _is_plain(tensor: Any) -> bool:
    is_of_torch = type(tensor) in (torch.Tensor, torch.nn.Parameter)
    return (
        is_of_torch and tensor.dtype == torch.float32 and tensor.is_cpu and tensor.is_contiguous()
    )


def _is_in_one_piece(weights: Sequence[torch.Tensor], settings: Settings) -> bool:
    """Whether the usual way does not divide them."""
    elements = sum(map(torch.Tensor.numel, weights))
    return elements <= choice.PIECE or not choice.has_several_passes(settings)
