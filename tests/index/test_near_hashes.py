"""A set of hashes in memory against a comparison of every pair."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from index.near_hashes import NearHashes
from index.truth.perceptual import (
    HASH_BYTES,
    MAX_HAMMING_DISTANCE,
    MIN_QUALITY,
    PerceptualHash,
    hamming_distance,
)


def hash_with(bits: int, quality: int = 100) -> PerceptualHash:
    """A hash whose lowest bits, this number of them, are set."""
    return PerceptualHash(((1 << bits) - 1).to_bytes(HASH_BYTES), quality)


few_bits = st.integers(0, 80).map(hash_with)
hashes = st.lists(few_bits, max_size=12)


@settings(settings.get_profile("index"), max_examples=80)
@given(hashes, st.lists(st.none() | few_bits | st.just(hash_with(0, 0)), max_size=5))
def test_what_is_found_is_what_a_loop_over_all_hashes_finds(
    stored: list[PerceptualHash], probes: list[PerceptualHash | None]
) -> None:
    near = NearHashes()
    ids = [100 - number for number in range(len(stored))]  # ids need not rise
    near.add(ids, [each.bits for each in stored])
    for probe, found in zip(probes, near.find(probes), strict=True):
        expected = []
        if probe is not None and probe.reliable:
            distances = [
                (hamming_distance(probe, each), i) for each, i in zip(stored, ids, strict=True)
            ]
            expected = [i for distance, i in sorted(distances) if distance <= MAX_HAMMING_DISTANCE]
        assert found.tolist() == expected


@pytest.mark.parametrize(("bits", "is_found"), [(31, True), (32, False)])
def test_the_limit_belongs_to_the_same_picture(bits: int, is_found: bool) -> None:
    near = NearHashes()
    near.add([7], [hash_with(0).bits])
    assert MAX_HAMMING_DISTANCE == 31
    assert near.find([hash_with(bits)])[0].tolist() == ([7] if is_found else [])


@settings(settings.get_profile("index"), max_examples=40)
@given(hashes, st.integers(0, 12))
def test_adding_in_two_parts_is_adding_at_once(stored: list[PerceptualHash], cut: int) -> None:
    together, apart = NearHashes(), NearHashes()
    together.add(range(len(stored)), [each.bits for each in stored])
    for part in (slice(0, cut), slice(cut, None)):
        apart.add(range(len(stored))[part], [each.bits for each in stored[part]])
    probes = [hash_with(bits) for bits in (0, 20, 60)]
    for one, other in zip(together.find(probes), apart.find(probes), strict=True):
        assert one.tolist() == other.tolist()


def test_an_id_may_have_several_hashes() -> None:
    near = NearHashes()
    near.add([5, 5, 6], [hash_with(0).bits, hash_with(10).bits, hash_with(5).bits])
    assert near.find([hash_with(0)])[0].tolist() == [5, 6, 5]


def test_an_empty_set_and_an_empty_question() -> None:
    near = NearHashes()
    near.add([], [])
    assert [each.tolist() for each in near.find([hash_with(0), None])] == [[], []]
    assert near.find([]) == []


def test_a_hash_of_low_quality_finds_nothing_even_itself() -> None:
    near = NearHashes()
    near.add([1], [hash_with(0).bits])
    found = near.find([hash_with(0, MIN_QUALITY - 1), hash_with(0, MIN_QUALITY)])
    assert [each.tolist() for each in found] == [[], [1]]


def test_random_hashes_are_not_near() -> None:
    random = np.random.default_rng(0)
    stored = [random.bytes(HASH_BYTES) for _ in range(2000)]
    near = NearHashes()
    near.add(range(2000), stored)
    found = near.find([PerceptualHash(bits, 100) for bits in stored[:50]])
    assert [each.tolist() for each in found] == [[number] for number in range(50)]


def test_one_id_is_found_under_each_of_its_hashes() -> None:
    near = NearHashes()
    near.add([7, 7, 8], [bytes(32), bytes([255] * 32), bytes([15] * 32)])
    black, white = near.find([PerceptualHash(bytes(32), 50), PerceptualHash(bytes([255] * 32), 50)])
    assert black.tolist() == [7] == white.tolist()
