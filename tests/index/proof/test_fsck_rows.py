"""`fsck` of the rows: each kind of damage alone, and none in a healthy database."""

from typing import Any

import numpy as np
import pytest
from sqlalchemy import text

from index.cache.segments.facts import Words, facts_of
from index.proof.findings import FindingKind
from index.proof.fsck_rows import (
    check_database,
    check_rows,
    count_rows,
    find_kept_images,
    find_wrong_facts,
)
from index.truth.changes import members_at
from index.truth.corpora import CorpusKind, Keep, ensure_corpus, remove_corpus, set_keep
from index.truth.databases.database import Database
from index.truth.entries import remove_entry
from index.truth.quarantine import quarantine_entry
from index.truth.vectors import NORM_TOLERANCE, to_bytes

Kind = FindingKind


@pytest.fixture
def dialect() -> str:
    return "sqlite"  # `test_fsck` has both databases


@pytest.fixture
def filled(database: Database, material: Any) -> Database:
    material.fill(database, "fakes", "abc", generator="sdxl")
    return database


def damage(database: Database, *statements: str, **values: Any) -> None:
    """Change rows without foreign keys, as a bad disk could."""
    with database.write() as conn:
        conn.execute(text("PRAGMA defer_foreign_keys = ON"))
        for statement in statements:
            conn.execute(text(statement), values)


def found(database: Database) -> list[tuple[FindingKind, str]]:
    with database.read() as conn:
        return [(finding.kind, finding.item) for finding in check_rows(conn)]


def test_a_healthy_database_has_no_finding(filled: Database) -> None:
    assert found(filled) == []
    with filled.read() as conn:
        assert list(check_database(conn)) == []


def test_every_table_is_counted(filled: Database) -> None:
    with filled.read() as conn:
        counts = count_rows(conn)
    assert {name: counts[name] for name in ("entries", "images", "embeddings", "corpora")} == {
        "entries": 3,
        "images": 3,
        "embeddings": 3,
        "corpora": 1,
    }
    assert (counts["changes"], counts["jobs"], counts["embedding_spaces"]) == (3, 0, 1)


def unit(scale: float) -> bytes:
    vector = np.zeros(8, np.float32)
    vector[0] = scale
    return to_bytes(vector)


@pytest.mark.parametrize(
    ("vector", "kinds"),
    [
        (unit(1.0), []),
        (unit(1.0 + NORM_TOLERANCE / 2), []),
        (unit(1.0 + 2 * NORM_TOLERANCE), [Kind.VECTOR_NORM]),
        (unit(0.0), [Kind.VECTOR_NORM]),
        (unit(float("nan")), [Kind.VECTOR_NOT_FINITE]),
        (unit(float("inf")), [Kind.VECTOR_NOT_FINITE]),
        (unit(1.0)[:-4], [Kind.VECTOR_LENGTH]),
        (b"", [Kind.VECTOR_LENGTH]),
    ],
    ids=["one", "nearly one", "too long", "zero", "nan", "infinite", "short", "empty"],
)
def test_a_stored_vector_is_of_the_space_finite_and_of_norm_1(
    filled: Database, vector: bytes, kinds: list[FindingKind]
) -> None:
    damage(filled, "UPDATE embeddings SET vector = :vector WHERE id = 2", vector=vector)
    assert found(filled) == [(kind, "embedding 2") for kind in kinds]


def test_a_logit_is_finite(filled: Database) -> None:
    damage(filled, "UPDATE embeddings SET logit = :logit WHERE id = 3", logit=float("inf"))
    assert found(filled) == [(Kind.LOGIT_NOT_FINITE, "embedding 3")]


def test_an_image_without_entry_and_embedding_is_an_orphan(filled: Database) -> None:
    damage(
        filled,
        "INSERT INTO images (id, sha256, byte_size, width, height, format, created_at) "
        "SELECT 99, '0', 1, 1, 1, 'png', created_at FROM images WHERE id = 1",
    )
    assert found(filled) == [(Kind.IMAGE_ORPHAN, "image 99")]


def test_an_entry_in_a_removed_corpus_is_found(filled: Database) -> None:
    damage(filled, "UPDATE corpora SET removed_at = created_at")
    assert found(filled) == [(Kind.ENTRY_WITHOUT_CORPUS, f"entry {i}") for i in (1, 2, 3)]


def test_an_entry_whose_image_has_no_embedding_is_found(filled: Database) -> None:
    damage(filled, "DELETE FROM embeddings WHERE id = 2")
    assert found(filled) == [(Kind.ENTRY_NOT_EMBEDDED, "entry 2")]


def test_a_removed_entry_needs_no_embedding(filled: Database) -> None:
    with filled.write() as conn:
        remove_entry(conn, 2)
    damage(filled, "DELETE FROM embeddings WHERE id = 2")
    assert found(filled) == []


def facts_in(database: Database) -> tuple[Any, Words]:
    words = Words()
    with database.read() as conn:
        rows = [row for page in members_at(conn, 1, 3, 100) for row in page]
    return facts_of(rows, words), words


def test_facts_of_the_rows_are_not_wrong(filled: Database) -> None:
    facts, words = facts_in(filled)
    with filled.read() as conn:
        assert find_wrong_facts(conn, facts, words) is None


@pytest.mark.parametrize("column", ["corpus_id", "acquired_at", "generator", "label"])
def test_a_fact_that_differs_from_its_row_names_the_entry(filled: Database, column: str) -> None:
    facts, words = facts_in(filled)
    facts[column][1] += 1
    with filled.read() as conn:
        assert find_wrong_facts(conn, facts, words) == 2


def test_a_generator_that_the_words_lack_is_a_difference(filled: Database) -> None:
    facts, words = facts_in(filled)
    damage(filled, "UPDATE entries SET generator = 'new' WHERE id = 3")
    with filled.read() as conn:
        assert find_wrong_facts(conn, facts, words) == 3
    assert words.texts() == ["sdxl"]  # the words of the snapshot are not changed


def test_facts_of_an_entry_without_a_row_are_not_compared(filled: Database) -> None:
    facts, words = facts_in(filled)
    facts["id"][0] = 12345
    with filled.read() as conn:
        assert find_wrong_facts(conn, facts, words) is None


def test_files_are_kept_for_live_and_quarantined_entries_of_corpora_that_keep_them(
    database: Database, material: Any
) -> None:
    ids = material.fill(database, "fakes", "abc")
    material.fill(database, "bare", "d")
    with database.write() as conn:
        set_keep(conn, "fakes", Keep.THUMBNAIL)
        set_keep(conn, "bare", Keep.NONE)
        remove_entry(conn, ids[0])
        quarantine_entry(conn, ids[1], "a photograph")
    with database.read() as conn:
        thumbnails = find_kept_images(conn, [keep for keep in Keep if keep.thumbnails])
        originals = find_kept_images(conn, [keep for keep in Keep if keep.originals])
    assert thumbnails.keys() == {material.sha256("b"), material.sha256("c")}
    assert originals == {}
    assert all(thumbnails.values())  # every one of them was seen


def test_a_removed_corpus_keeps_no_files(database: Database, material: Any) -> None:
    material.fill(database, "fakes", "ab")
    with database.write() as conn:
        ensure_corpus(conn, "reals", CorpusKind.KNOWN_REAL)
        set_keep(conn, "fakes", Keep.THUMBNAIL)
        remove_corpus(conn, "fakes")
    with database.read() as conn:
        assert find_kept_images(conn, [Keep.THUMBNAIL]) == {}
