"""The tables: instants in UTC, ids that are never reused, and rules that the database enforces."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection, delete, insert, select, text
from sqlalchemy.exc import DataError, IntegrityError

from index.truth.databases.database import Database
from index.truth.jobs.job import JobCounts
from index.truth.schema import (
    JOB_COUNTS,
    LARGEST_ID,
    UtcDateTime,
    corpora,
    embedding_spaces,
    entries,
    images,
    metadata,
)

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, UTC)
CORPUS = {"name": "c", "kind": "known_fake", "description": "", "created_at": NOW}
IMAGE = {"sha256": "a" * 64, "created_at": NOW}
zones = st.integers(-23 * 60, 23 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
instants = st.datetimes(
    datetime(1900, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC) | zones
)


def insert_id(conn: Connection, table: Any, **row: Any) -> int:
    return int(conn.execute(insert(table).returning(table.c.id), row).scalar_one())


def entry_row(corpus_id: int, image_id: int, **more: Any) -> dict[str, Any]:
    return {
        "corpus_id": corpus_id,
        "image_id": image_id,
        "provenance": {},
        "created_at": NOW,
    } | more


class Dialect:
    def __init__(self, name: str) -> None:
        self.name = name


@given(instant=instants, name=st.sampled_from(["sqlite", "postgresql"]))
def test_an_instant_is_the_same_instant_in_utc(instant: datetime, name: str) -> None:
    column, dialect = UtcDateTime(), Dialect(name)
    stored = column.process_bind_param(instant, dialect)  # type: ignore[arg-type]
    assert stored is not None
    assert (stored.tzinfo is None) == (name == "sqlite")
    assert stored.replace(tzinfo=UTC) == instant
    back = column.process_result_value(stored, dialect)  # type: ignore[arg-type]
    assert back == instant
    assert back is not None
    assert back.utcoffset() == timedelta(0)


def test_an_instant_of_another_zone_comes_back_in_utc(database: Database) -> None:
    tokyo = NOW.astimezone(timezone(timedelta(hours=9)))
    with database.write() as conn:
        corpus_id = insert_id(conn, corpora, **CORPUS | {"created_at": tokyo, "removed_at": None})
        row = conn.execute(select(corpora).where(corpora.c.id == corpus_id)).one()
    assert (row.created_at, row.created_at.utcoffset()) == (NOW, timedelta(0))
    assert row.removed_at is None


def test_instants_of_different_zones_are_compared_as_instants(database: Database) -> None:
    """As text, 23:30 in New York would come after 01:00 of the next day in UTC."""
    new_york = timezone(timedelta(hours=-5))
    early = datetime(2026, 1, 1, 19, 30, tzinfo=new_york)
    late = datetime(2026, 1, 2, 1, 0, tzinfo=UTC)
    with database.write() as conn:
        for name, at in (("late", late), ("early", early)):
            insert_id(conn, corpora, **CORPUS | {"name": name, "created_at": at})
        found = conn.execute(select(corpora.c.name).where(corpora.c.created_at < late)).scalars()
        assert list(found) == ["early"]
        ordered = conn.execute(select(corpora.c.name).order_by(corpora.c.created_at)).scalars()
        assert list(ordered) == ["early", "late"]


@pytest.mark.parametrize("table", [corpora, images])
def test_the_id_of_a_deleted_row_is_not_given_again(database: Database, table: Any) -> None:
    rows = {corpora.name: CORPUS, images.name: IMAGE}
    with database.write() as conn:
        first = insert_id(conn, table, **rows[table.name])
        conn.execute(delete(table))
        assert insert_id(conn, table, **rows[table.name]) == first + 1


def test_the_largest_id_is_stored_and_found(database: Database) -> None:
    with database.write() as conn:
        conn.execute(insert(images), IMAGE | {"id": LARGEST_ID})
        found = conn.execute(select(images.c.sha256).where(images.c.id == LARGEST_ID))
        assert found.scalar_one() == IMAGE["sha256"]


def test_a_larger_id_is_an_error_of_the_driver(database: Database) -> None:
    query = select(images.c.id).where(images.c.id == LARGEST_ID + 1)
    with database.read() as conn, pytest.raises((OverflowError, DataError)):
        conn.execute(query)


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO corpora (name, kind, description, created_at) "
        "VALUES ('c', 'unknown', '', '2026-01-01 00:00:00')",
        "INSERT INTO change_counter (id, last) VALUES (2, 0)",
        "INSERT INTO change_counter (id, last) VALUES (1, 0)",
        "INSERT INTO active_model (id, model, space_id, activated_at) "
        "VALUES (1, 'm', 77, '2026-01-01 00:00:00')",
        "INSERT INTO job_items (job_id, position, name, outcome, reason, detail) "
        "VALUES (77, 0, '', '', '', '')",
        "INSERT INTO embeddings (image_id, space_id, vector, logit) VALUES (77, 77, '', 0)",
    ],
)
def test_the_database_refuses_rows_that_break_a_rule(database: Database, statement: str) -> None:
    with pytest.raises(IntegrityError), database.write() as conn:
        conn.execute(text(statement))


def test_a_change_is_an_addition_or_a_removal_of_an_entry_that_exists(database: Database) -> None:
    def log(kind: str, entry_id: int) -> None:
        with database.write() as conn:
            conn.execute(
                text(
                    "INSERT INTO changes (number, kind, entry_id, space_id, digest, at) "
                    "VALUES (1, :kind, :entry_id, :space_id, :digest, '2026-01-01 00:00:00')"
                ),
                {"kind": kind, "entry_id": entry_id, "space_id": space_id, "digest": bytes(32)},
            )

    with database.write() as conn:
        space = {"fingerprint": "f" * 64, "model": "m", "weights_sha256": "w" * 64}
        space |= {"preprocessing_fingerprint": "p" * 64}
        space_id = insert_id(conn, embedding_spaces, **space, dimension=8, created_at=NOW)
        corpus_id, image_id = insert_id(conn, corpora, **CORPUS), insert_id(conn, images, **IMAGE)
        entry_id = insert_id(conn, entries, **entry_row(corpus_id, image_id))
    for kind, entry in (("move", entry_id), ("add", entry_id + 1)):
        with pytest.raises(IntegrityError):
            log(kind, entry)
    log("add", entry_id)


def test_two_live_corpora_cannot_have_one_name(database: Database) -> None:
    with database.write() as conn:
        insert_id(conn, corpora, **CORPUS | {"removed_at": NOW})
        insert_id(conn, corpora, **CORPUS | {"removed_at": NOW})
        insert_id(conn, corpora, **CORPUS)
    with pytest.raises(IntegrityError), database.write() as conn:
        insert_id(conn, corpora, **CORPUS)


def test_a_corpus_has_an_image_once_among_its_live_entries(database: Database) -> None:
    with database.write() as conn:
        corpus_id, image_id = insert_id(conn, corpora, **CORPUS), insert_id(conn, images, **IMAGE)
        other_id = insert_id(conn, corpora, **CORPUS | {"name": "other"})
        for _ in range(2):
            insert_id(conn, entries, **entry_row(corpus_id, image_id, removed_at=NOW))
        insert_id(conn, entries, **entry_row(corpus_id, image_id))
        insert_id(conn, entries, **entry_row(other_id, image_id))
    with pytest.raises(IntegrityError), database.write() as conn:
        insert_id(conn, entries, **entry_row(corpus_id, image_id))


def test_new_rows_have_the_defaults_of_earlier_schemas(database: Database) -> None:
    with database.write() as conn:
        insert_id(conn, corpora, **CORPUS)
        insert_id(conn, images, **IMAGE)
        assert conn.execute(select(corpora.c.keep)).scalar_one() == "thumbnail"
        assert conn.execute(select(images.c.seen)).scalar_one() is True


def test_a_vector_and_a_document_come_back_as_they_were_given(database: Database) -> None:
    document = {"a": [1, 2.5, None, {"ü": "\U0001f600"}], "n": 2**53, "true": True}
    with database.write() as conn:
        corpus_id, image_id = insert_id(conn, corpora, **CORPUS), insert_id(conn, images, **IMAGE)
        insert_id(conn, entries, **entry_row(corpus_id, image_id) | {"provenance": document})
        assert conn.execute(select(entries.c.provenance)).scalar_one() == document


def test_the_counts_of_a_job_have_their_columns_in_order() -> None:
    assert list(JobCounts.__dataclass_fields__) == list(JOB_COUNTS)
    names = [column.name for column in metadata.tables["jobs"].columns]
    first = names.index(JOB_COUNTS[0])
    assert tuple(names[first : first + len(JOB_COUNTS)]) == JOB_COUNTS


@pytest.mark.parametrize("name", sorted(metadata.tables))
def test_every_key_and_index_has_a_name_that_a_migration_can_use(name: str) -> None:
    table = metadata.tables[name]
    for constraint in table.constraints:
        assert constraint.name, constraint
    assert all(index.name for index in table.indexes)
