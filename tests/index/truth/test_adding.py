"""Adding: what is refused, and what comes of an image that is new, known, or given twice."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import text

from index.cache.live import LiveIndex
from index.errors import (
    ForeignSpace,
    InvalidImageFacts,
    InvalidProvenance,
    InvalidVector,
    UnknownCorpus,
)
from index.proof.fsck import fsck
from index.truth.adding import AddStatus, NewEntry
from index.truth.corpora import CorpusKind, create_corpus
from index.truth.databases.database import Database
from index.truth.entries import entries_of_image, find_entries, get_entry, list_entries
from index.truth.images import ImageFacts, find_embedding
from index.truth.provenance import Provenance
from index.truth.spaces import Space
from index.truth.statements import VARIABLES
from tests.index.truth.additions import add


def small(material: Any, name: object, **provenance: Any) -> NewEntry:
    """An entry of the other space."""
    return NewEntry(material.image(name), material.vector(name, 4), 0.0, Provenance(**provenance))


def test_adding_to_a_corpus_that_is_not_there_is_refused(database: Database, material: Any) -> None:
    with pytest.raises(UnknownCorpus):
        add(database, "nowhere", material.space, material.entry("a"))


@pytest.mark.parametrize(
    ("vector", "reason"),
    [
        (np.ones(7, np.float32) / np.sqrt(7), "shape"),
        (np.ones((1, 8), np.float32) / np.sqrt(8), "shape"),
        (np.full(8, np.nan, np.float32), "finite"),
        (np.full(8, np.inf, np.float32), "finite"),
        (np.zeros(8, np.float32), "norm"),
        (np.ones(8, np.float32), "norm"),
        (["a"] * 8, "numbers"),
    ],
)
def test_a_vector_that_is_no_embedding_is_refused(
    database: Database, corpora: None, material: Any, vector: Any, reason: Any
) -> None:
    with pytest.raises(InvalidVector, match=reason):
        add(
            database, "fakes", material.space, material.entry("good"), material.entry("bad", vector)
        )
    with database.read() as conn:
        assert list_entries(conn) == ()


@pytest.mark.parametrize("logit", [np.nan, np.inf, None])
def test_a_logit_that_is_none_is_refused(
    database: Database, corpora: None, material: Any, logit: Any
) -> None:
    with pytest.raises(InvalidVector, match="logit"):
        add(
            database,
            "fakes",
            material.space,
            NewEntry(material.image("a"), material.vector("a"), logit),
        )


def test_an_image_never_embedded_needs_a_vector(
    database: Database, corpora: None, material: Any
) -> None:
    with pytest.raises(InvalidVector, match="needs a vector"):
        add(database, "fakes", material.space, NewEntry(material.image("a"), None, None))


@pytest.mark.parametrize(
    "facts",
    [
        ImageFacts("A" * 64, 1, 1, 1, "png"),
        ImageFacts("a" * 63, 1, 1, 1, "png"),
        ImageFacts("a" * 64, 0, 1, 1, "png"),
        ImageFacts("a" * 64, 1, 1, 0, "png"),
        ImageFacts("a" * 64, 1, 1, 1, ""),
    ],
)
def test_facts_that_cannot_be_true_are_refused(
    database: Database, corpora: None, material: Any, facts: Any
) -> None:
    with pytest.raises(InvalidImageFacts):
        add(database, "fakes", material.space, NewEntry(facts, material.vector("a"), 0.0))


@pytest.mark.parametrize(
    "provenance",
    [
        Provenance(source="a\x00b"),
        Provenance(label="\ud800"),
        Provenance(acquired_at=datetime(2026, 1, 1)),
        Provenance(extra={"a": float("nan")}),
        Provenance(extra={"a": object()}),
        Provenance(extra={"a": "\x00"}),
    ],
)
def test_provenance_that_cannot_be_stored_is_refused(
    database: Database, corpora: None, material: Any, provenance: Any
) -> None:
    with pytest.raises(InvalidProvenance):
        add(
            database,
            "fakes",
            material.space,
            NewEntry(material.image("a"), material.vector("a"), 0.0, provenance),
        )


def test_a_space_whose_fingerprint_is_known_with_other_facts_is_foreign(
    database: Database, corpora: None, material: Any
) -> None:
    add(database, "fakes", material.space, material.entry("a"))
    space = material.space
    liar = Space(
        space.fingerprint,
        space.model,
        material.sha256("?"),
        space.preprocessing_fingerprint,
        space.dimension,
    )
    with pytest.raises(ForeignSpace):
        add(database, "fakes", liar, material.entry("b"))
    with pytest.raises(ForeignSpace):
        space.require(material.other_space.fingerprint)


def test_results_come_in_the_order_given_and_ids_rise_with_it(
    database: Database, corpora: None, material: Any
) -> None:
    names = list("zyxabcdefgh")
    results = add(database, "fakes", material.space, *(material.entry(name) for name in names))
    assert [result.sha256 for result in results] == [material.sha256(name) for name in names]
    assert [result.entry_id for result in results] == sorted(result.entry_id for result in results)
    assert {result.status for result in results} == {AddStatus.ADDED}


def test_an_image_that_is_in_the_corpus_is_skipped_and_keeps_what_it_had(
    database: Database, corpora: None, material: Any
) -> None:
    (first,) = add(database, "fakes", material.space, material.entry("a", generator="sdxl"))
    (second,) = add(
        database,
        "fakes",
        material.space,
        material.entry("a", material.vector("else"), generator="flux"),
    )
    assert (second.entry_id, second.status) == (first.entry_id, AddStatus.SKIPPED)
    with database.read() as conn:
        assert get_entry(conn, first.entry_id).generator == "sdxl"
        assert np.array_equal(
            find_embedding(conn, material.space, material.sha256("a")).vector,
            material.vector("a"),
        )


def test_an_image_twice_in_one_batch_is_added_once(
    database: Database, corpora: None, material: Any
) -> None:
    results = add(
        database, "fakes", material.space, *(material.entry("a", label=label) for label in "xyz")
    )
    assert [result.status for result in results] == [
        AddStatus.ADDED,
        AddStatus.SKIPPED,
        AddStatus.SKIPPED,
    ]
    assert len({result.entry_id for result in results}) == 1
    with database.read() as conn:
        assert get_entry(conn, results[0].entry_id).label == "x"


def test_a_large_batch_of_everything_comes_to_what_each_of_it_would(
    database: Database, corpora: None, material: Any, live: LiveIndex, tmp_path: Path
) -> None:
    """New images, some of them twice, some from another corpus, some already there, some in another
    space only.
    """
    count = 2 * VARIABLES + 7
    known = {name: name % 7 for name in range(0, count, 3)}
    add(
        database,
        "reals",
        material.space,
        *(material.entry(name) for name in known if known[name] == 0),
    )
    add(
        database,
        "fakes",
        material.space,
        *(material.entry(name, label="old") for name in known if known[name] == 1),
    )
    other = [name for name in known if known[name] == 2]
    add(
        database,
        "fakes",
        material.other_space,
        *(small(material, name, label="old") for name in other),
    )
    order = [(name * 997) % count for name in range(count)]
    new = [material.entry(name, label=f"label {name}") for name in order]
    again = [material.entry(name, label="again") for name in order[:50]]
    results = add(database, "fakes", material.space, *new, *again)

    statuses = {0: AddStatus.LINKED, 1: AddStatus.SKIPPED, 2: AddStatus.EMBEDDED}
    assert [result.sha256 for result in results] == [
        material.sha256(name) for name in [*order, *order[:50]]
    ]
    assert [result.status for result in results[:count]] == [
        statuses.get(known.get(name, 9), AddStatus.ADDED) for name in order
    ]
    assert {result.status for result in results[count:]} == {AddStatus.SKIPPED}
    assert [result.entry_id for result in results[count:]] == [
        result.entry_id for result in results[:50]
    ]
    came = [
        result.entry_id
        for result in results[:count]
        if result.status in (AddStatus.ADDED, AddStatus.LINKED)
    ]
    assert came == sorted(came)
    with database.read() as conn:
        stored = find_entries(conn, [result.entry_id for result in results])
        for name, result in zip(order, results, strict=False):
            label = "old" if known.get(name) in (1, 2) else f"label {name}"
            assert (stored[result.entry_id].label, stored[result.entry_id].sha256) == (
                label,
                result.sha256,
            )
    assert live.search(material.vector(5), 1).searched == count + sum(
        known[name] == 0 for name in known
    )
    assert live.verify().agrees
    assert fsck(database, None, tmp_path).findings == ()


def test_an_image_known_from_another_corpus_is_linked_without_a_vector(
    database: Database, corpora: None, material: Any, live: LiveIndex
) -> None:
    add(database, "fakes", material.space, material.entry("a"))
    (linked,) = add(database, "reals", material.space, NewEntry(material.image("a"), None, None))
    assert linked.status is AddStatus.LINKED
    assert [n.entry.corpus for n in live.search(material.vector("a"), 5).neighbours] == [
        "fakes",
        "reals",
    ]
    with database.read() as conn:
        assert [entry.corpus for entry in entries_of_image(conn, material.sha256("a"))] == [
            "fakes",
            "reals",
        ]


def test_an_image_embedded_in_a_second_space_is_found_there_in_every_corpus(
    database: Database, corpora: None, material: Any, live: LiveIndex
) -> None:
    add(database, "fakes", material.space, material.entry("a"))
    add(database, "reals", material.space, material.entry("a"))
    small = NewEntry(material.image("a"), material.vector("a", 4), 0.0)
    (result,) = add(database, "fakes", material.other_space, small)
    assert result.status is AddStatus.EMBEDDED
    with live._database.read() as conn:
        count = "SELECT count(*) FROM changes"
        assert conn.execute(text(count)).scalar_one() == 4
        assert conn.execute(text(f"{count} WHERE space_id = 2")).scalar_one() == 2
    assert live.search(material.vector("a"), 5).searched == 2
    assert live.verify().agrees


def test_a_batch_larger_than_one_statement_is_added_whole(
    database: Database, corpora: None, material: Any, live: LiveIndex
) -> None:
    results = add(database, "fakes", material.space, *(material.entry(i) for i in range(1_050)))
    assert len({result.entry_id for result in results}) == 1_050
    assert live.search(material.vector(7), 1).searched == 1_050


def test_adding_nothing_is_nothing(database: Database, corpora: None, material: Any) -> None:
    assert add(database, "fakes", material.space) == ()
    with pytest.raises(UnknownCorpus):
        add(database, "nowhere", material.space)


@pytest.mark.parametrize("zone", ["America/Los_Angeles", "Pacific/Kiritimati"])
@pytest.mark.parametrize("instant", [datetime.min, datetime.max])
def test_the_first_and_the_last_instant_are_stored_and_read_in_every_time_zone(
    database_url: str, material: Any, zone: str, instant: datetime
) -> None:
    """PostgreSQL reads a time in the zone of its session, where it may be of year 0 or 10000."""
    acquired_at = instant.replace(tzinfo=UTC)
    if database_url.startswith("postgresql"):
        separator = "&" if "?" in database_url else "?"
        database_url += f"{separator}options=-c%20timezone%3D{zone}"
    with Database.open(database_url) as database:
        with database.write() as conn:
            create_corpus(conn, "fakes", CorpusKind.KNOWN_FAKE)
        entry = small(material, "a", acquired_at=acquired_at)
        added = add(database, "fakes", material.other_space, entry)
        with database.read() as conn:
            assert get_entry(conn, added[0].entry_id).acquired_at == acquired_at
