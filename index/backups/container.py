"""The tables of an archive: a SQLite file made by Lineup's migrations, for rows of any database.

It is written once and without a journal, because a failure deletes the file. See
`docs/decisions/0004-backup.md`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

from sqlalchemy import Connection, Engine, NullPool, create_engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.pool import ConnectionPoolEntry

from index.backups.manifest import TABLES, BackupManifest
from index.backups.space_states import find_difference
from index.backups.tables import insert_rows, read_tables, set_last_ids
from index.durable import temporary_beside
from index.errors import (
    BackupCorrupt,
    BackupTooNew,
    DatabaseDamaged,
    DatabaseUnavailable,
    TruthDamaged,
)
from index.jsontext import canonical_json
from index.truth.databases import revisions
from index.truth.databases.database import Database, sqlite_url
from index.truth.schema import metadata

# The page cache while writing. Random unique keys need many pages at once.
CACHE_KIB = 64 * 1024
COMPANIONS = ("-wal", "-shm", "-journal")


@contextmanager
def temporary_container(beside: Path) -> Iterator[Path]:
    """Yield the path of a temporary container beside a file; remove it and its companions later."""
    with temporary_beside(beside) as path:
        try:
            yield path
        finally:
            for companion in COMPANIONS:
                path.with_name(path.name + companion).unlink(missing_ok=True)


def write_container(source: Connection, ids: Mapping[str, int], path: Path) -> dict[str, int]:
    """Fill a new or empty file with all rows of a read transaction; return the rows of each table.

    Raises:
        TruthDamaged: the rows break a key, so the source is damaged.
        OSError: the disk is full or fails.

    """
    counts = {table.name: 0 for table in metadata.sorted_tables}
    engine = _writing_engine(path)
    try:
        with _name_write_failures(), engine.begin() as target:
            revisions.upgrade(target)
        with engine.connect() as target, target.begin() as transaction:
            for table, rows in read_tables(source):
                with _name_write_failures():
                    insert_rows(target, table, rows)
                counts[table.name] += len(rows)
            with _name_write_failures():
                set_last_ids(target, ids)
                transaction.commit()
    finally:
        engine.dispose()
    return counts


@contextmanager
def open_container(path: Path, manifest: BackupManifest, archive: Path) -> Iterator[Database]:
    """Open the extracted tables of an archive, after comparing them with its manifest.

    This upgrades their schema to this release. After the block, the file needs no companion files.

    Raises:
        BackupTooNew: the schema is that of a newer release.
        BackupCorrupt: the tables contradict the manifest.

    """
    if not revisions.is_known(manifest.schema_revision):
        raise BackupTooNew(archive, f"the schema {manifest.schema_revision}")
    try:
        _check_file(path, manifest, archive)
        database = Database.open(sqlite_url(path), migrate=True)
    except (sqlite3.Error, DatabaseUnavailable, DatabaseDamaged) as err:
        raise BackupCorrupt(archive, TABLES, str(err)) from err
    with database:
        # A migration that recreates a table loses its last id.
        with database.write() as conn:
            set_last_ids(conn, manifest.last_ids)
        with database.read() as conn:
            difference = find_difference(conn, manifest.generation, manifest.spaces)
        if difference:
            raise BackupCorrupt(archive, TABLES, difference)
        yield database


def _check_file(path: Path, manifest: BackupManifest, archive: Path) -> None:
    with closing(
        sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)
    ) as conn:
        revision = conn.execute("SELECT version_num FROM alembic_version").fetchone()
        if revision != (manifest.schema_revision,):
            raise BackupCorrupt(
                archive,
                TABLES,
                f"it has the schema {revision} instead of {manifest.schema_revision!r}",
            )
        if conn.execute(
            "SELECT 1 FROM sqlite_master WHERE type NOT IN ('table', 'index')"
        ).fetchone():
            raise BackupCorrupt(archive, TABLES, "it has triggers or views")
        names = {
            name for (name,) in conn.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        }
        tables = {name for name in names if not name.startswith("sqlite_")} - {"alembic_version"}
        if tables != manifest.row_counts.keys():
            raise BackupCorrupt(archive, TABLES, "its tables are not those of the manifest")
        for name, stated in manifest.row_counts.items():
            (count,) = conn.execute(f'SELECT count(*) FROM "{name}"').fetchone()  # noqa: S608  # nosec B608 # an existing table
            if count != stated:
                raise BackupCorrupt(archive, TABLES, f"{name} has {count} rows instead of {stated}")


def _writing_engine(path: Path) -> Engine:
    def connect() -> sqlite3.Connection:
        return sqlite3.connect(path, isolation_level=None)

    engine = create_engine(
        "sqlite://", creator=connect, poolclass=NullPool, json_serializer=canonical_json
    )
    event.listen(engine, "connect", _prepare)
    event.listen(engine, "begin", _begin)
    return engine


def _prepare(connection: DBAPIConnection, _record: ConnectionPoolEntry) -> None:
    cursor = connection.cursor()
    for pragma in (
        "journal_mode = OFF",
        "synchronous = OFF",
        "foreign_keys = ON",
        f"cache_size = -{CACHE_KIB}",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin(conn: Connection) -> None:
    conn.exec_driver_sql("BEGIN IMMEDIATE")


@contextmanager
def _name_write_failures() -> Iterator[None]:
    """Raise OSError or TruthDamaged for failures of the file that is being written."""
    try:
        yield
    except IntegrityError as err:
        raise TruthDamaged(f"its rows break a key: {err.orig}") from err
    except DBAPIError as err:
        raise OSError(str(err.orig)) from err
