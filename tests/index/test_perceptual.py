"""Near duplicates by perceptual hash: the constants, the search, and what is never called a match."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from index import (
    CorpusKind,
    Database,
    ImageFacts,
    InvalidImageFacts,
    NearDuplicates,
    NearHashes,
    NewEntry,
    PerceptualHash,
    add_entries,
    ensure_corpus,
    entries_of_image,
    hamming_distance,
    known_images,
    lock_corpus,
    near_duplicate,
    remove_entry,
)
from tests.functional.crashing import SPACE, vector

BITS = bytes(range(32))


def flipped(bits: bytes, count: int) -> bytes:
    """The hash with its first `count` bits turned."""
    return (int.from_bytes(bits) ^ ((1 << count) - 1)).to_bytes(32)


def added(database: Database, image: int, hashed: PerceptualHash | None, corpus: str = "known") -> int:
    facts = ImageFacts(f"{image:064x}", 1, 1, 1, "png", hashed)
    with database.write() as conn:
        ensure_corpus(conn, corpus, CorpusKind.KNOWN_FAKE)
        return add_entries(conn, corpus, SPACE, [NewEntry(facts, vector(image), 0.0)])[0].entry_id


def found(database: Database, near: NearDuplicates, hashed: PerceptualHash) -> int | None:
    with database.read() as conn:
        near.refresh(conn)
        return near.find(conn, [hashed])[0]


def search_of(database: Database, corpus: str = "known") -> NearDuplicates:
    with database.write() as conn:
        return NearDuplicates(lock_corpus(conn, corpus))


@pytest.mark.parametrize("hashed", [PerceptualHash(b"short", 90), PerceptualHash(BITS, 101), PerceptualHash(BITS, -1)])
def test_what_cannot_be_a_hash_is_refused(hashed: PerceptualHash) -> None:
    with pytest.raises(InvalidImageFacts, match="PDQ"):
        ImageFacts("a" * 64, 1, 1, 1, "png", hashed).check()


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


@given(st.lists(st.binary(min_size=1, max_size=1), max_size=40), st.integers(0, 255), st.integers(0, 60))
def test_the_search_finds_exactly_what_counting_bits_finds(seeds: list[bytes], probe: int, turned: int) -> None:
    hashes = [flipped(seed * 32, number % 70) for number, seed in enumerate(seeds)]
    wanted = flipped(bytes([probe]) * 32, turned)
    near = NearHashes()
    for bits in hashes:
        near.add(np.frombuffer(bits, np.uint8)[None])

    places = near.find(np.frombuffer(wanted, np.uint8)[None])[0].tolist()

    distances = [(int.from_bytes(bits) ^ int.from_bytes(wanted)).bit_count() for bits in hashes]
    assert places == [place for place, distance in enumerate(distances) if distance <= 31]


def test_only_live_entries_of_the_corpus_with_a_reliable_hash_are_found(database: Database) -> None:
    added(database, 1, PerceptualHash(BITS, 49))
    added(database, 2, None)
    added(database, 3, PerceptualHash(BITS, 100), "other")
    near = search_of(database)
    assert found(database, near, PerceptualHash(BITS, 100)) is None

    first = added(database, 4, PerceptualHash(flipped(BITS, 31), 100))
    added(database, 5, PerceptualHash(BITS, 100))
    assert found(database, near, PerceptualHash(BITS, 100)) == first
    with database.write() as conn:
        remove_entry(conn, first)

    last = found(database, near, PerceptualHash(BITS, 100))

    assert last is not None
    assert last > first
    assert found(database, near, PerceptualHash(BITS, 49)) is None


def test_facts_that_were_not_known_are_completed_and_known_ones_stay(database: Database) -> None:
    unknown = ImageFacts("b" * 64, None, None, None, None)
    with database.write() as conn:
        ensure_corpus(conn, "known", CorpusKind.KNOWN_FAKE)
        add_entries(conn, "known", SPACE, [NewEntry(unknown, vector(1), 0.0)])
    with database.read() as conn:
        assert entries_of_image(conn, "b" * 64)[0].image == unknown

    complete = ImageFacts("b" * 64, 10, 20, 30, "jpeg", PerceptualHash(BITS, 80))
    with database.write() as conn:
        add_entries(conn, "known", SPACE, [NewEntry(complete, vector(1), 0.0)])
        add_entries(conn, "known", SPACE, [NewEntry(ImageFacts("b" * 64, 1, 1, 1, "png"), vector(1), 0.0)])

    with database.read() as conn:
        assert entries_of_image(conn, "b" * 64)[0].image == complete
        assert known_images(conn, SPACE, ["b" * 64])["b" * 64].embedded
