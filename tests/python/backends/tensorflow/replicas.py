"""Trains on replicas in a separate process, and returns the errors of the weights.

TensorFlow's devices must be set before it starts, so `results()` needs a process of its own. It
returns for each of `STRATEGIES` and `WAYS` the largest error of each configuration over steps and
replicas, and the errors of unsupported steps. `in_worker()` does the same for several workers, each
in its own process.
"""

import contextlib
import json
import os
import threading

import keras
import numpy as np
import tensorflow as tf

import kerasgd
from kerasgd.reference import (
    ReferenceGroup,
    ReferenceLossScale,
    ReferenceSGD,
    SparseRows,
)

STRATEGIES = {
    "one worker": tf.distribute.MultiWorkerMirroredStrategy,  # first: it configures TensorFlow
    "two replicas": lambda: tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]),
    "one replica": lambda: tf.distribute.MirroredStrategy(["CPU:0"]),
}
# Eager code comes first: a MirroredStrategy does not run it after a compiled step.
WAYS = ["eager", "graph", "fit"]
STEPS = 8
BATCH = 12  # in `fit()`; divisible by one, two and three replicas
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
    "everything": {
        "momentum": 0.9,
        "global_clipnorm": 0.3,
        "weight_decay": 0.1,
        "use_ema": True,
        "ema_momentum": 0.5,
        "ema_overwrite_frequency": 2,
        "gradient_accumulation_steps": 2,
        "loss_scale_factor": 8.0,
    },
    "function": {"learning_rate": "function"},
    "groups": {"momentum": 0.9, "use_ema": True, "ema_overwrite_frequency": 3},
    "frozen group": {"momentum": 0.9, "weight_decay": 0.1, "global_clipnorm": 0.5},
    "measured": {"momentum": 0.9, "global_clipnorm": 0.5},
    "measured under accumulation": {"clipnorm": 0.5, "gradient_accumulation_steps": 2},
    "skipping": {"momentum": 0.9, "use_ema": True, "ema_overwrite_frequency": 3},
    "skipping under accumulation": {"momentum": 0.9, "gradient_accumulation_steps": 2},
}
# Groups with settings for the matrices.
GROUPS = {
    "groups": {"learning_rate_factor": 0.5, "momentum": 0.5, "weight_decay": 0.1},
    "frozen group": {"learning_rate_factor": 0.0},
}
SAME = ["plain", "momentum, global_clipnorm", "average under accumulation"]
DYNAMIC = ["plain", "average under accumulation", "clipvalue", "function", "groups", "measured"]
# Configurations whose steps have several parts, and data that only some workers see.
FOR_WORKERS = [
    "clipnorm, nesterov, decay",
    "average under accumulation, dynamic scale",
    "groups",
    "measured",
    "skipping",
]
FOR_ONE = [*FOR_WORKERS, "everything", "function"]


@keras.saving.register_keras_serializable("tests")
class ModelOnWorkers(keras.Model):
    """A model whose `fit()` works on several workers.

    Keras 3.15 averages a step's metrics over the workers along axis 0, which a scalar does not
    have.
    """

    def train_step(self, data):
        return {name: tf.reshape(v, (1,)) for name, v in super().train_step(data).items()}

    def test_step(self, data):
        return {name: tf.reshape(v, (1,)) for name, v in super().test_step(data).items()}


class Rates:
    """A rate that falls at each call, which must be on the main thread, as R requires."""

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
    if name.startswith("measured"):
        optimizer.track_statistics(per_variable=True)
    if name.startswith("skipping"):
        optimizer.skip_nonfinite()
    return kerasgd.LossScaleOptimizer(optimizer, 4.0, 3) if dynamic else optimizer


def judge(name, dynamic, weights):
    matrices = {i for i, w in enumerate(weights) if w.ndim == 2}
    reference = ReferenceSGD(**arguments_of(name)).build(
        weights,
        groups=[ReferenceGroup(matrices, **GROUPS[name])] if name in GROUPS else [],
        statistics_every=1 if name.startswith("measured") else None,
        skip_nonfinite=name.startswith("skipping"),
    )
    return ReferenceLossScale(reference, 4.0, 3) if dynamic else reference


def first_weights(generator):
    return [generator.normal(size=shape).astype("float32") for shape in ((3,), (5, 2))]


def copies(strategy, variable):
    return [copy.numpy() for copy in strategy.experimental_local_results(variable.value)]


def distance(strategy, variables, weights):
    """The largest error of any copy of a variable."""
    return largest(
        np.max(np.abs(copy - expected))
        for variable, expected in zip(variables, weights, strict=True)
        for copy in copies(strategy, variable)
    )


def largest(values):
    """The largest value, or NaN if there is one, which `max()` could miss."""
    return float(np.max(list(values)))


def variables_of(record):
    return [] if record is None else [v for v in vars(record).values() if v is not None]


def distance_of_told(strategy, optimizer, reference):
    """The largest error of statistics and of the counts of skipped updates, on any device."""
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)
    kept = optimizer.state()
    for variable in [*variables_of(kept.statistics), *variables_of(kept.skips)]:
        first, *others = copies(strategy, variable)
        assert all(np.array_equal(first, other) for other in others)
    pairs = [
        (optimizer.skipped, reference.skipped),
        (optimizer.skipped_in_a_row, reference.skipped_in_a_row),
    ]
    if reference.statistics:
        found = optimizer.statistics
        records = [found, *found["variables"]]
        expected = [reference.statistics, *reference.statistics_per_variable]
        pairs += [(r[k], e[k]) for r, e in zip(records, expected, strict=True) for k in e]
    return largest(abs(ours - theirs) / max(1, abs(theirs)) for ours, theirs in pairs)


def apply_distance(strategy, name, dynamic, compiled, same=False):
    """The error after `apply()` with a dense and a sparse gradient, with rows on both replicas.

    With `same`, both gradients are the same objects on all replicas, and the first step builds the
    optimizer. Elsewhere it is built before: TensorFlow traces a step that makes variables twice.
    """
    generator = np.random.default_rng(0)
    weights = first_weights(generator)
    with strategy.scope():
        variables = [keras.Variable(w) for w in weights]
        optimizer = subject(name, dynamic)
        if not same:
            optimizer.build(variables)
    reference = judge(name, dynamic, weights)
    replicas = strategy.num_replicas_in_sync

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
        dense = (scale * generator.normal(size=(replicas, 3))).astype("float32")
        rows = (scale * generator.normal(size=(replicas, 2, 2))).astype("float32")
        indices = generator.integers(0, 5, size=(replicas, 2))
        if (dynamic or name.startswith("skipping")) and t in (2, 5):
            dense[-1, 0] = np.inf  # on one replica only
        if same:
            dense[:], rows[:], indices[:] = dense[0], rows[0], indices[0]
        step(tf.constant(dense), tf.constant(rows), tf.constant(indices))
        reference.step_replicas(
            [
                [dense[i].astype("float64"), SparseRows(rows[i].astype("float64"), indices[i])]
                for i in range(replicas)
            ]
        )
        sgd = reference.inner if dynamic else reference
        of_weights = distance(strategy, variables, sgd.weights)
        worst = largest([worst, of_weights, distance_of_told(strategy, optimizer, sgd)])
    return worst


@keras.saving.register_keras_serializable("tests")
def loss(y, output):
    return output[..., 0]


def is_on_one_worker(strategy):
    replicas = strategy.num_replicas_in_sync
    return replicas == 1 or replicas == len(strategy.extended.worker_devices)


def model_on(strategy, inputs, outputs, optimizer):
    """A model of layers that were created in the scope, compiled so that its `fit()` works.

    On several workers the model must be created outside the scope: a model created inside averages
    a batch over the workers to build itself, which TensorFlow cannot do.
    """
    is_usual = is_on_one_worker(strategy)
    with strategy.scope() if is_usual else contextlib.nullcontext():
        model = (keras.Model if is_usual else ModelOnWorkers)(inputs, outputs)
    with strategy.scope():
        model.compile(optimizer, loss=loss, jit_compile=False)
        optimizer.build(model.trainable_variables)
    return model


def fit(strategy, model, x):
    """Train one epoch on rows that are split among the replicas."""
    data = tf.data.Dataset.from_tensor_slices((x, np.zeros(len(x), "float32"))).batch(BATCH)
    with strategy.scope():
        model.fit(data, verbose=0)


def weights_and_rows():
    generator = np.random.default_rng(0)
    weights = [generator.normal(size=(3, 1)).astype("float32")]
    return weights, generator.normal(size=(STEPS * BATCH, 3)).astype("float32")


def new_model(strategy, optimizer, weights):
    with strategy.scope():
        inputs = keras.Input((3,))
        layer = keras.layers.Dense(1, use_bias=False)
        outputs = layer(inputs)
        layer.kernel.assign(weights[0])
    return model_on(strategy, inputs, outputs, optimizer)


def fit_distance(strategy, name, dynamic):
    """The error after `fit()`, with the mean loss over a batch that is split among the replicas."""
    weights, x = weights_and_rows()
    if name.startswith("skipping"):
        x[BATCH + 1, 1] = np.nan
    with strategy.scope():
        optimizer = subject(name, dynamic)
    model = new_model(strategy, optimizer, weights)
    fit(strategy, model, x)
    reference = reference_after_fit(name, dynamic, weights, x)
    of_weights = distance(strategy, model.trainable_variables, reference.weights)
    return largest([of_weights, distance_of_told(strategy, optimizer, reference)])


def reference_after_fit(name, dynamic, weights, x):
    reference = judge(name, dynamic, weights)
    for batch in x.reshape(STEPS, BATCH, 3):
        reference.step([reference.scale_loss(1.0) * batch.mean(axis=0, dtype="float64")[:, None]])
    reference = reference.inner if dynamic else reference
    reference.finalize_variable_values()
    return reference


# The training that other workers continue: an odd number of steps, which ends within a window.
SAVED_NAME, SAVED_AFTER = "everything", 5


def save(strategy, rank, folder):
    """Train the first part of the steps; every worker saves, as TensorFlow requires."""
    weights, x = weights_and_rows()
    with strategy.scope():
        optimizer = subject(SAVED_NAME, False)
    model = new_model(strategy, optimizer, weights)
    saving = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: (
            save_files(model, f"{folder}/{rank}") if batch == SAVED_AFTER - 1 else None
        )
    )
    data = tf.data.Dataset.from_tensor_slices((x, np.zeros(len(x), "float32"))).batch(BATCH)
    with strategy.scope():
        model.fit(data, verbose=0, callbacks=[saving])


def save_files(model, folder):
    os.makedirs(folder)
    model.save(f"{folder}/model.keras")
    np.savez(f"{folder}/weights.npz", *[v.numpy() for v in model.trainable_variables])
    kerasgd.save_optimizer(model.optimizer, f"{folder}/optimizer")


def refusals(strategy):
    """The errors of a step outside the replicas, and of one with a gradient on some of them."""
    with strategy.scope():
        variables = [keras.Variable([1.0], name=name) for name in ("w", "v")]
        optimizer = kerasgd.SGD(0.5)

    def on_replica():
        replica = tf.get_static_value(tf.distribute.get_replica_context().replica_id_in_sync_group)
        optimizer.apply([tf.ones(1), None if replica else tf.ones(1)], variables)

    def in_no_replica():
        optimizer.apply([tf.ones(1), tf.ones(1)], variables)

    said = []
    with strategy.scope():
        for refused in (in_no_replica, lambda: strategy.run(on_replica)):
            try:
                refused()
            except kerasgd.StateError as error:
                said.append(str(error))
    return said


def collectives_of_a_step(strategy, name):
    """The number of elements that each collective of a compiled step sums."""
    weights = first_weights(np.random.default_rng(0))
    with strategy.scope():
        variables = [keras.Variable(w) for w in weights]
        optimizer = subject(name, name in DYNAMIC)
        optimizer.build(variables)

    @tf.function
    def step():
        strategy.run(lambda: optimizer.apply([tf.ones_like(w) for w in weights], variables))

    graph = step.get_concrete_function().graph.as_graph_def(add_shapes=True)
    nodes = [*graph.node, *(n for function in graph.library.function for n in function.node_def)]
    collectives = [node for node in nodes if node.op.startswith("Collective")]
    shapes = [node.attr["_output_shapes"].list.shape[0] for node in collectives]
    return [int(np.prod([dim.size for dim in shape.dim])) for shape in shapes]


def going_on(strategy, folder):
    """The errors of the weights if other workers continue from the first worker's files."""
    weights, x = weights_and_rows()
    expected = reference_after_fit(SAVED_NAME, False, weights, x).weights
    with strategy.scope():
        loaded = keras.saving.load_model(f"{folder}/0/model.keras")
        optimizer = kerasgd.load_optimizer(f"{folder}/0/optimizer")
        with np.load(f"{folder}/0/weights.npz") as saved:
            saved_weights = list(saved.values())
    models = {
        "keras": model_on(strategy, loaded.inputs, loaded.outputs, loaded.optimizer),
        "snapshot": new_model(strategy, optimizer, saved_weights),
    }
    distances = {}
    for way, model in models.items():
        fit(strategy, model, x[SAVED_AFTER * BATCH :])
        distances[way] = distance(strategy, model.trainable_variables, expected)
    return distances


def workers(rank, addresses):
    """The strategy of one of the workers; it must be created before TensorFlow starts."""
    task = {"type": "worker", "index": rank}
    os.environ["TF_CONFIG"] = json.dumps({"cluster": {"worker": addresses}, "task": task})
    return tf.distribute.MultiWorkerMirroredStrategy()


def in_worker(rank, addresses, way, names):
    """The errors in one of the workers, for all configurations or those in `names`."""
    return distances_with(workers(rank, addresses), way, names)


def in_eager_worker(rank, addresses, names, folder):
    """The errors of eager steps, and of a training that continues that of other workers.

    Both run in one process, because starting a process is slow.
    """
    strategy = workers(rank, addresses)
    return {
        "eager": distances_with(strategy, "eager", names),
        "continued": going_on(strategy, folder),
    }


def in_compiled_worker(rank, addresses, names, folder):
    """The errors of compiled steps and of `fit()`, and the collectives; saves a training as well.

    All of it runs in one process, too.
    """
    strategy = workers(rank, addresses)
    save(strategy, rank, folder)
    return {
        "distances": {way: distances_with(strategy, way, names) for way in ("graph", "fit")},
        "collectives": {name: collectives_of_a_step(strategy, name) for name in CONFIGURATIONS},
    }


def distances_with(strategy, way, names=None):
    """The error of each configuration."""
    cases = {
        f"{name}, dynamic scale" if dynamic else name: (name, dynamic)
        for name in CONFIGURATIONS
        for dynamic in ([False, True] if name in DYNAMIC else [False])
    }
    if way == "fit":
        return {
            key: fit_distance(strategy, *case)
            for key, case in cases.items()
            if names is None or key in names
        }
    cases |= {f"{name}, same tensors": (name, False) for name in SAME}
    return {
        key: apply_distance(strategy, *case, way == "graph", same=key.endswith("same tensors"))
        for key, case in cases.items()
        if names is None or key in names
    }


def results():
    """The errors on each strategy, and of unsupported steps.

    A single replica, or a worker alone, needs no sum, so that the configuration decides only about
    the step on its device. A few configurations are enough there.
    """
    strategies = created(STRATEGIES)
    said = refusals(strategies["two replicas"])
    names = {name: None if name == "two replicas" else FOR_ONE for name in strategies}
    return {"refused": said, "distances": distances_on(strategies, names)}


def results_on_one():
    """The errors on a single replica, and on a worker alone, in all configurations."""
    strategies = created(["one worker", "one replica"])
    return distances_on(strategies, dict.fromkeys(strategies))


def created(names):
    """These strategies, with two devices for them."""
    [cpu] = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    return {name: STRATEGIES[name]() for name in names}


def distances_on(strategies, names):
    """`distances_with()` of each strategy and way, in the configurations named for the strategy."""
    distances = {name: {} for name in strategies}
    for way in WAYS:
        for name, strategy in strategies.items():
            distances[name][way] = distances_with(strategy, way, names[name])
    return distances
