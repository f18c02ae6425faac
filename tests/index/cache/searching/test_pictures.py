"""Near duplicates among stored hashes, against a comparison of every pair."""

from typing import Any

import numpy as np
import pytest
from sqlalchemy import text

from index.cache.searching.pictures import NearDuplicates, PictureHashes
from index.truth.adding import NewEntry, add_entries
from index.truth.corpora import CorpusKind, ensure_corpus, find_corpus_ids
from index.truth.databases.database import Database
from index.truth.entries import find_live_ids, remove_entry
from index.truth.images import ImageFacts
from index.truth.perceptual import MIN_QUALITY, PerceptualHash, near_duplicate
from index.truth.provenance import Provenance
from index.view_hashes import Views


@pytest.fixture
def dialect() -> str:
    return "sqlite"  # `test_searching` has both databases


def hash_with(bits: int, quality: int = 100) -> PerceptualHash:
    """A hash with this number of bits set."""
    return PerceptualHash(((1 << bits) - 1).to_bytes(32), quality)


HASHES = [
    hash_with(0),
    hash_with(10),
    hash_with(31),
    hash_with(32),
    hash_with(60),
    hash_with(0, MIN_QUALITY - 1),
    None,
]


class Shelf:
    def __init__(self, database: Database, material: Any) -> None:
        self.database, self.material, self.images = database, material, 0

    def put(self, hashed: PerceptualHash | None, corpus: str = "fakes") -> int:
        self.images += 1
        facts = ImageFacts(self.material.sha256(self.images), 10, 8, 8, "png", hashed)
        new = NewEntry(facts, self.material.vector(self.images), 0.0, Provenance())
        with self.database.write() as conn:
            ensure_corpus(conn, corpus, CorpusKind.KNOWN_FAKE)
            (result,) = add_entries(conn, corpus, self.material.space, [new])
        return int(result.entry_id)

    def find(
        self, pictures: PictureHashes, hashed: PerceptualHash, generation: int | None = None
    ) -> list[int]:
        with self.database.read() as conn:
            reach = self.images if generation is None else generation
            near = pictures.find(conn, Views(hashed, ()), reach)
            entry_ids = find_live_ids(conn, near.same.ids.tolist())
            return [i for image_id in near.same.ids.tolist() for i in entry_ids[image_id]]


@pytest.fixture
def shelf(database: Database, material: Any) -> Shelf:
    return Shelf(database, material)


@pytest.mark.parametrize("probe", HASHES[:5], ids=[0, 10, 31, 32, 60])
def test_what_is_found_is_what_a_comparison_of_every_pair_finds(
    shelf: Shelf, probe: PerceptualHash
) -> None:
    ids = [shelf.put(each) for each in HASHES]
    near = {i for i, each in zip(ids, HASHES, strict=True) if near_duplicate(probe, each)}
    assert set(shelf.find(PictureHashes(), probe)) == near
    assert near  # at least itself


def test_the_nearest_picture_comes_first(shelf: Shelf) -> None:
    far, near, same = shelf.put(hash_with(20)), shelf.put(hash_with(5)), shelf.put(hash_with(0))
    assert shelf.find(PictureHashes(), hash_with(0)) == [same, near, far]
    with shelf.database.read() as conn:
        found = PictureHashes().find(conn, Views(hash_with(0), ()), 3)
    assert found.bits.tolist() == [0, 5, 20]


def test_an_unreliable_probe_finds_nothing(shelf: Shelf) -> None:
    shelf.put(hash_with(0))
    assert shelf.find(PictureHashes(), hash_with(0, MIN_QUALITY - 1)) == []


def test_an_entry_added_after_the_first_reading_is_found_and_a_removed_one_is_not(
    shelf: Shelf,
) -> None:
    pictures = PictureHashes()
    first = shelf.put(hash_with(0))
    assert shelf.find(pictures, hash_with(0)) == [first]
    second = shelf.put(hash_with(1))
    assert pictures.is_behind(2)
    assert shelf.find(pictures, hash_with(0)) == [first, second]
    assert not pictures.is_behind(2)
    with shelf.database.write() as conn:
        remove_entry(conn, first)
    assert shelf.find(pictures, hash_with(0), 3) == [second]


def test_all_entries_of_one_image_are_found(shelf: Shelf) -> None:
    one = shelf.put(hash_with(0))
    shelf.images -= 1  # the same image, in another corpus
    other = shelf.put(hash_with(0), "more")
    assert shelf.find(PictureHashes(), hash_with(0), 2) == [one, other]


def test_refreshing_reads_in_advance_what_a_question_would_wait_for(shelf: Shelf) -> None:
    pictures = PictureHashes()
    assert pictures.is_behind(0)
    entry_id = shelf.put(hash_with(0))
    with shelf.database.read() as conn:
        pictures.refresh(conn, 1)
    assert not pictures.is_behind(1)
    assert pictures.is_behind(2)
    assert shelf.find(pictures, hash_with(0), 1) == [entry_id]


def test_whether_an_image_is_near_is_known_where_all_hashes_are_held(shelf: Shelf) -> None:
    pictures = PictureHashes()
    shelf.put(hash_with(0))
    near, far, none = (Views(each, ()) for each in (hash_with(10), hash_with(200), None))
    assert pictures.is_near([none], 1) is False
    assert pictures.is_near([near], 1) is None
    with shelf.database.read() as conn:
        pictures.refresh(conn, 1)
        assert pictures.is_near([far, none], 1) is False
        probes = [far, near, near, none]
        assert pictures.is_near(probes, 1) is True
        assert pictures.is_near(probes, 2) is None
        shelf.put(hash_with(11))
    with shelf.database.read() as conn:
        found = pictures.find_many(conn, probes, 2)
    assert [len(each.ids) for each in found] == [0, 2, 2, 0]


def test_reading_stops_at_a_gap_of_the_log(shelf: Shelf) -> None:
    pictures = PictureHashes()
    shelf.put(hash_with(0))
    assert len(shelf.find(pictures, hash_with(0))) == 1
    for bits in (1, 2, 3):
        shelf.put(hash_with(bits))
    with shelf.database.write() as conn:
        conn.execute(text("DELETE FROM changes WHERE number = 3"))
    assert len(shelf.find(pictures, hash_with(0), 4)) == 2
    assert pictures.is_behind(4)


def test_an_ingest_finds_the_oldest_live_entry_of_its_own_corpus(
    shelf: Shelf, database: Database
) -> None:
    old, young = shelf.put(hash_with(3)), shelf.put(hash_with(0))
    shelf.put(hash_with(0), "more")
    with database.read() as conn:
        (corpus_id,) = find_corpus_ids(conn, frozenset(["fakes"]))
        near = NearDuplicates(corpus_id)
        near.refresh(conn)
        assert near.find(conn, [hash_with(0), hash_with(100), None]) == [old, None, None]
    with database.write() as conn:
        remove_entry(conn, old)
        near.refresh(conn)
        assert near.find(conn, [hash_with(0)]) == [young]
        remove_entry(conn, young)
        assert near.find(conn, [hash_with(0)]) == [None]


def test_an_ingest_reads_only_the_entries_added_since(shelf: Shelf, database: Database) -> None:
    shelf.put(None)
    with database.read() as conn:
        (corpus_id,) = find_corpus_ids(conn, frozenset(["fakes"]))
        near = NearDuplicates(corpus_id)
        near.refresh(conn)
        assert near.find(conn, [hash_with(0)]) == [None]
    entry_id = shelf.put(hash_with(0))
    with database.read() as conn:
        assert near.find(conn, [hash_with(0)]) == [None]  # it was not refreshed yet
        near.refresh(conn)
        near.refresh(conn)
        assert near.find(conn, [hash_with(0)]) == [entry_id]


@pytest.mark.parametrize("seed", range(3))
def test_random_hashes_are_found_among_many(shelf: Shelf, seed: int) -> None:
    random = np.random.default_rng(seed)
    hashes = [PerceptualHash(random.bytes(32), 100) for _ in range(20)]
    ids = [shelf.put(each) for each in hashes]
    turned = bytearray(hashes[7].bits)
    turned[3] ^= 0b1011
    assert shelf.find(PictureHashes(), PerceptualHash(bytes(turned), 100)) == [ids[7]]
