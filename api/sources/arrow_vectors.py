"""Vectors in an Arrow column: lists of numbers, with any length or with a length that the type
fixes.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from api.sources.arrow_json import storage_type


def is_vectors(kind: pa.DataType) -> bool:
    kind = storage_type(kind)
    return _is_fixed(kind) or (_is_list(kind) and pa.types.is_floating(kind.value_type))


def fixed_dimension(kind: pa.DataType) -> int | None:
    """Return the length that the type fixes; None for lists of any length."""
    kind = storage_type(kind)
    return int(kind.list_size) if _is_fixed(kind) else None


def first_dimension(column: pa.Array) -> int | None:
    """Return the length of the first vector that is not null; None without one."""
    lengths = pc.list_value_length(_to_storage(column)).drop_null()
    return lengths[0].as_py() if len(lengths) else None


def vectors_of(column: pa.Array, dimension: int) -> tuple[NDArray[np.float32], list[int]]:
    """Return all rows as ``(n, d)``, float32, and the rows without a vector of this length, which
    are NaN.

    The array is read-only if it shares Arrow's memory.
    """
    column = _to_storage(column)
    lengths = pc.fill_null(pc.list_value_length(column), -1).to_numpy(zero_copy_only=False)  # (n,)
    unfit: list[int] = np.flatnonzero(lengths != dimension).tolist()
    if unfit:
        vectors = np.full((len(column), dimension), np.nan, np.float32)  # (n, d)
        fit = lengths == dimension
        vectors[fit] = _to_float32(column.filter(pa.array(fit)).flatten()).reshape(-1, dimension)
        return vectors, unfit
    return _to_float32(column.flatten()).reshape(len(column), dimension), unfit


def _to_float32(numbers: pa.Array) -> NDArray[np.float32]:
    values = numbers.to_numpy(zero_copy_only=False)
    with np.errstate(
        over="ignore"
    ):  # a float64 that is too large becomes inf, and its row is refused later
        return np.asarray(values, np.float32)


def _to_storage(column: pa.Array) -> pa.Array:
    return column.storage if isinstance(column, pa.ExtensionArray) else column


def _is_list(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    )


def _is_fixed(kind: pa.DataType) -> bool:
    return bool(pa.types.is_fixed_size_list(kind) and pa.types.is_floating(kind.value_type))
