"""The container: a complete SQLite file of the rows, which is compared before it is used."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from index.backups.container import (
    COMPANIONS,
    open_container,
    temporary_container,
    write_container,
)
from index.backups.manifest import FORMAT_VERSION, TABLES, BackupManifest
from index.backups.space_states import space_states
from index.backups.tables import last_ids
from index.errors import BackupCorrupt, BackupTooNew, TruthDamaged
from index.truth.changes import last_number
from index.truth.databases import revisions
from index.truth.databases.database import Database, sqlite_url
from index.truth.schema import entries, metadata

ARCHIVE = Path("some.tar")
Written = tuple[Path, BackupManifest]
# What is compared is one SQLite file, wherever its rows are from.
ON_SQLITE = pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)


def write(database: Database, path: Path) -> BackupManifest:
    with database.read() as conn:
        ids = last_ids(conn)
        return BackupManifest(
            format_version=FORMAT_VERSION,
            lineup_version="0.1.0",
            created_at=datetime.now(UTC),
            database=database.dialect,
            schema_revision=revisions.head(),
            generation=last_number(conn),
            row_counts=write_container(conn, ids, path),
            last_ids=ids,
            spaces=space_states(conn),
            thumbnails=None,
            members=(),
        )


@pytest.fixture
def written(stock: Any, tmp_path: Path) -> Written:
    """A container of the stock, and a manifest that describes it."""
    path = tmp_path / "tables.sqlite3"
    return path, write(stock.database, path)


def change(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as conn:
        conn.executescript(statement)


def test_a_container_has_the_rows_of_its_source(stock: Any, written: Written, dump: Any) -> None:
    path, manifest = written
    with Database.open(sqlite_url(path)) as container:
        assert dump(container) == dump(stock.database)
        with container.read() as conn:
            for table in metadata.sorted_tables:
                count = conn.execute(select(func.count()).select_from(table)).scalar_one()
                assert manifest.row_counts[table.name] == count
    assert manifest.row_counts.keys() == metadata.tables.keys()


def test_a_container_needs_no_other_file(written: Written) -> None:
    path, _ = written
    assert [each.name for each in path.parent.glob(f"{path.name}*")] == [path.name]
    with closing(sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True)) as conn:
        assert conn.execute("PRAGMA integrity_check").fetchone() == ("ok",)


@ON_SQLITE
def test_an_open_container_has_the_last_ids_of_the_manifest(written: Written) -> None:
    path, manifest = written
    manifest = replace(manifest, last_ids={**manifest.last_ids, "entries": 1000})
    with open_container(path, manifest, ARCHIVE) as container, container.read() as conn:
        assert last_ids(conn)["entries"] == 1000
    assert not any(path.with_name(path.name + suffix).exists() for suffix in COMPANIONS)


def test_rows_of_an_empty_database_are_an_empty_container(
    database: Database, tmp_path: Path
) -> None:
    manifest = write(database, tmp_path / "tables.sqlite3")
    assert {name: n for name, n in manifest.row_counts.items() if n} == {"change_counter": 1}
    with open_container(tmp_path / "tables.sqlite3", manifest, ARCHIVE) as container:
        assert container.revision() == revisions.head()


def test_rows_that_break_a_key_are_damage_of_the_source(
    new_sqlite_url: Any, material: Any, tmp_path: Path
) -> None:
    url = new_sqlite_url()
    with Database.open(url) as database:
        material.fill(database, "fakes", "ab")
        # Without foreign keys, which is how another program may open the file.
        path = Path(url.removeprefix("sqlite:///"))
        change(path, "UPDATE entries SET image_id = 77 WHERE id = 1")
        with pytest.raises(TruthDamaged, match="break a key"):
            write(database, tmp_path / "tables.sqlite3")


@ON_SQLITE
def test_a_disk_without_room_is_an_error_of_the_system(stock: Any, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="unable to open"):
        write(stock.database, tmp_path / "missing folder" / "tables.sqlite3")


@ON_SQLITE
@pytest.mark.parametrize("content", [b"", b"not a database " * 500, b"SQLite format 3\0" * 64])
def test_a_file_that_is_no_database_is_corrupt(written: Written, content: bytes) -> None:
    path, manifest = written
    path.write_bytes(content)
    with pytest.raises(BackupCorrupt) as caught, open_container(path, manifest, ARCHIVE):
        pass
    assert caught.value.member == TABLES


@ON_SQLITE
def test_a_container_of_a_newer_release_is_not_opened(written: Written) -> None:
    path, manifest = written
    before = path.read_bytes()
    manifest = replace(manifest, schema_revision="9999")
    with (
        pytest.raises(BackupTooNew, match="the schema 9999"),
        open_container(path, manifest, ARCHIVE),
    ):
        pass
    assert path.read_bytes() == before


@ON_SQLITE
@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        ("UPDATE alembic_version SET version_num = '0001'", "has the schema"),
        ("DELETE FROM alembic_version", "has the schema None"),
        ("CREATE TRIGGER t AFTER INSERT ON corpora BEGIN DELETE FROM entries; END", "triggers"),
        ("CREATE VIEW v AS SELECT 1", "triggers or views"),
        ("CREATE TABLE more (id INTEGER)", "tables are not those"),
        ("DROP TABLE lookups", "tables are not those"),
        ("DELETE FROM lookups", "lookups has 0 rows instead of 1"),
        ("UPDATE change_counter SET last = last + 1", "last change has the number"),
        ("UPDATE embeddings SET vector = zeroblob(32) WHERE id = 1", "live rows"),
        ("UPDATE changes SET digest = zeroblob(32)", "digests differ"),
        ("UPDATE embedding_spaces SET dimension = 9 WHERE id = 1", "digests differ"),
    ],
)
def test_a_container_that_differs_from_its_manifest_says_how(
    written: Written, statement: str, reason: str
) -> None:
    path, manifest = written
    change(path, statement)
    with pytest.raises(BackupCorrupt, match=reason), open_container(path, manifest, ARCHIVE):
        pass


@ON_SQLITE
@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (lambda m: replace(m, generation=m.generation - 1), "last change has the number"),
        (lambda m: replace(m, spaces=m.spaces[:1]), "digests differ"),
        (
            lambda m: replace(m, row_counts={**m.row_counts, "images": 0}),
            r"images has \d+ rows instead of 0",
        ),
    ],
)
def test_a_manifest_that_differs_from_its_container_says_how(
    written: Written, edit: Callable[[BackupManifest], BackupManifest], reason: str
) -> None:
    path, manifest = written
    with pytest.raises(BackupCorrupt, match=reason), open_container(path, edit(manifest), ARCHIVE):
        pass


def test_a_temporary_container_leaves_no_file_and_no_companion(tmp_path: Path) -> None:
    with temporary_container(tmp_path / "a.tar") as path:
        for suffix in ("", *COMPANIONS):
            path.with_name(path.name + suffix).write_bytes(b"1")
    assert list(tmp_path.iterdir()) == []


@ON_SQLITE
def test_a_container_can_be_read_while_it_is_open(written: Written) -> None:
    path, manifest = written
    with open_container(path, manifest, ARCHIVE) as container, container.read() as conn:
        count = conn.execute(select(func.count()).select_from(entries)).scalar_one()
    assert count == manifest.row_counts["entries"]
