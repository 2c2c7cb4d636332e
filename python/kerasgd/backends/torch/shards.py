"""PyTorch's DTensors: each process updates its shards of the variables.

After `fully_shard()` the weights of a module are DTensors, which `keras.layers.TorchModuleWrapper`
turns into variables. A step changes variables elementwise, so shards are updated like variables.
Only norms, and the test of whether all elements are finite, need all processes.
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

# The variables of a parameter that have the same layout.
ROLES = ("variable", "velocity", "average", "accumulator")


@dataclass(frozen=True, slots=True)
class Shard:
    """This process's elements of a variable, with the interface of a variable."""

    _value: torch.Tensor
    whole: DTensor

    @property
    def value(self) -> torch.Tensor:
        """The elements themselves."""
        return self._value

    def assign(self, value: torch.Tensor) -> None:
        """Set the elements."""
        self._value.copy_(value)


def are_among(tensors: Iterable[Any]) -> bool:
    """Whether any of the tensors is a DTensor."""
    return DTensor in set(map(type, tensors))


def held(variable: Variable) -> DTensor | None:
    """The DTensor that a variable holds, or None."""
    value = getattr(variable, "_value", None)
    return value.data if isinstance(value, DTensor) else None


# -- a step ------------------------------------------------------------------------------------


def aligned(
    gradients: Sequence[Tensor | None], parameters: Sequence[ParameterState]
) -> list[Tensor | None]:
    """The gradients, sharded like their variables.

    Raises:
        StateError: a variable is sharded but its gradient is not, or the reverse.
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
            f"`{path_of(variable)}` is a DTensor but its gradient is not. Pass the gradient that "
            "`backward()` has left in `variable.value.grad`."
        )
    return gradient.redistribute(whole.device_mesh, whole.placements)


def old_weights(path: str) -> str:
    """The message about a variable whose tensor `fully_shard()` has replaced in its layer."""
    return (
        f"`{path}` is not what the model trains: `fully_shard()` has replaced the parameters of "
        "its layers by DTensors, but Keras' variables still hold the old parameters, which are not "
        "shared between processes. Shard a PyTorch module first, and then wrap it in "
        "`keras.layers.TorchModuleWrapper`; or use DistributedDataParallel."
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
    """The message about a feature that needs whole variables."""
    return (
        f"{what} does not work with DTensors: it would see only this process's shards of the "
        "variables. Leave it out, or use DistributedDataParallel."
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
    """The sums of squares of whole gradients, from those of this process's shards.

    The sums are reduced over the dimensions of the mesh that shard a variable, not over those that
    replicate it. One call reduces the sums of all variables with the same sharding.
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
    # Not `is_shard()`, which is False for the placements of `fully_shard()` after tensor
    # parallelism.
    return tuple(i for i, p in enumerate(whole.placements) if not p.is_replicate())


def on_all(condition: torch.Tensor) -> torch.Tensor:
    """Whether a condition holds in every process."""
    holds = condition.to(torch.int32)
    torch.distributed.all_reduce(holds, torch.distributed.ReduceOp.MIN)
    return holds.bool()


# -- state -------------------------------------------------------------------------------------


def zeros_like(whole: DTensor) -> Callable[..., torch.nn.Parameter]:
    """An initializer of zeros that are sharded like the DTensor."""

    def initializer(shape: Any, dtype: str) -> torch.nn.Parameter:
        zeros = torch.zeros_like(whole.detach(), dtype=_torch_dtype(dtype))
        return torch.nn.Parameter(zeros, requires_grad=False)

    return initializer


def copy_of(whole: DTensor) -> Callable[..., torch.nn.Parameter]:
    """An initializer with the values of the DTensor, sharded like it."""

    def initializer(shape: Any, dtype: str) -> torch.nn.Parameter:
        copy = whole.detach().clone().to(_torch_dtype(dtype))
        return torch.nn.Parameter(copy, requires_grad=False)

    return initializer


def assign(whole: DTensor, array: np.ndarray[Any, Any]) -> None:
    """Set each process's shards from the array."""
    values = keras.ops.convert_to_tensor(array, keras.backend.standardize_dtype(whole.dtype))
    with torch.no_grad():
        whole.copy_(distribute_tensor(values, whole.device_mesh, whole.placements))


def _torch_dtype(dtype: str) -> torch.dtype:
    found: torch.dtype = getattr(torch, dtype)
    return found


def are_ruled_out(state: State) -> bool:
    """Whether `check_not_sharded()` has found no shards."""
    return "is without shards" in state.memo


def check_not_sharded(state: State) -> None:
    """Refuse a step with ordinary gradients if variables are sharded, or should be.

    This is checked once for an optimizer.

    Raises:
        StateError: a variable is a DTensor, or `fully_shard()` has replaced its tensor.
    """
    if are_ruled_out(state):
        return
    variables = [parameter.variable for parameter in state.parameters]
    for variable in variables:
        if held(variable) is not None:
            raise StateError(
                f"`{path_of(variable)}` is a DTensor, which this step does not support: pass "
                "`apply()` DTensors as gradients, outside of `torch.compile()` and of stateless "
                "functions."
            )
    _check_not_left_behind(variables)
    state.memo["is without shards"] = True


def _check_not_left_behind(variables: Sequence[Variable]) -> None:
    """Refuse variables that hold tensors which `fully_shard()` has replaced in their layers.

    A variable does not know its layer, so all layers are checked if any module is sharded.
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
            for variable in getattr(layer, "trainable_variables", ()):  # it may be half constructed
                if id(variable) in ours and _has_left_behind(layer, variable):
                    raise StateError(old_weights(path_of(variable)))


def _has_left_behind(layer: Any, variable: Variable) -> bool:
    """Whether the layer's parameters are DTensors, and the variable holds none of them."""
    parameters = list(layer.parameters())
    is_sharded = are_among(parameter.data for parameter in parameters)
    return is_sharded and all(parameter is not variable.value for parameter in parameters)
