"""One database: opening it, its transactions, and the names of its failures.

Owns connections, pragmas and transaction modes, but no table and no statement of a topic. Other
modules take a `Connection`; the transaction is committed here when a `write()` block ends without
an error.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from sqlalchemy import (
    URL,
    Connection,
    Engine,
    exists,
    false,
    func,
    make_url,
    select,
)
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from index.errors import (
    CorpusError,
    DatabaseBusy,
    DatabaseDamaged,
    DatabaseReadOnly,
    DatabaseUnavailable,
    InvalidDatabaseUrl,
    StorageFull,
)
from index.failpoints import Failpoint, reach
from index.failures import is_damage, is_storage_full, may_be_full, probe_writing
from index.truth.databases import revisions
from index.truth.databases.damage import find_damage
from index.truth.databases.options import DEFAULT_OPTIONS, DatabaseOptions
from index.truth.databases.postgresql import (
    SECRETS,
    UNLIMITED,
    WRITES,
    SingleMessages,
    create_postgresql_engine,
    create_single_engine,
    is_postgresql,
    name_failure,
    parse_url,
)
from index.truth.databases.sqlite import (
    BUSY_TIMEOUT_SECONDS,
    Access,
    FileStamp,
    SingleReads,
    choose_access,
    create_sqlite_engine,
    identify,
)
from index.truth.schema import (
    calibrations,
    change_counter,
    changes,
    computations,
    corpora,
    corpus_computations,
    embedding_spaces,
    embeddings,
    entries,
    images,
    lookups,
)

# Why a file of SQLite takes no writes, unless that was the operator's choice.
CANNOT_BE_WRITTEN = "its folder cannot be written; --read-only looks up without storing"
# What reading a damaged value ends in. Errors that were foreseen are in the trees of the packages.
UNFORESEEN = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError)
SOUND_SECONDS = 60.0  # a defect that is no damage must not read the file at each request
# How long `examine` waits for each step. An orchestrator's probe gives up after some seconds.
EXAMINE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class DatabaseState:
    """What a database answers about itself. `last_change` is the number of the last change.

    `refuses_writes` is the reason why it takes none (a replica, a server that is read-only), None
    if it takes them.
    """

    last_change: int
    is_replica: bool = False
    refuses_writes: str | None = None


class Database:
    """An open database.

    Threads can share it: every block has its own connection.
    """

    def __init__(
        self,
        engine: Engine,
        url: URL,
        options: DatabaseOptions,
        place: str,
        file: Path | None,
        refuses: str | None,
        stamp: FileStamp | None,
    ) -> None:
        """Take an engine, how a message names the database, and the file of SQLite.

        `refuses` says why nothing can be written, and `stamp` is that of a file that must not
        change while it is open.
        """
        self._engine = engine
        self._url = url
        self._options = options
        self._place = place
        self._file = file
        self._refuses = refuses
        self._stamp = stamp
        self._identity: tuple[int, int] | None = None  # of the file, once it is there
        self._sound_until = 0.0
        self._single = (
            SingleReads(engine)
            if engine.dialect.name == "sqlite"
            else SingleMessages(engine, options)
        )
        # SQLite lets a second writer sleep and poll. Within one process a lock is faster.
        self._writer = threading.Lock() if engine.dialect.name == "sqlite" else None

    @classmethod
    def open(
        cls, url: str, *, migrate: bool = False, options: DatabaseOptions = DEFAULT_OPTIONS
    ) -> Self:
        """Open the database at a `sqlite:///` or `postgresql://` URL.

        `migrate` creates a missing SQLite file and its folder, and upgrades the schema to this
        release. Without it nothing is created or changed.

        Raises:
            InvalidDatabaseUrl: the URL is neither of a SQLite file nor of PostgreSQL.
            DatabaseUnavailable: there is no connection.
            DatabaseRefused: the server refuses the connection, or cannot hold Lineup's data.
            DatabaseReadOnly: there is something to migrate, and nothing may be written.
            NoData: there is no SQLite file, or the database was never migrated.
            SchemaOutdated: the schema is that of another release; the message says what to run.

        """
        parsed = _parse(url)
        place = _place(parsed)
        file = _file(parsed) if parsed.get_backend_name() == "sqlite" else None
        refuses, stamp = None, None
        if file is None:
            engine = create_postgresql_engine(parsed, options)
        else:
            access = choose_access(file, create=migrate, read_only=options.read_only)
            refuses = None if access.writes else CANNOT_BE_WRITTEN
            stamp = FileStamp.of(file) if access is Access.UNCHANGING else None
            engine = create_sqlite_engine(file, access)
        # Without its folder: the path of a server belongs into no answer.
        named = f"the database {place if file is None else file.name}"
        database = cls(engine, parsed, options, named, file, refuses, stamp)
        try:
            if migrate:
                database.upgrade()
            with database.read() as conn:
                revisions.check(conn, place)
            if file is not None:
                database._identity = identify(file)
        except BaseException:
            database.close()
            raise
        return database

    @property
    def dialect(self) -> str:
        """`sqlite` or `postgresql`."""
        return self._engine.dialect.name

    @property
    def read_only(self) -> bool:
        """Whether nothing may be written, by the operator's choice."""
        return self._options.read_only

    @contextmanager
    def read(self, *, unlimited: bool = False) -> Iterator[Connection]:
        """Yield a read-only connection that sees one state of the database throughout the block.

        The state is that of the first statement. SQLite: a deferred transaction in WAL mode.
        PostgreSQL: REPEATABLE READ, READ ONLY. In an `unlimited` block, for work that reads a
        whole corpus, a statement may take as long as it needs.

        PostgreSQL: it ends with COMMIT, so that the share of rolled back ones counts failures.

        Raises:
            DatabaseUnavailable: the database fails, or every connection is in use.

        """
        self._require_unchanged()
        with self._name_failures(), self._engine.connect() as conn:
            conn.execution_options(**{UNLIMITED: unlimited})
            with conn.begin() as transaction:
                yield conn
                if self.dialect == "sqlite":
                    transaction.rollback()  # a COMMIT fails where a page that was read is damaged

    def read_row(self, query: str, parameters: tuple[Any, ...] = ()) -> Sequence[Any]:
        """Return the only row of a query, read in a transaction of its own, in the driver's SQL and
        types.

        For the question that every search asks: SQLite answers it in a tenth of the time of a
        `read` block, PostgreSQL in one round trip.

        Raises:
            DatabaseUnavailable: as `read`.

        """
        self._require_unchanged()
        driver = self._engine.dialect.loaded_dbapi
        try:
            return self._single.fetch_row(query, parameters)
        except PoolTimeout as err:
            raise DatabaseBusy("every connection is in use") from err
        except driver.Error:
            with self.read() as conn:  # over another connection, or to name the failure
                return conn.exec_driver_sql(query, parameters).one()

    @contextmanager
    def write(self, *, unlimited: bool = False) -> Iterator[Connection]:
        """Yield a connection whose changes are committed at the end, or rolled back on an error.

        SQLite has one writer. The block waits for the write lock when it begins (BEGIN IMMEDIATE),
        so it cannot fail later because it read first. Do not compute in this block: other writers
        are waiting.

        Raises:
            DatabaseUnavailable: the database fails, or is locked for too long.
            DatabaseReadOnly: nothing may be written.

        """
        if self.read_only:
            raise DatabaseReadOnly("this Lineup was started with --read-only")
        if self._refuses is not None:
            raise DatabaseReadOnly(self._refuses)
        self._require_unchanged()
        with self._name_failures(), self._turn(), self._engine.connect() as conn:
            conn.execution_options(**{WRITES: True, UNLIMITED: unlimited})
            with conn.begin():
                yield conn
                reach(Failpoint.BEFORE_COMMIT)
            reach(Failpoint.AFTER_COMMIT)

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """Wait until no other thread of this process is writing to the SQLite file."""
        if self._writer is None:
            yield
            return
        if not self._writer.acquire(timeout=BUSY_TIMEOUT_SECONDS):
            raise DatabaseBusy("another thread has held the write lock for too long")
        try:
            yield
        finally:
            self._writer.release()

    @contextmanager
    def _name_failures(self) -> Iterator[None]:
        """Turn the driver's errors about the database itself into errors of Lineup.

        Errors about a constraint or a statement stay as they are.
        """
        try:
            yield
        except PoolTimeout as err:
            raise DatabaseBusy("every connection is in use") from err
        except DBAPIError as err:
            named = self._name_failure(err)
            if named is None:
                raise
            raise named from err
        except UnicodeDecodeError as err:
            # The driver of SQLite decodes the name in a message, such as that of a table.
            raise DatabaseDamaged(self._place, f"a name in it is not UTF-8: {err.reason}") from err
        except UNFORESEEN as err:
            damage = self.find_damage()
            if damage is None:
                raise
            raise damage from err

    def _name_failure(self, err: DBAPIError) -> CorpusError | None:
        if is_storage_full(err) or (may_be_full(err) and self._has_no_room()):
            return StorageFull("rows of the database", _first_line(err))
        if is_damage(err):
            return DatabaseDamaged(self._place, _first_line(err))
        if self.dialect == "postgresql":
            return name_failure(err)
        # SQLite reports some damage as exactly DatabaseError, without a code.
        if isinstance(err, (OperationalError, InterfaceError)) or (
            type(err.orig) is sqlite3.DatabaseError
        ):
            return DatabaseUnavailable(_first_line(err))
        return None

    def find_damage(self) -> DatabaseDamaged | None:
        """Look for damage behind an error that nobody foresaw; None if there is none to be seen.

        SQLite reads the whole file for it. A file that was sound is not read again for a while.
        """
        if self.dialect != "sqlite" or time.monotonic() < self._sound_until:
            return None
        try:
            with self._engine.connect() as conn, conn.begin():
                found = next(find_damage(conn), None)
        except DBAPIError as err:
            found = ("a page", _first_line(err)) if is_damage(err) else None
        except UNFORESEEN as err:
            found = ("a value", f"it cannot be read: {type(err).__name__}")
        if found is None:
            self._sound_until = time.monotonic() + SOUND_SECONDS
            return None
        where, reason = found
        return DatabaseDamaged(f"{self._place}, {where},", reason)

    def _require_unchanged(self) -> None:
        """Raise if another file was put in place of the one that is open, because what is written
        to the latter is lost; or if a file was changed that SQLite takes as unchanging, because it
        would read nonsense.
        """
        if self._file is None or self._identity is None:
            return
        try:
            if identify(self._file) != self._identity:
                raise DatabaseUnavailable(
                    f"{self._file.name} was replaced by another file since it was opened here: "
                    "start again"
                )
            if self._stamp is not None and self._stamp != FileStamp.of(self._file):
                raise DatabaseUnavailable(
                    f"{self._file.name} was changed from elsewhere since it was opened here, where "
                    "its folder cannot be written: start again"
                )
        except OSError as err:
            raise DatabaseUnavailable(f"{self._file.name}: {err.strerror}") from err

    def _has_no_room(self) -> bool:
        folder = None if self._file is None else self._file.parent
        return folder is not None and is_storage_full(probe_writing(folder))

    def upgrade(self) -> None:
        """Upgrade the schema to this release.

        Several processes can call this at once: one upgrades, the others wait.
        """
        with self.write(unlimited=True) as conn:
            revisions.upgrade(conn)

    def examine(self) -> DatabaseState:
        """Ask the database about itself, in a few seconds at most, whatever work is waiting.

        PostgreSQL: over a new connection, with time-outs of its own, and it fails if a table of
        look-ups is locked.

        Raises:
            DatabaseUnavailable, DatabaseRefused

        """
        if self.dialect != "postgresql":
            with self.read() as conn:
                last = conn.execute(select(change_counter.c.last)).scalar_one()
            return DatabaseState(last, refuses_writes=self._refuses)
        engine = create_single_engine(self._url, _EXAMINING)
        try:
            with self._name_failures(), engine.connect() as conn, conn.begin():
                row = conn.execute(_STATE).one()
        finally:
            engine.dispose()
        reason = "it is a replica" if row.is_replica else "the server is read-only"
        refuses = reason if row.is_replica or row.is_read_only else None
        return DatabaseState(row.last, row.is_replica, refuses)

    def revision(self) -> str | None:
        """Return the schema revision, or None if the database was never migrated."""
        with self.read() as conn:
            return revisions.current(conn)

    def close(self) -> None:
        """Close every connection."""
        self._single.close()
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()


_EXAMINING = DatabaseOptions(
    connect_timeout_seconds=2.0,  # the least that libpq takes
    lock_timeout_seconds=EXAMINE_SECONDS / 2,  # before the statement: the reason is said
    statement_timeout_seconds=EXAMINE_SECONDS,
    prepared_statements=False,
    application="lineup-readiness",
)
OF_LOOKUPS = (
    calibrations,
    changes,
    computations,
    corpora,
    corpus_computations,
    embedding_spaces,
    embeddings,
    entries,
    images,
    lookups,
)
# Naming a table takes the lock of a reader; nothing of it is read.
_STATE = select(
    change_counter.c.last,
    func.pg_is_in_recovery().label("is_replica"),
    (func.current_setting("default_transaction_read_only") == "on").label("is_read_only"),
    *(exists(select(1).select_from(table).where(false())) for table in OF_LOOKUPS),
)


def sqlite_file(url: str) -> Path | None:
    """Return the file of a SQLite database, or None if the URL is of PostgreSQL.

    Raises:
        InvalidDatabaseUrl: the URL is neither of a SQLite file nor of PostgreSQL.

    """
    parsed = _parse(url)
    return _file(parsed) if parsed.get_backend_name() == "sqlite" else None


def sqlite_url(path: Path) -> str:
    """Return the URL of a SQLite file; its path may contain any character."""
    return URL.create("sqlite", database=str(path.absolute())).render_as_string(hide_password=False)


def hide_password(url: str) -> str:
    """Return a URL without its password, to be printed; only its beginning where it is wrong."""
    try:
        parsed = _parse(url)
    except InvalidDatabaseUrl:
        return f"{url.partition('://')[0]}://..." if is_postgresql(url) else "..."
    if parsed.get_backend_name() == "sqlite":
        return url
    shown = parsed.set(drivername="postgresql").difference_update_query(SECRETS)
    return shown.render_as_string(hide_password=True)


def _place(url: URL) -> str:
    """Return how a message names a database: the path of its file, or its URL without password."""
    if url.get_backend_name() == "sqlite":
        return str(_file(url))
    return url.set(drivername="postgresql", password=None, query={}).render_as_string()


def _file(url: URL) -> Path:
    return Path(str(url.database)).absolute()


def _parse(url: str) -> URL:
    if is_postgresql(url):
        return parse_url(url)
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise InvalidDatabaseUrl(
            "this is not a database URL: use sqlite:///FILE or postgresql://HOST/NAME"
        ) from None
    match parsed.get_backend_name():
        case "sqlite" if parsed.database not in (None, "", ":memory:"):
            return parsed
        case "sqlite":
            raise InvalidDatabaseUrl(
                "a SQLite database in memory cannot be shared between connections: use sqlite:///FILE"
            )
        case other:
            raise InvalidDatabaseUrl(
                f"the database {other} is not supported: use sqlite:///FILE or "
                f"postgresql://HOST/NAME"
            )


def _first_line(err: DBAPIError) -> str:
    return next(iter(str(err.orig).splitlines()), type(err.orig).__name__)
