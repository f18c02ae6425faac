"""The set of perceptual hashes finds exactly what comparing each pair finds."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from index.near_hashes import NearHashes
from index.truth.perceptual import PerceptualHash, hamming_distance


def flipped(bits: bytes, count: int) -> bytes:
    """The hash with its first `count` bits turned."""
    return (int.from_bytes(bits) ^ ((1 << count) - 1)).to_bytes(32)


@given(
    st.lists(st.binary(min_size=1, max_size=1), max_size=40),
    st.integers(0, 255),
    st.integers(0, 60),
)
def test_the_search_finds_exactly_what_counting_bits_finds(
    seeds: list[bytes], probe: int, turned: int
) -> None:
    hashes = [
        PerceptualHash(flipped(seed * 32, number % 70), 40 + number)
        for number, seed in enumerate(seeds)
    ]
    wanted = PerceptualHash(flipped(bytes([probe]) * 32, turned), 50)
    near = NearHashes()
    reliable = [(number, hashed.bits) for number, hashed in enumerate(hashes) if hashed.reliable]
    for number, bits in reversed(reliable):
        near.add([number], [bits])

    found, nothing = near.find([wanted, PerceptualHash(wanted.bits, 49)])

    distances = [
        (hamming_distance(hashed, wanted), i)
        for i, hashed in enumerate(hashes)
        if hashed.quality >= 50
    ]
    assert found.tolist() == [i for distance, i in sorted(distances) if distance <= 31]
    assert not len(nothing)


def test_an_id_that_is_added_twice_is_found_under_both_hashes() -> None:
    near = NearHashes()
    near.add([], [])
    near.add([7, 7, 8], [bytes(32), bytes([255] * 32), bytes([15] * 32)])
    black, white = near.find([PerceptualHash(bytes(32), 50), PerceptualHash(bytes([255] * 32), 50)])
    assert black.tolist() == [7] == white.tolist()


def test_a_missing_hash_finds_nothing() -> None:
    near = NearHashes()
    near.add([1], [bytes(32)])
    found = near.find([None, PerceptualHash(bytes(32), 50), None])
    assert [each.tolist() for each in found] == [[], [1], []]
    assert near.find([]) == []
