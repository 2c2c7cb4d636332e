"""Trains on replicas in a process of its own, and prints how far the weights are off.

Usage: python replicas.py STRATEGY eager|graph|fit, where STRATEGY is a key of `STRATEGIES`.
TensorFlow takes its devices before it starts, and an eager MirroredStrategy does not work after a
compiled one: each way has its process. Prints one JSON object: how far each configuration is off at
most, over steps and replicas.
"""

import json
import sys
import threading

import numpy as np
import tensorflow as tf

REPLICAS = 2 if sys.argv[1] == "two replicas" else 1
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * REPLICAS
)

import keras  # noqa: E402

import kerasgd  # noqa: E402
from kerasgd.reference import (  # noqa: E402
    ReferenceGroup,
    ReferenceLossScale,
    ReferenceSGD,
    SparseRows,
)

STRATEGIES = {
    "two replicas": lambda: tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]),
    "one replica": lambda: tf.distribute.MirroredStrategy(["CPU:0"]),
    "one worker": tf.distribute.MultiWorkerMirroredStrategy,
}
STEPS = 8
CONFIGURATIONS = {
    "plain": {},
    "momentum, global_clipnorm": {"momentum": 0.9, "global_clipnorm": 0.5},
    "clipnorm, nesterov, decay": {
        "clipnorm": 0.3,
        "nesterov": True,
        "momentum": 0.5,
        "weight_decay": 0.1,
    },
    "clipvalue": {"clipvalue": 0.3},
    "loss_scale_factor": {"loss_scale_factor": 8.0},
    "accumulation": {"momentum": 0.9, "global_clipnorm": 0.5, "gradient_accumulation_steps": 2},
    "average": {"use_ema": True, "ema_momentum": 0.5, "ema_overwrite_frequency": 3},
    "average under accumulation": {
        "use_ema": True,
        "ema_momentum": 0.5,
        "ema_overwrite_frequency": 2,
        "gradient_accumulation_steps": 2,
    },
    "function": {"learning_rate": "function"},
    "groups": {"momentum": 0.9, "use_ema": True, "ema_overwrite_frequency": 3},
    "frozen group": {"momentum": 0.9, "weight_decay": 0.1, "global_clipnorm": 0.5},
}
# Of the variables that are matrices.
GROUPS = {
    "groups": {"learning_rate_factor": 0.5, "momentum": 0.5, "weight_decay": 0.1},
    "frozen group": {"learning_rate_factor": 0.0},
}
SAME = ["plain", "momentum, global_clipnorm", "average under accumulation"]
DYNAMIC = ["plain", "average under accumulation", "clipvalue", "function", "groups"]


class Rates:
    """A rate that falls at each call; R could only be called on the main thread."""

    def __init__(self):
        self.calls = 0

    def __call__(self):
        assert threading.current_thread() is threading.main_thread()
        self.calls += 1
        return 0.2 / (1 + self.calls)


def arguments_of(name):
    arguments = {"learning_rate": 0.1, **CONFIGURATIONS[name]}
    if arguments["learning_rate"] == "function":
        arguments["learning_rate"] = Rates()
    return arguments


def subject(name, dynamic):
    optimizer = kerasgd.SGD(**arguments_of(name))
    if name in GROUPS:
        optimizer.set_group(lambda variable: len(variable.shape) == 2, **GROUPS[name])
    return kerasgd.LossScaleOptimizer(optimizer, 4.0, 3) if dynamic else optimizer


def judge(name, dynamic, weights):
    matrices = {i for i, w in enumerate(weights) if w.ndim == 2}
    groups = [ReferenceGroup(matrices, **GROUPS[name])] if name in GROUPS else []
    reference = ReferenceSGD(**arguments_of(name)).build(weights, groups=groups)
    return ReferenceLossScale(reference, 4.0, 3) if dynamic else reference


def first_weights(generator):
    return [generator.normal(size=shape).astype("float32") for shape in ((3,), (5, 2))]


def copies(strategy, variable):
    return [copy.numpy() for copy in strategy.experimental_local_results(variable.value)]


def distance(strategy, variables, weights):
    """The largest one of any copy of a variable from what it should be."""
    return max(
        float(np.max(np.abs(copy - expected)))
        for variable, expected in zip(variables, weights, strict=True)
        for copy in copies(strategy, variable)
    )


def apply_distance(strategy, name, dynamic, compiled, same=False):
    """By `apply()`, with a dense gradient and one of rows, some of them on both replicas.

    With `same`, both gradients are the same objects on all replicas.
    """
    generator = np.random.default_rng(0)
    weights = first_weights(generator)
    with strategy.scope():
        variables = [keras.Variable(w) for w in weights]
        optimizer = subject(name, dynamic)
    reference = judge(name, dynamic, weights)

    def on_replica(dense, rows, indices):
        i = tf.distribute.get_replica_context().replica_id_in_sync_group
        optimizer.apply([dense[i], tf.IndexedSlices(rows[i], indices[i])], variables)

    def step(dense, rows, indices):
        if same:
            gradients = [dense[0], tf.IndexedSlices(rows[0], indices[0])]
            strategy.run(lambda: optimizer.apply(gradients, variables))
        else:
            strategy.run(on_replica, args=(dense, rows, indices))

    step = tf.function(step) if compiled else step
    worst = 0.0
    for t in range(STEPS):
        scale = float(optimizer.scale_loss(1.0))
        dense = (scale * generator.normal(size=(REPLICAS, 3))).astype("float32")
        rows = (scale * generator.normal(size=(REPLICAS, 2, 2))).astype("float32")
        indices = generator.integers(0, 5, size=(REPLICAS, 2))
        if dynamic and t in (2, 5):
            dense[-1, 0] = np.inf  # on one replica only
        if same:
            dense[:], rows[:], indices[:] = dense[0], rows[0], indices[0]
        step(tf.constant(dense), tf.constant(rows), tf.constant(indices))
        reference.step_replicas(
            [
                [dense[i].astype("float64"), SparseRows(rows[i].astype("float64"), indices[i])]
                for i in range(REPLICAS)
            ]
        )
        expected = (reference.inner if dynamic else reference).weights
        worst = max(worst, distance(strategy, variables, expected))
    return worst


def fit_distance(strategy, name, dynamic):
    """By `fit()`; the loss is the mean over the batch, which is split in two."""
    generator = np.random.default_rng(0)
    weights = [generator.normal(size=(3, 1)).astype("float32")]
    x = generator.normal(size=(STEPS * 4, 3)).astype("float32")
    with strategy.scope():
        layer = keras.layers.Dense(1, use_bias=False)
        model = keras.Sequential([keras.Input((3,)), layer])
        optimizer = subject(name, dynamic)
        model.compile(optimizer, loss=lambda y, output: output[..., 0], jit_compile=False)
        layer.kernel.assign(weights[0])
    data = tf.data.Dataset.from_tensor_slices((x, np.zeros(len(x), "float32"))).batch(4)
    model.fit(data, verbose=0)

    reference = judge(name, dynamic, weights)
    for batch in x.reshape(STEPS, 4, 3):
        reference.step([reference.scale_loss(1.0) * batch.mean(axis=0, dtype="float64")[:, None]])
    reference = reference.inner if dynamic else reference
    reference.finalize_variable_values()
    return distance(strategy, [layer.kernel], reference.weights)


def main(kind, way):
    strategy = STRATEGIES[kind]()
    distances = {}
    for name in CONFIGURATIONS:
        for dynamic in [False, True] if name in DYNAMIC else [False]:
            key = f"{name}, dynamic scale" if dynamic else name
            if way == "fit":
                distances[key] = fit_distance(strategy, name, dynamic)
            else:
                distances[key] = apply_distance(strategy, name, dynamic, way == "graph")
    for name in SAME if way != "fit" else []:
        distances[f"{name}, same tensors"] = apply_distance(
            strategy, name, False, way == "graph", same=True
        )
    print(json.dumps(distances))


if __name__ == "__main__":
    main(*sys.argv[1:])
