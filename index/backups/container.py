"""The tables of an archive: a SQLite file that the project's own migrations made, whatever database
the rows are from.

See `docs/decisions/0004-backup.md` for why. Written once, without a journal, for a failure throws
the file away.
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
from index.errors import BackupCorrupt, BackupTooNew, DatabaseUnavailable, TruthDamaged
from index.jsontext import canonical_json
from index.truth import revisions
from index.truth.database import Database, sqlite_url
from index.truth.schema import metadata

CACHE_KIB = (
    64 * 1024
)  # of pages while it is written: unique keys of random order fall into few pages at a time
COMPANIONS = ("-wal", "-shm", "-journal")


@contextmanager
def temporary_container(beside: Path) -> Iterator[Path]:
    """Give the name of a temporary file beside another, for a container that is not to stay under
    that name.
    """
    with temporary_beside(beside) as path:
        try:
            yield path
        finally:
            for companion in COMPANIONS:
                path.with_name(path.name + companion).unlink(missing_ok=True)


def write_container(source: Connection, ids: Mapping[str, int], path: Path) -> dict[str, int]:
    """Fill a file, new or empty, with every row of a read transaction; return the row count of each
    table.

    Raises:
        TruthDamaged: rows that break a key, which only damage to the source can be the reason of.
        OSError: the disk is full or failing.

    """
    counts = {table.name: 0 for table in metadata.sorted_tables}
    engine = _writing_engine(path)
    try:
        with _write_failures_named(), engine.begin() as target:
            revisions.upgrade(target)
        with engine.connect() as target, target.begin() as transaction:
            for table, rows in read_tables(source):
                with _write_failures_named():
                    insert_rows(target, table, rows)
                counts[table.name] += len(rows)
            with _write_failures_named():
                set_last_ids(target, ids)
                transaction.commit()
    finally:
        engine.dispose()
    return counts


@contextmanager
def open_container(path: Path, manifest: BackupManifest, archive: Path) -> Iterator[Database]:
    """Open the extracted tables of an archive, after showing that they are what its manifest
    states.

    They are brought to the schema of this release on the way. When the block has ended, the file is
    whole in itself.

    Raises:
        BackupTooNew: the schema is of a later release. BackupCorrupt: anything but the stated rows.

    """
    if not revisions.is_known(manifest.schema_revision):
        raise BackupTooNew(archive, f"the schema {manifest.schema_revision}")
    try:
        _check_file(path, manifest, archive)
        database = Database.open(sqlite_url(path), migrate=True)
    except (sqlite3.Error, DatabaseUnavailable) as err:
        raise BackupCorrupt(archive, TABLES, str(err)) from err
    with database:
        with (
            database.write() as conn
        ):  # a migration that makes a table anew loses what it remembered
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
                archive, TABLES, f"its schema is {revision}, stated is {manifest.schema_revision!r}"
            )
        if conn.execute(
            "SELECT 1 FROM sqlite_master WHERE type NOT IN ('table', 'index')"
        ).fetchone():
            raise BackupCorrupt(archive, TABLES, "it holds triggers or views")
        names = {
            name for (name,) in conn.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        }
        tables = {name for name in names if not name.startswith("sqlite_")} - {"alembic_version"}
        if tables != manifest.row_counts.keys():
            raise BackupCorrupt(archive, TABLES, "it has other tables than those stated")
        for name, stated in manifest.row_counts.items():
            (count,) = conn.execute(f'SELECT count(*) FROM "{name}"').fetchone()  # noqa: S608 - a name that is there
            if count != stated:
                raise BackupCorrupt(
                    archive, TABLES, f"{name} has {count} rows, stated are {stated}"
                )


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
def _write_failures_named() -> Iterator[None]:
    """Tell failures of the file that is written from those of the database that is read."""
    try:
        yield
    except IntegrityError as err:
        raise TruthDamaged(f"its rows break a key: {err.orig}") from err
    except DBAPIError as err:
        raise OSError(str(err.orig)) from err
