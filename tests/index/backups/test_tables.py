"""Tables as rows: everything is read, everything is written, and no id is used twice."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import Connection, delete, func, insert, select, text
from sqlalchemy.exc import OperationalError

from index.backups.tables import (
    find_rows,
    insert_rows,
    last_ids,
    lock_tables,
    read_tables,
    set_last_ids,
)
from index.truth.changes import last_number
from index.truth.corpora import CorpusKind, create_corpus
from index.truth.databases.database import Database
from index.truth.entries import remove_entry
from index.truth.schema import change_counter, corpora, entries, images, metadata

NOW = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.fixture
def target(new_sqlite_url: Any) -> Iterator[Database]:
    """A second database, without rows."""
    with Database.open(new_sqlite_url()) as opened:
        yield opened


def copy(source: Connection, target: Connection) -> None:
    for table, rows in read_tables(source):
        insert_rows(target, table, rows)
    set_last_ids(target, last_ids(source))


def test_parents_are_read_before_their_children(stock: Any) -> None:
    with stock.database.read() as conn:
        order = list(dict.fromkeys(table.name for table, _ in read_tables(conn)))
    for table in metadata.sorted_tables:
        for key in table.foreign_keys:
            if table.name in order:
                assert order.index(key.column.table.name) < order.index(table.name)
    assert {"corpora", "images", "entries", "embeddings", "changes", "lookups"} <= set(order)


def test_every_row_is_read_once_in_the_order_of_its_key(stock: Any) -> None:
    with stock.database.read() as conn:
        read: dict[str, list[Any]] = {}
        for table, rows in read_tables(conn):
            read.setdefault(table.name, []).extend(rows)
        for table in metadata.sorted_tables:
            count = conn.execute(select(func.count()).select_from(table)).scalar_one()
            assert len(read.get(table.name, [])) == count
            keys = [
                tuple(row[c.name] for c in table.primary_key) for row in read.get(table.name, ())
            ]
            assert keys == sorted(set(keys))
            assert all(
                row.keys() == {c.name for c in table.columns} for row in read.get(table.name, ())
            )


def test_more_rows_than_a_chunk_are_read_in_chunks(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("index.backups.tables.CHUNK", 3)
    with database.write() as conn:
        rows = [{"sha256": f"{n:064x}", "created_at": NOW} for n in range(8)]
        conn.execute(insert(images), rows)
        read = [rows for table, rows in read_tables(conn) if table is images]
    assert [len(rows) for rows in read] == [3, 3, 2]
    assert [row["sha256"] for rows in read for row in rows] == [f"{n:064x}" for n in range(8)]


def test_a_copy_has_the_same_rows_and_the_same_next_ids(
    stock: Any, target: Database, dump: Any
) -> None:
    with stock.database.read() as source, target.write() as conn:
        copy(source, conn)
    assert dump(target) == dump(stock.database)


def test_the_counter_of_the_source_replaces_that_of_the_migrations(
    stock: Any, target: Database
) -> None:
    with stock.database.read() as source, target.write() as conn:
        copy(source, conn)
        assert last_number(conn) == last_number(source) > 0
        assert conn.execute(select(func.count()).select_from(change_counter)).scalar_one() == 1


def test_a_migrated_database_has_no_rows(database: Database) -> None:
    with database.read() as conn:
        assert find_rows(conn) is None


@pytest.mark.parametrize("name", ["corpora", "images", "change_counter"])
def test_a_database_with_any_row_names_its_table(database: Database, name: str) -> None:
    with database.write() as conn:
        match name:
            case "corpora":
                create_corpus(conn, "fakes", CorpusKind.KNOWN_FAKE)
            case "images":
                conn.execute(insert(images), {"sha256": "a" * 64, "created_at": NOW})
            case _:
                conn.execute(text("UPDATE change_counter SET last = 1"))
        assert find_rows(conn) == name


def test_the_last_ids_include_those_of_rows_that_were_deleted(
    database: Database, material: Any
) -> None:
    ids = material.fill(database, "fakes", "abc")
    with database.write() as conn:
        before = last_ids(conn)
        assert before["entries"] == ids[-1]
        conn.execute(text("DELETE FROM changes"))
        conn.execute(delete(entries).where(entries.c.id == ids[-1]))
        assert last_ids(conn) == before


def test_a_table_without_rows_has_given_no_id(database: Database) -> None:
    with database.read() as conn:
        found = last_ids(conn)
    assert set(found.values()) == {0}
    assert {"corpora", "images", "entries", "embeddings", "jobs", "embedding_spaces"} <= set(found)
    assert not {"changes", "lookups", "job_chunks", "change_counter"} & set(found)


def test_the_next_id_follows_the_last_one(database: Database) -> None:
    with database.write() as conn:
        set_last_ids(conn, {"corpora": 41, "images": 0})
        create_corpus(conn, "fakes", CorpusKind.KNOWN_FAKE)
        assert conn.execute(select(corpora.c.id)).scalar_one() == 42
        conn.execute(insert(images), {"sha256": "a" * 64, "created_at": NOW})
        assert conn.execute(select(images.c.id)).scalar_one() == 1
        assert last_ids(conn)["corpora"] == 42


def test_setting_the_last_ids_twice_is_setting_them_once(database: Database) -> None:
    with database.write() as conn:
        for last in (10, 20):
            set_last_ids(conn, {"corpora": last, "unknown_table": 7})
        assert last_ids(conn)["corpora"] == 20


def test_no_id_is_reused_in_a_copy(stock: Any, target: Database, material: Any) -> None:
    with stock.database.write() as conn:
        highest = conn.execute(select(func.max(entries.c.id))).scalar_one()
        live = select(entries.c.id).where(entries.c.removed_at.is_(None)).limit(1)
        remove_entry(conn, conn.execute(live).scalar_one())
    with stock.database.read() as source, target.write() as conn:
        copy(source, conn)
    (new_id,) = material.fill(target, "fakes", ["new"])
    assert new_id > highest


@pytest.mark.postgres
def test_locked_tables_can_be_read_but_not_written(new_postgresql_url: Any) -> None:
    with Database.open(new_postgresql_url()) as database, database.write() as conn:
        lock_tables(conn)
        with database.read() as reader:
            assert find_rows(reader) is None
        with database.write() as other:
            other.execute(text("SET LOCAL lock_timeout = 50"))
            with pytest.raises(OperationalError, match="lock timeout"):
                create_corpus(other, "fakes", CorpusKind.KNOWN_FAKE)


def test_locking_changes_nothing(database: Database) -> None:
    with database.write() as conn:
        lock_tables(conn)
        create_corpus(conn, "fakes", CorpusKind.KNOWN_FAKE)
    with database.read() as conn:
        assert find_rows(conn) == "corpora"
