"""Vectors in their stored form: what is refused, what is stored, and what comes back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from index.errors import InvalidVector, TruthDamaged
from index.truth.vectors import (
    NORM_TOLERANCE,
    STORED_NORM_TOLERANCE,
    WIDE_ROWS,
    check_logit,
    check_vector,
    check_vectors,
    find_unusable_vectors,
    from_bytes,
    rows_from_bytes,
    to_bytes,
)

seeded = settings(settings.get_profile("index"))
directions = arrays(np.float32, 16, elements=st.floats(-1, 1, width=32)).filter(
    lambda v: np.linalg.norm(v) > 1e-3
)


def unit(direction: Any) -> Any:
    wide = np.asarray(direction, np.float64)
    return (wide / np.linalg.norm(wide)).astype(np.float32)


@seeded
@given(direction=directions)
def test_bytes_of_a_normalised_vector_come_back_unchanged(direction: Any) -> None:
    vector = (direction.astype(np.float64) / np.linalg.norm(direction.astype(np.float64))).astype(
        np.float32
    )
    stored = check_vector(vector, 16)
    assert np.array_equal(from_bytes(to_bytes(stored)), stored)
    assert np.array_equal(stored, vector)
    assert len(to_bytes(stored)) == 64


@seeded
@given(direction=directions, error=st.floats(-0.0009, 0.0009))
def test_a_norm_that_is_nearly_one_is_made_one(direction: Any, error: Any) -> None:
    wide = direction.astype(np.float64)
    stored = check_vector((wide / np.linalg.norm(wide) * (1 + error)).astype(np.float32), 16)
    assert abs(np.linalg.norm(stored.astype(np.float64)) - 1) < 1e-6


def test_a_norm_further_off_is_refused() -> None:
    for norm in (0.9989, 1.0011, 0.0, 2.0):
        with pytest.raises(InvalidVector, match="norm"):
            check_vector(np.eye(16, dtype=np.float32)[0] * norm, 16)


@pytest.mark.parametrize("dimension", [3, 16, 384, 385])
@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_many_vectors_are_to_the_last_bit_what_each_of_them_is(dimension: int, kind: Any) -> None:
    wide = np.random.default_rng(0).standard_normal((2 * WIDE_ROWS + 1, dimension))
    given = (wide / np.linalg.norm(wide, axis=1, keepdims=True)).astype(kind)
    for rows in (
        list(given),
        list(given.astype(np.float32)),
        list(np.asfortranarray(given.astype(np.float32))),
    ):
        expected = np.stack([check_vector(row, dimension) for row in rows])
        assert np.array_equal(check_vectors(rows, dimension), expected)
    assert check_vectors([], dimension).shape == (0, dimension)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 3e38, 0.0, 0.5])
def test_one_vector_among_many_is_refused_for_what_is_wrong_with_it(bad: float) -> None:
    rows = np.tile(np.eye(8, dtype=np.float32)[3], (WIDE_ROWS + 5, 1))
    rows[-2] = bad
    with pytest.raises(InvalidVector) as alone:
        check_vector(rows[-2], 8)
    with pytest.raises(InvalidVector) as among:
        check_vectors(list(rows), 8)
    assert str(among.value) == str(alone.value)
    assert find_unusable_vectors(rows, np.zeros(len(rows)), 8) == {WIDE_ROWS + 3: str(alone.value)}


def test_other_number_types_are_taken_as_float32() -> None:
    assert check_vector([1, 0], 2).dtype == np.float32
    assert check_vector(np.array([0.6, 0.8]), 2).dtype == np.float32
    assert check_vector(np.eye(4, dtype=">f4")[::2][1], 4).tolist() == [0, 0, 1, 0]


def test_stored_vectors_are_little_endian_and_read_only() -> None:
    assert to_bytes(np.array([1.0], np.float32)) == b"\x00\x00\x80\x3f"
    with pytest.raises(ValueError, match="read-only"):
        from_bytes(b"\x00\x00\x80\x3f")[0] = 2


@pytest.mark.parametrize(
    ("vector", "reason"),
    [
        ([[1.0, 0.0]], r"shape \(1, 2\) instead of \(2,\)"),
        ([1.0], r"shape \(1,\) instead of \(2,\)"),
        (1.0, "shape"),
        ([], "shape"),
        (["one", "two"], "must be a list of numbers"),
        ([None, {}], "must be a list of numbers"),
        ([[1.0], [1.0, 2.0]], "must be a list of numbers"),
        ([np.nan, 1.0], "not finite"),
        ([0.0, 0.0], "norm 0 instead of 1"),
        ([0.6, 0.9], "norm 1.08167 instead of 1"),
    ],
)
def test_a_refused_vector_says_what_is_wrong(vector: Any, reason: str) -> None:
    with pytest.raises(InvalidVector, match=reason):
        check_vector(vector, 2)


@pytest.mark.parametrize("side", [-1, 1])
def test_the_tolerance_of_a_norm_is_what_the_constant_says(side: int) -> None:
    axis = np.eye(4, dtype=np.float64)[1]
    assert check_vector(axis * (1 + side * NORM_TOLERANCE * 0.98), 4).tolist() == [0, 1, 0, 0]
    with pytest.raises(InvalidVector, match="norm"):
        check_vector(axis * (1 + side * NORM_TOLERANCE * 1.02), 4)


@seeded
@given(direction=directions)
def test_a_vector_of_the_stored_norm_is_not_changed_at_all(direction: Any) -> None:
    vector = unit(direction)
    assert check_vector(vector, 16).tobytes() == vector.tobytes()


@seeded
@given(direction=directions, error=st.floats(-0.0009, 0.0009))
def test_checking_twice_is_checking_once(direction: Any, error: float) -> None:
    once = check_vector(unit(direction) * np.float32(1 + error), 16)
    assert check_vector(once, 16).tobytes() == once.tobytes()
    assert abs(np.linalg.norm(once.astype(np.float64)) - 1) <= STORED_NORM_TOLERANCE


@seeded
@given(rows=st.lists(directions, min_size=1, max_size=5))
def test_rows_come_back_from_the_bytes_of_each(rows: Any) -> None:
    vectors = check_vectors([unit(row) for row in rows], 16)
    stored = [to_bytes(vector) for vector in vectors]
    assert b"".join(stored) == to_bytes(vectors)
    back = rows_from_bytes(stored, 16)
    assert (back.dtype, back.shape) == (np.float32, (len(rows), 16))
    assert np.array_equal(back, vectors)


@pytest.mark.parametrize("sizes", [[64, 60], [0], [68, 64], [128]])
def test_stored_bytes_of_another_length_are_damage(sizes: list[int]) -> None:
    with pytest.raises(TruthDamaged, match="wrong length"):
        rows_from_bytes([bytes(size) for size in sizes], 16)


def test_no_stored_vectors_are_no_rows() -> None:
    assert rows_from_bytes([], 16).shape == (0, 16)


@pytest.mark.parametrize("logit", [float("nan"), float("inf"), float("-inf")])
def test_a_logit_that_is_not_finite_is_refused(logit: float) -> None:
    with pytest.raises(InvalidVector, match="logit"):
        check_logit(logit)


@pytest.mark.parametrize("logit", [0, -3.5, np.float32(0.25), 1e300])
def test_a_finite_logit_of_any_number_type_becomes_a_float(logit: Any) -> None:
    assert type(check_logit(logit)) is float
    assert check_logit(logit) == logit


def test_every_unusable_row_is_found_with_its_own_reason() -> None:
    rows = np.tile(np.eye(8, dtype=np.float32)[0], (6, 1))
    rows[1] *= 2
    rows[3, 5] = np.nan
    logits = np.zeros(6)
    logits[4] = np.inf
    assert find_unusable_vectors(rows, logits, 8) == {
        1: "an embedding has the L2 norm 2 instead of 1",
        3: "an embedding has a value that is not finite",
        4: "a logit is not finite",
    }
    assert find_unusable_vectors(rows[:1], logits[:1], 8) == {}


@pytest.mark.parametrize("shape", [(3, 7), (8,), (1, 1, 8)])
def test_rows_of_another_dimension_are_refused_together(shape: Any) -> None:
    with pytest.raises(InvalidVector, match=r"instead of \(n, 8\)"):
        find_unusable_vectors(np.zeros(shape, np.float32), np.zeros(shape[0]), 8)


@seeded
@given(
    rows=arrays(np.float32, (4, 3), elements=st.sampled_from([0, 0.6, 0.8, 1, np.nan, np.inf])),
    logits=arrays(np.float64, 4, elements=st.sampled_from([0, 1.5, np.nan, -np.inf])),
)
def test_unusable_rows_are_those_that_the_single_checks_refuse(rows: Any, logits: Any) -> None:
    refused = set()
    for number, (row, logit) in enumerate(zip(rows, logits, strict=True)):
        try:
            check_vector(row, 3)
            check_logit(logit)
        except InvalidVector:
            refused.add(number)
    assert find_unusable_vectors(rows, logits, 3).keys() == refused
