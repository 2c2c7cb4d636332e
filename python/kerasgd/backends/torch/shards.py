"""PyTorch's DTensors: each process updates its shards of the variables.

Such are the weights of a module after `fully_shard()`, which `keras.layers.TorchModuleWrapper`
makes variables of. All that a step does to a variable it does element by element, so that shards
are updated like variables; only norms, and whether all is finite, take all processes together.
"""

from __future__ import annotations

import contextlib
import gc
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np
import torch
import torch.distributed
from torch.distributed.tensor import DTensor, distribute_tensor

from kerasgd.backends.torch.kernels import WIDE
from kerasgd.errors import StateError
from kerasgd.state import ParameterState, Proceed, State, Tensor, Updates, Variable
from kerasgd.variables import path_of

# What of a parameter is laid out as the variable is.
ROLES = ("variable", "velocity", "average", "accumulator")


@dataclass(frozen=True, slots=True)
class Shard:
    """This process's elements of a variable, to be read and written as a variable is."""

    _value: torch.Tensor
    whole: DTensor

    @property
    def value(self) -> torch.Tensor:
        """The elements themselves."""
        return self._value

    def assign(self, value: torch.Tensor) -> None:
        """Set them."""
        self._value.copy_(value)


def are_among(tensors: Iterable[Any]) -> bool:
    """Whether one of them is a DTensor."""
    return DTensor in set(map(type, tensors))


def held(variable: Variable) -> DTensor | None:
    """The DTensor that a variable holds."""
    value = getattr(variable, "_value", None)
    return value.data if isinstance(value, DTensor) else None


# -- a step ------------------------------------------------------------------------------------


def aligned(
    gradients: Sequence[Tensor | None], parameters: Sequence[ParameterState]
) -> list[Tensor | None]:
    """The gradients, sharded as their variables are.

    Raises:
        StateError: a variable is sharded and its gradient is not, or the other way round.
    """
    return [
        gradient if gradient is None else _aligned(gradient, parameter.variable)
        for gradient, parameter in zip(gradients, parameters, strict=True)
    ]


def _aligned(gradient: Tensor, variable: Variable) -> Tensor:
    whole = held(variable)
    if whole is None and isinstance(gradient, DTensor):
        raise StateError(old_weights(path_of(variable)))
    if whole is None:
        return gradient
    if not isinstance(gradient, DTensor):
        raise StateError(
            f"`{path_of(variable)}` is a DTensor and its gradient is not. Pass the gradient that "
            "`backward()` has left in `variable.value.grad`."
        )
    return gradient.redistribute(whole.device_mesh, whole.placements)


def old_weights(path: str) -> str:
    """The message about a variable that `fully_shard()` has left behind."""
    return (
        f"`{path}` is not what the model trains: `fully_shard()` has put DTensors in the place of "
        "its layers' parameters, and Keras' variables still hold the old ones, which no process "
        "shares with another. Shard a PyTorch module, and make a layer of it with "
        "`keras.layers.TorchModuleWrapper` then; or use DistributedDataParallel."
    )


def on_shards(state: State, gradients: Sequence[Tensor | None], proceed: Proceed) -> None:
    """`proceed` with this process's shards."""
    _check_is_possible(state)
    parameters = [_with_shards(parameter) for parameter in state.parameters]
    local = [g.to_local() if isinstance(g, DTensor) else g for g in gradients]
    local = [g if g is None or g.dtype in WIDE else g.float() for g in local]
    proceed([(contextlib.nullcontext(), replace(state, parameters=parameters), local)])


def _check_is_possible(state: State) -> None:
    if state.statistics is not None:
        raise StateError(refused("`track_statistics()`"))
    if state.skips is not None:
        raise StateError(refused("`skip_nonfinite()`"))
    if state.own:
        raise StateError(refused("A variable of a subclass"))
    if any(_is_constrained(parameter) for parameter in state.parameters):
        raise StateError(refused("A constraint"))


def refused(what: str) -> str:
    """The message about what needs whole variables."""
    return (
        f"{what} does not work where variables are DTensors: it would see this process's shards "
        "alone. Leave it out, or use DistributedDataParallel."
    )


def _is_constrained(parameter: ParameterState) -> bool:
    return parameter.constraint is not None and held(parameter.variable) is not None


def _with_shards(parameter: ParameterState) -> ParameterState:
    kept = {role: held(getattr(parameter, role)) for role in ROLES}
    shards: dict[str, Any] = {
        role: Shard(whole.to_local(), whole) for role, whole in kept.items() if whole is not None
    }
    return replace(parameter, **shards) if shards else parameter


def summed_over_shards(squares: torch.Tensor, updates: Updates) -> torch.Tensor:
    """Sums of squares of whole gradients, from those of this process's shards.

    The sums go over the dimensions of the mesh that divide a variable, not over those that hold
    copies of it. One call moves the sums of all variables that are sharded alike.
    """
    alike: dict[Any, list[int]] = {}
    for i, parameter in enumerate(updates.parameters):
        if isinstance(parameter.variable, Shard):
            whole = parameter.variable.whole
            alike.setdefault((whole.device_mesh, _sharded_dimensions(whole)), []).append(i)
    for (mesh, dimensions), places in alike.items():
        sums = squares[places]
        for dimension in dimensions:
            torch.distributed.all_reduce(sums, group=mesh.get_group(dimension))
        squares[places] = sums
    return squares


def _sharded_dimensions(whole: DTensor) -> tuple[int, ...]:
    # Not by `is_shard()`: it is False for what `fully_shard()` makes of tensor parallelism.
    return tuple(i for i, p in enumerate(whole.placements) if not p.is_replicate())


def on_all(condition: torch.Tensor) -> torch.Tensor:
    """Whether a condition holds in every process."""
    holds = condition.to(torch.int32)
    torch.distributed.all_reduce(holds, torch.distributed.ReduceOp.MIN)
    return holds.bool()


# -- state -------------------------------------------------------------------------------------


def zeros_like(whole: DTensor) -> Callable[..., torch.nn.Parameter]:
    """An initializer of zeros that are sharded as the DTensor is."""

    def initializer(shape: Any, dtype: str) -> torch.nn.Parameter:
        zeros = torch.zeros_like(whole.detach(), dtype=_torch_dtype(dtype))
        return torch.nn.Parameter(zeros, requires_grad=False)

    return initializer


def copy_of(whole: DTensor) -> Callable[..., torch.nn.Parameter]:
    """An initializer with the values of the DTensor, sharded as it is."""

    def initializer(shape: Any, dtype: str) -> torch.nn.Parameter:
        copy = whole.detach().clone().to(_torch_dtype(dtype))
        return torch.nn.Parameter(copy, requires_grad=False)

    return initializer


def assign(whole: DTensor, array: np.ndarray[Any, Any]) -> None:
    """Set each process's shards to those of the array."""
    values = keras.ops.convert_to_tensor(array, keras.backend.standardize_dtype(whole.dtype))
    with torch.no_grad():
        whole.copy_(distribute_tensor(values, whole.device_mesh, whole.placements))


def _torch_dtype(dtype: str) -> torch.dtype:
    found: torch.dtype = getattr(torch, dtype)
    return found


def are_ruled_out(state: State) -> bool:
    """Whether `check_without_shards()` has found none."""
    return "is without shards" in state.memo


def check_without_shards(state: State) -> None:
    """Refuse a step with whole gradients where variables are sharded, or should be.

    This is looked at once for an optimizer.

    Raises:
        StateError: a variable is a DTensor, or `fully_shard()` has left it behind.
    """
    if are_ruled_out(state):
        return
    variables = [parameter.variable for parameter in state.parameters]
    for variable in variables:
        if held(variable) is not None:
            raise StateError(
                f"`{path_of(variable)}` is a DTensor, which this step does not work with: pass "
                "`apply()` DTensors as gradients, outside of `torch.compile()` and of stateless "
                "functions."
            )
    _check_not_left_behind(variables)
    state.memo["is without shards"] = True


def _check_not_left_behind(variables: Sequence[Variable]) -> None:
    """Refuse variables that hold what `fully_shard()` has taken out of their layers.

    Nothing leads from a variable to its layer: so all layers are looked at, where some module is
    sharded.
    """
    fsdp = sys.modules.get("torch.distributed.fsdp")
    if fsdp is None or not torch.distributed.is_initialized():
        return
    everything = gc.get_objects()
    if not any(issubclass(type(thing), fsdp.FSDPModule) for thing in everything):
        return
    ours = set(map(id, variables))
    for layer in everything:
        if issubclass(type(layer), keras.layers.Layer):
            for variable in getattr(layer, "trainable_variables", ()):  # it may be half made
                if id(variable) in ours and _has_left_behind(layer, variable):
                    raise StateError(old_weights(path_of(variable)))


def _has_left_behind(layer: Any, variable: Variable) -> bool:
    """Whether the layer has DTensors as parameters, and not what the variable holds."""
    parameters = list(layer.parameters())
    is_sharded = are_among(parameter.data for parameter in parameters)
    return is_sharded and all(parameter is not variable.value for parameter in parameters)
