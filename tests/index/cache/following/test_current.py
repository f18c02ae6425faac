"""The current view: brought forward by searches, moved onto snapshots, one generation at a time."""

import threading
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from index.cache.following.current import CHANGES_IN_SEARCH, CurrentView
from index.cache.plans.config import IndexConfig
from index.cache.snapshots.folder import IndexFolder
from index.cache.snapshots.snapshot import directory_lock
from index.errors import TruthDamaged
from index.truth.changes import last_number
from index.truth.databases.database import Database
from index.truth.entries import remove_entry

NAMES = [f"image-{i}" for i in range(100)]


@pytest.fixture
def dialect() -> str:
    return "sqlite"  # `test_live` has both databases


@pytest.fixture
def folder(database: Database, material: Any, tmp_path: Path) -> IndexFolder:
    return IndexFolder(database, material.space, tmp_path / "index", IndexConfig(), threads=1)


@pytest.fixture
def current(database: Database, folder: IndexFolder) -> CurrentView:
    return CurrentView(database, folder, folder.build())


def read(current: CurrentView, *, complete: bool = True) -> tuple[int, int, int]:
    """The generation of the view, the changes that it lacks, and the last number in the log."""
    return current.read(
        lambda conn, view, head: (view.generation, head.last - view.generation, last_number(conn)),
        complete=complete,
    )


def test_a_complete_reading_sees_every_committed_change(
    database: Database, material: Any, current: CurrentView
) -> None:
    assert read(current) == (0, 0, 0)
    material.fill(database, "fakes", NAMES)
    assert current.count_pending() == 100
    assert read(current) == (100, 0, 100)
    assert (current.count_pending(), current.generation) == (0, 100)


@pytest.mark.parametrize(
    ("changes", "applied"), [(CHANGES_IN_SEARCH, True), (CHANGES_IN_SEARCH + 1, False)]
)
def test_a_quick_reading_applies_few_changes_and_leaves_many(
    database: Database, material: Any, current: CurrentView, changes: int, applied: bool
) -> None:
    material.fill(database, "fakes", NAMES[:changes])
    generation, pending, last = read(current, complete=False)
    assert last == changes
    assert (generation, pending) == ((changes, 0) if applied else (0, changes))


def test_a_quick_reading_does_not_wait_for_a_thread_that_applies_changes(
    database: Database, material: Any, current: CurrentView
) -> None:
    material.fill(database, "fakes", NAMES[:5])
    busy, done = threading.Event(), threading.Event()

    def hold() -> None:
        with current._lock:
            busy.set()
            done.wait(10)

    thread = threading.Thread(target=hold)
    thread.start()
    try:
        assert busy.wait(10)
        assert read(current, complete=False) == (0, 5, 5)
    finally:
        done.set()
        thread.join()
    assert read(current, complete=False) == (5, 0, 5)


def test_following_applies_so_many_changes_and_says_whether_there_are_more(
    database: Database, material: Any, current: CurrentView
) -> None:
    material.fill(database, "fakes", NAMES[:10])
    generations = []
    while current.follow(4):
        generations.append(current.generation)
    assert (generations, current.generation) == ([4, 8], 10)
    assert not current.follow(4)
    assert current.has_reached_last_change


def test_a_gap_in_the_log_is_known_and_following_ends_there(
    database: Database, material: Any, current: CurrentView
) -> None:
    material.fill(database, "fakes", NAMES[:10])
    with database.write() as conn:
        conn.execute(text("DELETE FROM changes WHERE number = 4"))
    while current.follow(2):
        pass
    assert current.generation == 3
    assert not current.has_reached_last_change


def test_a_database_that_went_back_is_refused(
    database: Database, material: Any, current: CurrentView
) -> None:
    material.fill(database, "fakes", NAMES[:3])
    read(current)
    with database.write() as conn:
        conn.execute(text("UPDATE change_counter SET last = 1"))
    with pytest.raises(TruthDamaged, match="older than this index"):
        read(current)


def test_a_view_moved_onto_a_snapshot_keeps_later_changes(
    database: Database, material: Any, folder: IndexFolder, current: CurrentView
) -> None:
    ids = material.fill(database, "fakes", NAMES[:10])
    read(current)
    with directory_lock(folder.path, wait=True):
        manifest = folder.write(current.current, compact=False)
        with database.write() as conn:
            remove_entry(conn, ids[0])
        later = material.fill(database, "fakes", NAMES[10:12])
        read(current)
        current.move_to(folder.open_manifest(manifest))
    assert current.current.manifest == manifest
    assert current.generation == 13
    assert current.view.member_ids().tolist() == [*ids[1:], *later]
    assert (current.view.sealed.size, current.view.growing.size) == (10, 2)
    assert current.view.digest == current.view.compute_digest()


def test_an_older_view_moved_onto_a_newer_snapshot_takes_its_state(
    database: Database, material: Any, folder: IndexFolder, current: CurrentView
) -> None:
    material.fill(database, "fakes", NAMES[:10])
    with directory_lock(folder.path, wait=True):
        manifest = folder.write_from_sql()
        current.move_to(folder.open_manifest(manifest))
    assert (current.generation, current.view.count) == (10, 10)
    assert current.view.growing.size == 0


def test_a_replaced_view_reads_hashes_anew(
    database: Database, material: Any, folder: IndexFolder, current: CurrentView
) -> None:
    pictures = current.pictures
    material.fill(database, "fakes", NAMES[:2])
    current.replace(folder.build())
    assert current.pictures is not pictures
    assert current.view.count == 2


def test_a_detached_view_has_no_snapshot_and_its_members(
    database: Database, material: Any, folder: IndexFolder, current: CurrentView
) -> None:
    material.fill(database, "fakes", NAMES[:4])
    read(current)
    with directory_lock(folder.path, wait=True):
        current.move_to(folder.open_manifest(folder.write(current.current, compact=False)))
    current.detach()
    assert (current.current.manifest, current.view.count) == (None, 4)


def test_a_change_resets_the_time_without_change(
    database: Database, material: Any, current: CurrentView
) -> None:
    assert current.seconds_without_change() == float("inf")
    material.fill(database, "fakes", NAMES[:1])
    read(current)
    first = current.seconds_without_change()
    assert first < 60
    read(current)  # nothing changed
    assert current.seconds_without_change() > first
