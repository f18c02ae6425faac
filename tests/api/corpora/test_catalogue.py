"""Corpora and entries as answers: listed page by page, changed, removed with their blobs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from api.corpora.catalogue import (
    add_corpus,
    change_keep,
    describe_corpora,
    describe_corpus,
    describe_entry,
    drop_entry,
    get_thumbnail,
    page_corpora,
    page_entries,
)
from api.corpora.json import NewCorpus
from api.errors import InvalidRequest
from api.images import BlobStores
from index.blobs import publish_blobs
from index.errors import CorpusExists, UnknownBlob, UnknownCorpus, UnknownEntry
from index.truth.corpora import CorpusKind, Keep
from index.truth.databases.database import Database
from tests.api.modelless import fill, picture_of, png, sha256_of, stores_in


@pytest.fixture
def stores(tmp_path: Path) -> BlobStores:
    made = stores_in(tmp_path)
    for seed in range(4):
        publish_blobs(
            made.stage(Keep.ORIGINAL, sha256_of(png(seed)), png(seed), picture_of(png(seed)))
        )
    return made


def test_what_is_not_there_is_unknown(database: Database, stores: BlobStores) -> None:
    for ask in (
        lambda: describe_corpus(database, "none"),
        lambda: change_keep(database, stores, "none", Keep.NONE),
        lambda: page_entries(database, "none", None, 10),
    ):
        with pytest.raises(UnknownCorpus):
            ask()
    for ask_entry in (
        lambda: describe_entry(database, 7),
        lambda: drop_entry(database, stores, 7),
        lambda: get_thumbnail(database, stores.thumbnails, 7),
    ):
        with pytest.raises(UnknownEntry):
            ask_entry()
    with pytest.raises(InvalidRequest):
        page_entries(database, None, "eA", 10)
    with pytest.raises(InvalidRequest):
        page_corpora(database, "!", 10)


def test_a_corpus_is_created_once_and_described(database: Database) -> None:
    new = NewCorpus(name="known", kind=CorpusKind.KNOWN_REAL, keep=Keep.NONE, description="a case")

    added = add_corpus(database, new)

    assert describe_corpus(database, "known") == added
    assert added.model_dump(exclude={"created_at"}) == {
        "name": "known",
        "kind": "known_real",
        "keep": "none",
        "features": False,
        "description": "a case",
        "entry_count": 0,
    }
    with pytest.raises(CorpusExists):
        add_corpus(database, new)


@given(count=st.integers(0, 6), limit=st.integers(1, 7))
@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_pages_give_each_corpus_and_each_entry_once_in_order(
    new_sqlite_url: Callable[[], str], count: int, limit: int
) -> None:
    with Database.open(new_sqlite_url()) as database:
        ids = list(fill(database, "all", range(count)))
        for number in range(count):
            add_corpus(database, NewCorpus(name=f"c{number}"))
        names: list[str] = []
        entries: list[int] = []
        cursor = None
        while True:
            corpora = page_corpora(database, cursor, limit)
            assert len(corpora.corpora) <= limit
            names += [corpus.name for corpus in corpora.corpora]
            cursor = corpora.next_cursor
            if cursor is None:
                break
        while True:
            page = page_entries(database, "all", cursor, limit)
            assert len(page.entries) <= limit
            entries += [entry.id for entry in page.entries]
            cursor = page.next_cursor
            if cursor is None:
                break

        assert names == ["all", *(f"c{number}" for number in range(count))]
        assert names == [corpus.name for corpus in describe_corpora(database)]
        assert entries == ids


def test_entries_of_every_corpus_are_listed_without_a_name(database: Database) -> None:
    ids = fill(database, "one", [0, 1]) + fill(database, "other", [2])

    assert [entry.id for entry in page_entries(database, None, None, 10).entries] == [*ids]
    assert [entry.id for entry in page_entries(database, "other", None, 10).entries] == [ids[2]]


def test_an_entry_is_described_with_its_image_and_provenance(database: Database) -> None:
    (entry_id,) = fill(database, "known", [1], generator="sdxl", extra={"case": 7})

    entry = describe_entry(database, entry_id)

    assert (entry.id, entry.corpus, entry.kind) == (entry_id, "known", CorpusKind.KNOWN_FAKE)
    assert (entry.sha256, entry.format, entry.width) == (sha256_of(png(1)), "png", 64)
    assert entry.pdq_hash is not None
    assert len(entry.pdq_hash) == 64
    assert (entry.generator, entry.provenance, entry.job_id) == ("sdxl", {"case": 7}, None)


def test_a_removed_entry_is_gone_with_the_blobs_that_nobody_needs(
    database: Database, stores: BlobStores
) -> None:
    one, _ = fill(database, "known", [0, 1])
    (linked,) = fill(database, "others", [0])

    removed = drop_entry(database, stores, one)

    assert removed.id == one
    with pytest.raises(UnknownEntry):
        describe_entry(database, one)
    assert sha256_of(png(0)) in stores.thumbnails  # the other corpus shows it
    drop_entry(database, stores, linked)
    assert sha256_of(png(0)) not in stores.thumbnails
    assert sha256_of(png(1)) in stores.thumbnails


def test_a_corpus_that_keeps_less_removes_its_blobs_at_once(
    database: Database, stores: BlobStores
) -> None:
    (entry_id,) = fill(database, "known", [0])
    assert get_thumbnail(database, stores.thumbnails, entry_id) == stores.thumbnails.get(
        sha256_of(png(0))
    )

    assert change_keep(database, stores, "known", Keep.NONE).keep is Keep.NONE

    assert sha256_of(png(0)) not in stores.thumbnails
    assert sha256_of(png(0)) not in stores.originals
    with pytest.raises(UnknownBlob):
        get_thumbnail(database, stores.thumbnails, entry_id)


def test_a_corpus_that_keeps_none_shows_no_thumbnail_that_another_keeps(
    database: Database, stores: BlobStores
) -> None:
    (entry_id,) = fill(database, "known", [0])
    fill(database, "others", [0])
    change_keep(database, stores, "known", Keep.NONE)

    assert sha256_of(png(0)) in stores.thumbnails
    with pytest.raises(UnknownBlob):
        get_thumbnail(database, stores.thumbnails, entry_id)
