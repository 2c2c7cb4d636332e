"""Reads a zip of NumPy arrays that may be damaged: runs no code, and trusts no claimed size.

`numpy.load()` allocates the memory that a header claims before it sees that the file is shorter,
and unpacks compressed members of any size. Here members must be uncompressed, and each array must
be exactly as long as its member.
"""

from __future__ import annotations

import io
import os
import stat
import zipfile
from typing import Any

import numpy as np

from kerasgd.errors import StateError

Array = np.ndarray[Any, Any]

LARGEST_HEADER = 10_000


def read(file: str) -> dict[str, Array] | None:
    """The arrays of the file by name; None if the file is not a zip of arrays.

    Raises:
        StateError: the file is a zip of arrays, but one is damaged.
        OSError: the file cannot be opened.
    """
    if not stat.S_ISREG(os.stat(file).st_mode):
        return None
    with open(file, "rb") as opened:
        try:
            with zipfile.ZipFile(opened) as members:
                size = os.fstat(opened.fileno()).st_size
                return {
                    info.filename.removesuffix(".npy"): _array(members, info, size)
                    for info in members.infolist()
                }
        except StateError:
            raise
        except (
            zipfile.BadZipFile,
            NotImplementedError,
            EOFError,
            OSError,
            ValueError,
            OverflowError,
            RuntimeError,
            UnicodeError,
            AttributeError,
        ):
            # `zipfile` raises all of these for a damaged directory or member.
            return None


def _array(members: zipfile.ZipFile, info: zipfile.ZipInfo, size: int) -> Array:
    if info.compress_type != zipfile.ZIP_STORED or info.file_size > size:
        raise zipfile.BadZipFile
    content = io.BytesIO(members.read(info))  # verifies the checksum
    try:
        shape, in_columns, dtype = _header(content)
    except Exception as error:  # NumPy parses the header as Python, which can raise many errors
        raise _damage_error(info) from error
    data = content.read()
    count = 1
    for n in shape:
        count *= int(n)
    if dtype.hasobject or count < 0 or count * dtype.itemsize != len(data):
        raise _damage_error(info)
    array = np.frombuffer(data, dtype, count)
    return array.reshape(shape, order="F" if in_columns else "C")


def _header(content: io.BytesIO) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, whether the order is Fortran's, and dtype, as the array claims them."""
    numpy_format: Any = np.lib.format  # Any, since its type stubs lack `max_header_size`
    major, _ = numpy_format.read_magic(content)
    read = numpy_format.read_array_header_1_0 if major == 1 else numpy_format.read_array_header_2_0
    header: tuple[tuple[int, ...], bool, np.dtype[Any]]
    header = read(content, max_header_size=LARGEST_HEADER)
    return header


def _damage_error(info: zipfile.ZipInfo) -> StateError:
    return StateError(f"`{info.filename}` is damaged.")
