"""PostgreSQL: its URLs, its connections and the names of its failures.

A transaction begins with one message that sets its isolation and its time-outs (`SET LOCAL`), and
nothing else depends on a session: no `LISTEN`, no advisory lock beyond a transaction, no temporary
table, and no `SET` where others may use the session too. So a pooler that gives each transaction
another session (PgBouncer, `transaction`) works; only prepared statements do not, and they are off
where a pooler is noticed. See
`docs/decisions/0025-read-only-service.md` and `docs/postgresql.md`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import URL, Connection, Engine, NullPool, QueuePool, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.pool import ConnectionPoolEntry

from index.errors import (
    CorpusError,
    DatabaseBusy,
    DatabaseReadOnly,
    DatabaseRefused,
    DatabaseUnavailable,
    InvalidDatabaseUrl,
)
from index.jsontext import canonical_json
from index.truth.databases.options import DatabaseOptions

SCHEMES = frozenset({"postgresql", "postgres"})
DRIVER = "postgresql+psycopg"
WRITES = "lineup_writes"
UNLIMITED = "lineup_unlimited"
SECRETS = ("password", "sslpassword", "passfile", "sslkey")  # parameters that are not printed
LARGEST_PORT = 65535
# Nobody can say what an older server does: 12 is the oldest one whose statements are all used.
OLDEST_SERVER = 12
_SHARED = "shared"  # what a connection's record says: others may use the session too
# A writer that stops in the middle of its transaction (a frozen process, a lost machine) gives its
# locks back after this time. A transaction never waits for anything but the database.
IDLE_WRITER_SECONDS = 60.0
# A connection to a machine that is gone ends after about a minute, not after the two hours of
# Linux. The names are libpq's; a URL that sets one of them wins.
KEEPALIVE = {
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,  # milliseconds
}
HOW_TO_WRITE = "use postgresql://USER:PASSWORD@HOST/NAME"
TO_ENCODE = "write @ : / ? # % in a name or password as %40 %3A %2F %3F %23 %25"


def is_postgresql(url: str) -> bool:
    """Return whether a URL names this database, however wrong the rest of it may be."""
    return url.partition(":")[0].partition("+")[0] in SCHEMES


def parse_url(url: str) -> URL:
    """Parse a URL of libpq's form, also one with several hosts: `postgresql://one,two/name`.

    No part of the URL is in an error, nor in its causes: an unescaped password can be anywhere in
    it.

    Raises:
        InvalidDatabaseUrl

    """
    _, _, rest = url.partition("://")
    before, _, after = rest.rpartition("@")
    if "@" in before:
        raise InvalidDatabaseUrl(f"the database URL has more than one @: {TO_ENCODE}")
    place, slash, name = after.partition("/")
    several = "," in place
    try:
        hosts = _split_hosts(place) if several else {}
        text = f"{DRIVER}://{before}{'@' if before else ''}{'' if several else place}{slash}{name}"
        parsed = make_url(text).update_query_dict(hosts)
    except (ArgumentError, ValueError, TypeError):
        raise InvalidDatabaseUrl(
            f"the database URL cannot be read: {HOW_TO_WRITE}, with a number as the port, and "
            f"{TO_ENCODE}"
        ) from None
    if parsed.port is not None and not 0 < parsed.port <= LARGEST_PORT:
        raise InvalidDatabaseUrl(f"the database URL has no port of 1 to {LARGEST_PORT}")
    return parsed


def _split_hosts(place: str) -> dict[str, str]:
    """Return the parameters `host` and `port` of several hosts. Raises ValueError."""
    hosts, ports = [], []
    for each in place.split(","):
        host, port = each, ""
        if not each.endswith("]"):
            host, colon, port = each.rpartition(":")
            host, port = (host, port) if colon else (port, "")
        if port and not 0 < int(port) <= LARGEST_PORT:
            raise ValueError("no port")
        hosts.append(host.strip("[]"))
        ports.append(port or "5432")
    return {"host": ",".join(hosts), "port": ",".join(ports)}


def create_postgresql_engine(url: URL, options: DatabaseOptions) -> Engine:
    """Make the engine of a process. Raises `InvalidDatabaseUrl`, `DatabaseUnavailable`."""
    return _create(
        url,
        options,
        poolclass=QueuePool,
        pool_size=options.pool_size,
        max_overflow=options.pool_overflow,
        pool_timeout=options.pool_timeout_seconds or None,
        pool_pre_ping=True,
    )


def create_single_engine(url: URL, options: DatabaseOptions) -> Engine:
    """Make an engine that connects anew for each transaction, beside the pool.

    For a check that may not wait until a connection of the pool is free, and that should notice
    whether new connections are accepted.
    """
    return _create(url, options, poolclass=NullPool)


def _create(url: URL, options: DatabaseOptions, **pool: Any) -> Engine:  # noqa: ANN401 -- SQLAlchemy's
    defaults: dict[str, Any] = {
        **KEEPALIVE,
        # psycopg takes whole seconds, and at least two
        "connect_timeout": max(2, round(options.connect_timeout_seconds)),
        "fallback_application_name": options.application,
    }
    if not options.connect_timeout_seconds:
        del defaults["connect_timeout"]
    given = {name: value for name, value in defaults.items() if name not in url.query}
    try:
        engine = create_engine(
            url,
            isolation_level="AUTOCOMMIT",  # `_begin` begins each transaction
            connect_args=given,
            json_serializer=canonical_json,
            **pool,
        )
    except ImportError as err:
        raise DatabaseUnavailable(
            "PostgreSQL needs an extra: run `pip install 'lineup-forensics[postgres]'`"
        ) from err
    _check_parameters(engine, url)
    begin = _beginnings(options)

    def prepare(connection: Any, record: ConnectionPoolEntry) -> None:  # noqa: ANN401 -- psycopg's
        record.info[_SHARED] = _prepare(connection, options)

    def begin_transaction(conn: Connection) -> None:
        chosen = conn.get_execution_options()
        conn.exec_driver_sql(begin[bool(chosen.get(WRITES)), bool(chosen.get(UNLIMITED))])

    # First: SQLAlchemy cannot read what a database without an encoding sends.
    event.listen(engine, "connect", prepare, insert=True)
    event.listen(engine, "begin", begin_transaction)
    return engine


def _check_parameters(engine: Engine, url: URL) -> None:
    """Require that libpq knows every parameter of the URL. Raises `InvalidDatabaseUrl`."""
    from psycopg import ProgrammingError  # noqa: PLC0415 -- an extra, not needed for SQLite
    from psycopg.conninfo import make_conninfo  # noqa: PLC0415 -- as above

    try:
        _, parameters = engine.dialect.create_connect_args(url)
        parameters.pop("context", None)  # of psycopg, not of libpq
        make_conninfo(**parameters)
    except ProgrammingError as err:
        raise InvalidDatabaseUrl(f"the database URL: {_one_line(err)}") from None
    except (ArgumentError, ValueError, TypeError):
        raise InvalidDatabaseUrl(f"the database URL cannot be read: {HOW_TO_WRITE}") from None


def _beginnings(options: DatabaseOptions) -> Mapping[tuple[bool, bool], str]:
    """Return how a transaction begins, by whether it writes and whether it is unlimited.

    One message without parameters, so that the time-outs cost no round trip of their own.
    """
    lock = _milliseconds(options.lock_timeout_seconds)
    statement = _milliseconds(options.statement_timeout_seconds)
    idle = _milliseconds(IDLE_WRITER_SECONDS)
    read = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
    write = "BEGIN ISOLATION LEVEL READ COMMITTED"
    # psycopg cannot read the first and the last hours of the years 1 to 9999 in another zone.
    utc = "; SET LOCAL TIME ZONE 'UTC'"
    limits = f"{utc}; SET LOCAL lock_timeout = {lock}; SET LOCAL statement_timeout = {statement}"
    long = f"{utc}; SET LOCAL lock_timeout = {lock}; SET LOCAL statement_timeout = 0"
    return {
        (False, False): read + limits,
        (False, True): read + long,
        (True, False): f"{write}{limits}; SET LOCAL idle_in_transaction_session_timeout = {idle}",
        (True, True): write + long,
    }


class SingleMessages:
    """Read transactions of one statement, each of them one message. For any thread.

    A connection prepares the statement once, with the time-outs of a read transaction for the whole
    session; a transaction of SQLAlchemy's sets its own. The statement is then a transaction by
    itself: 23 microseconds, where the text of one with its beginning and end takes 62 (2026-12-01).
    Where a session may be shared, that text is sent.
    """

    def __init__(self, engine: Engine, options: DatabaseOptions) -> None:
        self._engine = engine
        self._begin = _beginnings(options)[False, False]
        self._session = "; ".join(
            each.replace("SET LOCAL", "SET") for each in self._begin.split("; ")[1:]
        )

    def fetch_row(self, query: str, parameters: tuple[Any, ...]) -> Sequence[Any]:
        """Return the only row of a query.

        Raises psycopg's errors, and SQLAlchemy's if every connection is in use.
        """
        connection = self._engine.raw_connection()
        try:
            driver: Any = connection.driver_connection
            if connection.info[_SHARED]:
                row = self._fetch_by_text(driver, query, parameters)
            else:
                if SingleMessages not in connection.info:  # which is kept with the connection
                    driver.execute(self._session)
                    connection.info[SingleMessages] = True
                (row,) = driver.execute(query, parameters or None, prepare=True).fetchall()
        except BaseException:
            connection.invalidate()
            raise
        connection.close()
        return tuple(row)

    def _fetch_by_text(
        self,
        driver: Any,  # noqa: ANN401 -- psycopg's
        query: str,
        parameters: tuple[Any, ...],
    ) -> Sequence[Any]:
        from psycopg import ClientCursor  # noqa: PLC0415 -- an extra

        # The server takes no parameters for a text of several statements.
        with ClientCursor(driver) as cursor:
            cursor.execute(f"{self._begin}; {query}; COMMIT", parameters or None)
            while cursor.description is None:
                cursor.nextset()
            (row,) = cursor.fetchall()
        return tuple(row)

    def close(self) -> None:
        """Do nothing: the connections are those of the pool."""


def _milliseconds(seconds: float) -> int:
    return round(1000 * seconds)


def _prepare(connection: Any, options: DatabaseOptions) -> bool:  # noqa: ANN401 -- psycopg's
    """Check the server, and choose how values and statements are sent. Return whether others may
    use the session too.

    Arrays are sent in binary: as text, psycopg's default, vectors take 7 times as long.
    """
    from psycopg.types.array import ListBinaryDumper  # noqa: PLC0415 -- an extra

    release = connection.info.server_version // 10_000
    if release < OLDEST_SERVER:
        raise DatabaseRefused(
            f"the server is PostgreSQL {release}, and Lineup needs {OLDEST_SERVER} or newer"
        )
    encoding = connection.info.parameter_status("server_encoding")
    if encoding not in ("UTF8", None):
        raise DatabaseRefused(
            f"the database has the encoding {encoding}, which cannot hold every text: create one "
            "with ENCODING 'UTF8' TEMPLATE template0"
        )
    connection.adapters.register_dumper(list, ListBinaryDumper)
    wanted = options.prepared_statements
    # Who sets it has a pooler, which may hide itself.
    may_share = wanted is not None or _is_pooled(connection)
    if may_share and not wanted:
        connection.prepare_threshold = None
    return may_share


def _is_pooled(connection: Any) -> bool:  # noqa: ANN401 -- psycopg's
    """Return whether a pooler stands between: the process that works is not the one that greeted.

    A pooler makes up the number in its greeting, because a connection to it has no process.
    """
    with connection.cursor() as cursor:
        (working,) = cursor.execute("SELECT pg_backend_pid()").fetchone()
    connection.rollback()
    return bool(working != connection.info.backend_pid)


# What psycopg reports while it connects has no SQLSTATE, only the server's text.
_REFUSALS = re.compile(
    r"password authentication failed|no password supplied|no pg_hba\.conf entry|"
    r'authentication failed|role "[^"]*" (does not exist|is not permitted)|'
    r'database "[^"]*" does not exist|permission denied for database|not currently accepting|'
    r"server does not support SSL|certificate|invalid \w+ value|bad value for|no such database|"
    r"unsupported startup parameter"
)
_FULL = re.compile(r"too many (clients|connections)|remaining connection slots|no more connections")

_BUSY = {
    "55P03": "a lock was not free within the lock time-out",
    "57014": "a statement took longer than the statement time-out",
    "40P01": "two transactions waited for each other",
    "40001": "another transaction changed the same rows",
    "25P03": "a transaction was idle for too long",
}


def name_failure(err: DBAPIError) -> CorpusError | None:
    """Return what an error of psycopg says about the database; None where it is a defect.

    Errors about a constraint or a statement are defects.
    """
    state, words = getattr(err.orig, "sqlstate", None), _one_line(err.orig)
    if state is None:
        return _name_failed_connection(err, words)
    if state in _BUSY:
        return DatabaseBusy(f"{_BUSY[state]}: {words}")
    if state == "53300":
        return DatabaseBusy(words)
    if state == "25006":
        return DatabaseReadOnly(f"{words}; it is a replica or read-only: use --read-only")
    if state == "42501":
        return DatabaseRefused(f"{words}; docs/postgresql.md lists the rights that a role needs")
    if state[:2] in ("28", "3D", "3F"):
        return DatabaseRefused(words)
    if state[:2] in ("08", "53", "57", "58"):
        return DatabaseUnavailable(words)
    return None


def _name_failed_connection(err: DBAPIError, words: str) -> CorpusError | None:
    kind = type(err.orig).__name__
    if _FULL.search(words):
        return DatabaseBusy(words)
    if _REFUSALS.search(words):
        return DatabaseRefused(words)
    if kind in ("OperationalError", "InterfaceError", "ConnectionTimeout"):
        return DatabaseUnavailable(words)
    return None


def _one_line(err: BaseException | None) -> str:
    lines = [line.strip() for line in str(err).splitlines() if line.strip()]
    return " ".join(lines) or type(err).__name__
