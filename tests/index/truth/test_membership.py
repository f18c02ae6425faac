"""The members of a space by its rows: the same set as by the change log, whatever happened."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from index.truth.adding import NewEntry, add_embeddings, add_entries
from index.truth.changes import count_members, digest_at, last_number, members_at
from index.truth.corpora import CorpusKind, ensure_corpus, list_corpora, remove_corpus
from index.truth.databases.database import Database
from index.truth.digest import EMPTY, add_members
from index.truth.entries import list_entries, remove_entry
from index.truth.membership import live_digest, live_members, read_kept_images
from index.truth.quarantine import list_quarantined, quarantine_entry, release_entry
from index.truth.spaces import find_space_id

CORPORA = ("fakes", "more")
steps = st.lists(
    st.tuples(
        st.sampled_from(
            ["add", "add", "remove", "embed", "quarantine", "release", "remove corpus"]
        ),
        st.integers(0, 7),
        st.sampled_from(CORPORA),
    ),
    max_size=14,
)


def members(database: Database, space: Any, chunk: int = 4096) -> list[tuple[int, bytes]]:
    with database.read() as conn:
        pages = live_members(conn, find_space_id(conn, space), chunk)
        return [(member.entry_id, member.vector) for page in pages for member in page]


def test_a_space_without_entries_has_no_members(database: Database, material: Any) -> None:
    with database.read() as conn:
        assert list(live_members(conn, None)) == []
        assert live_digest(conn, None) == EMPTY
        assert list(read_kept_images(conn)) == []


@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 100])
def test_members_come_once_and_in_order_in_any_chunks(
    database: Database, material: Any, chunk: int
) -> None:
    ids = material.fill(database, "fakes", "abcdefg")
    with database.write() as conn:
        remove_entry(conn, ids[2])
    expected = [
        (entry_id, material.vector(name).tobytes())
        for entry_id, name in zip(ids, "abcdefg", strict=True)
        if name != "c"
    ]
    assert members(database, material.space, chunk) == expected


def test_a_space_has_its_own_members(database: Database, material: Any) -> None:
    ids = material.fill(database, "fakes", "ab")
    with database.write() as conn:
        small = NewEntry(material.image("b"), material.vector("b", 4), 0.0)
        add_embeddings(conn, material.other_space, [small])
    assert [entry_id for entry_id, _ in members(database, material.space)] == list(ids)
    assert members(database, material.other_space) == [(ids[1], material.vector("b", 4).tobytes())]


def test_the_digest_of_the_rows_notices_a_changed_vector(database: Database, material: Any) -> None:
    material.fill(database, "fakes", "abc")
    with database.write() as conn:
        space_id = find_space_id(conn, material.space)
        stated = digest_at(conn, space_id, last_number(conn))
        assert live_digest(conn, space_id) == stated
        conn.execute(
            text("UPDATE embeddings SET vector = :v WHERE id = (SELECT min(id) FROM embeddings)"),
            {"v": material.vector("other").tobytes()},
        )
        assert live_digest(conn, space_id) != stated
        assert digest_at(conn, space_id, last_number(conn)) == stated


@pytest.mark.parametrize("chunk", [1, 2, 100])
def test_image_files_are_kept_for_live_and_quarantined_entries(
    database: Database, material: Any, chunk: int
) -> None:
    ids = material.fill(database, "fakes", "abcd")
    material.fill(database, "more", "de")
    with database.write() as conn:
        remove_entry(conn, ids[0])
        quarantine_entry(conn, ids[1], "looks wrong")
        remove_entry(conn, ids[3])
        pages = list(read_kept_images(conn, chunk))
    assert max(map(len, pages)) <= chunk
    kept = [sha256 for page in pages for sha256 in page]
    assert len(kept) == len(set(kept))
    assert set(kept) == {material.sha256(name) for name in "bcde"}


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(history=steps)
def test_after_any_history_rows_and_log_have_the_same_members(
    new_sqlite_url: Any, material: Any, history: list[tuple[str, int, str]]
) -> None:
    with Database.open(new_sqlite_url()) as database:
        for what, number, corpus in history:
            with database.write() as conn:
                apply(conn, material, what, number, corpus)
        for space in (material.space, material.other_space):
            with database.read() as conn:
                space_id, last = find_space_id(conn, space), last_number(conn)
                rows = [m for page in live_members(conn, space_id, 3) for m in page]
                logged = [m for page in members_at(conn, space_id, last, 3) for m in page]
                expected = {(row.entry_id, row.vector) for row in logged}
                assert {(row.entry_id, row.vector) for row in rows} == expected
                assert len(rows) == len(logged) == count_members(conn, space_id)
                digest = add_members(EMPTY, (m.entry_id for m in rows), (m.vector for m in rows))
                assert live_digest(conn, space_id) == digest == digest_at(conn, space_id, last)


def apply(conn: Any, material: Any, what: str, number: int, corpus: str) -> None:
    """Do one step of a history; a step without an object does nothing."""
    live = [entry for entry in list_entries(conn, limit=1000) if entry.corpus == corpus]
    names = {each.name for each in list_corpora(conn)}
    match what:
        case "add":
            ensure_corpus(conn, corpus, CorpusKind.KNOWN_FAKE)
            add_entries(conn, corpus, material.space, [material.entry(number)])
        case "embed":
            image = material.image(number)
            if any(entry.sha256 == image.sha256 for entry in list_entries(conn, limit=1000)):
                small = NewEntry(image, material.vector(number, 4), 0.0)
                add_embeddings(conn, material.other_space, [small])
        case "remove" if live:
            remove_entry(conn, live[number % len(live)].id)
        case "quarantine" if live:
            quarantine_entry(conn, live[number % len(live)].id, "looks wrong")
        case "release" if corpus in names:
            quarantined = list_quarantined(conn, corpus)
            if quarantined:
                release_entry(conn, quarantined[number % len(quarantined)].entry.id)
        case "remove corpus" if corpus in names and number == 0:
            remove_corpus(conn, corpus)
