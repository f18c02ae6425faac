import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import URL, make_url, select, text
from sqlalchemy.exc import DBAPIError, IntegrityError

from index.errors import (
    DatabaseDamaged,
    DatabaseUnavailable,
    InvalidCorpusName,
    InvalidDatabaseUrl,
    NoData,
    UnknownCorpus,
)
from index.truth.corpora import CorpusKind, create_corpus, get_corpus
from index.truth.databases.database import Database, sqlite_file, sqlite_url
from index.truth.schema import change_counter


@pytest.mark.parametrize(
    "url", ["sqlite://", "sqlite:///:memory:", "mysql://localhost/lineup", "no url", ""]
)
def test_a_url_that_cannot_work_is_refused(url: str) -> None:
    with pytest.raises(InvalidDatabaseUrl):
        Database.open(url, migrate=True)


def test_opening_a_missing_file_creates_nothing(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "lineup.db"
    with pytest.raises(NoData) as caught:
        Database.open(f"sqlite:///{path}")
    assert str(caught.value) == (f"{path} does not exist; run `lineup init` to create it")
    assert not path.parent.exists()


@pytest.mark.parametrize("content", [b"", "another program's"])
def test_a_file_without_our_tables_holds_no_data_and_stays_as_it_is(
    tmp_path: Path, content: bytes | str
) -> None:
    path = tmp_path / "lineup.db"
    path.touch()
    if content:
        with closing(sqlite3.connect(path)) as conn:
            conn.execute("CREATE TABLE notes (id INTEGER)")
    with pytest.raises(NoData, match=f"the database {path} has none of Lineup's tables"):
        Database.open(f"sqlite:///{path}")
    with closing(sqlite3.connect(path)) as conn:
        names = [name for (name,) in conn.execute("SELECT name FROM sqlite_master")]
    assert names == (["notes"] if content else [])


def test_a_message_names_the_database_without_its_password(
    empty_database_url: str, dialect: str
) -> None:
    url = make_url(empty_database_url)
    if dialect == "postgresql":
        url = url.set(password="hunter2")  # the test's server asks for none
    with pytest.raises(NoData) as caught:
        Database.open(url.render_as_string(hide_password=False))
    assert str(url.database) in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_folder_in_the_place_of_the_file_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(DatabaseUnavailable, match="unable to open"):
        Database.open(f"sqlite:///{tmp_path}")


def test_a_file_that_is_no_database_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "lineup.db"
    path.write_bytes(b"not a database, but long enough to look at" * 100)
    with pytest.raises(DatabaseDamaged, match="not a database"):
        Database.open(f"sqlite:///{path}")


@pytest.mark.postgres
def test_a_server_that_does_not_answer_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(DatabaseUnavailable):
        Database.open(f"postgresql:///lineup?host={tmp_path}")


def test_what_a_block_wrote_is_undone_when_it_raises(database: Database) -> None:
    def create_and_fail() -> None:
        with database.write() as conn:
            create_corpus(conn, "fakes", CorpusKind.KNOWN_FAKE)
            create_corpus(conn, "not a name", CorpusKind.KNOWN_FAKE)

    with pytest.raises(InvalidCorpusName):
        create_and_fail()
    with database.read() as conn, pytest.raises(UnknownCorpus):
        get_corpus(conn, "fakes")


def test_a_reading_block_cannot_write(database: Database) -> None:
    with pytest.raises(Exception, match=r"read-?only"), database.read() as conn:
        create_corpus(conn, "fakes", CorpusKind.KNOWN_FAKE)
    with database.write() as conn:
        create_corpus(conn, "fakes", CorpusKind.KNOWN_FAKE)


def test_a_reading_block_sees_one_state_from_its_first_statement_on(database: Database) -> None:
    with database.read() as reader:
        count = text("SELECT count(*) FROM corpora")
        assert reader.execute(count).scalar_one() == 0
        with database.write() as conn:
            create_corpus(conn, "fakes", CorpusKind.KNOWN_FAKE)
        assert reader.execute(count).scalar_one() == 0
    with database.read() as reader:
        assert reader.execute(count).scalar_one() == 1


def test_a_broken_constraint_is_not_called_unavailable(database: Database) -> None:
    with pytest.raises(IntegrityError), database.write() as conn:
        conn.execute(text("INSERT INTO change_counter (id, last) VALUES (2, 0)"))


def test_a_locked_sqlite_database_is_unavailable_after_the_timeout(
    new_sqlite_url: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("index.truth.databases.sqlite.BUSY_TIMEOUT_SECONDS", 0.05)
    url = new_sqlite_url()
    with Database.open(url) as one, Database.open(url) as two, one.write():
        waiting = two.write()
        with pytest.raises(DatabaseUnavailable, match="locked"):
            waiting.__enter__()


def test_a_second_thread_that_writes_for_too_long_is_named(
    new_sqlite_url: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within one process a lock is waited for, and not SQLite's."""
    with Database.open(new_sqlite_url()) as database:
        monkeypatch.setattr("index.truth.databases.database.BUSY_TIMEOUT_SECONDS", 0.05)
        with database.write():
            waiting = database.write()
            with pytest.raises(DatabaseUnavailable, match="another thread has held the write lock"):
                waiting.__enter__()
        with database.write() as conn:
            create_corpus(conn, "fakes", CorpusKind.KNOWN_FAKE)


def test_writers_of_one_process_take_turns(database: Database) -> None:
    def count_up() -> None:
        for _ in range(5):
            with database.write() as conn:
                query = select(change_counter.c.last).with_for_update()
                last = conn.execute(query).scalar_one()
                conn.execute(change_counter.update().values(last=last + 1))

    threads = [threading.Thread(target=count_up) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with database.read() as conn:
        assert conn.execute(select(change_counter.c.last)).scalar_one() == 20


def test_readers_do_not_wait_for_a_writer(database: Database) -> None:
    with database.write() as writer:
        create_corpus(writer, "fakes", CorpusKind.KNOWN_FAKE)
        with database.read() as reader, pytest.raises(UnknownCorpus):
            get_corpus(reader, "fakes")
    with database.read() as reader:
        assert get_corpus(reader, "fakes").entries == 0


def test_a_connection_that_has_written_is_read_only_again(database: Database) -> None:
    """Connections are reused, also in the other mode."""
    for number in range(3):
        with database.write() as conn:
            create_corpus(conn, f"fakes-{number}", CorpusKind.KNOWN_FAKE)
        with database.read() as conn, pytest.raises(DBAPIError, match=r"read-?only"):
            create_corpus(conn, "never", CorpusKind.KNOWN_FAKE)


def test_when_every_connection_is_in_use_the_database_is_unavailable(
    new_sqlite_url: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("index.truth.databases.sqlite.POOL_SIZE", 1)
    monkeypatch.setattr("index.truth.databases.sqlite.POOL_OVERFLOW", 1)
    monkeypatch.setattr("index.truth.databases.sqlite.POOL_TIMEOUT_SECONDS", 0.05)
    with Database.open(new_sqlite_url()) as database:
        with database.read(), database.read():
            waiting = database.read()
            with pytest.raises(DatabaseUnavailable, match="every connection is in use"):
                waiting.__enter__()
        with database.read() as conn:
            assert conn.execute(text("SELECT 1")).scalar_one() == 1


@pytest.mark.parametrize(
    "url", ["postgresql://user:secret@host:5432/name", "postgres://host/name", "postgresql:///name"]
)
def test_a_url_of_postgresql_has_no_file(url: str) -> None:
    assert sqlite_file(url) is None


@pytest.mark.parametrize("name", ["lineup.db", "ü ?#%&.db", "a b/c.db"])
def test_the_url_of_a_file_names_this_file(tmp_path: Path, name: str) -> None:
    assert sqlite_file(sqlite_url(tmp_path / name)) == tmp_path / name


@pytest.mark.parametrize(
    ("url", "advice"),
    [
        ("mysql://localhost/lineup", "the database mysql is not supported"),
        ("sqlite:///:memory:", "in memory"),
        ("lineup.db", "not a database URL"),
    ],
)
def test_a_refused_url_says_what_to_use_instead(url: str, advice: str) -> None:
    with pytest.raises(InvalidDatabaseUrl, match=advice) as caught:
        sqlite_file(url)
    assert "sqlite:///FILE" in str(caught.value)


def test_the_dialect_is_the_one_of_the_url(database: Database, dialect: str) -> None:
    assert database.dialect == dialect


def test_sqlite_is_durable_and_checks_foreign_keys(new_sqlite_url: Callable[[], str]) -> None:
    with Database.open(new_sqlite_url()) as database, database.read() as conn:
        pragmas = {
            name: conn.execute(text(f"PRAGMA {name}")).scalar_one()
            for name in ("journal_mode", "synchronous")
        }
        assert pragmas == {"journal_mode": "wal", "synchronous": 2}
        assert conn.execute(text("PRAGMA foreign_keys")).scalar_one() == 1


def test_a_file_that_was_replaced_is_neither_read_nor_written(
    new_sqlite_url: Callable[[], str],
) -> None:
    url, other = new_sqlite_url(), new_sqlite_url()
    path = Path(url.removeprefix("sqlite:///"))
    with Database.open(url) as database:
        assert tuple(database.read_row("SELECT 1")) == (1,)
        path.rename(path.with_suffix(".old"))
        with pytest.raises(DatabaseUnavailable, match="No such file"), database.read():
            pass
        Path(other.removeprefix("sqlite:///")).rename(path)
        with pytest.raises(DatabaseUnavailable, match="replaced by another file"):
            database.read_row("SELECT 1")
        with pytest.raises(DatabaseUnavailable, match="start again"), database.read():
            pass
        with pytest.raises(DatabaseUnavailable, match="start again"), database.write():
            pass
        path.with_suffix(".old").rename(path)
        assert tuple(database.read_row("SELECT 1")) == (1,)


def test_a_committed_corpus_survives_the_death_of_its_writer(
    database: Database, database_url: str
) -> None:
    code = """
import os, signal, sys
from index.truth.corpora import CorpusKind, create_corpus
from index.truth.databases.database import Database
with Database.open(sys.argv[1]) as database:
    with database.write() as conn:
        create_corpus(conn, "committed", CorpusKind.KNOWN_FAKE)
    with database.write() as conn:
        create_corpus(conn, "lost", CorpusKind.KNOWN_FAKE)
        os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", code, database_url], check=False).returncode == -9
    with database.read() as conn:
        assert get_corpus(conn, "committed").entries == 0
        with pytest.raises(UnknownCorpus):
            get_corpus(conn, "lost")


def test_the_path_of_a_database_may_hold_any_character(tmp_path: Path) -> None:
    path = tmp_path / "Fälle & 100 % ?#" / "lineup.db"
    path.parent.mkdir()
    Database.open(URL.create("sqlite", database=str(path)).render_as_string(), migrate=True).close()
    assert sqlite3.connect(path).execute("SELECT last FROM change_counter").fetchone() == (0,)
