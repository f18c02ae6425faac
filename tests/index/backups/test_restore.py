"""Restores: from either database into either, never half, never over anything."""

from __future__ import annotations

import itertools
import logging
import os
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sqlalchemy import text

from index.backups.backup import back_up
from index.backups.restore import restore
from index.backups.verification import verify_backup
from index.blobs import BlobStore
from index.cache.live import LiveIndex
from index.cache.snapshots.manifest import MANIFEST
from index.errors import (
    BackupTooNew,
    NoData,
    RestoreTargetNotEmpty,
    RestoreUnwritable,
    SchemaOutdated,
)
from index.failpoints import Failpoint
from index.proof.fsck import fsck
from index.truth.databases import revisions
from index.truth.databases.database import Database, sqlite_url
from index.truth.entries import remove_entry

KINDS = [
    "a new file",
    "an empty sqlite",
    pytest.param("an empty postgresql", marks=pytest.mark.postgres),
]
INTO_ROWS = KINDS[1:]
MODULE = sys.modules["index.backups.restore"]  # `index.backups.restore` is the function
KILLED = """
import os, signal, sys
from pathlib import Path
import index.backups.restore
from index.blobs import BlobStore
module = sys.modules["index.backups.restore"]
archive, url, folder, place = sys.argv[1:]
kill = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
if place == "among the rows":
    insert, seen = module.insert_rows, []
    def insert_some(conn, table, rows):
        insert(conn, table, rows)
        seen.append(table)
        if len(seen) == 5:
            kill()
    module.insert_rows = insert_some
else:
    setattr(module, place, kill)
module.restore(Path(archive), url, Path(folder) / "index", BlobStore(Path(folder) / "thumbnails"))
"""


@pytest.fixture
def archive(stock: Any) -> Path:
    stock.back_up()
    return stock.archive


@pytest.fixture
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], str]:
    """Gives the URL of a target of a kind.

    The one PostgreSQL is emptied: whatever is in it must be archived before.
    """

    def url_of(kind: str) -> str:
        match kind:
            case "a new file":
                return sqlite_url(tmp_path / "Fälle & 100 % ?#" / "restored.db")
            case "an empty sqlite":
                return request.getfixturevalue("new_sqlite_url")()
            case _:
                return request.getfixturevalue("new_postgresql_url")()

    return url_of


@pytest.fixture
def place(tmp_path: Path) -> Any:
    """Where the files of a restore go."""
    return tmp_path / "restored" / "index", BlobStore(tmp_path / "restored" / "thumbnails")


@pytest.mark.parametrize("kind", KINDS)
def test_everything_comes_back_from_either_database_into_either(
    stock: Any, target: Any, place: Any, dump: Any, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    before, manifest = dump(stock.database), stock.back_up().manifest
    probes = [stock.material.vector(name) for name in "acgz"]
    with LiveIndex.open(stock.database, stock.material.space, stock.index) as live:
        answers = [live.search(probe, 20).neighbours for probe in probes]
    url = target(kind)
    caplog.clear()

    report = restore(stock.archive, url, *place)

    assert (report.manifest, report.thumbnails) == (manifest, 8)
    with Database.open(url) as restored:
        assert report.database == restored.dialect
        assert dump(restored) == before
        with LiveIndex.open(restored, stock.material.space, place[0]) as live:
            assert (live.verify().agrees, caplog.text) == (True, "")
            assert [live.search(probe, 20).neighbours for probe in probes] == answers
        assert fsck(restored, None, *place).findings == ()
    for sha256 in place[1]:
        assert place[1].get(sha256) == stock.thumbnails.get(sha256)
    snapshot = place[0] / stock.material.space.fingerprint[:16]
    assert (snapshot / MANIFEST).read_bytes() == (
        stock.index / snapshot.name / MANIFEST
    ).read_bytes()


@pytest.mark.parametrize("kind", KINDS)
def test_ids_are_not_reused_after_a_restore(stock: Any, target: Any, place: Any, kind: str) -> None:
    """The sequence is ahead of the rows, as after a row that was taken back."""
    bump = {
        "sqlite": "UPDATE sqlite_sequence SET seq = 1000 WHERE name = 'entries'",
        "postgresql": "SELECT setval('entries_id_seq', 1000)",
    }
    with stock.database.write() as conn:
        conn.execute(text(bump[stock.database.dialect]))
    assert stock.back_up().manifest.last_ids["entries"] == 1000
    url = target(kind)
    restore(stock.archive, url, *place)
    with Database.open(url) as restored:
        assert stock.material.fill(restored, "fakes", ["new"]) == (1001,)
        assert stock.material.fill(restored, "another", ["newer"]) == (1002,)
        assert fsck(restored, None, *place).clean


@pytest.mark.parametrize("kind", INTO_ROWS)
def test_a_database_with_rows_is_refused_and_stays_as_it_is(
    archive: Path, material: Any, target: Any, place: Any, dump: Any, kind: str
) -> None:
    url = target(kind)
    with Database.open(url) as database:
        material.fill(database, "mine", "pq")
        before = dump(database)
        with pytest.raises(RestoreTargetNotEmpty, match="has rows"):
            restore(archive, url, *place)
        assert dump(database) == before
    assert not place[0].parent.exists()


@pytest.mark.parametrize("kind", INTO_ROWS)
def test_rows_that_came_while_the_archive_was_verified_are_not_mixed_with_it(
    archive: Path,
    material: Any,
    target: Any,
    place: Any,
    dump: Any,
    kind: str,
    at_failpoint: Any,
) -> None:
    url = target(kind)
    with Database.open(url) as database:
        at_failpoint(Failpoint.TARGET_FOUND_EMPTY, lambda: material.fill(database, "mine", "pq"))
        with pytest.raises(RestoreTargetNotEmpty, match="has rows"):
            restore(archive, url, *place)
        rows = dump(database)
    assert [corpus["name"] for corpus in rows["corpora"]] == ["mine"]


def test_a_file_that_came_meanwhile_is_not_replaced(
    archive: Path, place: Any, tmp_path: Path, at_failpoint: Any
) -> None:
    file = tmp_path / "a.db"
    at_failpoint(Failpoint.FILE_SYNCED, lambda: file.write_text("mine"))
    with pytest.raises(RestoreTargetNotEmpty, match="another process"):
        restore(archive, sqlite_url(file), *place)
    assert file.read_text() == "mine"


@pytest.mark.parametrize("suffix", ["-wal", "-journal"])
def test_what_an_older_database_left_is_never_replayed_into_the_new_one(
    archive: Path, place: Any, tmp_path: Path, suffix: str
) -> None:
    (tmp_path / f"a.db{suffix}").write_bytes(b"of another database")
    with pytest.raises(RestoreTargetNotEmpty, match=f"a.db{suffix}"):
        restore(archive, sqlite_url(tmp_path / "a.db"), *place)
    assert not (tmp_path / "a.db").exists()


def test_a_target_of_a_newer_release_is_refused(
    archive: Path, place: Any, new_sqlite_url: Any
) -> None:
    url = new_sqlite_url()
    with Database.open(url) as database, database.write() as conn:
        conn.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(SchemaOutdated, match="newer"):
        restore(archive, url, *place)


def test_a_database_never_migrated_is_taken(
    archive: Path, empty_database_url: str, dialect: str, place: Any
) -> None:
    restore(archive, empty_database_url, *place)
    with Database.open(empty_database_url) as database:
        assert database.dialect == dialect
        assert fsck(database, None, *place).clean


@pytest.mark.parametrize(
    ("kind", "killed_at"),
    [
        ("a new file", "publish"),
        ("a new file", "write_durably"),
        ("an empty sqlite", "among the rows"),
        pytest.param("an empty postgresql", "among the rows", marks=pytest.mark.postgres),
        pytest.param("an empty postgresql", "find_difference", marks=pytest.mark.postgres),
    ],
)
def test_a_restore_that_is_killed_leaves_an_empty_database_and_the_same_command_finishes_it(
    stock: Any, target: Any, place: Any, dump: Any, kind: str, killed_at: str
) -> None:
    before = dump(stock.database)
    stock.back_up()
    url = target(kind)
    command = [
        sys.executable,
        "-c",
        KILLED,
        str(stock.archive),
        url,
        str(place[0].parent),
        killed_at,
    ]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    if kind == "a new file":
        with pytest.raises(NoData):
            Database.open(url)
    else:
        with Database.open(url) as database:
            assert dump(database).keys() == {"change_counter", "last_ids"}
    restore(stock.archive, url, *place)
    with Database.open(url) as database:
        assert dump(database) == before
        assert fsck(database, None, *place).clean


@pytest.mark.parametrize("room", [1000, 60_000])
def test_a_disk_that_fills_up_leaves_no_database(
    archive: Path, place: Any, tmp_path: Path, room: int
) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
    try:
        with pytest.raises(RestoreUnwritable):
            restore(archive, sqlite_url(tmp_path / "target" / "a.db"), *place)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list((tmp_path / "target").iterdir()) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_folder_that_cannot_be_written_is_a_typed_error(
    archive: Path, place: Any, tmp_path: Path
) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(RestoreUnwritable):
        restore(archive, sqlite_url(tmp_path / "target" / "a.db"), *place)


def test_a_path_in_the_way_is_a_typed_error(archive: Path, place: Any, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RestoreUnwritable):
        restore(archive, sqlite_url(tmp_path / "file" / "a.db"), *place)
    place[0].parent.mkdir()
    place[0].touch()
    with pytest.raises(RestoreUnwritable):
        restore(archive, sqlite_url(tmp_path / "a.db"), *place)
    assert not (tmp_path / "a.db").exists()


def test_an_older_snapshot_in_the_folder_is_replaced(stock: Any, place: Any, target: Any) -> None:
    shutil.copytree(stock.index, place[0])
    stock.material.fill(stock.database, "fakes", "mno")
    with LiveIndex.open(stock.database, stock.material.space, stock.index) as live:
        live.snapshot()
        generation = live.generation
    stock.back_up()
    url = target("a new file")
    restore(stock.archive, url, *place)
    with (
        Database.open(url) as restored,
        LiveIndex.open(restored, stock.material.space, place[0]) as live,
    ):
        assert live.generation == generation
        assert live.verify().agrees


@pytest.fixture
def next_release(tmp_path: Path) -> Callable[[pytest.MonkeyPatch], str]:
    """Makes this release one with a migration more, and gives its revision."""
    head = revisions.head()
    coming = f"{int(head) + 1:04}"

    def upgrade(monkeypatch: pytest.MonkeyPatch) -> str:
        scripts = tmp_path / "migrations"
        shutil.copytree(str(files("migrations")), scripts)
        (scripts / "versions" / f"{coming}_next.py").write_text(
            "import sqlalchemy as sa\nfrom alembic import op\n"
            f"revision, down_revision = {coming!r}, {head!r}\nbranch_labels = depends_on = None\n"
            "def upgrade():\n    op.add_column('corpora', sa.Column('note', sa.Text()))\n"
            "def downgrade():\n    op.drop_column('corpora', 'note')\n"
        )
        monkeypatch.setattr(revisions, "known_revisions", lambda: (*known, coming))
        monkeypatch.setattr(revisions, "files", lambda _package: scripts)
        return coming

    known = revisions.known_revisions()
    return upgrade


@pytest.mark.parametrize("kind", ["a new file", "an empty sqlite"])
def test_an_archive_of_an_older_schema_is_migrated_on_its_way(
    stock: Any,
    target: Any,
    place: Any,
    dump: Any,
    kind: str,
    next_release: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = dump(stock.database)
    stock.back_up()
    url = target(kind)
    with monkeypatch.context() as patched:
        revision = next_release(patched)
        if kind == "an empty sqlite":
            Database.open(url, migrate=True).close()
        assert verify_backup(stock.archive).schema_revision != revision
        restore(stock.archive, url, *place)
        with Database.open(url) as database:
            assert database.revision() == revision
            assert dump(database) == before
            with database.read() as conn:
                assert set(conn.execute(text("SELECT note FROM corpora")).scalars()) == {None}


def test_an_archive_of_a_newer_schema_is_refused_before_anything_is_written(
    database: Database,
    place: Any,
    tmp_path: Path,
    next_release: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = sqlite_url(tmp_path / "source.db")
    with monkeypatch.context() as patched:
        revision = next_release(patched)
        with Database.open(source, migrate=True) as newer:
            back_up(newer, tmp_path / "none", None, tmp_path / "newer.tar")
    for attempt in (
        lambda: verify_backup(tmp_path / "newer.tar"),
        lambda: restore(tmp_path / "newer.tar", sqlite_url(tmp_path / "new" / "a.db"), *place),
    ):
        with pytest.raises(BackupTooNew, match=revision):
            attempt()
    assert not place[0].parent.exists()


TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
STEPS = st.lists(
    st.tuples(
        st.sampled_from("ABC"), st.booleans(), st.dictionaries(TEXTS, JSON_VALUES, max_size=3)
    )
)
_numbers = itertools.count()


@hypothesis_settings(hypothesis_settings.get_profile("index"), max_examples=12)
@given(steps=STEPS)
def test_any_history_comes_back(
    new_sqlite_url: Callable[[], str], material: Any, dump: Any, tmp_path: Path, steps: list[Any]
) -> None:
    folder = tmp_path / str(next(_numbers))
    folder.mkdir()
    with Database.open(new_sqlite_url()) as database:
        for number, (corpus, removed, extra) in enumerate(steps):
            (entry_id,) = material.fill(database, corpus.lower(), [number % 4], extra=extra)
            if removed:
                with database.write() as conn:
                    remove_entry(conn, entry_id)
        before = dump(database)
        back_up(database, folder / "none", None, folder / "a.tar")
    restore(folder / "a.tar", sqlite_url(folder / "b.db"), folder / "index")
    with Database.open(sqlite_url(folder / "b.db")) as restored:
        assert dump(restored) == before
        assert fsck(restored, None, folder / "index").clean


def test_a_restored_file_needs_no_other_file(archive: Path, place: Any, tmp_path: Path) -> None:
    restore(archive, sqlite_url(tmp_path / "new" / "a.db"), *place)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.db"]
    assert sqlite3.connect(tmp_path / "new" / "a.db").execute(
        "PRAGMA integrity_check"
    ).fetchall() == [("ok",)]


def test_a_restore_without_a_store_leaves_the_thumbnails(
    archive: Path, place: Any, tmp_path: Path
) -> None:
    assert restore(archive, sqlite_url(tmp_path / "a.db"), place[0]).thumbnails == 0
    assert list(place[1]) == []


def test_a_restore_says_nothing_to_the_log(
    archive: Path, place: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        restore(archive, sqlite_url(tmp_path / "a.db"), *place)
    assert caplog.text == ""
