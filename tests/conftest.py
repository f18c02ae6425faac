"""Databases for tests: every one is built by the migrations, on SQLite and on PostgreSQL.

PostgreSQL comes from LINEUP_TEST_POSTGRES_URL, or is started for the session from Debian's
programs, or its tests are skipped with the reason; with LINEUP_REQUIRE_SERVICES=1 they fail
instead.
"""

from __future__ import annotations

import gc
import importlib.util
import itertools
import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import NoReturn

import pytest
from hypothesis import settings
from sqlalchemy import URL, Engine, NullPool, create_engine, make_url, text

from index.truth.databases.database import Database
from index.truth.schema import metadata

# How long an example takes is not what is tested, and two workers share the cores.
settings.register_profile("lineup", deadline=None)
settings.load_profile("lineup")

DIALECTS = ["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)]
START_SECONDS = 30.0
RESTART_IDS = "SELECT setval(oid::regclass, 1, false) FROM pg_class WHERE relkind = 'S'"
_numbers = itertools.count(1)

# Output that goes to no terminal is as wide as it needs to be, unless COLUMNS gives a width: some
# shells export it, and pytest-xdist sets it in its workers.
os.environ.pop("COLUMNS", None)
# Each of hundreds of tests would start processes that decode. Tests of them name them, and so do
# those that run the service or the command line as processes of their own.
os.environ.setdefault("LINEUP_DECODING", "threads")
# A copy descriptor takes a tenth of a second for each picture. Tests of copies name one.
os.environ.setdefault("LINEUP_COPY_DESCRIPTOR", "none")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Search for no reference cycles while tests are collected, and never again in what they are.

    Nine thousand tests and their modules are 870,000 objects that stay: one search takes 0.6 s,
    and collecting makes 33 of them, 8 of its 22 s (2 cores, 2026-12-01).
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def unavailable(reason: str) -> NoReturn:
    if os.environ.get("LINEUP_REQUIRE_SERVICES") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(params=DIALECTS)
def dialect(request: pytest.FixtureRequest) -> str:
    """The database system of a test that runs on both."""
    return str(request.param)


@pytest.fixture
def new_database_url(dialect: str, request: pytest.FixtureRequest) -> Callable[[], str]:
    """Gives a fresh, migrated database on each call.

    On PostgreSQL it is one and the same, emptied: close it first.
    """
    return request.getfixturevalue(f"new_{dialect}_url")  # type: ignore[no-any-return]


@pytest.fixture
def database_url(new_database_url: Callable[[], str]) -> str:
    """A fresh, migrated database."""
    return new_database_url()


@pytest.fixture
def empty_database_url(
    dialect: str, request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[str]:
    """A database that was never migrated, for tests that change the schema; the SQLite file does
    not exist yet.
    """
    if dialect == "sqlite":
        yield f"sqlite:///{tmp_path}/not/there/yet.db"
        return
    server = request.getfixturevalue("postgres_server")
    url = _create_database(server)
    yield url
    _drop_database(server, url)


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """A fresh, migrated database, opened."""
    with Database.open(database_url) as opened:
        yield opened


@pytest.fixture
def new_sqlite_url(sqlite_template: Path, tmp_path: Path) -> Callable[[], str]:
    def make() -> str:
        path = tmp_path / f"test-{next(_numbers)}.db"
        shutil.copyfile(sqlite_template, path)
        return f"sqlite:///{path}"

    return make


@pytest.fixture
def new_postgresql_url(postgres_database: URL) -> Callable[[], str]:
    """One database for the session, emptied on each call: making one takes PostgreSQL longer than
    most tests.
    """

    def make() -> str:
        engine = create_engine(postgres_database, poolclass=NullPool)
        with engine.begin() as conn:
            # Deleting a few rows is several times faster than TRUNCATE, which makes new files.
            for table in reversed(metadata.sorted_tables):
                conn.execute(table.delete())
            conn.execute(text(RESTART_IDS))
            conn.execute(text("INSERT INTO change_counter (id, last) VALUES (1, 0)"))
        return postgres_database.set(drivername="postgresql").render_as_string(hide_password=False)

    return make


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sqlite") / "template.db"
    Database.open(f"sqlite:///{path}", migrate=True).close()
    return path


@pytest.fixture(scope="session")
def postgres_database(postgres_server: URL) -> Iterator[URL]:
    url = _create_database(postgres_server)
    Database.open(url, migrate=True).close()
    yield make_url(url).set(drivername="postgresql+psycopg")
    _drop_database(postgres_server, url)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[URL]:
    """The URL of a server in which databases may be made."""
    if importlib.util.find_spec("psycopg") is None:
        unavailable("psycopg is not installed")
    given = os.environ.get("LINEUP_TEST_POSTGRES_URL")
    if given:
        yield make_url(given).set(drivername="postgresql+psycopg")
        return
    programs = _postgres_programs()
    if programs is None:
        unavailable(
            "no PostgreSQL: neither LINEUP_TEST_POSTGRES_URL nor its programs (apt install "
            "postgresql)"
        )
    folder = Path(tempfile.mkdtemp(prefix="lineup-pg-"))
    try:
        yield from _run_server(programs, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _postgres_programs() -> Path | None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    on_path = shutil.which("initdb")
    return found[-1].parent if found else Path(on_path).parent if on_path else None


def _run_server(programs: Path, folder: Path) -> Iterator[URL]:
    # The server refuses to run as root; then it runs as the user that Debian's package made for it.
    user = "postgres" if os.geteuid() == 0 else None
    if user:
        account = pwd.getpwnam(user)
        os.chown(folder, account.pw_uid, account.pw_gid)
    data, identity = (
        folder / "data",
        {"user": user, "group": user, "extra_groups": [] if user else None},
    )
    initdb = [
        programs / "initdb",
        "-D",
        data,
        "-U",
        "postgres",
        "-A",
        "trust",
        "-E",
        "UTF8",
        "--locale=C",
        "--no-sync",
    ]
    subprocess.run(initdb, check=True, capture_output=True, cwd=folder, **identity)
    options = [
        "-k",
        folder,
        "-c",
        "listen_addresses=",
        "-c",
        "fsync=off",
        "-c",
        "max_connections=60",
    ]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [programs / "postgres", "-D", data, *options],
            stdout=log,
            stderr=log,
            cwd=folder,
            **identity,
        )
    try:
        url = URL.create(
            "postgresql+psycopg", "postgres", database="postgres", query={"host": str(folder)}
        )
        _wait_for(url, server, folder / "log")
        yield url
    finally:
        server.terminate()
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def _wait_for(url: URL, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            with _administrator(url).connect():
                return
        except Exception as err:
            if server.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"PostgreSQL did not start: {log.read_text()}") from err
            time.sleep(0.05)


def _drop_database(server: URL, url: str) -> None:
    with _administrator(server).connect() as conn:
        conn.execute(text(f"DROP DATABASE {make_url(url).database} WITH (FORCE)"))


def _administrator(url: URL) -> Engine:
    return create_engine(
        url.set(database="postgres"), isolation_level="AUTOCOMMIT", poolclass=NullPool
    )


def _create_database(server: URL) -> str:
    name = f"lineup_test_{os.getpid()}_{next(_numbers)}"
    with _administrator(server).connect() as conn:
        conn.execute(text(f"CREATE DATABASE {name} TEMPLATE template0"))
    return server.set(database=name, drivername="postgresql").render_as_string(hide_password=False)
