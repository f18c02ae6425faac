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
from api.sources.locations import describe_error
from api.sources.records import parse_json_object
from api.sources.sourcefile import SourceFile

MAX_NPY_HEADER_BYTES = 2**14  # numpy reads no header of over 10,000 bytes
# Ten thousand tensors. safetensors itself allows 100 MB, whose JSON takes gigabytes of memory and
# holds the interpreter's lock for seconds; ready embeddings need three tensors.
MAX_HEADER_BYTES = 2**20
DTYPES = {
    "F16": "<f2",
    "F32": "<f4",
    "F64": "<f8",
    "U8": "|u1",
}  # the types of vectors, logits and hashes


@dataclass(frozen=True, slots=True, eq=False)
class StoredArray:
    """An array in a file, in C order, starting at a byte offset. Its first dimension is rows."""

    file: SourceFile
    offset: int
    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    @property
    def byte_size(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize

    def rows(self, first: int, count: int) -> NDArray[Any]:
        """Read rows ``(count, ...)`` into a new array.

        Raises `UnusableSource` if the file no longer holds them.
        """
        row_shape = self.shape[1:]
        size = math.prod(row_shape) * self.dtype.itemsize
        self.file.seek(self.offset + first * size)
        content = self.file.read(count * size)
        if first + count > self.shape[0] or len(content) < count * size:
            raise UnusableSource(self.file.location, "has changed since it was listed")
        return np.frombuffer(content, self.dtype).reshape(count, *row_shape)


def open_npy_array(file: SourceFile) -> StoredArray:
    """Open the array of an `.npy` file.

    Raises `UnusableSource`, also for arrays of objects, which would be pickles.
    """
    try:
        head = BytesIO(file.read(MAX_NPY_HEADER_BYTES))
        version = npy.read_magic(head)
        read_header = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}[
            version
        ]
        shape, is_fortran, dtype = read_header(head)
    except Exception as err:  # a damaged header makes numpy raise many kinds of errors
        problem = f"not a readable .npy file: {describe_error(err)}"
        raise UnusableSource(file.location, problem) from err
    if is_fortran or dtype.hasobject or dtype.subdtype is not None or not shape:
        raise UnusableSource(file.location, "an .npy file, but not an array of numbers in C order")
    array = StoredArray(file, head.tell(), dtype, shape)
    if array.offset + array.byte_size > file.size():
        raise UnusableSource(file.location, "is truncated")
    return array


def open_safetensors_arrays(
    file: SourceFile,
) -> tuple[Mapping[str, StoredArray], Mapping[str, JSON]]:
    """Open the arrays of a safetensors file, by name, and its metadata.

    Skips arrays of types that are not in `DTYPES`. Raises `UnusableSource`.
    """
    header_size = int.from_bytes(file.read(8), "little")
    if header_size > MAX_HEADER_BYTES:
        raise UnusableSource(
            file.location,
            f"not a safetensors file, or one with a header of more than {MAX_HEADER_BYTES:,} bytes",
        )
    try:
        header = _read_header(file, header_size)
        arrays = {
            name: _locate_array(file, 8 + header_size, entry)
            for name, entry in header.items()
            if name != "__metadata__"
            and isinstance(entry, Mapping)
            and entry.get("dtype") in DTYPES
        }
    except ValueError as err:
        raise UnusableSource(
            file.location, f"not a readable safetensors file: {describe_error(err)}"
        ) from err
    metadata = header.get("__metadata__")
    return arrays, metadata if isinstance(metadata, Mapping) else {}


def _read_header(file: SourceFile, size: int) -> Mapping[str, JSON]:
    content = file.read(size)
    if len(content) < size:
        raise ValueError("a truncated header")
    return parse_json_object(content.decode())


def _locate_array(file: SourceFile, data_offset: int, entry: Mapping[str, JSON]) -> StoredArray:
    shape, offsets = (_read_whole_numbers(entry.get(name)) for name in ("shape", "data_offsets"))
    if not shape or len(offsets) != 2:
        raise ValueError("a tensor without a shape or without offsets")
    array = StoredArray(
        file, data_offset + offsets[0], np.dtype(DTYPES[str(entry["dtype"])]), shape
    )
    if array.byte_size != offsets[1] - offsets[0] or array.offset + array.byte_size > file.size():
        raise ValueError("a truncated tensor")
    return array


def _read_whole_numbers(value: JSON) -> tuple[int, ...]:
    numbers = value if isinstance(value, list) else [value]
    if not all(isinstance(number, int) and number >= 0 for number in numbers):
        raise ValueError("a shape or offsets that are not numbers")
    return tuple(numbers)
