"""Reading a zip of NumPy arrays that may be damaged: nothing is run, and no size is believed.

`numpy.load()` takes the memory that a header claims before it sees that the file is shorter, and
unpacks compressed members of any size. Members here are uncompressed, and each array is exactly as
long as its member.
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
    """The arrays of the file by name; None if it is no zip of arrays.

    Raises:
        StateError: it is one, and an array is damaged.
        OSError: it cannot be opened.
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
            # What `zipfile` raises for a directory or a member that is damaged.
            return None


def _array(members: zipfile.ZipFile, info: zipfile.ZipInfo, size: int) -> Array:
    if info.compress_type != zipfile.ZIP_STORED or info.file_size > size:
        raise zipfile.BadZipFile
    content = io.BytesIO(members.read(info))  # its checksum is compared
    try:
        shape, in_columns, dtype = _header(content)
    except Exception as error:  # NumPy parses it as Python, whose errors are of many kinds
        raise _damaged(info) from error
    data = content.read()
    count = 1
    for n in shape:
        count *= int(n)
    if dtype.hasobject or count < 0 or count * dtype.itemsize != len(data):
        raise _damaged(info)
    array = np.frombuffer(data, dtype, count)
    return array.reshape(shape, order="F" if in_columns else "C")


def _header(content: io.BytesIO) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, whether the first index runs fastest, and dtype, as the array claims them."""
    numpy_format: Any = np.lib.format  # whose types leave out the limit
    major, _ = numpy_format.read_magic(content)
    read = numpy_format.read_array_header_1_0 if major == 1 else numpy_format.read_array_header_2_0
    header: tuple[tuple[int, ...], bool, np.dtype[Any]]
    header = read(content, max_header_size=LARGEST_HEADER)
    return header


def _damaged(info: zipfile.ZipInfo) -> StateError:
    return StateError(f"`{info.filename}` is damaged.")
