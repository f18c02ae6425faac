"""Arrays on disk whose rows are read where they are: NumPy's `.npy` and Hugging Face's
`.safetensors`.

Rows are read, not mapped: that works for the web too, the memory that a process holds stays flat,
and a file that is cut short under a map would end the process. Nothing is unpickled. Formats:
numpy.lib.format, and huggingface.co/docs/safetensors.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from api.sources.item import UnusableSource
from api.sources.json_values import JSON
from api.sources.records import json_object
from api.sources.sourcefile import SourceFile, first_line

MAX_NPY_HEADER_BYTES = 2**14  # numpy reads no header of over 10,000 bytes
MAX_HEADER_BYTES = 100_000_000  # the limit that safetensors itself has
DTYPES = {
    "F16": "<f2",
    "F32": "<f4",
    "F64": "<f8",
    "U8": "|u1",
}  # those that vectors, logits and hashes come in


@dataclass(frozen=True, slots=True, eq=False)
class StoredArray:
    """An array in a file, in C order from a byte offset on.

    The first of its dimensions are its rows.
    """

    file: SourceFile
    offset: int
    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    @property
    def byte_size(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize

    def rows(self, first: int, count: int) -> NDArray[Any]:
        """Rows ``(count, ...)`` of a copy of one's own.

        Raises `UnusableSource` when they are not there any more.
        """
        row_shape = self.shape[1:]
        size = math.prod(row_shape) * self.dtype.itemsize
        self.file.seek(self.offset + first * size)
        content = self.file.read(count * size)
        if first + count > self.shape[0] or len(content) < count * size:
            raise UnusableSource(self.file.location, "has changed since it was listed")
        return np.frombuffer(content, self.dtype).reshape(count, *row_shape)


def npy_array(file: SourceFile) -> StoredArray:
    """The array of an `.npy` file.

    Raises `UnusableSource`, on objects, which would be pickles, too.
    """
    try:
        head = BytesIO(file.read(MAX_NPY_HEADER_BYTES))
        version = npy.read_magic(head)
        read_header = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}[
            version
        ]
        shape, is_fortran, dtype = read_header(head)
    except Exception as err:  # a damaged header breaks numpy's reader in many ways
        raise UnusableSource(
            file.location, f"no .npy file that can be read: {first_line(err)}"
        ) from err
    if is_fortran or dtype.hasobject or dtype.subdtype is not None or not shape:
        raise UnusableSource(
            file.location, "an .npy file, but no array of numbers in rows (C order)"
        )
    array = StoredArray(file, head.tell(), dtype, shape)
    if array.offset + array.byte_size > file.size():
        raise UnusableSource(file.location, "is cut short")
    return array


def safetensors_arrays(file: SourceFile) -> tuple[Mapping[str, StoredArray], Mapping[str, JSON]]:
    """The arrays of a safetensors file by name, of the types in `DTYPES`, and its metadata.

    Raises `UnusableSource`.
    """
    header_size = int.from_bytes(file.read(8), "little")
    if header_size > MAX_HEADER_BYTES:
        raise UnusableSource(file.location, "no safetensors file")
    try:
        header = json_object(file.read(header_size).decode())
        arrays = {
            name: _stored_array(file, 8 + header_size, entry)
            for name, entry in header.items()
            if name != "__metadata__"
            and isinstance(entry, Mapping)
            and entry.get("dtype") in DTYPES
        }
    except ValueError as err:
        raise UnusableSource(
            file.location, f"no safetensors file that can be read: {first_line(err)}"
        ) from err
    metadata = header.get("__metadata__")
    return arrays, metadata if isinstance(metadata, Mapping) else {}


def _stored_array(file: SourceFile, data_offset: int, entry: Mapping[str, JSON]) -> StoredArray:
    shape, offsets = (_whole_numbers(entry.get(name)) for name in ("shape", "data_offsets"))
    if not shape or len(offsets) != 2:
        raise ValueError("a tensor without rows or without a place")
    array = StoredArray(
        file, data_offset + offsets[0], np.dtype(DTYPES[str(entry["dtype"])]), shape
    )
    if array.byte_size != offsets[1] - offsets[0] or array.offset + array.byte_size > file.size():
        raise ValueError("a tensor that is cut short")
    return array


def _whole_numbers(value: JSON) -> tuple[int, ...]:
    numbers = value if isinstance(value, list) else [value]
    if not all(isinstance(number, int) and number >= 0 for number in numbers):
        raise ValueError("a shape or an offset that is no list of numbers")
    return tuple(numbers)
