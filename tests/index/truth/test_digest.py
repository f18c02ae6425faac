"""The set digest: independent of order, sensitive to each member."""

from __future__ import annotations

import hashlib
import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from index.truth.digest import (
    DIGEST_BYTES,
    EMPTY,
    MODULUS,
    add_member,
    add_members,
    digest_bytes,
    digest_from_bytes,
    digest_hex,
    member_digest,
    remove_member,
)

seeded = settings(settings.get_profile("index"))
members = st.dictionaries(st.integers(1, 2**63 - 1), st.binary(min_size=4, max_size=64), max_size=8)


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


@seeded
@given(chosen=members, start=members)
def test_many_members_at_once_are_the_same_as_one_by_one(chosen: Any, start: Any) -> None:
    digest = rolled(start.items())
    one_by_one = digest
    for entry_id, vector in chosen.items():
        one_by_one = add_member(one_by_one, entry_id, vector)
    assert add_members(digest, chosen, chosen.values()) == one_by_one


@seeded
@given(chosen=members, order=st.randoms(use_true_random=False))
def test_removing_all_members_in_any_order_leaves_the_empty_set(chosen: Any, order: Any) -> None:
    digest = rolled(chosen.items())
    shuffled = list(chosen.items())
    order.shuffle(shuffled)
    for entry_id, vector in shuffled:
        digest = remove_member(digest, entry_id, vector)
    assert digest == EMPTY


@seeded
@given(chosen=members.filter(bool), bit=st.integers(0, 10**6))
def test_one_changed_bit_of_one_vector_changes_the_digest(chosen: Any, bit: int) -> None:
    entry_id = sorted(chosen)[bit % len(chosen)]
    vector = bytearray(chosen[entry_id])
    vector[bit % len(vector)] ^= 1 << bit % 8
    assert rolled((chosen | {entry_id: bytes(vector)}).items()) != rolled(chosen.items())


@seeded
@given(chosen=members.filter(lambda m: len(m) > 1))
def test_two_members_that_exchange_their_vectors_change_the_digest(chosen: Any) -> None:
    one, other, *_ = chosen
    exchanged = chosen | {one: chosen[other], other: chosen[one]}
    assert (rolled(exchanged.items()) == rolled(chosen.items())) == (chosen[one] == chosen[other])


@seeded
@given(chosen=members.filter(bool))
def test_a_member_that_is_missing_changes_the_digest(chosen: Any) -> None:
    for entry_id in chosen:
        fewer = {each: vector for each, vector in chosen.items() if each != entry_id}
        assert rolled(fewer.items()) != rolled(chosen.items())


def test_the_id_has_eight_bytes_so_that_it_cannot_run_into_the_vector() -> None:
    small, large = 1, 1 + 2 * 256
    assert small.to_bytes(1, "little") + b"\x02" == large.to_bytes(2, "little")
    assert member_digest(small, b"\x02") != member_digest(large, b"")
    with pytest.raises(OverflowError):
        member_digest(2**64, b"")


@pytest.mark.parametrize("digest", [EMPTY, 1, 255, MODULUS // 2, MODULUS - 1])
def test_a_digest_has_32_bytes_and_64_hex_digits(digest: int) -> None:
    assert len(digest_bytes(digest)) == DIGEST_BYTES
    assert digest_from_bytes(digest_bytes(digest)) == digest
    assert int(digest_hex(digest), 16) == digest
    assert len(digest_hex(digest)) == 2 * DIGEST_BYTES


def test_the_sum_wraps_around_the_modulus() -> None:
    digest = MODULUS - 1
    assert add_member(digest, 1, b"vector") == member_digest(1, b"vector") - 1
    assert remove_member(EMPTY, 1, b"vector") == MODULUS - member_digest(1, b"vector")
