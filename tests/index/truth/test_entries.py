"""Entries come back as they were added, in pages, until they are removed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pytest

from index.cache.live import LiveIndex
from index.errors import InvalidFilter, UnknownCorpus, UnknownEntry
from index.truth.adding import AddStatus, NewEntry
from index.truth.changes import read_head
from index.truth.corpora import CorpusKind
from index.truth.databases.database import Database
from index.truth.entries import (
    IMAGES_WITH_HEAD,
    get_entry,
    list_entries,
    read_head_unless_live,
    remove_entry,
)
from index.truth.images import ImageFacts, find_embedding
from index.truth.provenance import Provenance
from index.truth.spaces import list_spaces
from tests.index.truth.additions import add


def test_an_entry_that_is_not_there_is_unknown(database: Database, corpora: None) -> None:
    for entry_id in (1, 0, -1, 2**63, 10**30):
        for action in (get_entry, remove_entry):
            with pytest.raises(UnknownEntry), database.write() as conn:
                action(conn, entry_id)


def test_an_entry_comes_back_as_it_was_added(
    database: Database, corpora: None, material: Any
) -> None:
    acquired = datetime(2026, 3, 1, 12, 30, tzinfo=timezone(timedelta(hours=2)))
    extra = {"prompt": "ein Hühnchen", "seeds": [1, 2.5, None, True], "nested": {"b": 1, "a": {}}}
    provenance = Provenance(
        " SD  XL ", " portrait ", "CC0", "https://example.org/1", acquired, extra
    )
    image = ImageFacts(material.sha256("a"), 123, 640, 480, "jpeg")
    (result,) = add(
        database, "fakes", material.space, NewEntry(image, material.vector("a"), -1.25, provenance)
    )
    with database.read() as conn:
        entry = get_entry(conn, result.entry_id)
        embedding = find_embedding(conn, material.space, image.sha256)
        spaces = list_spaces(conn)
    assert (entry.corpus, entry.kind) == ("fakes", CorpusKind.KNOWN_FAKE)
    assert entry.image == ImageFacts(image.sha256, 123, 640, 480, "jpeg")
    assert (entry.generator, entry.label, entry.licence, entry.source) == (
        "sd-xl",
        "portrait",
        "CC0",
        provenance.source,
    )
    assert entry.acquired_at == acquired
    assert entry.acquired_at.tzinfo is UTC
    assert entry.provenance == extra
    assert abs(entry.created_at - datetime.now(UTC)) < timedelta(minutes=1)
    assert embedding.image == image
    assert embedding.logit == -1.25
    assert np.array_equal(embedding.vector, material.vector("a"))
    assert spaces == (material.space,)


def test_an_entry_removed_from_one_corpus_stays_in_the_others(
    database: Database, corpora: None, material: Any, live: LiveIndex
) -> None:
    (fake,) = add(database, "fakes", material.space, material.entry("a"))
    (real,) = add(database, "reals", material.space, material.entry("a"))
    with database.write() as conn:
        assert remove_entry(conn, fake.entry_id).corpus == "fakes"
    assert [n.entry.id for n in live.search(material.vector("a"), 5).neighbours] == [real.entry_id]
    with pytest.raises(UnknownEntry), database.write() as conn:
        remove_entry(conn, fake.entry_id)


def test_the_head_is_read_unless_an_image_has_a_live_entry(
    database: Database, corpora: None, material: Any
) -> None:
    (result,) = add(database, "fakes", material.space, material.entry("a"))
    known, unknown = material.sha256("a"), material.sha256("b")
    with database.read() as conn:
        head = read_head(conn)
    others = [material.sha256(number) for number in range(IMAGES_WITH_HEAD + 1)]
    for sha256s in ((), {unknown}, {"", "it's", "%s"}, set(others[1:])):
        assert read_head_unless_live(database, sha256s) == head
    assert read_head_unless_live(database, set(others)) is None
    for more in (0, 1, 2, 40):
        assert read_head_unless_live(database, {known, *others[:more]}) is None
    with database.write() as conn:
        remove_entry(conn, result.entry_id)
        head = read_head(conn)
    assert read_head_unless_live(database, {unknown, known}) == head


def test_an_image_added_again_after_its_removal_is_a_new_entry(
    database: Database, corpora: None, material: Any, live: LiveIndex
) -> None:
    (first,) = add(database, "fakes", material.space, material.entry("a"))
    with database.write() as conn:
        remove_entry(conn, first.entry_id)
    (second,) = add(database, "fakes", material.space, NewEntry(material.image("a"), None, None))
    assert second.status is AddStatus.LINKED
    assert second.entry_id > first.entry_id
    assert [n.entry.id for n in live.search(material.vector("a"), 5).neighbours] == [
        second.entry_id
    ]


def test_the_id_of_a_removed_entry_is_not_given_again_even_if_it_was_the_last(
    database: Database, corpora: None, material: Any
) -> None:
    seen = set()
    for _ in range(3):
        (result,) = add(database, "fakes", material.space, material.entry("a"))
        assert result.entry_id not in seen
        seen.add(result.entry_id)
        with database.write() as conn:
            remove_entry(conn, result.entry_id)


def test_entries_are_listed_in_pages_that_lose_and_double_none(
    database: Database, corpora: None, material: Any
) -> None:
    ids = [
        r.entry_id
        for r in add(database, "fakes", material.space, *(material.entry(i) for i in range(7)))
    ]
    add(database, "reals", material.space, material.entry(0))
    pages, after = [], None
    with database.read() as conn:
        while page := list_entries(conn, "fakes", after, 3):
            pages.append([entry.id for entry in page])
            after = page[-1].id
        assert pages == [ids[:3], ids[3:6], ids[6:]]
        assert len(list_entries(conn)) == 8
        assert list_entries(conn, after=10**30) == ()
        with pytest.raises(UnknownCorpus):
            list_entries(conn, "nowhere")
        with pytest.raises(InvalidFilter):
            list_entries(conn, limit=0)
