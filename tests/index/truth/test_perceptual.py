"""Near duplicates by perceptual hash: the constants, the search, and what is never called a
match.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text

from index.cache.live import LiveIndex
from index.cache.pictures import NearDuplicates, PictureHashes
from index.errors import InvalidImageFacts
from index.near_hashes import NearHashes
from index.truth.changes import last_number
from index.truth.corpora import CorpusKind, ensure_corpus, lock_corpus
from index.truth.database import Database
from index.truth.entries import NewEntry, add_entries, entries_of_image, remove_entry
from index.truth.images import ImageFacts, find_known_images
from index.truth.perceptual import PerceptualHash, hamming_distance, near_duplicate
from tests.functional.crashing import SPACE, vector

BITS = bytes(range(32))


def flipped(bits: bytes, count: int) -> bytes:
    """The hash with its first `count` bits turned."""
    return (int.from_bytes(bits) ^ ((1 << count) - 1)).to_bytes(32)


def added(
    database: Database, image: int, hashed: PerceptualHash | None, corpus: str = "known"
) -> int:
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


@pytest.mark.parametrize(
    "hashed", [PerceptualHash(b"short", 90), PerceptualHash(BITS, 101), PerceptualHash(BITS, -1)]
)
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
        add_entries(
            conn, "known", SPACE, [NewEntry(ImageFacts("b" * 64, 1, 1, 1, "png"), vector(1), 0.0)]
        )

    with database.read() as conn:
        assert entries_of_image(conn, "b" * 64)[0].image == complete
        assert find_known_images(conn, SPACE, ["b" * 64])["b" * 64].embedded


def test_each_fact_is_completed_alone(database: Database) -> None:
    """A ready embedding may come with a part of the facts; the file's own facts add the rest."""
    with database.write() as conn:
        ensure_corpus(conn, "known", CorpusKind.KNOWN_FAKE)
        for facts in (
            ImageFacts("b" * 64, None, 20, 30, None),
            ImageFacts("b" * 64, 10, 21, 31, None),
            ImageFacts("b" * 64, None, None, None, None),
        ):
            add_entries(conn, "known", SPACE, [NewEntry(facts, vector(1), 0.0)])

    with database.read() as conn:
        assert entries_of_image(conn, "b" * 64)[0].image == ImageFacts("b" * 64, 10, 20, 30, None)
        stored = conn.execute(text("SELECT byte_size, width, height, format FROM images")).one()
    assert tuple(stored) == (10, 20, 30, None)


def shown(live: LiveIndex, hashed: PerceptualHash, k: int = 1) -> list[int]:
    """The entries that a search calls near duplicates; its vector is far from all of them."""
    found = live.search(vector(99), k, probe_hash=hashed).neighbours
    return [each.entry.id for each in found if each.near_duplicate]


@pytest.fixture
def live(database: Database, tmp_path: Path) -> Iterator[LiveIndex]:
    with LiveIndex.open(database, SPACE, tmp_path / "index") as opened:
        yield opened


def test_a_search_finds_copies_that_came_after_it_was_opened_and_none_that_left(
    database: Database, live: LiveIndex
) -> None:
    for image in range(10, 40):  # nearer than any copy or not, they are other pictures
        added(database, image, PerceptualHash(bytes([image] * 32), 100))
    assert shown(live, PerceptualHash(BITS, 100)) == []

    near = added(database, 1, PerceptualHash(flipped(BITS, 31), 100))
    nearer = added(database, 2, PerceptualHash(flipped(BITS, 3), 100), "other")
    added(database, 3, PerceptualHash(flipped(BITS, 32), 100))

    assert shown(live, PerceptualHash(BITS, 100), 2) == [nearer, near]
    assert len(live.search(vector(99), 2, probe_hash=PerceptualHash(BITS, 100)).neighbours) in {
        2,
        3,
        4,
    }
    assert shown(live, PerceptualHash(BITS, 49), 2) == []
    with database.write() as conn:
        remove_entry(conn, nearer)
    assert shown(live, PerceptualHash(BITS, 100), 2) == [near]


def test_a_hash_that_an_image_gets_late_is_found(database: Database, live: LiveIndex) -> None:
    first = added(database, 1, None)
    assert shown(live, PerceptualHash(BITS, 100)) == []

    second = added(database, 1, PerceptualHash(BITS, 100), "other")  # the very image, seen again

    assert sorted(shown(live, PerceptualHash(BITS, 100), 2)) == [first, second]


def test_hashes_read_from_the_log_are_those_read_at_once(database: Database) -> None:
    stepwise = PictureHashes()
    probes = [PerceptualHash(flipped(BITS, count), 100) for count in range(0, 90, 7)]

    def found(hashes: PictureHashes) -> list[list[int]]:
        with database.read() as conn:
            return [hashes.find(conn, probe, last_number(conn)).tolist() for probe in probes]

    for image in range(1, 60):
        hashed = (
            None
            if image % 4 == 0
            else PerceptualHash(flipped(BITS, image), 49 if image % 5 == 0 else 90)
        )
        entry_id = added(database, image, hashed, ("known", "other")[image % 2])
        if image % 9 == 0:
            with database.write() as conn:
                remove_entry(conn, entry_id)
        if image % 10 == 1:
            assert found(stepwise) == found(PictureHashes())
    assert any(found(stepwise))
    assert found(stepwise) == found(PictureHashes())


def test_the_thread_that_follows_the_log_reads_hashes_before_a_search_asks(
    database: Database, tmp_path: Path
) -> None:
    with LiveIndex.open(database, SPACE, tmp_path / "index", background=True) as live:
        entry_id = added(database, 1, PerceptualHash(BITS, 100))
        deadline = time.monotonic() + 20
        while live._pictures.behind(1):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert shown(live, PerceptualHash(BITS, 100)) == [entry_id]


def test_many_threads_may_search_while_copies_come(database: Database, live: LiveIndex) -> None:
    hashed = PerceptualHash(BITS, 100)

    def ask(image: int) -> bool:
        return added(database, image, hashed) in shown(live, hashed, 100)

    with ThreadPoolExecutor(4) as threads:
        assert all(threads.map(ask, range(1, 41)))
