"""Mistakes of an operator of PostgreSQL: one line that says what, an exit code, no password."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import URL, Connection, NullPool, create_engine, make_url, text
from typer.testing import CliRunner, Result

from api.terminal import app
from index.truth.databases.database import Database

ROLE, PASSWORD = "lineup_stranger", "p:ss/w?rd#1"
pytestmark = pytest.mark.postgres


@pytest.fixture
def dialect() -> str:
    return "postgresql"


@pytest.fixture
def administrator(postgres_server: URL) -> Iterator[Connection]:
    engine = create_engine(postgres_server, isolation_level="AUTOCOMMIT", poolclass=NullPool)
    with engine.connect() as conn:
        yield conn


@pytest.fixture
def stranger(administrator: Connection) -> Iterator[str]:
    """A role with no right at all."""
    administrator.execute(text(f"CREATE ROLE {ROLE} LOGIN PASSWORD '{PASSWORD}'"))
    yield ROLE
    administrator.execute(text(f"DROP ROLE {ROLE}"))


@pytest.fixture
def new_database(administrator: Connection) -> Iterator[Callable[..., str]]:
    names: list[str] = []

    def make(options: str = "") -> str:
        names.append(f"lineup_operator_{os.getpid()}_{len(names)}")
        administrator.execute(text(f"CREATE DATABASE {names[-1]} TEMPLATE template0 {options}"))
        return names[-1]

    yield make
    for name in names:
        administrator.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))


def lineup(folder: Path, url: object, *words: str) -> Result:
    shown = url.render_as_string(hide_password=False) if isinstance(url, URL) else str(url)
    return CliRunner().invoke(
        app,
        ["--data-dir", str(folder), "--database-url", shown, *words],
        env={"COLUMNS": "10000"},
    )


def expect(done: Result, code: int, *words: str) -> None:
    assert done.exit_code == code, (done.exit_code, done.output, done.exception)
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    for each in words:
        assert each in done.stderr
    for part in PASSWORD.replace("/", ":").replace("?", ":").replace("#", ":").split(":"):
        assert len(part) < 3 or part not in done.output


def test_a_role_without_rights(
    tmp_path: Path,
    postgres_server: URL,
    database_url: str,
    administrator: Connection,
    stranger: str,
    new_database: Callable[..., str],
) -> None:
    as_stranger = make_url(database_url).set(username=stranger, password=PASSWORD)
    right = "docs/postgresql.md lists the rights"
    expect(lineup(tmp_path, as_stranger, "corpora"), 7, "permission denied", right)
    empty = new_database()
    done = lineup(tmp_path, as_stranger.set(database=empty), "init")
    expect(done, 7, "permission denied for schema public", right)
    administrator.execute(text(f"REVOKE CONNECT ON DATABASE {empty} FROM PUBLIC"))
    done = lineup(tmp_path, as_stranger.set(database=empty), "init")
    expect(done, 7, "permission denied for database")


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1"])
def test_a_database_of_another_encoding(
    tmp_path: Path, database_url: str, new_database: Callable[..., str], encoding: str
) -> None:
    url = make_url(database_url).set(database=new_database(f"ENCODING '{encoding}' LOCALE 'C'"))
    expect(lineup(tmp_path, url, "init"), 7, f"encoding {encoding}", "ENCODING 'UTF8'")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda url: url.set(database="no_such_database"), "does not exist"),
        (lambda url: url.set(username="no_such_role", password=PASSWORD), "does not exist"),
        (
            lambda url: url.update_query_dict({"sslmode": "require", "host": "127.0.0.1"}),
            "database",
        ),
    ],
)
def test_what_the_server_does_not_know(
    tmp_path: Path, database_url: str, change: Callable[[URL], URL], words: str
) -> None:
    expect(lineup(tmp_path, change(make_url(database_url)), "corpora"), 7, words)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("postgresql://host/name?nonsense=1", "nonsense"),
        (f"postgresql://lineup:{PASSWORD}@host:54x32/name", "with a number as the port"),
        (f"postgresql://lineup:{PASSWORD}/name", "cannot be read"),
        (f"postgresql://lineup:a@{PASSWORD}@host/name", "more than one @"),
        (f"postgresql://lineup:{PASSWORD}@one:5432,two:x/name", "cannot be read"),
        ("mysql://host/name", "not supported"),
    ],
)
def test_a_url_that_is_none(tmp_path: Path, url: str, words: str) -> None:
    for command in (("corpora",), ("init",)):
        expect(lineup(tmp_path, url, *command), 4, words)


def test_doctor_prints_no_password(tmp_path: Path) -> None:
    for url in (
        f"postgresql://lineup:{PASSWORD}@127.0.0.1:1/name",
        f"postgresql://lineup:{PASSWORD}/name",
    ):
        done = lineup(tmp_path, url, "doctor")
        assert done.exit_code != 0
        assert not any(part in done.output for part in ("p:ss", "w?rd", "rd#1"))


def test_options_given_twice_print_no_password(tmp_path: Path) -> None:
    url = f"postgresql://lineup:{PASSWORD}@host/name"
    done = lineup(
        tmp_path, url, "entries", "list", "fakes", "--database-url", "postgresql://other/name"
    )
    assert done.exit_code == 2
    assert "--database-url is given twice" in done.output
    assert "w?rd" not in done.output


def test_an_empty_url_is_no_sqlite(tmp_path: Path) -> None:
    arguments = ["--data-dir", str(tmp_path), "init"]
    done = CliRunner().invoke(app, arguments, env={"LINEUP_DATABASE_URL": "", "COLUMNS": "1000"})
    expect(done, 2, "LINEUP_DATABASE_URL", "empty")
    assert list(tmp_path.iterdir()) == []


def test_too_many_connections_is_a_moment_and_not_a_mistake(
    tmp_path: Path, database_url: str, administrator: Connection
) -> None:
    name = make_url(database_url).database
    administrator.execute(text("CREATE ROLE lineup_few LOGIN CONNECTION LIMIT 0"))
    try:
        url = make_url(database_url).set(username="lineup_few")
        expect(lineup(tmp_path, url, "corpora"), 7, "too many connections")
    finally:
        administrator.execute(text("DROP ROLE lineup_few"))
    assert name
    with Database.open(database_url) as database:
        assert database.examine().refuses_writes is None
