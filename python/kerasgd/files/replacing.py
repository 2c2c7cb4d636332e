"""Replaces a file atomically: after any failure, the old file or the complete new one exists."""

from __future__ import annotations

import contextlib
import os
import pathlib
import platform
import re
import secrets
from collections.abc import Callable
from typing import BinaryIO

SUFFIX = ".saving"


def write(file: str, write_content: Callable[[BinaryIO], None]) -> None:
    """Replace `file` with a new file, which `write_content` writes.

    If `file` is a symbolic link, its target is replaced. The new file keeps the mode of the old
    one. Temporary files left by killed processes are removed.

    Raises:
        OSError: the file cannot be written. Nothing is changed in that case.
    """
    target = pathlib.Path(file).resolve()
    _remove_leftovers(target)
    temporary = target.with_name(f"{_prefix(target)}{os.getpid()}.{secrets.token_hex(4)}{SUFFIX}")
    try:
        with open(temporary, "xb") as opened:
            write_content(opened)
            opened.flush()
            os.fsync(opened.fileno())
        if target.exists():
            os.chmod(temporary, target.stat().st_mode & 0o7777)
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    flush_folder(target.parent)


def _prefix(target: pathlib.Path) -> str:
    # The host, because several hosts may share a folder.
    host = re.sub(r"[^A-Za-z0-9-]", "-", platform.node())
    return f".{target.name}.{host}."


def _remove_leftovers(target: pathlib.Path) -> None:
    if os.name != "posix":
        return  # there is no harmless way to check whether a process is alive
    prefix = _prefix(target)
    try:
        names = os.listdir(target.parent)
    except OSError:  # the folder may be writable but not readable
        return
    for name in names:
        if name.startswith(prefix) and name.endswith(SUFFIX):
            process = name.removeprefix(prefix).partition(".")[0]
            if process.isdecimal() and not _is_alive(int(process)):
                with contextlib.suppress(OSError):
                    target.with_name(name).unlink()


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        pass
    return True


def flush_folder(folder: pathlib.Path) -> None:
    """Flush the folder to disk, and the new name with it, if the system allows that."""
    if os.name != "posix":
        return
    with contextlib.suppress(OSError):  # some file systems cannot; the file is already replaced
        opened = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)
