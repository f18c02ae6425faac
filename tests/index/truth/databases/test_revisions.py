"""Schema revisions: which one a database has, which one this release needs, and the way between."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import inspect, text

from index.errors import NoData, SchemaOutdated
from index.truth.databases import revisions
from index.truth.databases.database import Database, sqlite_url
from index.truth.schema import metadata


@pytest.fixture
def set_revision(database: Database) -> Iterator[Callable[[str | None], None]]:
    """Writes a revision, and the true one at the end, because tests share PostgreSQL's database."""

    def write(revision: str | None) -> None:
        with database.write() as conn:
            conn.execute(text("DELETE FROM alembic_version"))
            if revision is not None:
                conn.execute(text("INSERT INTO alembic_version VALUES (:r)"), {"r": revision})

    yield write
    write(revisions.head())


def tables_of(database: Database) -> set[str]:
    with database.read() as conn:
        return set(inspect(conn).get_table_names())


def all_revisions() -> list[str]:
    """The revisions from the oldest to the head, read from the names of their files."""
    folder = Path(str(revisions.files("migrations"))) / "versions"
    return sorted(path.name[:4] for path in folder.glob("[0-9]*.py"))


def test_the_head_is_the_newest_script() -> None:
    assert revisions.head() == all_revisions()[-1]


def test_every_script_is_named_by_its_revision_and_follows_the_one_before() -> None:
    folder = Path(str(revisions.files("migrations"))) / "versions"
    before: str | None = None
    for path in sorted(folder.glob("[0-9]*.py")):
        source = path.read_text()
        assert re.search(r'^revision = "(.+)"$', source, re.MULTILINE)[1] == path.name[:4]  # type: ignore[index]
        down = re.search(r"^down_revision = (.+)$", source, re.MULTILINE)[1]  # type: ignore[index]
        assert down == (f'"{before}"' if before else "None")
        before = path.name[:4]


def test_every_script_says_its_number_and_imports_nothing_of_lineup() -> None:
    folder = Path(str(revisions.files("migrations"))) / "versions"
    for path in sorted(folder.glob("[0-9]*.py")):
        source = path.read_text()
        assert f"Revision {path.name[:4]}" in source
        assert not re.search(r"^(from|import) (index|api|embedder|migrations)", source, re.M)


@pytest.mark.parametrize("revision", all_revisions())
def test_the_revisions_of_older_releases_are_known(revision: str) -> None:
    assert revisions.is_known(revision)


@pytest.mark.parametrize("revision", ["9999", "", "base", "head", "1", "0001_foundation"])
def test_other_revisions_are_those_of_a_newer_release(revision: str) -> None:
    assert not revisions.is_known(revision)


def test_a_database_is_checked_against_the_head(database: Database) -> None:
    with database.read() as conn:
        assert revisions.current(conn) == revisions.head()
        revisions.check(conn, "here")


def test_a_database_without_a_revision_has_no_data(database: Database, set_revision: Any) -> None:
    set_revision(None)
    with database.read() as conn:
        assert revisions.current(conn) is None
        with pytest.raises(NoData, match="the database over there has none of Lineup's tables"):
            revisions.check(conn, "over there")


@pytest.mark.parametrize("revision", all_revisions()[:-1])
def test_an_older_schema_is_refused_with_the_command_that_upgrades_it(
    database: Database, set_revision: Any, revision: str
) -> None:
    set_revision(revision)
    with database.read() as conn, pytest.raises(SchemaOutdated) as caught:
        revisions.check(conn, "here")
    assert (caught.value.current, caught.value.expected) == (revision, revisions.head())
    assert not caught.value.newer
    assert str(caught.value) == (
        f"the database has schema {revision}, this Lineup needs {revisions.head()}: "
        "run `lineup init` to upgrade the database"
    )


def test_a_newer_schema_is_refused_by_a_check_and_by_an_upgrade(
    database: Database, set_revision: Any
) -> None:
    set_revision("9999")
    with database.read() as conn, pytest.raises(SchemaOutdated, match="upgrade Lineup") as checked:
        revisions.check(conn, "here")
    with (
        pytest.raises(SchemaOutdated, match="upgrade Lineup") as upgraded,
        database.write() as conn,
    ):
        revisions.upgrade(conn)
    assert checked.value.newer
    assert upgraded.value.newer
    assert database.revision() == "9999"


def test_an_upgrade_that_is_rolled_back_leaves_an_empty_database(empty_database_url: str) -> None:
    with Database.open(empty_database_url, migrate=True) as database:
        with database.write() as conn:
            revisions.downgrade(conn, "base")

        def upgrade_and_fail() -> None:
            with database.write() as conn:
                revisions.upgrade(conn)
                raise InterruptedError

        with pytest.raises(InterruptedError):
            upgrade_and_fail()
        assert tables_of(database) == {"alembic_version"}
        assert database.revision() is None


@pytest.mark.parametrize("revision", all_revisions())
def test_any_older_schema_is_upgraded_to_the_head(empty_database_url: str, revision: str) -> None:
    with Database.open(empty_database_url, migrate=True) as database:
        with database.write() as conn:
            revisions.downgrade(conn, revision)
        assert database.revision() == revision
        database.upgrade()
        assert database.revision() == revisions.head()
        assert tables_of(database) == {*metadata.tables, "alembic_version"}


def test_threads_that_open_new_databases_do_not_share_alembics_state(tmp_path: Path) -> None:
    urls = [sqlite_url(tmp_path / f"{number}.db") for number in range(4)]
    errors: list[BaseException] = []

    def open_one(url: str) -> None:
        try:
            Database.open(url, migrate=True).close()
        except BaseException as err:
            errors.append(err)

    threads = [threading.Thread(target=open_one, args=(url,)) for url in urls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    for url in urls:
        with Database.open(url) as database:
            assert database.revision() == revisions.head()
