"""Coverage of a space: what has an embedding, what needs one, and what an export reads."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from index.errors import UnknownCorpus
from index.truth.adding import NewEntry, add_embeddings, add_entries
from index.truth.corpora import CorpusKind, create_corpus, remove_corpus
from index.truth.coverage import (
    count_embedded,
    coverage,
    has_embedded,
    image_sources,
    images_to_embed,
    list_embedded_image_ids,
    read_export_rows,
)
from index.truth.databases.database import Database
from index.truth.entries import remove_entry
from index.truth.filters import Filter, select_corpus_ids
from index.truth.images import find_known_images
from index.truth.vectors import from_bytes


def embed_elsewhere(database: Database, material: Any, names: str) -> None:
    """Store embeddings of images in the other space."""
    with database.write() as conn:
        new = [NewEntry(material.image(n), material.vector(n, 4), 0.0) for n in names]
        add_embeddings(conn, material.other_space, new)


def image_ids(database: Database, material: Any, names: str) -> list[int]:
    with database.read() as conn:
        found = find_known_images(conn, material.space, [material.sha256(name) for name in names])
    return [found[material.sha256(name)].image_id for name in names]


def corpus_ids(database: Database, *names: str) -> tuple[int, ...]:
    with database.read() as conn:
        return select_corpus_ids(conn, Filter(corpora=frozenset(names))) or ()


def test_a_space_that_nobody_used_covers_nothing(database: Database, material: Any) -> None:
    with database.read() as conn:
        nothing = coverage(conn, material.space)
        assert (nothing.entries, nothing.embedded, nothing.missing) == (0, 0, 0)
    material.fill(database, "fakes", "ab")
    with database.read() as conn:
        found = coverage(conn, material.other_space)
        assert (found.entries, found.embedded, found.missing) == (2, 0, 2)


def test_coverage_counts_live_entries_and_not_images(database: Database, material: Any) -> None:
    removed, *_ = material.fill(database, "fakes", "abc")
    material.fill(database, "reals", "bcd", CorpusKind.KNOWN_REAL)
    material.fill(database, "gone", "abcd")
    embed_elsewhere(database, material, "ac")
    with database.write() as conn:
        remove_entry(conn, removed)
        remove_corpus(conn, "gone")
        here, elsewhere = coverage(conn, material.space), coverage(conn, material.other_space)
    assert (here.entries, here.embedded, here.missing) == (5, 5, 0)
    # Of the five live entries, two are of the image c, and none is of a.
    assert (elsewhere.entries, elsewhere.embedded, elsewhere.missing) == (5, 2, 3)


def test_images_to_embed_are_those_of_live_entries_without_a_vector(
    database: Database, material: Any
) -> None:
    removed, *_ = material.fill(database, "fakes", "abcde")
    material.fill(database, "reals", "bc", CorpusKind.KNOWN_REAL)
    embed_elsewhere(database, material, "c")
    with database.write() as conn:
        remove_entry(conn, removed)
    expected = sorted(image_ids(database, material, "bde"))
    with database.read() as conn:
        assert images_to_embed(conn, material.space, 0, 100) == ()
        assert list(images_to_embed(conn, material.other_space, 0, 100)) == expected
        assert list(images_to_embed(conn, material.other_space, 0, 2)) == expected[:2]
        assert list(images_to_embed(conn, material.other_space, expected[0], 100)) == expected[1:]
        assert images_to_embed(conn, material.other_space, expected[-1], 100) == ()


def test_embedded_images_are_in_the_order_of_their_entries(
    database: Database, material: Any
) -> None:
    material.fill(database, "fakes", "cab")
    material.fill(database, "more", "dc")
    both = corpus_ids(database, "fakes", "more")
    with database.read() as conn:
        found = list_embedded_image_ids(conn, material.space, both)
        of_one = list_embedded_image_ids(conn, material.space, corpus_ids(database, "more"))
        assert list_embedded_image_ids(conn, material.other_space, both) == ()
        assert list_embedded_image_ids(conn, material.space, ()) == ()
    assert list(found) == image_ids(database, material, "cabd")
    assert list(of_one) == image_ids(database, material, "dc")


def test_the_live_entries_of_some_corpora_are_counted(database: Database, material: Any) -> None:
    removed, *_ = material.fill(database, "fakes", "ab")
    material.fill(database, "reals", "bcd", CorpusKind.KNOWN_REAL)
    fakes, reals = corpus_ids(database, "fakes"), corpus_ids(database, "reals")
    with database.write() as conn:
        assert count_embedded(conn, material.space, fakes + reals) == 5
        remove_entry(conn, removed)
        assert count_embedded(conn, material.space, fakes) == 1
        assert count_embedded(conn, material.space, reals) == 3
        assert count_embedded(conn, material.other_space, fakes + reals) == 0
        assert has_embedded(conn, material.space, fakes)
        assert not has_embedded(conn, material.other_space, fakes)
        assert not has_embedded(conn, material.space, ())
        remove_corpus(conn, "fakes")
        assert not has_embedded(conn, material.space, fakes)
        assert count_embedded(conn, material.space, fakes) == 0


def test_the_locations_of_an_image_are_those_of_its_live_entries(
    database: Database, material: Any
) -> None:
    material.fill(database, "fakes", "a", extra={"location": "folder/a.png"})
    removed, *_ = material.fill(database, "more", "a", extra={"location": "removed.png"})
    material.fill(database, "reals", "a", CorpusKind.KNOWN_REAL, extra={"location": ["no", "text"]})
    material.fill(database, "last", "ab", extra={"location": "x.zip!a.png"})
    material.fill(database, "none", "c")
    with database.write() as conn:
        remove_entry(conn, removed)
        a, b, c = image_ids(database, material, "abc")
        found = image_sources(conn, [c, a, b])
    assert [source.image for source in found] == [material.image(name) for name in "cab"]
    assert [source.locations for source in found] == [
        (),
        ("folder/a.png", "x.zip!a.png"),
        ("x.zip!a.png",),
    ]


@pytest.mark.parametrize("chunk", [1, 2, 3, 100])
def test_an_export_reads_every_live_entry_once_in_any_chunks(
    database: Database, material: Any, chunk: int
) -> None:
    with database.write() as conn:
        create_corpus(conn, "fakes", CorpusKind.KNOWN_FAKE)
        new = [material.entry(name, generator=name) for name in "edcba"]
        ids = [each.entry_id for each in add_entries(conn, "fakes", material.space, new)]
        remove_entry(conn, ids[1])
    material.fill(database, "other", "ab")
    with database.read() as conn:
        pages = list(read_export_rows(conn, "fakes", material.space, chunk))
    assert max(map(len, pages)) <= chunk
    rows = [row for page in pages for row in page]
    assert [row.entry.id for row in rows] == [ids[0], *ids[2:]]
    for row, name in zip(rows, "ecba", strict=True):
        assert (row.entry.corpus, row.entry.generator, row.logit) == ("fakes", name, 0.5)
        assert row.entry.sha256 == material.sha256(name)
        assert np.array_equal(from_bytes(row.vector), material.vector(name))


def test_an_export_has_only_entries_of_its_space(database: Database, material: Any) -> None:
    material.fill(database, "fakes", "abc")
    embed_elsewhere(database, material, "b")
    with database.read() as conn:
        rows = [r for page in read_export_rows(conn, "fakes", material.other_space) for r in page]
        (row,) = rows
        assert row.entry.sha256 == material.sha256("b")
        assert len(row.vector) == 4 * material.other_space.dimension
        with pytest.raises(UnknownCorpus):
            next(read_export_rows(conn, "nowhere", material.space))
