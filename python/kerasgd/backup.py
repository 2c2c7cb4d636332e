"""A callback that backs up `fit()` and survives being killed while it writes (contract 19.1)."""

from __future__ import annotations

import contextlib
import os
import pathlib
import re
import shutil
from collections.abc import Mapping
from typing import Any

import keras

from kerasgd import arguments
from kerasgd.files.replacing import flush_folder

# The name of a complete backup is this prefix and a number.
_COMPLETE = "backup-"
_INCOMPLETE = "incomplete"


class Backup(keras.callbacks.Callback):  # type: ignore[misc]
    """Backs up training after each epoch, so that `fit()` can resume after a crash.

    Run the same program again: `fit()` restores the weights and the optimizer, and starts the
    interrupted epoch again. If the order of the data does not depend on earlier epochs (for example
    with `shuffle=False`), the final weights are bit for bit those of uninterrupted training.

    This callback extends `keras.callbacks.BackupAndRestore`, which overwrites the last backup with
    each new one. If the process is killed while Keras' callback writes, the backup may be
    unreadable, or combine the weights of one epoch with the number of another. This callback writes
    each backup to a new file, and replaces the last backup once the new one is complete. It has no
    `save_freq` argument: after a backup in the middle of an epoch, Keras would repeat the whole
    epoch with weights that have already seen a part of it.

    Args:
        backup_dir: the path of a folder for the backups of this training run only; it need not
            exist. If several processes train, give each its own folder.
        delete_checkpoint: whether to delete the backups when `fit()` completes, together with the
            folder if it is then empty.

    Raises:
        ArgumentError: an argument is invalid.
        ValueError: from Keras, at the start of training, if the model is not built.

    Example:
        >>> import tempfile
        >>> import keras, kerasgd
        >>> from kerasgd.callbacks import Backup
        >>> def fail(epoch, logs):
        ...     if epoch == 2:
        ...         raise InterruptedError
        >>> failing = keras.callbacks.LambdaCallback(on_epoch_begin=fail)
        >>> x, y = keras.ops.ones((4, 1)), keras.ops.zeros((4, 1))
        >>> def train(folder, *others):
        ...     layer = keras.layers.Dense(1, kernel_initializer="ones")
        ...     model = keras.Sequential([keras.Input((1,)), layer])
        ...     model.compile(kerasgd.SGD(0.1, momentum=0.5), loss="mse")
        ...     history = model.fit(x, y, epochs=4, callbacks=[Backup(folder), *others], verbose=0)
        ...     print("trained epochs", history.epoch)
        ...     return layer.get_weights()
        >>> folder = tempfile.mkdtemp()
        >>> try:
        ...     train(folder, failing)
        ... except InterruptedError:
        ...     resumed = train(folder)
        trained epochs [2, 3]
        >>> resumed == train(folder)
        trained epochs [0, 1, 2, 3]
        True
    """

    def __init__(self, backup_dir: Any, delete_checkpoint: Any = True) -> None:
        super().__init__()
        self.backup_dir: Any = arguments.check("backup_dir", backup_dir, _folder())
        self.delete_checkpoint: Any = arguments.check(
            "delete_checkpoint", delete_checkpoint, arguments.flag()
        )

    @property
    def _incomplete(self) -> pathlib.Path:
        return pathlib.Path(self.backup_dir, _INCOMPLETE)

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        """Restore the last complete backup."""
        shutil.rmtree(self._incomplete, ignore_errors=True)
        complete = self._complete()
        # Without a backup Keras only checks that the model is built.
        self._callback_of_keras(complete[-1] if complete else self._incomplete).on_train_begin()

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Write a backup, which then replaces the last one."""
        before = self._complete()
        number = _number(before[-1]) + 1 if before else 1
        self._callback_of_keras(self._incomplete).on_epoch_end(epoch)
        _flush(self._incomplete)
        os.rename(self._incomplete, self._incomplete.with_name(f"{_COMPLETE}{number}"))
        flush_folder(pathlib.Path(self.backup_dir))
        for folder in before:
            shutil.rmtree(folder)

    def on_train_end(self, logs: Mapping[str, Any] | None = None) -> None:
        """Delete the backups."""
        if self.delete_checkpoint:
            # The newest last, and renamed first: a half-deleted backup must not count as complete.
            for folder in self._complete():
                os.rename(folder, self._incomplete)
                shutil.rmtree(self._incomplete)
            with contextlib.suppress(OSError):  # the folder has other files
                os.rmdir(self.backup_dir)

    def _complete(self) -> list[pathlib.Path]:
        """The complete backups; more than one if the process was killed before it deleted one."""
        folders = pathlib.Path(self.backup_dir).glob(f"{_COMPLETE}*")
        return sorted((f for f in folders if re.fullmatch(r"\d+", _suffix(f))), key=_number)

    def _callback_of_keras(self, folder: pathlib.Path) -> Any:
        callback = keras.callbacks.BackupAndRestore(str(folder))
        callback.set_model(self.model)
        return callback


def _flush(folder: pathlib.Path) -> None:
    """Flush the files to disk: a power cut could keep the new name but lose the contents."""
    for file in folder.iterdir():
        with open(file, "r+b") as opened:
            os.fsync(opened.fileno())
    flush_folder(folder)


def _suffix(backup: pathlib.Path) -> str:
    return backup.name.removeprefix(_COMPLETE)


def _number(backup: pathlib.Path) -> int:
    return int(_suffix(backup))


def _folder() -> arguments.ArgumentRule[str]:
    def convert(value: object) -> str:
        if not isinstance(value, str | os.PathLike):
            raise TypeError
        path = os.fspath(value)
        if not isinstance(path, str):
            raise TypeError
        if not path:
            raise ValueError
        if os.path.exists(path) and not os.path.isdir(path):
            raise ValueError("This is a file.")
        return path

    return arguments.ArgumentRule("the path of a folder", convert)
