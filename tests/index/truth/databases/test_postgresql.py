"""PostgreSQL: what a URL may be, what no error prints, and what its failures are called."""

from __future__ import annotations

import os
import threading
import time
import traceback
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import URL, NullPool, create_engine, make_url, text

from index.errors import (
    DatabaseBusy,
    DatabaseReadOnly,
    DatabaseRefused,
    DatabaseUnavailable,
    InvalidDatabaseUrl,
)
from index.truth.changes import HEAD, last_number
from index.truth.corpora import CorpusKind, create_corpus
from index.truth.databases.database import Database, hide_password
from index.truth.databases.options import DatabaseOptions
from index.truth.databases.postgresql import (
    SingleMessages,
    create_postgresql_engine,
    parse_url,
)


@pytest.fixture
def dialect() -> str:
    return "postgresql"


@pytest.fixture
def in_server(postgres_server: URL) -> Iterator[Callable[[str], str]]:
    """Makes databases with options of CREATE DATABASE, and drops them."""
    administrator = create_engine(postgres_server, isolation_level="AUTOCOMMIT", poolclass=NullPool)
    names: list[str] = []

    def make(options: str) -> str:
        name = f"lineup_other_{os.getpid()}_{len(names)}"
        with administrator.connect() as conn:
            conn.execute(text(f"CREATE DATABASE {name} TEMPLATE template0 {options}"))
        names.append(name)
        url = postgres_server.set(database=name, drivername="postgresql")
        return url.render_as_string(hide_password=False)

    yield make
    with administrator.connect() as conn:
        for name in names:
            conn.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))


def with_query(url: str, **parameters: str) -> str:
    return make_url(url).update_query_dict(parameters).render_as_string(hide_password=False)


SECRETS = st.text(st.sampled_from("Zq7@:/?#%[],&= "), min_size=4, max_size=12).map(
    lambda some: f"Xy{some}yX"
)


@given(secret=SECRETS, end=st.sampled_from(["host/db", "host:5432/db?sslmode=disable", "h1,h2/db"]))
def test_no_part_of_an_unescaped_password_is_in_an_error(secret: str, end: str) -> None:
    """Either the URL is read as it was meant, or the error names nothing of it."""
    try:
        parsed = parse_url(f"postgresql://user:{secret}@{end}")
    except InvalidDatabaseUrl as err:
        words = "".join(traceback.format_exception(err))
        message = words.partition("InvalidDatabaseUrl: ")[2]
        for part in filter(None, secret.replace("@", ":").replace("/", ":").split(":")):
            assert len(part) < 4 or part not in message
    else:
        hosts = parsed.host or parsed.query["host"]
        assert not any(part in str(hosts) for part in ("Xy", "yX"))


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://user:hunter2/db",
        "postgresql://user:hun@ter2@host/db",
        "postgresql://user:hun@ter/2?@host/db",
        "postgresql://user:hunter2@host:54x2/db",
        "postgresql://user:hunter2@host:99999/db",
        "postgresql://user:hunter2@host/db?nonsense=1",
        "postgresql://user:hunter2@one:5432,two:x/db",
    ],
)
def test_a_url_that_cannot_be_used_is_one_line_without_the_password(url: str) -> None:
    with pytest.raises(InvalidDatabaseUrl) as caught:
        Database.open(url)
    shown = "".join(traceback.format_exception(caught.value)).partition("InvalidDatabaseUrl")[2]
    assert not any(part in shown for part in ("hunter2", "ter2", "hun@"))
    assert "\n" not in str(caught.value)


def test_a_parameter_that_libpq_does_not_know_is_named() -> None:
    with pytest.raises(InvalidDatabaseUrl, match="nonsense"):
        Database.open("postgresql://host/db?nonsense=1")


def test_several_hosts_become_the_parameters_of_libpq() -> None:
    url = parse_url("postgresql://user:p%40ss@one,two:5433,[::1]:5434/db?target_session_attrs=any")
    assert (url.username, url.password, url.database, url.host) == ("user", "p@ss", "db", None)
    assert url.query == {
        "host": "one,two,::1",
        "port": "5432,5433,5434",
        "target_session_attrs": "any",
    }


def test_a_url_is_shown_without_its_secrets() -> None:
    shown = hide_password("postgresql://user:hunter2@host/db?password=hunter2&sslmode=require")
    assert shown == "postgresql://user:***@host/db?sslmode=require"
    assert hide_password("postgresql://user:hunter2/db") == "postgresql://..."


@pytest.mark.postgres
def test_the_first_host_that_answers_is_used(database_url: str) -> None:
    url = make_url(database_url)
    folder = url.query["host"]
    several = url.set(query={"host": f"/nowhere,{folder}", "port": "5432,5432"})
    with Database.open(several.render_as_string(hide_password=False)) as database:
        assert database.examine().refuses_writes is None


@pytest.mark.postgres
def test_a_transaction_is_limited_unless_it_says_otherwise(database_url: str) -> None:
    options = DatabaseOptions(lock_timeout_seconds=1.5, statement_timeout_seconds=7)
    limits = text("SELECT current_setting('lock_timeout'), current_setting('statement_timeout')")
    with Database.open(database_url, options=options) as database:
        for begin in (database.read, database.write):
            for _ in range(8):  # psycopg prepares a statement on its sixth use
                with begin() as conn:
                    assert tuple(conn.execute(limits).one()) == ("1500ms", "7s")
            with begin(unlimited=True) as conn:
                assert tuple(conn.execute(limits).one()) == ("1500ms", "0")


@pytest.mark.postgres
def test_a_locked_table_makes_a_reader_busy_and_the_database_says_so_soon(
    database_url: str,
) -> None:
    options = DatabaseOptions(lock_timeout_seconds=0.2)
    with Database.open(database_url, options=options) as database, database.write() as conn:
        conn.execute(text("LOCK TABLE entries, change_counter"))
        with pytest.raises(DatabaseBusy, match="lock time-out") as caught, database.read() as other:
            last_number(other)
        assert caught.value.retry_after_seconds == 2
        started = time.monotonic()
        with pytest.raises(DatabaseBusy):
            database.examine()
        assert time.monotonic() - started < 3


@pytest.mark.postgres
def test_a_statement_that_takes_too_long_is_busy(database_url: str) -> None:
    options = DatabaseOptions(statement_timeout_seconds=0.1)
    with Database.open(database_url, options=options) as database:
        with pytest.raises(DatabaseBusy, match="statement time-out"), database.read() as conn:
            conn.execute(text("SELECT pg_sleep(5)"))
        with database.read(unlimited=True) as conn:
            conn.execute(text("SELECT pg_sleep(0.2)"))


@pytest.mark.postgres
def test_a_pool_without_a_free_connection_is_busy_and_the_database_still_answers(
    database_url: str,
) -> None:
    options = DatabaseOptions(pool_size=1, pool_overflow=0, pool_timeout_seconds=0.1)
    with Database.open(database_url, options=options) as database, database.read():
        with pytest.raises(DatabaseBusy, match="every connection"), database.read():
            pass
        assert database.examine().last_change == 0


@pytest.mark.postgres
def test_reads_end_in_a_commit(database_url: str) -> None:
    ended = text("SELECT xact_commit, xact_rollback FROM pg_stat_database WHERE datname = :name")
    name = {"name": make_url(database_url).database}
    with Database.open(database_url) as database:
        with database.read() as conn:
            before = conn.execute(ended, name).one()
        for _ in range(20):
            with database.read() as conn:
                last_number(conn)
    deadline, after = time.monotonic() + 20, before
    with Database.open(database_url) as database:
        while after.xact_commit - before.xact_commit < 20:  # a server process counts at its end
            assert time.monotonic() < deadline
            time.sleep(0.02)
            with database.read() as conn:
                after = conn.execute(ended, name).one()
    # The server counts late: some of the test before this one may be among them.
    assert after.xact_rollback - before.xact_rollback < 5


@pytest.mark.postgres
def test_a_process_has_a_name_unless_the_url_gives_one(database_url: str) -> None:
    query = text("SELECT current_setting('application_name')")
    options = DatabaseOptions(application="lineup serve")
    with Database.open(database_url, options=options) as database, database.read() as conn:
        assert conn.execute(query).scalar_one() == "lineup serve"
    named = with_query(database_url, application_name="case 7")
    with Database.open(named, options=options) as database, database.read() as conn:
        assert conn.execute(query).scalar_one() == "case 7"


@pytest.mark.postgres
def test_a_server_that_is_read_only_is_named(database_url: str) -> None:
    url = with_query(database_url, options="-c default_transaction_read_only=on")
    with Database.open(url) as database:
        assert database.examine().refuses_writes == "the server is read-only"
        with pytest.raises(DatabaseReadOnly, match="--read-only"), database.write() as conn:
            create_corpus(conn, "fakes", CorpusKind.KNOWN_FAKE)


@pytest.mark.parametrize("dialect", ["sqlite", "postgresql"])
def test_what_is_opened_to_be_read_is_not_written(database_url: str) -> None:
    with Database.open(database_url, options=DatabaseOptions(read_only=True)) as database:
        with pytest.raises(DatabaseReadOnly, match="--read-only"), database.write():
            raise AssertionError("the block must not begin")
        assert database.examine().last_change == 0


@pytest.mark.postgres
def test_many_threads_write_at_once(database_url: str) -> None:
    options = DatabaseOptions(pool_size=2, pool_overflow=2)

    def write_some(name: str, database: Database) -> None:
        for number in range(10):
            with database.write() as conn:
                create_corpus(conn, f"{name}-{number}", CorpusKind.KNOWN_FAKE)

    with Database.open(database_url, options=options) as database:
        threads = [
            threading.Thread(target=write_some, args=(name, database)) for name in "abcdefgh"
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        with database.read() as conn:
            assert conn.execute(text("SELECT count(*) FROM corpora")).scalar_one() == 80


def test_what_does_not_answer_is_unavailable_in_one_line() -> None:
    url = "postgresql://user@127.0.0.1:1,127.0.0.1:2/db"
    with pytest.raises(DatabaseUnavailable) as caught:
        Database.open(url)
    assert "\n" not in str(caught.value)
    assert caught.value.retry_after_seconds == 5


@pytest.mark.postgres
@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1"])
def test_a_database_that_cannot_hold_every_text_is_refused(
    encoding: str, in_server: Callable[..., str]
) -> None:
    url = in_server(f"ENCODING '{encoding}' LOCALE 'C'")
    with pytest.raises(DatabaseRefused, match=f"encoding {encoding}.*UTF8"):
        Database.open(url, migrate=True)


@pytest.mark.postgres
def test_an_unknown_database_or_role_is_refused(database_url: str) -> None:
    url = make_url(database_url)
    for wrong in (url.set(database="no_such_database"), url.set(username="no_such_role")):
        with pytest.raises(DatabaseRefused, match=r"no_such_\w+.*does not exist") as caught:
            Database.open(wrong.render_as_string(hide_password=False))
        assert "\n" not in str(caught.value)


def roll_back(database: Database) -> None:
    with database.write() as conn:
        create_corpus(conn, "lost", CorpusKind.KNOWN_FAKE)
        raise ZeroDivisionError


def test_a_row_of_one_message_is_that_of_a_transaction_after_whatever_the_connection_did(
    database_url: str,
) -> None:
    """Prepared statements go with a rollback, and time-outs are those of a transaction."""
    with Database.open(
        database_url, migrate=True, options=DatabaseOptions(pool_size=1)
    ) as database:
        for number in range(3):
            assert database.read_row(HEAD)[-1] == number
            with pytest.raises(ZeroDivisionError):
                roll_back(database)
            assert database.read_row(HEAD)[-1] == number
            with database.write() as conn:
                create_corpus(conn, f"corpus-{number}", CorpusKind.KNOWN_FAKE)
        limits = "SELECT current_setting('lock_timeout'), current_setting('statement_timeout')"
        with database.read() as conn:
            expected = tuple(conn.exec_driver_sql(limits).one())
        assert database.read_row(limits) == expected


def test_a_session_that_a_pooler_shares_keeps_nothing(database_url: str) -> None:
    options = DatabaseOptions(prepared_statements=False)
    with Database.open(database_url, migrate=True, options=options) as database:
        assert database.read_row(HEAD)[-1] == 0
        given = ("it's", '"; %s', 3)
        assert database.read_row("SELECT %s::text, %s::text, %s", given) == given
        prepared = "SELECT count(*), current_setting('TimeZone') FROM pg_prepared_statements"
        assert database.read_row(prepared)[0] == 0


@pytest.mark.parametrize("prepared_statements", [False, True])
def test_a_session_that_may_be_shared_keeps_no_time_out(
    database_url: str, prepared_statements: bool
) -> None:
    """With true, a pooler that keeps prepared statements itself still shares its sessions."""
    limits = "SELECT current_setting('lock_timeout'), current_setting('statement_timeout')"
    options = DatabaseOptions(
        prepared_statements=prepared_statements,
        pool_size=1,
        pool_overflow=0,
        lock_timeout_seconds=7,
        statement_timeout_seconds=9,
    )
    engine = create_postgresql_engine(parse_url(database_url), options)
    messages = SingleMessages(engine, options)
    for _ in range(7):  # psycopg prepares what was sent five times
        assert messages.fetch_row(limits, ()) == ("7s", "9s")
    connection = engine.raw_connection()
    with connection.cursor() as cursor:
        cursor.execute(limits)
        kept = cursor.fetchone()
    connection.close()
    engine.dispose()

    assert kept == ("0", "0")
