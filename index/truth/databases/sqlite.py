"""SQLite as it is opened: whether its file may be written, its pragmas and its transactions.

A file that cannot be written can be read, and `choose_access` says how. SQLite needs two companion
files for that, the write-ahead log and its index, which it can make only where it may write. Where
it may not, and no process has them open, the file is opened as one that does not change. See "Use
of WAL without shared memory" and "immutable" on sqlite.org.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, PoolProxiedConnection, QueuePool, create_engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection, DBAPICursor
from sqlalchemy.pool import ConnectionPoolEntry

from index.errors import DatabaseUnavailable, NoData
from index.jsontext import canonical_json
from index.truth.databases.postgresql import WRITES
from index.truth.statements import fetch_rows

# An ingest holds SQLite's only write lock for the milliseconds of a batch, so a wait of half a
# minute means that something hangs.
BUSY_TIMEOUT_SECONDS = 30.0
# A server answers from some dozens of threads, and each look-up holds one connection while it
# searches.
POOL_SIZE = 8
POOL_OVERFLOW = 56
POOL_TIMEOUT_SECONDS = 30.0  # SQLAlchemy's default
MAPPED_BYTES = 2**33  # SQLite uses less if it was compiled with a lower limit


class Access(StrEnum):
    """How the file is opened: the end of its URI."""

    CREATE = "mode=rwc"
    # Without mode=rw SQLite would create an empty database in place of a missing file.
    WRITE = "mode=rw"
    READ = "mode=ro"
    UNCHANGING = "mode=ro&immutable=1"

    @property
    def writes(self) -> bool:
        """Whether the file may be written."""
        return self in (Access.CREATE, Access.WRITE)


@dataclass(frozen=True, slots=True)
class FileStamp:
    """What shows that a file changed, which SQLite does not look for in an unchanging one."""

    written_ns: int
    byte_size: int
    has_log: bool

    @classmethod
    def of(cls, path: Path) -> FileStamp:
        """Read it from the disk. Raises OSError."""
        status = path.stat()
        return cls(status.st_mtime_ns, status.st_size, _has_content(companion(path, "-wal")))


def identify(path: Path) -> tuple[int, int]:
    """Return the device and the number of a file: another file in its place has others.

    Raises OSError.
    """
    status = os.stat(path)  # noqa: PTH116 -- `Path.stat` takes twice as long; every look-up asks
    return status.st_dev, status.st_ino


def companion(path: Path, suffix: str) -> Path:
    """Return the path of the log (`-wal`) or of its index (`-shm`)."""
    return path.with_name(path.name + suffix)


def choose_access(path: Path, *, create: bool, read_only: bool) -> Access:
    """Return how to open a file.

    Raises:
        NoData: there is no file, and it shall not be created.
        DatabaseUnavailable: the log has changes that cannot be read without writing.

    """
    if not path.exists():
        if create:
            return Access.CREATE
        raise NoData(f"{path} does not exist")
    folder_is_writable = os.access(path.parent, os.W_OK)
    if os.access(path, os.W_OK) and folder_is_writable and not read_only:
        return Access.CREATE if create else Access.WRITE
    if folder_is_writable or companion(path, "-shm").exists():
        return Access.READ
    if _has_content(companion(path, "-wal")):
        raise DatabaseUnavailable(
            f"{path.name} has a write-ahead log, which cannot be read where nothing can be "
            "written: run `lineup fsck` once where the folder can be written, or copy it there"
        )
    return Access.UNCHANGING


def create_sqlite_engine(path: Path, access: Access) -> Engine:
    """Make the engine of a file; nothing is opened yet."""
    if access is Access.CREATE:
        path.parent.mkdir(parents=True, exist_ok=True)
    uri = f"{path.as_uri()}?{access}"

    def connect() -> sqlite3.Connection:
        return sqlite3.connect(
            uri,
            uri=True,
            timeout=BUSY_TIMEOUT_SECONDS,
            isolation_level=None,
            check_same_thread=False,
        )

    engine = create_engine(
        "sqlite://",
        creator=connect,
        poolclass=QueuePool,
        pool_size=POOL_SIZE,
        max_overflow=POOL_OVERFLOW,
        pool_timeout=POOL_TIMEOUT_SECONDS,
        json_serializer=canonical_json,
    )
    event.listen(engine, "connect", _prepare_to_write if access.writes else _prepare)
    event.listen(engine, "begin", _begin)
    return engine


class SingleReads:
    """Statements that are read transactions of their own, over connections beside the pool: taking
    one from the pool and giving it back takes longer than the statement. For any thread.

    As many connections are kept as threads have ever asked at the same moment.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._idle: deque[tuple[PoolProxiedConnection, DBAPICursor]] = deque()

    def fetch_row(self, query: str, parameters: tuple[Any, ...]) -> Sequence[Any]:
        """Return the only row of a query. Raises the driver's errors."""
        try:
            connection, cursor = self._idle.pop()
        except IndexError:
            connection = self._engine.raw_connection()
            connection.detach()
            cursor = connection.cursor()
        try:
            cursor.execute(query, parameters)
            row: Sequence[Any]
            (row,) = cursor.fetchall()
        except BaseException:
            connection.close()
            raise
        self._idle.append((connection, cursor))
        return row

    def close(self) -> None:
        """Close the connections."""
        while self._idle:
            connection, _ = self._idle.pop()
            connection.close()


def _has_content(path: Path) -> bool:
    try:
        return path.stat().st_size > 0
    except FileNotFoundError:
        return False


def _prepare(connection: DBAPIConnection, _record: ConnectionPoolEntry) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA foreign_keys = ON")
    # The rows of ten neighbours are scattered over a large file. Mapped, they are read in 0.3 ms
    # instead of 1.5 ms, and all connections share the system's memory instead of a cache each.
    cursor.execute(f"PRAGMA mmap_size = {MAPPED_BYTES}")
    cursor.close()


def _prepare_to_write(connection: DBAPIConnection, record: ConnectionPoolEntry) -> None:
    _prepare(connection, record)
    cursor = connection.cursor()
    # WAL with synchronous=NORMAL can lose the last commits in a power failure, but a committed
    # entry must be found. FULL costs one fsync for each commit, which is shared by a batch.
    cursor.execute("PRAGMA synchronous = FULL")
    _use_wal(cursor)
    cursor.close()


def _use_wal(cursor: DBAPICursor) -> None:
    """Switch the file to WAL mode, retrying: SQLite does not wait here for other connections."""
    deadline = time.monotonic() + BUSY_TIMEOUT_SECONDS
    mode = None
    while mode is None:
        try:
            cursor.execute("PRAGMA journal_mode = WAL")
            mode, *_ = cursor.fetchone() or ("none",)
        except sqlite3.OperationalError as err:
            if "locked" not in str(err) or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
    if mode != "wal":
        raise sqlite3.OperationalError("this file system does not support a write-ahead log")


def _begin(conn: Connection) -> None:
    """Begin a transaction in the mode of the block.

    `isolation_level=None` turns off the driver's own transaction control.
    """
    writes = bool(conn.get_execution_options().get(WRITES))
    # The mode is kept with the driver's connection, which is mostly used in the same mode again.
    if conn.info.get(WRITES) is not writes:
        conn.exec_driver_sql(f"PRAGMA query_only = {'OFF' if writes else 'ON'}")
        conn.info[WRITES] = writes
    if writes:
        conn.exec_driver_sql("BEGIN IMMEDIATE")
    else:  # begins each question; it fails only where the connection is gone
        fetch_rows(conn, "BEGIN")
