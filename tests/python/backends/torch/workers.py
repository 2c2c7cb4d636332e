"""Trains on PyTorch in one of several processes, and returns the errors of the weights.

`in_worker()` and `going_on()` run in each of them.
"""

import os

import keras
import numpy as np
import torch
import torch.distributed
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.distributed.tensor.debug import CommDebugMode
from torch.nn.parallel import DistributedDataParallel

import kerasgd
from backends.training import (
    BATCH,
    CONFIGURATIONS,
    SAVED_AFTER,
    STEPS,
    data,
    distance,
    judge,
    subject,
)
from kerasgd.conformance.workers import process_group

SHAPES = [(7, 3), (7,)]  # an odd number of rows, so that the processes' shards differ in size


def weights_and_data(name):
    generator = np.random.default_rng(0)
    weights = [generator.normal(size=shape).astype("float32") for shape in SHAPES]
    x, y = data(name, generator, inputs=3, outputs=7)
    return weights, x, y


def linear(weights):
    layer = torch.nn.Linear(3, 7)
    with torch.no_grad():
        for parameter, value in zip(layer.parameters(), weights, strict=True):
            parameter.copy_(torch.as_tensor(value))
    return layer


def in_parallel(weights):
    """A Keras model in DistributedDataParallel, and its variables in the order of `weights`."""
    layer = keras.layers.TorchModuleWrapper(linear(weights))
    model = keras.Sequential([keras.Input((3,)), layer])
    return DistributedDataParallel(model), model.trainable_variables


def sharded(weights):
    """A PyTorch module with DTensors as parameters, in a Keras layer."""
    module = linear(weights)
    fully_shard(module, mesh=init_device_mesh("cpu", (torch.distributed.get_world_size(),)))
    layer = keras.layers.TorchModuleWrapper(module)
    assert all(isinstance(v.value, DTensor) for v in layer.trainable_variables)
    return layer, layer.trainable_variables


MODELS = {"in parallel": in_parallel, "sharded": sharded}


# The rows of each step.
BATCHES = np.split(np.arange(STEPS * BATCH), STEPS)


def train(model, variables, optimizer, x, y, steps):
    """The training loop of Keras' guide, on this process's part of each batch."""
    for rows in steps:
        its_rows = np.array_split(rows, torch.distributed.get_world_size())
        its_x, its_y = (torch.tensor(a[its_rows[torch.distributed.get_rank()]]) for a in (x, y))
        for variable in variables:
            variable.value.grad = None
        loss = (its_y * model(its_x)).sum(dim=-1).mean()
        optimizer.scale_loss(loss).backward()
        optimizer.apply([variable.value.grad for variable in variables], variables)


def reference_after(name, weights, x, y):
    reference = judge(name, weights)
    for rows in BATCHES:
        scale = reference.scale_loss(1.0)
        x_of_step, y_of_step = x[rows].astype("float64"), y[rows]
        kernel = y_of_step.T @ x_of_step / BATCH
        reference.step([scale * kernel, scale * y_of_step.mean(axis=0, dtype="float64")])
    return reference


def whole(variable):
    value = variable.value.detach()
    return (value.full_tensor() if isinstance(value, DTensor) else value).numpy()


def require_layouts(optimizer):
    """The state of a variable must be sharded like the variable (contract 10.3)."""
    for parameter in getattr(optimizer, "inner_optimizer", optimizer).state().parameters:
        ours = parameter.variable.value
        for kept in (parameter.velocity, parameter.average, parameter.accumulator):
            if kept is not None and isinstance(ours, DTensor):
                assert kept.value.placements == ours.placements
                assert kept.value.to_local().shape == ours.to_local().shape


def training_distance(kind, name):
    weights, x, y = weights_and_data(name)
    model, variables = MODELS[kind](weights)
    optimizer = subject(name)
    train(model, variables, optimizer, x, y, BATCHES)
    require_layouts(optimizer)
    return distance(whole, variables, optimizer, reference_after(name, weights, x, y))


def distance_of_replicated_gradients():
    """The error with replicated DTensors as gradients."""
    weights = weights_and_data("plain")[0]
    _, variables = sharded(weights)
    optimizer, reference = subject("momentum"), judge("momentum", weights)
    generator = np.random.default_rng(1)
    for _ in range(2):
        step = [generator.normal(size=shape) for shape in SHAPES]
        gradients = [
            distribute_tensor(torch.tensor(g, dtype=torch.float32), v.value.device_mesh)
            for g, v in zip(step, variables, strict=True)
        ]
        optimizer.apply(gradients, variables)
        reference.step(step)
    return distance(whole, variables, optimizer, reference)


def save(kind, folder):
    """Train half of the steps, to the middle of a window, and save in every process."""
    weights, x, y = weights_and_data("everything")
    model, variables = MODELS[kind](weights)
    optimizer = subject("everything")
    train(model, variables, optimizer, x, y, BATCHES[:SAVED_AFTER])
    folder = f"{folder}/{torch.distributed.get_rank()}"
    os.makedirs(folder, exist_ok=True)
    np.savez(f"{folder}/{kind}-weights.npz", *map(whole, variables))
    kerasgd.save_optimizer(optimizer, f"{folder}/{kind}.optimizer")


def continued_distance(kind, saved_kind, folder):
    """Continue from the first worker's files with the second half of the steps."""
    weights, x, y = weights_and_data("everything")
    with np.load(f"{folder}/0/{saved_kind}-weights.npz") as saved:
        model, variables = MODELS[kind](list(saved.values()))
    optimizer = kerasgd.load_optimizer(f"{folder}/0/{saved_kind}.optimizer", variables)
    train(model, variables, optimizer, x, y, BATCHES[SAVED_AFTER:])
    require_layouts(optimizer)
    return distance(whole, variables, optimizer, reference_after("everything", weights, x, y))


def collectives(kind, name):
    """The number of collectives in a step, without those of `backward()`."""
    _, variables = MODELS[kind](weights_and_data(name)[0])
    optimizer = subject(name)
    gradients = [torch.ones_like(variable.value) for variable in variables]
    optimizer.apply(gradients, variables)
    with CommDebugMode() as counted:
        optimizer.apply(gradients, variables)
    return counted.get_total_counts()


class OwnRule(kerasgd.SGD):
    """A subclass with its own rule."""

    def update_step(self, gradient, variable, learning_rate):
        variable.assign(variable - learning_rate * gradient)


def constrained(weights):
    """Sharded variables, of which the first one has a constraint."""
    _, variables = sharded(weights)
    variables[0].constraint = keras.constraints.NonNeg()
    return variables


def refusals():
    """The errors of steps that cannot be right, each of which is tried several times."""
    said = {}
    weights = weights_and_data("plain")[0]
    _, variables = sharded(weights)
    gradients = [torch.zeros_like(variable.value) for variable in variables]
    plain = [torch.zeros(shape) for shape in SHAPES]
    left_behind = keras.Sequential([keras.Input((3,)), keras.layers.Dense(7)])
    fully_shard(left_behind.layers[0], mesh=variables[0].value.device_mesh)
    module = linear(weights)
    too_early = keras.Sequential([keras.Input((3,)), keras.layers.TorchModuleWrapper(module)])
    fully_shard(module, mesh=variables[0].value.device_mesh)
    steps = {
        "measured": (subject("measured, skipping"), gradients, variables),
        "plain gradients": (subject("plain"), plain, variables),
        "sharded gradients": (
            subject("plain"),
            gradients,
            [keras.Variable(w) for w in weights],
        ),
        "left behind": (
            subject("plain"),
            [torch.zeros((3, 7)), torch.zeros(7)],
            left_behind.trainable_variables,
        ),
        "wrapped too early": (subject("plain"), plain, too_early.trainable_variables),
        "constraint": (subject("plain"), gradients, constrained(weights)),
        "own rule": (OwnRule(0.1), gradients, variables),
    }
    for name, (optimizer, its_gradients, its_variables) in steps.items():
        for time in range(3):  # the second step could be planned
            try:
                optimizer.apply(its_gradients, its_variables)
            except kerasgd.StateError as error:
                said[f"{name}, {time}"] = str(error)
    return said


def in_worker(rank, addresses, folder):
    """The error and the number of collectives of each configuration, and the refusals."""
    with process_group(rank, addresses):
        kinds = {"in parallel": list(CONFIGURATIONS), "sharded": list(CONFIGURATIONS)[:-1]}
        cases = [(kind, name) for kind, names in kinds.items() for name in names]
        distances = {f"{kind}, {name}": training_distance(kind, name) for kind, name in cases}
        distances["sharded, replicated gradients"] = distance_of_replicated_gradients()
        counts = {f"{kind}, {name}": collectives(kind, name) for kind, name in cases}
        for kind in MODELS:
            save(kind, folder)
        return [distances, counts, refusals()]


def going_on(rank, addresses, folder):
    """The errors of weights and averages if other workers continue from the files."""
    with process_group(rank, addresses):
        return {
            f"{saved_kind}, then {kind}": continued_distance(kind, saved_kind, folder)
            for saved_kind in MODELS
            for kind in MODELS
        }
