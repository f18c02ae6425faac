"""Populations as they are read from SQL, and the numbers of their source images."""

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from index.calibration.population import CollectionName
from index.calibration.reading import (
    NamedCorpora,
    SourceNumbers,
    draw_rows,
    find_folder,
    get_named_corpora,
    read_population,
)
from index.errors import CorpusKindConflict, UnknownCorpus
from index.truth.adding import NewEntry, add_entries
from index.truth.corpora import CorpusKind, ensure_corpus, remove_corpus
from index.truth.databases.database import Database
from index.truth.entries import remove_entry
from index.truth.images import ImageFacts
from index.truth.perceptual import PerceptualHash
from index.truth.provenance import Provenance

FAKE, REAL = CorpusKind.KNOWN_FAKE, CorpusKind.KNOWN_REAL


@pytest.fixture
def dialect() -> str:
    return "sqlite"  # `tests/index/truth/test_calibrations.py` has both databases


def test_images_without_a_declared_source_are_sources_of_their_own() -> None:
    numbers = SourceNumbers()
    assert [numbers.number(image, {}) for image in (7, 8, 7)] == [0, 1, 0]


@pytest.mark.parametrize(
    "provenance",
    [
        {"source_image": "p1"},
        {"source": {"source_image": "p1"}},
        {"pattern": {"source_image": "p1"}},
        {"source_image": "p1", "pattern": {"source_image": "p2"}},
        {"source": {"source_image": None}, "pattern": {"source_image": "p1"}},
    ],
    ids=str,
)
def test_a_source_is_declared_by_the_entry_its_row_or_its_name(provenance: dict[str, Any]) -> None:
    numbers = SourceNumbers()
    first = numbers.number(1, {"source_image": "p1"})
    assert numbers.number(2, provenance) == first
    assert numbers.number(3, {"source_image": "p3"}) != first


@pytest.mark.parametrize("provenance", [{"source": "a url"}, {"pattern": ["x"]}, {"path": "p1"}])
def test_other_provenance_declares_no_source(provenance: dict[str, Any]) -> None:
    numbers = SourceNumbers()
    numbers.number(1, {"source_image": "p1"})
    assert numbers.number(2, provenance) == 1


def test_a_source_named_like_an_image_is_not_that_image() -> None:
    numbers = SourceNumbers()
    assert numbers.number(5, {}) != numbers.number(6, {"source_image": "image 5"})
    assert numbers.number(7, {"source_image": 5}) == numbers.number(8, {"source_image": "5"})


@pytest.mark.parametrize(
    ("provenance", "expected"),
    [
        ({"path": "afhq/cats/1.png", "location": "/data/reals/afhq/cats/1.png"}, "afhq"),
        ({"path": "afhq/1.png"}, "afhq"),  # from an archive
        ({"path": "1.png", "location": "/data/afhq/1.png"}, "afhq"),  # the folder itself
        ({"path": "1.png", "location": "https://host/afhq/1.png"}, "afhq"),
        ({"path": "/mnt/afhq/1.png", "location": "/mnt/afhq/1.png"}, "mnt"),
        ({"path": "1.png", "location": "/1.png"}, None),
        ({"path": "1.png", "location": "/data/upload-5.tmp"}, None),
        ({"path": "1.png"}, None),  # sent alone
        ({"location": "/data/afhq/1.png"}, None),
        ({"path": ["afhq", "1.png"]}, None),
        ({}, None),
    ],
    ids=str,
)
def test_a_folder_stands_for_a_collection(provenance: dict[str, Any], expected: str | None) -> None:
    assert find_folder(provenance) == expected


@settings(settings.get_profile("index"), max_examples=60)
@given(st.integers(0, 60), st.integers(0, 60), st.integers(0, 100))
def test_a_sample_is_rising_without_repetition_and_reproducible(
    count: int, wanted: int, seed: int
) -> None:
    rows = draw_rows(count, wanted, seed)
    assert len(rows) == min(count, wanted)
    assert rows.tolist() == sorted(set(rows.tolist()))
    assert all(0 <= row < count for row in rows)
    assert np.array_equal(rows, draw_rows(count, wanted, seed))


def test_corpora_are_named_in_order_and_by_kind(database: Database) -> None:
    with database.write() as conn:
        for name, kind in (("b", FAKE), ("a", FAKE), ("r", REAL), ("gone", FAKE)):
            ensure_corpus(conn, name, kind)
        remove_corpus(conn, "gone")
        found = get_named_corpora(conn, None, FAKE)
        assert found.names == ("a", "b")
        assert get_named_corpora(conn, ["b"], FAKE) == NamedCorpora(("b",), (found.ids[1],))
        assert get_named_corpora(conn, [], FAKE) == NamedCorpora((), ())
        with pytest.raises(UnknownCorpus):
            get_named_corpora(conn, ["gone"], FAKE)
        with pytest.raises(CorpusKindConflict):
            get_named_corpora(conn, ["a", "r"], FAKE)


def test_a_population_has_each_live_embedded_image_once_with_the_facts_of_its_first_entry(
    database: Database, material: Any
) -> None:
    bits = PerceptualHash(bytes(range(32)), 77)
    with database.write() as conn:
        ids = []
        for corpus, source in (("one", "camera"), ("two", None)):
            ensure_corpus(conn, corpus, FAKE)
            new = [
                NewEntry(
                    ImageFacts(
                        material.sha256(name), 10, 8, 8, "png", bits if name == "a" else None
                    ),
                    material.vector(name),
                    float(number),
                    Provenance(
                        generator=f"g-{corpus}",
                        source=source,
                        acquired_at=datetime(2026, 1, 1, tzinfo=UTC),
                        extra={"path": "camera 2/1.png"}
                        | ({"source_image": "p1"} if name in "ab" else {}),
                    ),
                )
                for number, name in enumerate("abc" if corpus == "one" else "cd")
            ]
            ids += [r.entry_id for r in add_entries(conn, corpus, material.space, new)]
        removed = add_entries(
            conn, "two", material.space, [NewEntry(material.image("e"), material.vector("e"), 0.0)]
        )
        remove_entry(conn, removed[0].entry_id)
        add_entries(
            conn,
            "two",
            material.other_space,
            [NewEntry(material.image("f"), material.vector("f", 4), 0.0)],
        )
    with database.read() as conn:
        of = get_named_corpora(conn, None, FAKE)
        found = read_population(conn, material.space, of, SourceNumbers())
    assert len(found) == 4
    np.testing.assert_array_equal(found.vectors, [material.vector(name) for name in "abcd"])
    assert found.logits.tolist() == [0.0, 1.0, 2.0, 1.0]
    assert found.generators == ("g-one", "g-one", "g-one", "g-two")
    assert found.collections == (
        *[CollectionName("one", "camera")] * 3,
        CollectionName("two", "camera 2"),  # no source is declared
    )
    assert found.hashes == (bits, None, None, None)
    assert found.sources.tolist() == [0, 0, 1, 2]
    assert len(set(map(id, found.collections))) == 2  # images share the objects


def test_source_numbers_are_shared_by_the_populations_that_are_read_together(
    database: Database, material: Any
) -> None:
    for corpus, kind in (("fakes", FAKE), ("reals", REAL)):
        material.fill(database, corpus, [f"{corpus}-1"], kind, extra={"source_image": "p1"})
    sources = SourceNumbers()
    with database.read() as conn:
        fakes, reals = (
            read_population(conn, material.space, get_named_corpora(conn, None, kind), sources)
            for kind in (FAKE, REAL)
        )
    assert fakes.sources.tolist() == reals.sources.tolist() == [0]


def test_an_unknown_space_has_no_population(database: Database, material: Any) -> None:
    material.fill(database, "fakes", "ab")
    with database.read() as conn:
        of = get_named_corpora(conn, None, FAKE)
        found = read_population(conn, material.other_space, of, SourceNumbers())
    assert (len(found), found.vectors.shape, found.collections) == (0, (0, 4), ())
