"""Vectors in Arrow columns of every kind, and rows without one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from api.sources.arrow_vectors import first_dimension, fixed_dimension, is_vectors, vectors_of

ROWS = [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]
KINDS = [
    pa.list_(pa.float16()),
    pa.list_(pa.float32()),
    pa.large_list(pa.float64()),
    pa.list_(pa.float32(), 2),
    pa.list_(pa.float64(), 2),
]


def column(rows: list[Any], kind: pa.DataType) -> pa.Array:
    if pa.types.is_float16(kind.value_type):
        rows = [None if row is None else [np.float16(value) for value in row] for row in rows]
    return pa.array(rows, kind)


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_vectors_of_every_kind_are_float32(kind: pa.DataType) -> None:
    assert is_vectors(kind)
    vectors, unfit = vectors_of(column(ROWS, kind), 2)
    assert (vectors.dtype, vectors.tolist(), unfit) == (np.float32, ROWS, [])


@pytest.mark.parametrize(
    "kind", [pa.list_(pa.int32()), pa.list_(pa.int8(), 2), pa.float32(), pa.string(), pa.binary()]
)
def test_what_holds_no_numbers_with_a_point_is_no_vector(kind: pa.DataType) -> None:
    assert not is_vectors(kind)


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_a_row_without_a_vector_is_named_and_nan(kind: pa.DataType) -> None:
    vectors, unfit = vectors_of(column([ROWS[0], None, ROWS[2]], kind), 2)
    assert unfit == [1]
    assert vectors[[0, 2]].tolist() == [ROWS[0], ROWS[2]]
    assert np.isnan(vectors[1]).all()


def test_a_vector_of_another_length_is_named() -> None:
    vectors, unfit = vectors_of(pa.array([[1.0], [1.0, 2.0], []], pa.list_(pa.float32())), 2)
    assert unfit == [0, 2]
    assert vectors[1].tolist() == [1.0, 2.0]


def test_a_number_that_float32_lacks_becomes_infinite_without_a_warning() -> None:
    vectors, unfit = vectors_of(pa.array([[1e300, 1.0]], pa.list_(pa.float64())), 2)
    assert (vectors[0].tolist(), unfit) == ([float("inf"), 1.0], [])


def test_the_dimension_is_that_of_the_type_or_of_the_first_vector() -> None:
    assert fixed_dimension(pa.list_(pa.float32(), 7)) == 7
    assert fixed_dimension(pa.list_(pa.float32())) is None
    assert first_dimension(pa.array([None, [1.0, 2.0]], pa.list_(pa.float32()))) == 2
    assert first_dimension(pa.array([None], pa.list_(pa.float32()))) is None
