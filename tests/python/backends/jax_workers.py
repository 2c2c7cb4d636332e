"""Trains on JAX in one of several processes, and returns the errors of the weights.

`in_worker()` and `going_on()` run in each of them.
"""

import math
import os
import re

import jax
import keras
import numpy as np

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

# The configurations that run with replicated weights.
OF_WHOLE = ["everything", "measured, skipping"]


def start(rank, addresses):
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    keras.distribution.initialize(addresses[0], len(addresses), rank)


def distribute(kind):
    """Set data parallelism, or sharding of every variable over the processes."""
    devices = keras.distribution.list_devices()
    if kind == "data":
        distribution = keras.distribution.DataParallel(devices=devices, auto_shard_dataset=False)
    else:
        shape = (1, len(devices))
        mesh = keras.distribution.DeviceMesh(shape, ("batch", "model"), devices)
        layouts = keras.distribution.LayoutMap(mesh)
        layouts[".*kernel"], layouts[".*bias"] = (None, "model"), ("model",)
        distribution = keras.distribution.ModelParallel(
            layout_map=layouts, batch_dim_name="batch", auto_shard_dataset=False
        )
    keras.distribution.set_distribution(distribution)


def model_and_data(name):
    generator = np.random.default_rng(0)
    weights = [generator.normal(size=shape).astype("float32") for shape in ((3, 6), (6,))]
    x, y = data(name, generator, inputs=3, outputs=6)
    layer = keras.layers.Dense(6)
    model = keras.Sequential([keras.Input((3,)), layer])
    for variable, value in zip((layer.kernel, layer.bias), weights, strict=True):
        variable.assign(value)
    return model, weights, x, y


def gradients(x, y):
    return [x.T.astype("float64") @ y / len(x), y.mean(axis=0, dtype="float64")]


def rows_of_this_process(array):
    """The rows of each batch that belong to this process under data parallelism."""
    size = BATCH // jax.process_count()
    batches = array.reshape(-1, jax.process_count(), size, array.shape[1])
    return batches[:, jax.process_index()].reshape(-1, array.shape[1])


def whole(variable):
    """The value, gathered from all processes without the package's code."""
    value = variable.value
    if value.is_fully_addressable:
        return np.asarray(value)
    on_all = jax.sharding.NamedSharding(value.sharding.mesh, jax.sharding.PartitionSpec())
    return np.asarray(jax.jit(lambda v: v, out_shardings=on_all)(value))


def distance_of(model, optimizer, reference):
    return distance(whole, model.trainable_variables, optimizer, reference)


def require_layouts(model, optimizer):
    """The state of a variable must have the variable's layout (contract 10.3)."""
    for parameter in getattr(optimizer, "inner_optimizer", optimizer).state().parameters:
        for kept in (parameter.velocity, parameter.average, parameter.accumulator):
            ours = parameter.variable.value.sharding
            assert kept is None or kept.value.sharding.is_equivalent_to(ours, len(kept.shape))


@keras.saving.register_keras_serializable("tests")
def loss(y, output):
    return keras.ops.sum(y * output, axis=-1)


def fit(kind, model, x, y, callbacks=()):
    is_split = kind == "data"
    of_process = [rows_of_this_process(a) if is_split else a for a in (x, y)]
    size = BATCH // jax.process_count() if is_split else BATCH
    model.fit(*of_process, batch_size=size, shuffle=False, verbose=0, callbacks=list(callbacks))


def reference_after_fit(name, weights, x, y):
    reference = judge(name, weights)
    for rows in np.split(np.arange(len(x)), STEPS):
        scale = reference.scale_loss(1.0)
        reference.step([scale * g for g in gradients(x[rows], y[rows])])
    getattr(reference, "inner", reference).finalize_variable_values()
    return reference


def fit_distance(kind, name):
    model, weights, x, y = model_and_data(name)
    optimizer = subject(name)
    model.compile(optimizer, loss=loss)
    fit(kind, model, x, y)
    require_layouts(model, optimizer)
    return distance(
        whole, model.trainable_variables, optimizer, reference_after_fit(name, weights, x, y)
    )


def apply_distance(name):
    """The error after eager `apply()`, where gradients have the layout of the variables."""
    model, weights, x, y = model_and_data(name)
    optimizer, reference = subject(name), judge(name, weights)
    variables = model.trainable_variables
    for rows in np.split(np.arange(len(x)), STEPS):
        scale = reference.scale_loss(1.0)
        step = [(scale * g).astype("float32") for g in gradients(x[rows], y[rows])]
        laid_out = [
            jax.device_put(g, v.value.sharding) for g, v in zip(step, variables, strict=True)
        ]
        optimizer.apply(laid_out, variables)
        reference.step([g.astype("float64") for g in step])
    require_layouts(model, optimizer)
    before = distance_of(model, optimizer, reference)
    optimizer.swap_ema_weights()
    pairs = zip(map(whole, variables), reference.averages, strict=True)
    swapped = max(np.max(np.abs(np.subtract(*pair))) for pair in pairs)
    optimizer.swap_ema_weights()
    return max(before, float(swapped), distance_of(model, optimizer, reference))


class Saving(keras.callbacks.Callback):
    """Saves in the middle of an accumulation window during `fit()`."""

    def __init__(self, kind, folder):
        super().__init__()
        self.kind, self.folder = kind, folder

    def on_train_batch_end(self, batch, logs=None):
        if batch == SAVED_AFTER - 1:
            self.model.jax_state_sync()
            save(self.kind, self.model, self.folder)


def save(kind, model, folder):
    """Save in every process: Keras creates variables while it saves, which involves all of them."""
    folder = f"{folder}/{jax.process_index()}"
    os.makedirs(folder, exist_ok=True)
    np.savez(f"{folder}/{kind}-weights.npz", *map(whole, model.trainable_variables))
    kerasgd.save_optimizer(model.optimizer, f"{folder}/{kind}.optimizer")
    if kind == "data":  # Keras cannot save weights that are sharded over processes
        model.save(f"{folder}/{kind}.keras")


def continued_distance(kind, way, folder):
    """Continue from the first worker's files with the second half of the steps."""
    folder = f"{folder}/0"
    model, weights, x, y = model_and_data("everything")
    if way == "keras":
        model = keras.saving.load_model(f"{folder}/{kind}.keras")
    else:
        with np.load(f"{folder}/{kind}-weights.npz") as saved:
            for variable, value in zip(model.trainable_variables, saved.values(), strict=True):
                variable.assign(value)
        file = f"{folder}/{kind}.optimizer"
        model.compile(kerasgd.load_optimizer(file, model.trainable_variables), loss=loss)
    fit(kind, model, x[SAVED_AFTER * BATCH :], y[SAVED_AFTER * BATCH :])
    require_layouts(model, model.optimizer)
    return distance(
        whole,
        model.trainable_variables,
        model.optimizer,
        reference_after_fit("everything", weights, x, y),
    )


def in_worker(rank, addresses, folder):
    """The error of each configuration, for both kinds of distribution."""
    start(rank, addresses)
    distances = {}
    for kind in ("data", "model"):
        distribute(kind)
        for name in OF_WHOLE if kind == "data" else CONFIGURATIONS:
            distances[f"{kind}, fit, {name}"] = fit_distance(kind, name)
        distances[f"{kind}, apply, everything"] = apply_distance("everything")
        model, _, x, y = model_and_data("everything")
        model.compile(subject("everything"), loss=loss)
        fit(kind, model, x, y, [Saving(kind, folder)])
    return distances


def going_on(rank, addresses, folder):
    """The errors of weights and averages if other workers continue from the files."""
    start(rank, addresses)
    distances = {}
    for kind, way in (("data", "keras"), ("data", "snapshot"), ("model", "snapshot")):
        distribute(kind)
        distances[f"{kind}, {way}"] = continued_distance(kind, way, folder)
    return distances


def collectives_of_a_step(kind, name):
    """The numbers of elements that the collectives of a compiled step move.

    The first list is for the gradients alone, the second for gradients and step.
    """
    distribute(kind)
    model, _, x, y = model_and_data(name)
    optimizer = subject(name)
    optimizer.build(model.trainable_variables)
    layout = keras.distribution.distribution().get_data_layout(x.shape).backend_layout
    x, y = (jax.device_put(a, layout) for a in (x, y))
    weights = [v.value for v in model.trainable_variables]
    state = [v.value for v in optimizer.variables]

    def gradients(weights, x, y):
        def mean_loss(weights):
            return keras.ops.mean(loss(y, model.stateless_call(weights, [], x)[0]))

        found = jax.grad(mean_loss)(weights)
        return [
            jax.lax.with_sharding_constraint(g, v.value.sharding)
            for g, v in zip(found, model.trainable_variables, strict=True)
        ]

    def step(weights, state, x, y):
        new_weights, new_state = optimizer.stateless_apply(state, gradients(weights, x, y), weights)
        kept = [*model.trainable_variables, *optimizer.variables]
        return [
            jax.lax.with_sharding_constraint(new, v.value.sharding)
            for new, v in zip([*new_weights, *new_state], kept, strict=True)
        ]

    compiled = [
        jax.jit(gradients).lower(weights, x, y).compile(),
        jax.jit(step).lower(weights, state, x, y).compile(),
    ]
    return [moved_by_collectives(function.as_text()) for function in compiled]


COLLECTIVE = re.compile(
    r"= (.*?) (?:all-reduce|all-gather|reduce-scatter|all-to-all|collective-permute)(?:-start)?\("
)
SHAPE = re.compile(r"[a-z]+[0-9]*\[([0-9,]*)\]")


def moved_by_collectives(hlo):
    """The number of elements that each collective yields; XLA combines several into one."""

    def elements(shape):
        return math.prod(int(n) for n in shape.split(",") if n)

    found = COLLECTIVE.findall(hlo)
    return sorted(sum(map(elements, SHAPE.findall(result))) for result in found)


def collectives():
    """The collectives of each distribution and configuration, on the devices of this process."""
    return {
        f"{kind}, {name}": collectives_of_a_step(kind, name)
        for kind in ("data", "model")
        for name in CONFIGURATIONS
    }
