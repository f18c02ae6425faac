"""Near duplicates in a chunk: of entries, and of earlier items of the chunk."""

from __future__ import annotations

import pytest
from PIL import Image

from api.images import describe_image
from api.ingest.near import NearItems
from api.ingest.request import Dedup
from api.jobs.task import Added
from index.truth.adding import NewEntry
from index.truth.corpora import CorpusKind, ensure_corpus
from index.truth.databases.database import Database
from index.truth.entries import remove_entry
from index.truth.provenance import Provenance
from tests.api.modelless import encode, fill, jpeg_of, picture_of, png, sha256_of


def offered(position: int, data: bytes) -> Added[NewEntry]:
    facts = describe_image(sha256_of(data), data, picture_of(data))
    return Added(position, f"{position}", NewEntry(facts, None, None, Provenance()))


def find(database: Database, dedup: Dedup, *chunks: list[bytes]) -> list[dict[int, int | None]]:
    """What each chunk finds, one after another; nothing is added in between."""
    near = NearItems("known", dedup)
    found = []
    for chunk in chunks:
        with database.write() as conn:
            ensure_corpus(conn, "known", CorpusKind.KNOWN_FAKE)
            items = [offered(position, data) for position, data in enumerate(chunk)]
            found.append(dict(near.find(conn, items)))
    return found


FLAT = encode(Image.new("RGB", (64, 64), "white"), "PNG")


@pytest.mark.parametrize("dedup", list(Dedup))
def test_an_item_that_shows_an_entrys_picture_names_the_entry(
    database: Database, dedup: Dedup
) -> None:
    (entry_id,) = fill(database, "known", [1])

    assert find(database, dedup, [png(2), jpeg_of(1)]) == [{1: entry_id}]


@pytest.mark.parametrize("dedup", list(Dedup))
def test_the_same_bytes_as_an_entry_are_no_near_duplicate(database: Database, dedup: Dedup) -> None:
    fill(database, "known", [1])

    assert find(database, dedup, [png(1)]) == [{}]


def test_an_item_that_shows_an_earlier_items_picture_names_no_entry(database: Database) -> None:
    chunk = [png(1), jpeg_of(1), jpeg_of(1, 60)]

    assert find(database, Dedup.EXACT, chunk) == [{1: None, 2: None}]
    assert find(database, Dedup.NEAR, chunk) == [{1: None, 2: None}]


def test_where_near_duplicates_are_left_out_their_repetitions_are_too(database: Database) -> None:
    (entry_id,) = fill(database, "known", [1])
    chunk = [jpeg_of(1), png(2), jpeg_of(1)]

    assert find(database, Dedup.NEAR, chunk) == [{0: entry_id, 2: entry_id}]
    (kept,) = find(database, Dedup.EXACT, chunk)
    assert len(kept) == 1  # the other one has the same bytes, and is a duplicate


def test_pictures_without_structure_are_never_near_duplicates(database: Database) -> None:
    fill(database, "known", [1])

    assert find(database, Dedup.NEAR, [FLAT, encode(Image.new("RGB", (64, 64), "red"), "PNG")]) == [
        {}
    ]


def test_other_corpora_and_removed_entries_do_not_count(database: Database) -> None:
    fill(database, "others", [1])
    (entry_id,) = fill(database, "known", [2])
    with database.write() as conn:
        remove_entry(conn, entry_id)

    assert find(database, Dedup.NEAR, [jpeg_of(1), jpeg_of(2)]) == [{}]


def test_entries_that_came_between_two_chunks_are_seen(database: Database) -> None:
    near = NearItems("known", Dedup.NEAR)
    fill(database, "known", [1])
    with database.write() as conn:
        assert near.find(conn, [offered(0, jpeg_of(2))]) == {}
    (entry_id,) = fill(database, "known", [2])

    with database.write() as conn:
        assert near.find(conn, [offered(0, jpeg_of(2))]) == {0: entry_id}
