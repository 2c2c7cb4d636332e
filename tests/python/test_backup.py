"""Training that is killed and started again ends as if uninterrupted (contract 19.1)."""

import contextlib
import itertools
import json
import os
import random
import shutil
import subprocess
import sys
import threading
import time

import keras
import killed_training
import numpy as np
import pytest
from killed_training import (
    BATCHES,
    EPOCHS,
    TRAININGS,
    Training,
    new_model,
    our_backup,
    result_file,
    rows,
    weights_after,
)

import kerasgd
from kerasgd import watching
from kerasgd.callbacks import Backup


def are_equal(some, others):
    return all(np.array_equal(a, b) for a, b in zip(some, others, strict=True))


# -- each state of the disk that a kill may leave -------------------------------------------------


class KeepsStates(keras.callbacks.Callback):
    """Copies a folder at each change, which is the state that a kill at this moment would leave.

    Two instances surround the callback that writes: the first starts watching, the second stops.
    They look at the folder at each function call.
    """

    def __init__(self, folder, copies, begins):
        super().__init__()
        self.folder, self.copies, self.begins = folder, copies, begins
        self.seen = set()

    def _do(self, *arguments, **options):
        sys.setprofile(self._look if self.begins else None)

    on_epoch_end = on_train_end = _do

    def _look(self, *event):
        state = frozenset(self._facts())
        if state and state not in self.seen:
            self.seen.add(state)
            shutil.copytree(self.folder, self.copies / str(len(self.seen)), dirs_exist_ok=True)

    def _facts(self):
        for folder, _, files in os.walk(self.folder):
            yield folder
            for file in files:
                path = os.path.join(folder, file)
                yield path, os.path.getsize(path) > 0  # ignores the many intermediate sizes


def quick_to_compile():
    return kerasgd.SGD(0.1, momentum=0.9).skip_nonfinite()


def resumptions(new_backup, tmp_path):
    """For each state of the disk, whether training that resumes from it ends correctly."""
    training = Training(quick_to_compile, our_backup)
    folder, copies = tmp_path / "backup", tmp_path / "copies"
    around = [KeepsStates(folder, copies, begins) for begins in (True, False)]
    uninterrupted = training.run(2, [around[0], new_backup(folder), around[1]])
    for copy in sorted(copies.iterdir(), key=lambda copy: int(copy.name)):
        try:
            resumed = training.run(2, [new_backup(copy)])
        except (OSError, ValueError):
            yield False
        else:
            yield are_equal(resumed, uninterrupted)


def test_whatever_a_kill_leaves_on_the_disk_training_goes_on(tmp_path):
    goes_on = list(resumptions(Backup, tmp_path))
    assert len(goes_on) > 10
    assert all(goes_on)


def test_the_callback_of_keras_does_not_survive_a_kill_while_it_writes(tmp_path):
    # The reason for our callback: if this test fails, Keras' own has become as safe.
    def new_backup(folder):
        return keras.callbacks.BackupAndRestore(str(folder), double_checkpoint=True)

    assert not all(resumptions(new_backup, tmp_path))


def test_backups_are_deleted_at_the_end_unless_they_are_to_be_kept(tmp_path):
    training = TRAININGS["scaled, our backup"]
    training.run(2, [Backup(tmp_path / "deleted")])
    assert not (tmp_path / "deleted").exists()
    folder = tmp_path / "kept"
    weights = training.run(2, [Backup(str(folder), delete_checkpoint=False)])
    (kept,) = folder.iterdir()
    assert kept.name == "backup-2"
    # There is nothing left to train.
    assert are_equal(training.run(2, [Backup(folder)]), weights)


def test_what_else_is_in_the_folder_is_no_backup_and_stays(tmp_path):
    others = ["backup-1.bkp", "backup-old"]
    for other in others:
        (tmp_path / other).mkdir()
    training = TRAININGS["scaled, our backup"]
    assert are_equal(training.run(1, [Backup(tmp_path)]), training.run(1))
    assert sorted(path.name for path in tmp_path.iterdir()) == others


def test_the_folder_is_the_path_of_a_folder(tmp_path):
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(
        ValueError, match=r"`backup_dir` must be the path of a folder.*This is a file"
    ):
        Backup(file)


# -- kill -9 --------------------------------------------------------------------------------------

KILLS_EACH = 3
SECONDS_FOR_A_PROCESS = 300


class Process:
    """A process that runs `killed_training.py`, and is killed in any case."""

    def __init__(self, folder, *name_and_count):
        command = [sys.executable, killed_training.__file__, str(folder), *name_and_count]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self._watch = threading.Timer(SECONDS_FOR_A_PROCESS, self.kill)
        self._watch.start()

    def await_batches(self, name, count):
        """Wait until this training has done `count` batches; return their times and the start."""
        done = [time.monotonic()]
        for line in self._process.stdout:
            if line.rstrip("\n") == name:
                done.append(time.monotonic())
            if len(done) > count:
                break
        assert len(done) > count, f"the process ended in {name!r}, or before"
        return done

    def kill(self):
        self._process.kill()

    def await_end(self):
        """The exit code."""
        for _ in self._process.stdout:
            pass
        self._watch.cancel()
        return self._process.wait()


@contextlib.contextmanager
def started(folder, *name_and_count):
    process = Process(folder, *name_and_count)
    try:
        yield process
    finally:
        process.kill()
        process.await_end()


def kill_once(folder, name, moments):
    """Start the program, and kill it at a random moment of this training."""
    count = moments.randint(2, 2 * BATCHES)
    writes_unlocked = TRAININGS[name].backup is our_backup
    if writes_unlocked and moments.random() < 0.5:
        count = moments.choice([BATCHES, 2 * BATCHES])  # the end of an epoch, during a backup
    with started(folder, name, str(count + 1)) as process:
        done = process.await_batches(name, count)
        longest = max(after - before for before, after in itertools.pairwise(done[1:]))
        time.sleep(moments.random() * longest)
        if writes_unlocked:
            process.kill()
        else:
            with killed_training.no_backup_is_written(folder / name):
                process.kill()
                process.await_end()


class Course:
    """The batches of a training whose backups are written in the middle of an epoch.

    Such a training resumes with the weights of the backup and the first batch of the epoch. So it
    consists of parts, each with its first epoch and its number of batches.
    """

    def __init__(self):
        self.parts, self.epoch, self.steps = [], 0, 0

    def was_killed(self, folder):
        """Record the part that the next process continues from, as the backup has it."""
        if not (folder / "latest.weights.h5").exists():
            return
        model = new_model(killed_training.skipping)
        model.optimizer.build(model.trainable_variables)
        model.load_weights(folder / "latest.weights.h5")
        steps = watching.steps(model.optimizer)
        self.parts.append(steps - self.steps)
        self.steps = steps
        self.epoch = json.loads((folder / "training_metadata.json").read_text())["epoch"]

    def weights(self):
        """The weights after all parts, in one `fit()`."""
        batches = [i % BATCHES for part in self.parts for i in range(part)]
        batches += [*range(BATCHES)] * (EPOCHS - self.epoch)
        data = [array[rows(batches)] for array in killed_training.data()]
        return weights_after(killed_training.skipping, *data, epochs=1, callbacks=[])


@pytest.mark.long
def test_a_killed_training_ends_as_one_that_was_not_interrupted(tmp_path):  # contract 19.1
    moments, course = random.Random(19), Course()
    for name in TRAININGS:
        for _ in range(KILLS_EACH):
            kill_once(tmp_path, name, moments)
            assert not result_file(tmp_path, name).exists()
            if name == killed_training.BETWEEN_BATCHES:
                course.was_killed(tmp_path / name)
    with started(tmp_path) as process:
        assert process.await_end() == 0
    for name, training in TRAININGS.items():
        with np.load(result_file(tmp_path, name)) as arrays:
            resumed = [arrays[key] for key in arrays.files]
        is_course = name == killed_training.BETWEEN_BATCHES
        assert are_equal(resumed, course.weights() if is_course else training.run()), name
