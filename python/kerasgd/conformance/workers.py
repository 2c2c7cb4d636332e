"""Checks of contract 10.2: several devices and processes, with the engine of each backend.

They run in child processes; two workers run in parallel and communicate over the loopback. They
train on the cases of `replicas.py`: a step has a gradient for each worker, and the reference takes
their sum.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import keras
import numpy as np

from kerasgd.conformance import child, subjects
from kerasgd.conformance.checks import Comparison, Comparisons, check, only_on
from kerasgd.conformance.replicas import CASES, REPLICAS, Case, Comparer, run_eagerly
from kerasgd.conformance.subjects import Subject
from kerasgd.conformance.training import (
    Recorder,
    Run,
    agree,
    compiled,
    fit,
    model_of,
    synchronise,
    value,
    values,
)
from kerasgd.reference import Array

Records = list[dict[str, Any]]

# The method that a class needs for each kind of case.
CLAIMED_BY = {"groups": "set_group", "skip": "skip_nonfinite"}
TWO_DEVICES = "--xla_force_host_platform_device_count=2"


# In the child processes ------------------------------------------------------------------------


def _compared(where: str, name: str, train: Callable[[Any, Case], Run]) -> Records:
    """All cases, as JSON-compatible records; `train` takes an optimizer for each."""
    subject, comparer = subjects.find(name), Comparer()

    def compare(title: str, case: Case) -> Comparisons:
        yield from agree(title, case.expected(), train(partial(case.optimizer, subject), case))

    for title, case in CASES.items():
        method = CLAIMED_BY.get(case.shows)
        if method is None or hasattr(subject.optimizer, method):
            of_case = f"{where}, {title}"
            comparer.compare("all", of_case, partial(compare, of_case, case))
    return comparer.as_records()["all"]


def tensorflow_worker(rank: int, addresses: Sequence[str], name: str) -> Records:
    """All cases with `apply()` in the replica of this worker."""
    import tensorflow as tf

    task = {"type": "worker", "index": rank}
    os.environ["TF_CONFIG"] = json.dumps({"cluster": {"worker": addresses}, "task": task})
    strategy = tf.distribute.MultiWorkerMirroredStrategy()

    def train(made: Callable[[], Any], case: Case) -> Run:
        return run_eagerly(strategy, lambda case: made(), case)

    return _compared("apply() on 2 workers", name, train)


def jax_worker(rank: int, addresses: Sequence[str], name: str) -> Records:
    """All cases with `fit()` in this process, whose device is one of two."""
    import jax

    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    keras.distribution.initialize(addresses[0], len(addresses), rank)
    return _on_two_devices("2 processes", name)


def jax_devices(name: str) -> Records:
    """All cases with `fit()` in one process with two devices."""
    return _on_two_devices("2 devices", name)


def _on_two_devices(where: str, name: str) -> Records:
    devices = keras.distribution.list_devices()
    keras.distribution.set_distribution(
        keras.distribution.DataParallel(devices=devices, auto_shard_dataset=False)
    )
    records = _compared(f"fit() on {where}, DataParallel", name, partial(_fitted, True))
    mesh = keras.distribution.DeviceMesh((1, REPLICAS), ("batch", "model"), devices)
    layouts = keras.distribution.LayoutMap(mesh)
    layouts[".*w1"] = ("model", None)  # the two-dimensional weights, half of them on each device
    keras.distribution.set_distribution(
        keras.distribution.ModelParallel(
            layout_map=layouts, batch_dim_name="batch", auto_shard_dataset=False
        )
    )
    return records + _compared(f"fit() on {where}, ModelParallel", name, partial(_fitted, False))


class WholeRecorder(Recorder):
    """Records the weights after each step, gathered from all devices."""

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Record the weights."""
        synchronise(self.model)
        self.weights.append(_whole(self.model.trainable_variables))


def _whole(variables: Sequence[Any]) -> list[Array]:
    import jax

    def gathered(variable: Any) -> Any:
        on_all = jax.sharding.NamedSharding(
            variable.value.sharding.mesh, jax.sharding.PartitionSpec()
        )
        return jax.jit(lambda weights: weights, out_shardings=on_all)(variable.value)

    return [value(gathered(variable)) for variable in variables]


def _fitted(is_split: bool, made: Callable[[], Any], case: Case) -> Run:
    """Train by `fit()`; if the data is split, each process has its rows of each batch."""
    import jax

    processes = jax.process_count() if is_split else 1
    problem, recorder = case.problem(), WholeRecorder()
    rows = problem.gradients[jax.process_index() :: REPLICAS]
    of_process = replace(problem, gradients=rows if processes > 1 else problem.gradients)
    model = compiled(made(), problem)
    fit(model, of_process, [recorder], batch_size=REPLICAS // processes)
    return Run(recorder.weights, _whole(model.trainable_variables))


@contextlib.contextmanager
def process_group(rank: int, addresses: Sequence[str]) -> Iterator[None]:
    """PyTorch's default process group, of one thread per process.

    It is destroyed at the end, in all processes together: its threads would otherwise run until the
    interpreter exits, which sometimes aborts the process.
    """
    import torch
    import torch.distributed

    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"tcp://{addresses[0]}", rank=rank, world_size=len(addresses)
    )
    try:
        yield
        torch.distributed.barrier()
    finally:
        torch.distributed.destroy_process_group()


def torch_worker(rank: int, addresses: Sequence[str], name: str) -> Records:
    """All cases in a custom loop with DistributedDataParallel, on this process's rows."""
    with process_group(rank, addresses):
        return _compared("apply() in 2 processes", name, partial(_train_in_parallel, rank))


def _train_in_parallel(rank: int, made: Callable[[], Any], case: Case) -> Run:
    import torch
    from torch.nn.parallel import DistributedDataParallel

    problem, optimizer = case.problem(), made()
    model = model_of(problem)
    variables, parallel = model.trainable_variables, DistributedDataParallel(model)
    history = []
    for gradients in problem.gradients[rank::REPLICAS]:
        row = np.concatenate([np.ravel(np.asarray(gradient)) for gradient in gradients])
        for variable in variables:
            variable.value.grad = None
        loss = parallel(torch.tensor(row[None], dtype=torch.float32)).mean()
        optimizer.scale_loss(loss).backward()
        optimizer.apply([variable.value.grad for variable in variables], variables)
        history.append(values(variables))
    optimizer.finalize_variable_values(variables)
    return Run(history, values(variables))


# The checks ------------------------------------------------------------------------------------


def _on_workers(function: Callable[..., Records], subject: Subject) -> Comparisons:
    for records in child.call_in_workers(REPLICAS, function, subject.name):
        for record in records:
            yield Comparison(**record)


@check("10.2a", deviations=("D3", "D4"))
def workers_of_tensorflow(subject: Subject) -> Comparisons:
    """MultiWorkerMirroredStrategy in a custom loop, because Keras' `fit()` does not work there."""
    only_on("tensorflow", "MultiWorkerMirroredStrategy is TensorFlow's")
    yield from _on_workers(tensorflow_worker, subject)


@check("10.2b")
def distributions_of_keras(subject: Subject) -> Comparisons:
    """Replicated and sharded weights, on two devices in one process, and in two processes."""
    only_on("jax", "keras.distribution works on JAX")
    for record in child.call(jax_devices, subject.name, XLA_FLAGS=TWO_DEVICES):
        yield Comparison(**record)
    yield from _on_workers(jax_worker, subject)


@check("10.2c")
def processes_of_torch(subject: Subject) -> Comparisons:
    """DistributedDataParallel, whose `backward()` averages over the processes."""
    only_on("torch", "DistributedDataParallel is PyTorch's")
    yield from _on_workers(torch_worker, subject)
