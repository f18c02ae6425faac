"""The pieces of maintenance: which one is due, what it writes, and who does it."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from index.cache.following.current import CurrentView
from index.cache.following.folding import FoldPolicy
from index.cache.following.upkeep import Upkeep
from index.cache.plans.config import IndexConfig, Plan
from index.cache.segments.sealed import plan_of
from index.cache.snapshots.folder import IndexFolder
from index.cache.snapshots.manifest import MANIFEST, read_manifest
from index.errors import SnapshotCorrupt
from index.truth.databases.database import Database
from index.truth.entries import remove_entry

NAMES = [f"image-{i}" for i in range(400)]
CONFIG = IndexConfig(flat_limit=100, exact_allowance=0, recall_probes=16, recall_target=0.5)
POLICY = FoldPolicy(minimum=10, fraction=0.0, quiet_seconds=3600)


@pytest.fixture
def dialect() -> str:
    return "sqlite"  # `test_live` has both databases


class Process:
    """What one process has of an index."""

    def __init__(self, database: Database, material: Any, directory: Path) -> None:
        self.folder = IndexFolder(database, material.space, directory, CONFIG, threads=1)
        current = self.folder.open() or self.folder.build()
        self.current = CurrentView(database, self.folder, current)
        self.upkeep = Upkeep(database, self.folder, self.current, POLICY, CONFIG)

    def refresh(self) -> None:
        self.current.read(lambda *_: None, complete=True)

    def settle(self) -> int:
        """Do everything that is due; return how many pieces of work that were."""
        pieces = 0
        while self.upkeep.is_due(train=True, hurry=True) and self.upkeep.do_one(
            train=True, wait=True
        ):
            pieces += 1
            assert pieces < 10
        return pieces


@pytest.fixture
def process(database: Database, material: Any, tmp_path: Path) -> Process:
    return Process(database, material, tmp_path / "index")


def test_nothing_is_due_at_first(process: Process) -> None:
    assert not process.upkeep.is_due(train=True)
    assert process.settle() == 0


def test_a_snapshot_is_due_after_enough_changes(
    database: Database, material: Any, process: Process
) -> None:
    material.fill(database, "fakes", NAMES[:10])
    process.refresh()
    assert not process.upkeep.is_due(train=True)
    material.fill(database, "fakes", NAMES[10:11])
    process.refresh()
    assert process.upkeep.is_due(train=False)
    assert process.settle() == 1
    manifest = read_manifest(process.folder.path)
    assert manifest is not None
    assert (manifest.rows, manifest.generation) == (11, 11)
    assert process.current.current.manifest == manifest
    assert process.current.view.growing.size == 0


def test_codes_are_trained_after_the_snapshot_and_only_if_asked(
    database: Database, material: Any, process: Process
) -> None:
    material.fill(database, "fakes", NAMES[:150])
    process.refresh()
    assert process.upkeep.do_one(train=False, wait=True)
    assert not process.upkeep.is_due(train=False)
    assert process.upkeep.is_due(train=True)
    assert process.settle() == 1
    assert plan_of(process.current.view.sealed.tuned) is not Plan.FLAT
    assert process.current.current.manifest is not None
    assert process.current.current.manifest.trained_rows == 150


def test_recall_is_measured_after_growth_when_nothing_changes(
    database: Database, material: Any, process: Process
) -> None:
    material.fill(database, "fakes", NAMES[:150])
    process.refresh()
    process.settle()
    material.fill(database, "fakes", NAMES[150:170])
    process.refresh()
    process.upkeep.write_snapshot()
    assert not process.upkeep.is_due(train=True)  # the last change is not an hour old
    assert process.upkeep.is_due(train=True, hurry=True)
    assert process.settle() == 1
    manifest = process.current.current.manifest
    assert manifest is not None
    assert manifest.tuning is not None
    assert (manifest.tuning.rows, manifest.trained_rows) == (170, 150)


def test_dead_positions_are_left_out_when_they_are_many(
    database: Database, material: Any, process: Process
) -> None:
    ids = material.fill(database, "fakes", NAMES[:60])
    process.refresh()
    process.settle()
    with database.write() as conn:
        for entry_id in ids[:11]:
            remove_entry(conn, entry_id)
    process.refresh()
    process.settle()
    assert (process.current.view.sealed.size, process.current.view.dead) == (49, 0)


def test_compacting_leaves_out_dead_positions_at_once(
    database: Database, material: Any, process: Process
) -> None:
    ids = material.fill(database, "fakes", NAMES[:20])
    process.refresh()
    first = process.upkeep.write_snapshot()
    with database.write() as conn:
        remove_entry(conn, ids[0])
    process.refresh()
    assert not process.upkeep.is_due(train=True)
    compact = process.upkeep.compact()
    assert (compact.rows, compact.count, compact.generation) == (19, 19, 21)
    assert compact.vectors != first.vectors


def test_a_snapshot_that_is_current_is_only_checked(
    database: Database, material: Any, process: Process
) -> None:
    material.fill(database, "fakes", NAMES[:20])
    process.refresh()
    first = process.upkeep.write_snapshot()
    assert process.upkeep.write_snapshot() == first
    path = process.folder.path / first.facts.name
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(SnapshotCorrupt):
        process.upkeep.write_snapshot()


def test_the_snapshot_of_another_process_is_taken_over(
    database: Database, material: Any, tmp_path: Path, process: Process
) -> None:
    other = Process(database, material, tmp_path / "index")
    material.fill(database, "fakes", NAMES[:20])
    other.refresh()
    written = other.upkeep.write_snapshot()
    process.refresh()
    assert process.upkeep.is_due(train=True)
    assert process.upkeep.do_one(train=True, wait=False)
    assert process.current.current.manifest == written
    assert read_manifest(process.folder.path) == written
    assert not process.upkeep.is_due(train=True)


def test_work_is_left_to_a_process_that_holds_the_folder(
    database: Database, material: Any, tmp_path: Path, process: Process
) -> None:

    material.fill(database, "fakes", NAMES[:20])
    process.refresh()
    process.folder.path.mkdir(parents=True)
    code = (
        "import fcntl, sys; file = open(sys.argv[1], 'ab'); fcntl.flock(file, fcntl.LOCK_EX); "
        "print('locked', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(process.folder.path / "lock")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"locked\n"
        assert not process.upkeep.do_one(train=True, wait=False)
        assert read_manifest(process.folder.path) is None
        holder.communicate(b"")
    assert process.upkeep.do_one(train=True, wait=False)


def test_a_damaged_snapshot_of_another_process_is_set_aside_and_written_anew(
    database: Database, material: Any, tmp_path: Path, process: Process
) -> None:
    material.fill(database, "fakes", NAMES[:20])
    process.refresh()
    other = Process(database, material, tmp_path / "index")
    other.upkeep.write_snapshot()
    path = other.folder.path / MANIFEST
    path.write_text(path.read_text().replace('"rows": 20', '"rows": 21'))
    manifest = process.upkeep.write_snapshot()
    assert (manifest.rows, process.current.view.count) == (20, 20)
    assert (process.folder.path / f"{MANIFEST}.set-aside").exists()


@pytest.mark.parametrize("before", [0, 300])
def test_absorbing_reads_sql_anew_or_appends_whichever_is_less(
    database: Database, material: Any, process: Process, before: int
) -> None:
    material.fill(database, "fakes", NAMES[:before])
    process.refresh()
    first = process.upkeep.write_snapshot()
    material.fill(database, "fakes", NAMES[before:])
    process.upkeep.absorb()
    process.refresh()
    manifest = read_manifest(process.folder.path)
    assert manifest is not None
    assert (manifest.vectors == first.vectors) is (before == 300)
    assert process.current.view.count == 400
    assert process.current.view.digest == process.current.view.compute_digest()
