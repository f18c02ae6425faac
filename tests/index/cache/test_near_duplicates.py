"""Near duplicates by perceptual hash, in an ingest and in a search of a live index."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from index.cache.live import LiveIndex
from index.cache.searching.pictures import NearDuplicates, PictureHashes
from index.truth.adding import NewEntry, add_entries
from index.truth.changes import last_number
from index.truth.corpora import CorpusKind, ensure_corpus, lock_corpus
from index.truth.databases.database import Database
from index.truth.entries import remove_entry
from index.truth.images import ImageFacts
from index.truth.perceptual import PerceptualHash
from index.view_hashes import Views
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
            every = [hashes.find(conn, Views(probe, ()), last_number(conn)) for probe in probes]
            return [[*each.ids.tolist(), *each.bits.tolist()] for each in every]

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


def test_many_threads_may_search_while_copies_come(database: Database, live: LiveIndex) -> None:
    hashed = PerceptualHash(BITS, 100)

    def ask(image: int) -> bool:
        return added(database, image, hashed) in shown(live, hashed, 100)

    with ThreadPoolExecutor(4) as threads:
        assert all(threads.map(ask, range(1, 41)))
