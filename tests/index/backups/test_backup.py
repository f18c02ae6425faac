"""Backups of a database that is in use: what is in them, what is left out, and what stays when one
fails.
"""

from __future__ import annotations

import resource
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from index.backups.verification import verify_backup
from index.cache.snapshots.manifest import MANIFEST, read_manifest
from index.cache.snapshots.snapshot import directory_lock
from index.errors import BackupExists, BackupUnwritable, TruthDamaged
from index.failpoints import Failpoint
from index.proof.fsck import fsck
from index.truth.changes import members_at
from index.truth.databases.database import Database
from index.truth.digest import EMPTY, add_member, digest_hex
from index.truth.entries import remove_entry
from index.truth.spaces import find_space_id

KILLED_BEFORE_ITS_NAME = """
import os, signal, sys
from pathlib import Path
import index.backups.backup
from index.truth.databases.database import Database
index.backups.backup.publish = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
with Database.open(sys.argv[1]) as database:
    index.backups.backup.back_up(database, Path(sys.argv[2]), None, Path(sys.argv[3]), replace=True)
"""


@contextmanager
def files_of_at_most(byte_size: int) -> Iterator[None]:
    """No file may grow beyond a size: to the writer a disk that fills up, and needs none."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (byte_size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def folder_of(stock: Any) -> Path:
    return stock.index / stock.material.space.fingerprint[:16]


def vectors_and_ids(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.name not in {MANIFEST, "lock"}]


def test_a_file_that_is_there_is_not_replaced_unless_asked(stock: Any) -> None:
    stock.archive.write_text("precious")
    with pytest.raises(BackupExists):
        stock.back_up()
    assert stock.archive.read_text() == "precious"
    assert stock.back_up(replace=True).manifest == verify_backup(stock.archive)


def test_a_file_that_came_meanwhile_is_not_replaced(stock: Any, at_failpoint: Any) -> None:
    at_failpoint(Failpoint.FILE_SYNCED, lambda: stock.archive.write_text("precious"))
    with pytest.raises(BackupExists):
        stock.back_up()
    assert [path.read_text() for path in stock.archive.parent.iterdir()] == ["precious"]


def test_a_folder_that_is_not_there_is_a_typed_error(stock: Any, tmp_path: Path) -> None:
    with pytest.raises(BackupUnwritable, match="No such file"):
        stock.back_up(archive=tmp_path / "missing" / "a.tar")


@pytest.mark.parametrize(
    "where", ["in the snapshot", "in the tables", "when both are put together"]
)
def test_a_disk_that_fills_up_is_a_typed_error_and_leaves_nothing(stock: Any, where: str) -> None:
    members = stock.back_up(archive=stock.folder / "fits.tar").manifest.members
    tables = max(member.byte_size for member in members)
    room = {
        "in the snapshot": 300,
        "in the tables": tables // 3,
        "when both are put together": tables + 512,
    }
    with files_of_at_most(room[where]), pytest.raises(BackupUnwritable):
        stock.back_up()
    assert list(stock.archive.parent.iterdir()) == []
    assert stock.back_up().warnings == ()


def test_a_backup_that_is_killed_leaves_the_older_one(stock: Any, database_url: str) -> None:
    before = stock.back_up().manifest
    killed = [
        sys.executable,
        "-c",
        KILLED_BEFORE_ITS_NAME,
        database_url,
        str(stock.index),
        str(stock.archive),
    ]
    assert subprocess.run(killed, check=False).returncode == -signal.SIGKILL
    assert verify_backup(stock.archive) == before


def test_what_was_written_wrongly_is_found_before_it_has_its_name(
    stock: Any, at_failpoint: Any
) -> None:
    def spoil() -> None:
        unfinished = max(stock.archive.parent.iterdir(), key=lambda path: path.stat().st_mtime_ns)
        content = bytearray(unfinished.read_bytes())
        content[600] ^= 1
        unfinished.write_bytes(content)

    at_failpoint(Failpoint.ARCHIVE_WRITTEN, spoil)
    with pytest.raises(Exception, match="sha256"):
        stock.back_up()
    assert list(stock.archive.parent.iterdir()) == []


def test_rows_that_contradict_the_log_are_not_called_a_backup(stock: Any) -> None:
    with stock.database.write() as conn:
        conn.execute(
            text(
                "UPDATE embeddings SET vector = (SELECT vector FROM embeddings WHERE id = 1) "
                "WHERE id = 2"
            )
        )
    with pytest.raises(TruthDamaged, match="digest"):
        stock.back_up()
    assert list(stock.archive.parent.iterdir()) == []


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda folder: (folder / MANIFEST).write_text("{"), "manifest"),
        (
            lambda folder: [path.write_bytes(b"1") for path in vectors_and_ids(folder)],
            "bytes instead",
        ),
        (lambda folder: [path.unlink() for path in vectors_and_ids(folder)], "read"),
    ],
)
def test_a_damaged_snapshot_is_left_out_and_named(stock: Any, damage: Any, words: str) -> None:
    damage(folder_of(stock))
    report = stock.back_up()
    (warning,) = report.warnings
    assert str(folder_of(stock)) in warning
    assert words in warning
    assert report.manifest.snapshots == ()
    assert verify_backup(stock.archive) == report.manifest


def test_a_snapshot_of_another_history_is_left_out(stock: Any) -> None:
    """The database lost its last changes: it was restored from an older backup of its own."""
    with stock.database.write() as conn:
        conn.execute(text("DELETE FROM changes"))
        conn.execute(text("UPDATE change_counter SET last = 0"))
        conn.execute(text("UPDATE entries SET removed_at = created_at"))
    report = stock.back_up()
    assert "newer than the database" in report.warnings[0]
    assert report.manifest.generation == 0


def test_a_snapshot_folder_that_cannot_be_locked_is_left_out(stock: Any) -> None:
    (folder_of(stock) / "lock").unlink()
    (folder_of(stock) / "lock").mkdir()
    report = stock.back_up()
    assert "left out" in report.warnings[0]
    assert report.manifest.snapshots == ()


def test_a_thumbnail_that_cannot_be_read_is_left_out_and_named(stock: Any) -> None:
    path = stock.thumbnails.path(stock.material.sha256("a"))
    path.unlink()
    path.mkdir()
    report = stock.back_up()
    assert str(path) in report.warnings[0]
    assert report.manifest.thumbnails == 7


def test_thumbnails_are_left_out_when_asked(stock: Any) -> None:
    manifest = stock.back_up(thumbnails=None).manifest
    assert manifest.thumbnails is None
    assert not any(member.name.startswith("thumbnails/") for member in manifest.members)


def test_thumbnails_are_packed_so_that_the_manifest_stays_small(
    stock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("index.backups.backup.PACK_BYTES", 1500)
    manifest = stock.back_up().manifest
    packs = [member.name for member in manifest.members if member.name.startswith("thumbnails/")]
    assert packs == ["thumbnails/000000.tar", "thumbnails/000001.tar", "thumbnails/000002.tar"]
    assert verify_backup(stock.archive).thumbnails == 8


def test_an_archive_is_for_its_owner_only(stock: Any) -> None:
    stock.back_up()
    assert stat.S_IMODE(stock.archive.stat().st_mode) == 0o600


def test_a_backup_waits_for_a_snapshot_that_is_being_written(stock: Any) -> None:
    with directory_lock(folder_of(stock), wait=True):
        running = threading.Thread(target=stock.back_up)
        running.start()
        time.sleep(0.2)
        assert running.is_alive()
        assert not stock.archive.exists()
    running.join()
    assert verify_backup(stock.archive).snapshots == (stock.material.space.fingerprint[:16],)


def test_a_database_without_anything_has_a_backup(database: Database, tmp_path: Path) -> None:
    from index.backups.backup import back_up  # noqa: PLC0415 - elsewhere the fixture calls it

    report = back_up(database, tmp_path / "missing", None, tmp_path / "a.tar")
    assert (report.manifest.generation, report.manifest.spaces, report.warnings) == (0, (), ())


def test_a_backup_is_one_generation_while_others_write(stock: Any) -> None:
    stop = threading.Event()
    failures: list[BaseException] = []

    def write_on() -> None:
        number = 0
        try:
            while not stop.is_set():
                ids = stock.material.fill(
                    stock.database, "busy", [f"{number}-{i}" for i in range(5)]
                )
                with stock.database.write() as conn:
                    remove_entry(conn, ids[0])
                number += 1
        except BaseException as err:
            failures.append(err)

    writer = threading.Thread(target=write_on)
    writer.start()
    try:
        manifests = [stock.back_up(archive=stock.folder / f"{n}.tar").manifest for n in range(3)]
    finally:
        stop.set()
        writer.join()
    assert failures == []
    generations = [manifest.generation for manifest in manifests]
    assert generations == sorted(set(generations))
    with stock.database.read() as conn:
        space_id = find_space_id(conn, stock.material.space)
        for number, manifest in enumerate(manifests):
            digest = EMPTY
            for page in members_at(conn, space_id, manifest.generation, 100):
                for member in page:
                    digest = add_member(digest, member.entry_id, member.vector)
            assert digest_hex(digest) == manifest.spaces[0].digest
            assert verify_backup(stock.folder / f"{number}.tar") == manifest
        assert generations[-1] < conn.execute(text("SELECT last FROM change_counter")).scalar_one()


def test_a_backup_changes_nothing_of_what_it_is_made_of(stock: Any, dump: Any) -> None:
    before, snapshot = dump(stock.database), read_manifest(folder_of(stock))
    report = stock.back_up()
    assert dump(stock.database) == before
    assert read_manifest(folder_of(stock)) == snapshot
    assert list(stock.archive.parent.iterdir()) == [stock.archive]
    assert report.byte_size == stock.archive.stat().st_size
    assert report.manifest.row_counts["entries"] == 11
    assert fsck(stock.database, None, stock.index, stock.thumbnails).clean
