"""A program that trains, for tests that kill it: `killed_training.py FOLDER [NAME COUNT]`.

It runs each of the `TRAININGS` in turn, prints a line after each batch, and writes the final
weights of a training into the folder. It skips a training whose weights are there already.
After `COUNT` batches of the training `NAME`, it waits to be killed, so no kill comes too late.
"""

import contextlib
import fcntl
import os
import pathlib
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np

import kerasgd

BATCHES = 7  # per epoch, so that no accumulation window ends with an epoch
EPOCHS = 12
BATCH_SIZE = 2


def data():
    """The rows of an epoch, one of which has a non-finite gradient."""
    random = np.random.default_rng(1)
    x = random.normal(size=(BATCHES * BATCH_SIZE, 3)).astype("float32")
    y = random.normal(size=(len(x), 1)).astype("float32")
    y[rows([4])[0]] = np.inf
    return x, y


def rows(batches):
    """The rows of these batches of an epoch."""
    return [batch * BATCH_SIZE + i for batch in batches for i in range(BATCH_SIZE)]


# All settings that have state, or depend on a count.
ARGUMENTS = {
    "momentum": 0.9,
    "nesterov": True,
    "weight_decay": 0.01,
    "global_clipnorm": 1.0,
    "use_ema": True,
    "ema_momentum": 0.7,
    "ema_overwrite_frequency": 4,
    "gradient_accumulation_steps": 3,
}


def with_groups(rate):
    optimizer = kerasgd.SGD(rate, **ARGUMENTS)
    optimizer.set_group("first", learning_rate_factor=0.5, momentum=0.6)
    optimizer.exclude_from_weight_decay(var_names="bias")
    return optimizer


def skipping():
    rate = kerasgd.schedules.CosineDecay(0.1, decay_steps=EPOCHS * BATCHES)
    optimizer = with_groups(rate).skip_nonfinite()
    return optimizer.track_statistics(per_variable=True, every=2)


def scaled():
    return kerasgd.LossScaleOptimizer(with_groups(0.1), 64, dynamic_growth_steps=5)


def new_model(new_optimizer):
    def dense(units, name, **options):
        initializer = keras.initializers.GlorotUniform(seed=units)
        return keras.layers.Dense(units, kernel_initializer=initializer, name=name, **options)

    layers = [dense(4, "first", activation="tanh"), dense(1, "last")]
    model = keras.Sequential([keras.Input((3,)), *layers])
    model.compile(new_optimizer(), loss="mse")
    return model


class ChangesFactor(keras.callbacks.Callback):
    """Changes the factor of a group, which is state that a backup must restore."""

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 1:
            self.model.optimizer.set_learning_rate_factor("first", 0.25)


def weights_after(new_optimizer, x, y, epochs, callbacks):
    model = new_model(new_optimizer)
    options = {"batch_size": BATCH_SIZE, "shuffle": False, "verbose": 0}
    model.fit(x, y, epochs=epochs, callbacks=callbacks, **options)
    return model.get_weights()


# -- backups that a kill cannot interrupt --------------------------------------------------------


class Locks(keras.callbacks.Callback):
    """Placed before and after other callbacks, two of these hold a lock while those run."""

    def __init__(self, file, operation):
        super().__init__()
        self.file, self.operation = file, operation

    def _do(self, *arguments, **options):
        fcntl.flock(self.file, self.operation)

    on_train_batch_end = on_epoch_end = on_train_end = _do


def backup_of_keras(folder, **options):
    lock = os.open(lock_of(folder), os.O_CREAT | os.O_RDWR)  # open as long as the process
    backup = keras.callbacks.BackupAndRestore(folder, **options)
    return [Locks(lock, fcntl.LOCK_EX), backup, Locks(lock, fcntl.LOCK_UN)]


def lock_of(backup_dir):
    return f"{backup_dir}.lock"


@contextlib.contextmanager
def no_backup_is_written(backup_dir):
    """A context in which `Locks` wait, so that no backup is written."""
    with open(lock_of(backup_dir), "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def our_backup(folder):
    return [kerasgd.callbacks.Backup(folder)]


def backup_between_batches(folder):
    return backup_of_keras(folder, save_freq=5)


class Training(NamedTuple):
    """An optimizer, the callbacks that back up its training, and other callbacks."""

    new_optimizer: Callable[[], Any]
    backup: Callable[[str], list[Any]]
    others: Sequence[Any] = ()

    def run(self, epochs=EPOCHS, callbacks=()):
        callbacks = [*callbacks, *self.others]
        return weights_after(self.new_optimizer, *data(), epochs, callbacks)


BETWEEN_BATCHES = "skipping, backup of Keras between batches"
TRAININGS = {
    "skipping, backup of Keras": Training(skipping, backup_of_keras, [ChangesFactor()]),
    "scaled, backup of Keras": Training(scaled, backup_of_keras, [ChangesFactor()]),
    "skipping, our backup": Training(skipping, our_backup, [ChangesFactor()]),
    "scaled, our backup": Training(scaled, our_backup, [ChangesFactor()]),
    BETWEEN_BATCHES: Training(skipping, backup_between_batches),
}


class Tells(keras.callbacks.Callback):
    """Prints the name of the training after each batch, and waits for ever after `last` batches."""

    def __init__(self, name, last):
        super().__init__()
        self.name, self.last, self.done = name, last, 0

    def on_train_batch_end(self, batch, logs=None):
        print(self.name, flush=True)
        self.done += 1
        while self.done == self.last:
            signal.pause()


def result_file(folder, name):
    return pathlib.Path(folder, f"{name}.npz")


def main(folder, name_to_kill=None, last=None):
    for name, training in TRAININGS.items():
        file = result_file(folder, name)
        if file.exists():
            continue
        tells = Tells(name, int(last) if name == name_to_kill else None)
        weights = training.run(callbacks=[*training.backup(os.path.join(folder, name)), tells])
        incomplete = file.with_suffix(".incomplete.npz")
        np.savez(incomplete, *weights)
        os.replace(incomplete, file)


if __name__ == "__main__":
    main(*sys.argv[1:])
