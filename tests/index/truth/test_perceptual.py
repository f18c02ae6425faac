"""Perceptual hashes as values: what is a hash, and when two of them are of the same picture."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from index.errors import InvalidImageFacts
from index.truth.perceptual import (
    HASH_BYTES,
    MAX_HAMMING_DISTANCE,
    MAX_QUALITY,
    MIN_QUALITY,
    PerceptualHash,
    hamming_distance,
    near_duplicate,
)

BITS = bytes(range(32))
bits = st.binary(min_size=HASH_BYTES, max_size=HASH_BYTES)
hashes = st.builds(PerceptualHash, bits, st.integers(0, MAX_QUALITY))


def flipped(bits: bytes, count: int) -> bytes:
    """The hash with its first `count` bits turned."""
    return (int.from_bytes(bits) ^ ((1 << count) - 1)).to_bytes(32)


@pytest.mark.parametrize(
    "hashed",
    [
        PerceptualHash(b"short", 90),
        PerceptualHash(BITS + b"1", 90),
        PerceptualHash(BITS, MAX_QUALITY + 1),
        PerceptualHash(BITS, -1),
    ],
)
def test_what_cannot_be_a_hash_is_refused(hashed: PerceptualHash) -> None:
    with pytest.raises(InvalidImageFacts, match="PDQ"):
        hashed.check()


@given(hashed=hashes)
def test_every_hash_of_32_bytes_and_possible_quality_is_accepted(hashed: PerceptualHash) -> None:
    hashed.check()
    assert hashed.reliable == (hashed.quality >= MIN_QUALITY)


@pytest.mark.parametrize("quality", [0, 49])
def test_a_hash_of_low_quality_is_neither_a_match_nor_a_mismatch(quality: int) -> None:
    flat = PerceptualHash(BITS, quality)

    assert near_duplicate(flat, flat) is None
    assert near_duplicate(flat, PerceptualHash(BITS, 100)) is None
    assert near_duplicate(PerceptualHash(BITS, 100), flat) is None
    assert near_duplicate(None, PerceptualHash(BITS, 100)) is None


def test_31_bits_are_a_near_duplicate_and_32_are_not() -> None:
    one = PerceptualHash(BITS, 50)

    assert near_duplicate(one, PerceptualHash(flipped(BITS, 31), 50)) is True
    assert near_duplicate(one, PerceptualHash(flipped(BITS, 32), 50)) is False
    assert hamming_distance(one, PerceptualHash(flipped(BITS, 32), 50)) == 32


@given(one=hashes, other=hashes)
def test_the_distance_counts_the_bits_that_differ(
    one: PerceptualHash, other: PerceptualHash
) -> None:
    def spelled(hashed: PerceptualHash) -> str:
        return "".join(f"{byte:08b}" for byte in hashed.bits)

    differing = sum(a != b for a, b in zip(spelled(one), spelled(other), strict=True))
    assert hamming_distance(one, other) == differing == hamming_distance(other, one)
    assert hamming_distance(one, one) == 0


@given(one=bits, other=bits, middle=bits)
def test_the_distance_is_a_metric(one: bytes, other: bytes, middle: bytes) -> None:
    a, b, c = (PerceptualHash(each, 50) for each in (one, middle, other))
    assert hamming_distance(a, c) <= hamming_distance(a, b) + hamming_distance(b, c)
    assert (hamming_distance(a, c) == 0) == (one == other)


@given(hashed=hashes, count=st.integers(0, 256), quality=st.integers(0, MAX_QUALITY))
def test_a_near_duplicate_is_decided_by_distance_if_both_are_reliable(
    hashed: PerceptualHash, count: int, quality: int
) -> None:
    other = PerceptualHash(flipped(hashed.bits, count), quality)
    reliable = min(hashed.quality, quality) >= MIN_QUALITY
    expected = count <= MAX_HAMMING_DISTANCE if reliable else None
    assert near_duplicate(hashed, other) is expected
    assert near_duplicate(other, hashed) is expected
