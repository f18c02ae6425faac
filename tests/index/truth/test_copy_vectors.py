"""Vectors of a copy descriptor beside the embeddings: one transaction, one log, never mixed."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select, text

from index.cache.live import LiveIndex
from index.errors import ForeignSpace, InvalidVector
from index.proof.findings import FindingKind
from index.proof.fsck import fsck
from index.truth.active import (
    activate_copy_space,
    activate_first_copy_space,
    deactivate_copy_space,
    find_active_copy_space,
    find_active_model,
)
from index.truth.adding import AddStatus, NewEntry, add_copy_vectors, add_embeddings, add_entries
from index.truth.corpora import CorpusKind, ensure_corpus, remove_corpus
from index.truth.coverage import coverage, images_to_embed, read_export_rows
from index.truth.databases.database import Database
from index.truth.entries import remove_entry
from index.truth.images import find_known_images
from index.truth.quarantine import quarantine_entry, release_entry
from index.truth.schema import changes, embeddings
from index.truth.spaces import Space, SpaceKind, ensure_space_id, find_space_id, list_spaces
from index.truth.vectors import HALF, check_vector, find_unusable_vectors, rows_from_bytes, to_bytes
from tests.index.conftest import Material

COPIES = Material.copy_space


def add(database: Database, material: Any, new: list[NewEntry], corpus: str = "fakes") -> Any:
    with database.write() as conn:
        ensure_corpus(conn, corpus, CorpusKind.KNOWN_FAKE)
        return add_entries(conn, corpus, material.space, new, copy_space=COPIES)


def verified(database: Database, tmp_path: Path, *spaces: Space) -> list[int]:
    """How many members each space has, after log, rows and index were compared."""
    counts = []
    for space in spaces:
        with LiveIndex.open(database, space, tmp_path / "index") as live:
            verification = live.verify()
        assert verification.agrees
        counts.append(verification.count)
    assert fsck(database, None, tmp_path / "index").findings == ()
    return counts


def test_an_image_gets_both_vectors_and_both_changes_in_one_transaction(
    database: Database, material: Any, tmp_path: Path
) -> None:
    results = add(database, material, [material.described("a"), material.entry("b")])
    assert [result.status for result in results] == [AddStatus.ADDED, AddStatus.ADDED]
    with database.read() as conn:
        logged = conn.execute(
            select(changes.c.entry_id, changes.c.space_id, changes.c.kind).order_by(
                changes.c.number
            )
        ).all()
        own, copies = find_space_id(conn, material.space), find_space_id(conn, COPIES)
        first, second = (result.entry_id for result in results)
        assert logged == [(first, own, "add"), (first, copies, "add"), (second, own, "add")]
        row = conn.execute(select(embeddings).where(embeddings.c.space_id == copies)).one()
        assert row.logit is None
        assert bytes(row.vector) == material.vector("a", 16).astype("<f2").tobytes()
    assert verified(database, tmp_path, material.space, COPIES) == [2, 1]


def test_an_entry_of_a_known_image_gets_the_copy_vector_that_it_lacks(
    database: Database, material: Any, tmp_path: Path
) -> None:
    add(database, material, [material.entry("a"), material.entry("b")])
    linked = NewEntry(
        material.image("a"), None, None, copy_vector=material.vector("a", COPIES.dimension)
    )
    (result,) = add(database, material, [linked], "more")
    assert result.status is AddStatus.LINKED
    assert verified(database, tmp_path, material.space, COPIES) == [3, 2]
    with database.read() as conn:
        names = [material.sha256(name) for name in ("a", "b", "c")]
        known = find_known_images(conn, material.space, names, COPIES)
        assert {sha256: each.described for sha256, each in known.items()} == {
            names[0]: True,
            names[1]: False,
        }
        asked_for_none = find_known_images(conn, material.space, names)
        assert all(each.described for each in asked_for_none.values())


def test_copy_vectors_are_added_afterwards_to_every_live_entry_and_only_once(
    database: Database, material: Any, tmp_path: Path
) -> None:
    add(database, material, [material.entry("a"), material.entry("b")])
    add(database, material, [material.entry("a")], "more")
    with database.write() as conn:
        new = [material.described(name) for name in ("a", "b", "never-seen")]
        added = add_copy_vectors(conn, COPIES, new)
        assert added == {material.sha256("a"), material.sha256("b")}
        other = replace(new[0], copy_vector=material.vector("x", COPIES.dimension))
        assert add_copy_vectors(conn, COPIES, [other]) == frozenset()
    assert verified(database, tmp_path, material.space, COPIES) == [3, 3]


def test_what_leaves_leaves_both_spaces_and_what_comes_back_comes_back_to_both(
    database: Database, material: Any, tmp_path: Path
) -> None:
    one, two, three = add(database, material, [material.described(name) for name in "abc"])
    add(database, material, [material.described("d")], "gone")
    with database.write() as conn:
        remove_entry(conn, one.entry_id)
        quarantine_entry(conn, two.entry_id, "doubtful")
        remove_corpus(conn, "gone")
    assert verified(database, tmp_path, material.space, COPIES) == [1, 1]
    with database.write() as conn:
        release_entry(conn, two.entry_id)
    assert verified(database, tmp_path, material.space, COPIES) == [2, 2]
    assert three.entry_id > 0


def test_forensic_counts_and_listings_know_no_copy_space(database: Database, material: Any) -> None:
    add(database, material, [material.described("a"), material.entry("b")])
    with database.write() as conn:
        assert coverage(conn, material.space).embedded == 2
        assert coverage(conn, COPIES).missing == 1
        assert len(images_to_embed(conn, COPIES, 0, 10)) == 1
        assert list_spaces(conn, SpaceKind.FORENSIC) == (material.space,)
        assert list_spaces(conn, SpaceKind.COPY) == (COPIES,)
        assert set(list_spaces(conn)) == {material.space, COPIES}
        assert sum(map(len, read_export_rows(conn, "fakes", material.space))) == 2
        activate_copy_space(conn, "test-copies", COPIES)
        assert find_active_model(conn) is None


def test_vectors_of_the_wrong_kind_of_space_are_refused(database: Database, material: Any) -> None:
    with database.write() as conn:
        ensure_corpus(conn, "fakes", CorpusKind.KNOWN_FAKE)
        with pytest.raises(InvalidVector, match="has no logits"):
            add_entries(conn, "fakes", COPIES, [material.entry("a")])
        with pytest.raises(InvalidVector, match="has no logits"):
            add_embeddings(conn, COPIES, [material.entry("a")])
        for space in (None, material.space):
            with pytest.raises(InvalidVector, match="needs the copy space"):
                add_entries(
                    conn, "fakes", material.space, [material.described("a")], copy_space=space
                )
        wrong = replace(material.described("a"), copy_vector=material.vector("a", 8))
        with pytest.raises(InvalidVector, match="shape"):
            add_entries(conn, "fakes", material.space, [wrong], copy_space=COPIES)
        ensure_space_id(conn, COPIES)
        with pytest.raises(ForeignSpace):
            ensure_space_id(conn, replace(COPIES, kind=SpaceKind.FORENSIC))


def test_the_first_copy_space_stays_the_active_one(database: Database, material: Any) -> None:
    other = replace(COPIES, fingerprint="f" * 64, model="other")
    with database.write() as conn:
        assert find_active_copy_space(conn) is None
        assert activate_first_copy_space(conn, "test-copies", COPIES).space == COPIES
        assert activate_first_copy_space(conn, "other", other).descriptor == "test-copies"
        activate_copy_space(conn, "other", other)
        active = find_active_copy_space(conn)
        assert active is not None
        assert (active.descriptor, active.space) == ("other", other)
        deactivate_copy_space(conn)
        assert find_active_copy_space(conn) is None


def test_fsck_knows_the_form_of_a_copy_vector_and_remarks_what_is_missing(
    database: Database, material: Any, tmp_path: Path
) -> None:
    add(database, material, [material.described("a"), material.entry("b")])
    with database.write() as conn:
        activate_copy_space(conn, "test-copies", COPIES)
    (remark,) = fsck(database, None, tmp_path).findings
    assert remark.kind is FindingKind.COPY_VECTOR_MISSING
    assert remark.kind.is_remark
    assert "1 of 2 live entries" in remark.message
    for sql, kind in (
        ("UPDATE embeddings SET vector = :zeros WHERE logit IS NULL", FindingKind.VECTOR_NORM),
        ("UPDATE embeddings SET vector = :short WHERE logit IS NULL", FindingKind.VECTOR_LENGTH),
        ("UPDATE embeddings SET logit = 0.5 WHERE logit IS NULL", FindingKind.LOGIT_UNEXPECTED),
        ("UPDATE embeddings SET logit = NULL WHERE id = 1", FindingKind.LOGIT_NOT_FINITE),
    ):
        with database.write() as conn:
            values = {"zeros": bytes(32), "short": bytes(31)}
            named = {name: value for name, value in values.items() if f":{name}" in sql}
            conn.execute(text(sql), named)
        found = {finding.kind for finding in fsck(database, None, tmp_path).findings}
        assert kind in found


def test_an_entry_with_a_copy_vector_alone_is_not_embedded(
    database: Database, material: Any, tmp_path: Path
) -> None:
    add(database, material, [material.described("a")])
    with database.write() as conn:
        conn.execute(text("DELETE FROM embeddings WHERE logit IS NOT NULL"))
    found = {finding.kind for finding in fsck(database, None, tmp_path).findings}
    assert FindingKind.ENTRY_NOT_EMBEDDED in found


def test_two_writers_that_add_entries_and_copy_vectors_at_once_lose_no_pair(
    database: Database, material: Any, tmp_path: Path
) -> None:
    """One adds entries to a second corpus, the other copy vectors of the same images."""
    names = [f"image-{number}" for number in range(40)]
    add(database, material, [material.entry(name) for name in names])
    errors: list[BaseException] = []
    start = threading.Barrier(2)

    def work(write: Callable[[Any, list[NewEntry]], object]) -> None:
        try:
            start.wait(10)
            for at in range(0, len(names), 8):
                some = [material.described(name) for name in names[at : at + 8]]
                with database.write() as conn:
                    write(conn, some)
        except BaseException as err:
            errors.append(err)

    def link(conn: Any, some: list[NewEntry]) -> None:
        ensure_corpus(conn, "more", CorpusKind.KNOWN_FAKE)
        entries = [replace(each, vector=None, logit=None, copy_vector=None) for each in some]
        add_entries(conn, "more", material.space, entries)

    def describe(conn: Any, some: list[NewEntry]) -> None:
        add_copy_vectors(conn, COPIES, some)

    threads = [threading.Thread(target=work, args=(write,)) for write in (link, describe)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert errors == []
    assert verified(database, tmp_path, material.space, COPIES) == [80, 80]


@given(st.integers(0, 2**32 - 1), st.integers(2, 64))
def test_what_is_stored_as_float16_comes_back_to_the_bit_and_passes_every_check(
    seed: int, dimension: int
) -> None:
    wide = np.random.default_rng(seed).standard_normal((3, dimension)) ** 3
    rows = np.array(
        [check_vector(row / np.linalg.norm(row), dimension) for row in wide.astype(np.float32)]
    )
    stored = [to_bytes(row, HALF) for row in rows]
    back = rows_from_bytes(stored, dimension, HALF)
    assert back.dtype == np.float32
    assert [to_bytes(row, HALF) for row in back] == stored
    assert find_unusable_vectors(back, np.zeros(3), dimension) == {}
    assert np.abs(back - rows).max() <= 2.0**-11
