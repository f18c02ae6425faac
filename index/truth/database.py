"""One database: how it is opened, how transactions begin and end, how its failures are named.

Owns connections, pragmas and transaction modes. Owns no table and no statement of a topic.
Functions elsewhere take a `Connection`; the transaction is committed here, at the edge, when a
`write()` block ends well.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from sqlalchemy import URL, Connection, Engine, QueuePool, create_engine, event, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection, DBAPICursor
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import ConnectionPoolEntry

from index.errors import DatabaseUnavailable, InvalidDatabaseUrl, NoData
from index.failpoints import Failpoint, reach
from index.jsontext import canonical_json
from index.truth import revisions

# An ingest holds SQLite's one writer for the milliseconds of a batch; half a minute means that
# something hangs.
BUSY_TIMEOUT_SECONDS = 30.0
# A server answers from a thread pool of some dozen threads, and each lookup holds one connection
# while it searches.
POOL_SIZE = 8
POOL_OVERFLOW = 56
MAPPED_BYTES = 2**33  # SQLite takes less where it was built for less
WRITES = "lineup_writes"


class Database:
    """An opened database.

    Safe to share between threads; every block has a connection of its own.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        # SQLite lets a second writer sleep and look again; the writers of one process need not wait
        # like that.
        self._writer = threading.Lock() if engine.dialect.name == "sqlite" else None

    @classmethod
    def open(cls, url: str, *, migrate: bool = False) -> Self:
        """Open the database at a `sqlite:///` or `postgresql://` URL.

        With `migrate`, a missing SQLite file (and its folder) is made and the schema brought up to
        this release; without, nothing is ever created.

        Raises:
            InvalidDatabaseUrl: neither a SQLite file nor PostgreSQL.
            DatabaseUnavailable: no connection.
            NoData: no SQLite file, or a database that was never migrated.
            SchemaOutdated: the schema is that of another release; the message says what to run.

        """
        parsed = _parse(url)
        database = cls(_create_engine(parsed, create=migrate))
        try:
            if migrate:
                database.upgrade()
            with database.read() as conn:
                revisions.check(conn, _place(parsed))
        except BaseException:
            database.close()
            raise
        return database

    @property
    def dialect(self) -> str:
        """`sqlite` or `postgresql`."""
        return self._engine.dialect.name

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Give a connection that sees one state of the database, from its first statement to the
        end of the block.

        SQLite: a deferred transaction in WAL. PostgreSQL: REPEATABLE READ, READ ONLY. Nothing can
        be written.
        """
        with _failures_named(), self._engine.connect() as conn:
            if self.dialect == "postgresql":
                conn.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
            with conn.begin() as transaction:
                yield conn
                transaction.rollback()

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Give a connection whose changes are committed when the block ends, and undone when it
        raises.

        SQLite has one writer: the block waits for it at its beginning (BEGIN IMMEDIATE), so it can
        never fail half way for having read first. Never compute in this block; others are waiting.
        """
        with _failures_named(), self._turn(), self._engine.connect() as conn:
            conn.execution_options(**{WRITES: True})
            with conn.begin():
                yield conn
                reach(Failpoint.BEFORE_COMMIT)
            reach(Failpoint.AFTER_COMMIT)

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """Wait until no other thread of this process writes to the SQLite file."""
        if self._writer is None:
            yield
            return
        if not self._writer.acquire(timeout=BUSY_TIMEOUT_SECONDS):
            raise DatabaseUnavailable("another thread has been writing for too long")
        try:
            yield
        finally:
            self._writer.release()

    def upgrade(self) -> None:
        """Bring the schema to this release.

        Any number of processes may do this at once; one does, the others wait.
        """
        with self.write() as conn:
            revisions.upgrade(conn)

    def revision(self) -> str | None:
        """Return the schema's revision, None in a database that was never migrated."""
        with self.read() as conn:
            return revisions.current(conn)

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()


def sqlite_file(url: str) -> Path | None:
    """Return the file of a SQLite database, None where the URL is of PostgreSQL.

    Raises InvalidDatabaseUrl.
    """
    parsed = _parse(url)
    return _file(parsed) if parsed.get_backend_name() == "sqlite" else None


def sqlite_url(path: Path) -> str:
    """Return the URL of a SQLite file, whatever characters its path has."""
    return URL.create("sqlite", database=str(path.absolute())).render_as_string(hide_password=False)


def _place(url: URL) -> str:
    """Return how a message names a database: the path of its file, or its URL without password."""
    if url.get_backend_name() == "sqlite":
        return str(_file(url))
    return url.set(drivername="postgresql", password=None, query={}).render_as_string()


def _file(url: URL) -> Path:
    return Path(str(url.database)).absolute()


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
    except ArgumentError as err:
        raise InvalidDatabaseUrl(
            "this is no database URL: use sqlite:///FILE or postgresql://HOST/NAME"
        ) from err
    match parsed.get_backend_name():
        case "sqlite" if parsed.database not in (None, "", ":memory:"):
            return parsed
        case "sqlite":
            raise InvalidDatabaseUrl(
                "a SQLite database in memory cannot be shared: use sqlite:///FILE"
            )
        case "postgresql" | "postgres":
            return parsed.set(drivername="postgresql+psycopg")
        case other:
            raise InvalidDatabaseUrl(
                f"{other} is not supported: use sqlite:///FILE or postgresql://HOST/NAME"
            )


def _create_engine(url: URL, *, create: bool) -> Engine:
    if url.get_backend_name() == "sqlite":
        return _sqlite_engine(_file(url), create=create)
    try:
        engine = create_engine(
            url,
            pool_size=POOL_SIZE,
            max_overflow=POOL_OVERFLOW,
            pool_pre_ping=True,
            json_serializer=canonical_json,
        )
    except ImportError as err:
        raise DatabaseUnavailable(
            "PostgreSQL needs the extra `lineup-forensics[postgres]`"
        ) from err
    event.listen(engine, "connect", _prepare_postgresql)
    return engine


def _sqlite_engine(path: Path, *, create: bool) -> Engine:
    if create:
        path.parent.mkdir(parents=True, exist_ok=True)
    elif not path.exists():
        raise NoData(f"{path} does not exist")

    # mode=rw: SQLite otherwise makes an empty database where a file is missing, and calls it found.
    uri = f"{path.as_uri()}?mode={'rwc' if create else 'rw'}"

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
        json_serializer=canonical_json,
    )
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: DBAPIConnection, _record: ConnectionPoolEntry) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA foreign_keys = ON")
    # WAL with synchronous=NORMAL may lose the last commits when the power fails, and what committed
    # must be found. FULL costs one fsync a commit, which a batch shares.
    cursor.execute("PRAGMA synchronous = FULL")
    # The rows of ten neighbours lie anywhere in a large file: mapped, they are read in 0.3 ms
    # instead of 1.5, and the memory is the system's, not one cache for each connection.
    cursor.execute(f"PRAGMA mmap_size = {MAPPED_BYTES}")
    _use_wal(cursor)
    cursor.close()


def _prepare_postgresql(connection: DBAPIConnection, _record: ConnectionPoolEntry) -> None:
    """Send arrays in binary: psycopg prefers text, in which a thousand vectors take seven times as
    long.
    """
    from psycopg.types.array import ListBinaryDumper  # noqa: PLC0415 - an extra: SQLite does without

    connection.adapters.register_dumper(list, ListBinaryDumper)


def _use_wal(cursor: DBAPICursor) -> None:
    """Switch the file to WAL; the switch does not wait for other connections by itself, so it is
    tried again.
    """
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
        raise sqlite3.OperationalError("this file system cannot hold a write-ahead log")


def _begin_sqlite(conn: Connection) -> None:
    """Begin in the mode that the block asked for: the driver's own transaction control is off
    (isolation_level).
    """
    writes = bool(conn.get_execution_options().get(WRITES))
    if (
        conn.info.get(WRITES) is not writes
    ):  # kept with the driver's connection, which mostly goes on as before
        conn.exec_driver_sql(f"PRAGMA query_only = {'OFF' if writes else 'ON'}")
        conn.info[WRITES] = writes
    conn.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


@contextmanager
def _failures_named() -> Iterator[None]:
    """Name what the driver reports about the database itself; a broken constraint or statement
    stays what it is.
    """
    try:
        yield
    except PoolTimeout as err:
        raise DatabaseUnavailable("every connection is in use") from err
    except (OperationalError, InterfaceError) as err:
        raise DatabaseUnavailable(_first_line(err)) from err
    except DBAPIError as err:
        # Exactly DatabaseError is how SQLite reports a file that is damaged or no database at all.
        if type(err.orig) is sqlite3.DatabaseError:
            raise DatabaseUnavailable(_first_line(err)) from err
        raise


def _first_line(err: DBAPIError) -> str:
    return next(iter(str(err.orig).splitlines()), type(err.orig).__name__)
