"""Vectors as they are stored, the digest over them, and provenance text."""

import hashlib
import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from index.errors import InvalidProvenance, InvalidVector
from index.truth.digest import (
    EMPTY,
    add_member,
    digest_bytes,
    digest_from_bytes,
    digest_hex,
    member_digest,
    remove_member,
)
from index.truth.provenance import Provenance, normalise_generator
from index.truth.vectors import (
    WIDE_ROWS,
    check_vector,
    check_vectors,
    find_unusable_vectors,
    from_bytes,
    to_bytes,
)

seeded = settings(settings.get_profile("index"))
directions = arrays(np.float32, 16, elements=st.floats(-1, 1, width=32)).filter(
    lambda v: np.linalg.norm(v) > 1e-3
)
members = st.dictionaries(st.integers(1, 2**63 - 1), st.binary(min_size=4, max_size=64), max_size=8)


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


def test_the_digest_of_a_member_is_sha256_of_id_and_vector() -> None:
    expected = hashlib.sha256((7).to_bytes(8, "little") + b"vector").hexdigest()
    assert digest_hex(add_member(EMPTY, 7, b"vector")) == expected


@seeded
@given(chosen=members, order=st.randoms(use_true_random=False))
def test_the_digest_of_a_set_does_not_know_the_order(chosen: Any, order: Any) -> None:
    shuffled = list(chosen.items())
    order.shuffle(shuffled)
    assert (
        rolled(shuffled)
        == rolled(chosen.items())
        == sum(itertools.starmap(member_digest, shuffled)) % 2**256
    )


@seeded
@given(chosen=members, extra=st.binary(min_size=4, max_size=8))
def test_taking_a_member_out_undoes_putting_it_in(chosen: Any, extra: Any) -> None:
    digest = rolled(chosen.items())
    assert remove_member(add_member(digest, 5, extra), 5, extra) == digest
    assert digest_from_bytes(digest_bytes(digest)) == digest
    assert len(digest_hex(digest)) == 64


@seeded
@given(chosen=members.filter(bool), other=st.binary(min_size=4, max_size=64))
def test_another_vector_or_id_is_another_digest(chosen: Any, other: Any) -> None:
    digest, entry_id = rolled(chosen.items()), min(chosen)
    if other != chosen[entry_id]:
        assert rolled((chosen | {entry_id: other}).items()) != digest
    assert rolled([(i + (i == entry_id) * 2**63, v) for i, v in chosen.items()]) != digest


def rolled(items: Any) -> Any:
    digest = EMPTY
    for entry_id, vector in items:
        digest = add_member(digest, entry_id, vector)
    return digest


@pytest.mark.parametrize(
    ("written", "normal"),
    [
        ("SDXL", "sdxl"),
        ("  flux.1 \t schnell\n", "flux.1-schnell"),
        ("\uff33\uff24\uff13", "sd3"),
        ("Straße", "strasse"),
        ("", ""),
    ],
)
def test_a_generator_has_one_spelling(written: Any, normal: Any) -> None:
    assert normalise_generator(written) == normal


@seeded
@given(text=st.text(st.characters(exclude_categories=["Cs", "Cc"])))
def test_normalising_twice_is_normalising_once(text: Any) -> None:
    assert normalise_generator(normalise_generator(text)) == normalise_generator(text)


def test_blank_text_is_no_text() -> None:
    assert Provenance(" ", "\t", "", "\n").normalise() == Provenance()


def test_provenance_is_normalised_once_and_what_replaces_it_again() -> None:
    normalised = Provenance(" SD XL ", extra={"b": 1, "a": [None, "ä"]}).normalise()
    assert normalised.normalise() is normalised
    assert normalised == Provenance("sd-xl", extra={"b": 1, "a": [None, "ä"]})
    assert normalised.stored is not None
    assert normalised.stored.text == '{"a":[null,"ä"],"b":1}'
    assert replace(normalised, label=" x ").normalise() == Provenance(
        "sd-xl", "x", extra=normalised.extra
    )
    with pytest.raises(InvalidProvenance):
        replace(normalised, label="a\x00").normalise()


def test_text_that_postgresql_could_not_store_is_refused_for_both() -> None:
    for text in ("a\x00", "\udc80"):
        with pytest.raises(InvalidProvenance):
            normalise_generator(text)
