"""Hashes beside a snapshot: whatever happens to images, database and files, a new process finds
what counting the bits of all rows finds.
"""

from __future__ import annotations

import logging
import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import text, update

from index import failpoints
from index.backups.backup import back_up
from index.backups.restore import restore
from index.cache.following.current import CurrentView
from index.cache.following.folding import FoldPolicy
from index.cache.following.upkeep import Upkeep
from index.cache.live import LiveIndex
from index.cache.plans.config import IndexConfig
from index.cache.searching.pictures import read_hash_pages
from index.cache.snapshots.folder import IndexFolder
from index.cache.snapshots.manifest import MANIFEST, Manifest, read_manifest
from index.cache.snapshots.snapshot import directory_lock
from index.errors import SnapshotCorrupt
from index.failpoints import Failpoint
from index.proof.findings import FindingKind
from index.proof.fsck import fsck
from index.truth.adding import NewEntry, add_entries
from index.truth.changes import last_number
from index.truth.corpora import CorpusKind, ensure_corpus
from index.truth.databases.database import Database
from index.truth.entries import remove_entry
from index.truth.perceptual import MAX_HAMMING_DISTANCE, PerceptualHash
from index.truth.provenance import Provenance
from index.truth.schema import images
from index.view_hashes import HashRows, Views

CONFIG = IndexConfig(flat_limit=1000)
POLICY = FoldPolicy(minimum=4, fraction=0.0)
PROBE = PerceptualHash(bytes(32), 100)


def hash_with(bits: int, quality: int = 100) -> PerceptualHash:
    """A hash that differs from the probe by so many bits."""
    return PerceptualHash(((1 << bits) - 1).to_bytes(32), quality)


class Shelf:
    """A database, the folder of its index, and the processes that use them."""

    def __init__(self, database: Database, material: Any, directory: Path) -> None:
        self.database, self.material, self.directory = database, material, directory

    def put(self, name: object, hashed: PerceptualHash | None, corpus: str = "fakes") -> int:
        facts = replace(self.material.image(name), perceptual_hash=hashed)
        new = NewEntry(facts, self.material.vector(name), 0.0, Provenance())
        with self.database.write() as conn:
            ensure_corpus(conn, corpus, CorpusKind.KNOWN_FAKE)
            (result,) = add_entries(conn, corpus, self.material.space, [new])
        return int(result.entry_id)

    def open(self) -> Process:
        return Process(self)

    def count_bits(self) -> dict[int, int]:
        """The images near the probe, with their distances, by the rows alone."""
        with self.database.read() as conn:
            pages = list(read_hash_pages(conn))
        distances = {
            image_id: int(np.bitwise_count(bits).sum())
            for ids, hashes in pages
            for image_id, bits in zip(ids.tolist(), hashes, strict=True)
        }
        return {each: bits for each, bits in distances.items() if bits <= MAX_HAMMING_DISTANCE}


class Process:
    """What one process has of the index."""

    def __init__(self, shelf: Shelf) -> None:
        database, space = shelf.database, shelf.material.space
        self.database = database
        self.folder = IndexFolder(database, space, shelf.directory, CONFIG, threads=1)
        current = self.folder.open() or self.folder.build()
        self.current = CurrentView(database, self.folder, current)
        self.upkeep = Upkeep(database, self.folder, self.current, POLICY, CONFIG)

    def find(self) -> dict[int, int]:
        """The images near the probe, with their distances."""
        with self.database.read() as conn:
            near = self.current.pictures.find(conn, Views(PROBE, ()), last_number(conn)).same
        return dict(zip(near.ids.tolist(), near.bits.tolist(), strict=True))

    @property
    def saved(self) -> int:
        """How many of its hashes are in the memory of the file."""
        return self.current.pictures.read.saved

    @property
    def manifest(self) -> Manifest:
        manifest = read_manifest(self.folder.path)
        assert manifest is not None
        return manifest

    @property
    def file(self) -> Path:
        hashes = self.manifest.hashes
        assert hashes is not None
        return self.folder.path / hashes.file.name

    def settle(self) -> int:
        """Do what is due, as after a search; return how many pieces of work that were."""
        self.find()
        self.current.read(lambda *_: None, complete=True)
        pieces = 0
        while self.upkeep.is_due(train=False) and self.upkeep.do_one(train=False, wait=True):
            pieces += 1
            assert pieces < 5
        return pieces


@pytest.fixture
def dialect(request: pytest.FixtureRequest) -> str:
    return getattr(request, "param", "sqlite")


@pytest.fixture
def shelf(database: Database, material: Any, tmp_path: Path) -> Shelf:
    return Shelf(database, material, tmp_path / "index")


@pytest.fixture
def full(shelf: Shelf) -> Shelf:
    """Ten images, eight of them with a reliable hash, saved beside a snapshot."""
    shelf.put("unseen", None)
    for number in range(8):
        shelf.put(number, hash_with(5 * number))
    shelf.put("flat", hash_with(0, quality=49))
    assert shelf.open().settle() == 2
    return shelf


@pytest.fixture(autouse=True)
def without_failpoints() -> Iterator[None]:
    yield
    failpoints.install(None)


def test_a_new_process_maps_the_hashes_that_another_one_saved(full: Shelf) -> None:
    process = full.open()
    assert process.manifest.hashes is not None
    assert (process.manifest.hashes.count, process.manifest.hashes.generation) == (8, 10)
    assert process.find() == full.count_bits()
    assert process.saved == 8
    assert process.settle() == 0


def test_images_that_came_or_left_since_are_followed(full: Shelf) -> None:
    full.put("new", hash_with(1))
    with full.database.write() as conn:
        remove_entry(conn, 2)
    process = full.open()
    assert process.find() == full.count_bits()
    assert len(process.find()) == 8  # up to 30 bits; a removed entry's image is not an entry
    assert process.saved == 8
    full.put("newer", hash_with(2))
    assert process.find() == full.count_bits()


@pytest.mark.parametrize("corpus", ["fakes", "others"])
def test_a_hash_that_an_image_gets_late_is_found_by_the_next_process(
    full: Shelf, corpus: str
) -> None:
    """Without a change in the log, if the corpus has the image already."""
    full.put("unseen", hash_with(3), corpus)
    process = full.open()
    assert process.find() == full.count_bits()
    assert len(process.find()) == 8
    assert process.settle() >= 1  # the file lacks it, and is written anew
    assert full.open().find() == full.count_bits()
    assert full.open().manifest.hashes.count == 9  # type: ignore[union-attr]


def test_a_hash_that_an_image_gets_late_is_found_by_a_process_that_follows_the_log(
    full: Shelf,
) -> None:
    with LiveIndex.open(
        full.database, full.material.space, full.directory, policy=POLICY, config=CONFIG
    ) as live:
        pictures = live._current.pictures
        live.read_hashes()
        full.put("unseen", hash_with(3))
        assert not live.read_late_hashes()  # nothing says so yet
        assert not live.follow(100)
        assert live.read_late_hashes()
        assert len(pictures.read.held) == 9
        assert pictures.read.saved == 8  # still in the memory of the file
        assert not live.read_late_hashes()
    assert len(full.count_bits()) == 8


def test_a_hash_that_an_image_lost_is_found_by_no_later_process(full: Shelf) -> None:
    """No release takes one away; a person with SQL may."""
    with full.database.write() as conn:
        conn.execute(text("UPDATE images SET pdq_hash = NULL, pdq_quality = NULL WHERE id = 2"))
    process = full.open()
    assert 2 not in process.find()
    assert process.find() == full.count_bits()
    assert process.settle() == 1
    assert full.open().find() == full.count_bits()


@pytest.mark.parametrize(
    "dialect", ["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)], indirect=True
)
@pytest.mark.parametrize(("lost", "gained"), [([2], [1]), ([3, 6], [4, 5])])
def test_hashes_that_replaced_others_are_noticed(
    shelf: Shelf, lost: list[int], gained: list[int]
) -> None:
    """As many as before, and in the second case with the same sum of ids: a database was copied
    back, and its images got hashes late.
    """
    for number in range(8):
        shelf.put(number, hash_with(number) if number + 1 not in gained else None)
    assert shelf.open().settle() == 2
    late = {"pdq_hash": hash_with(9).bits, "pdq_quality": 100}
    with shelf.database.write() as conn:
        for ids, values in ((lost, {"pdq_hash": None, "pdq_quality": None}), (gained, late)):
            conn.execute(update(images).where(images.c.id.in_(ids)).values(values))
    process = shelf.open()
    assert process.find() == shelf.count_bits()
    assert set(gained) < set(process.find())
    assert process.settle() == 1
    assert shelf.open().find() == shelf.count_bits()


def test_the_same_image_in_another_corpus_is_held_once(full: Shelf) -> None:
    process = full.open()
    process.find()
    for number in range(8):
        full.put(number, hash_with(5 * number), "others")
    assert process.find() == full.count_bits()
    assert len(process.current.pictures.read.held) == 8


def test_hashes_of_another_rule_are_not_used(full: Shelf) -> None:
    process = full.open()
    saved = process.manifest.hashes
    assert saved is not None
    changed = replace(process.manifest, hashes=replace(saved, min_quality=60))
    (process.folder.path / MANIFEST).write_bytes(changed.to_bytes())
    process = full.open()
    assert process.find() == full.count_bits()
    assert process.saved == 0
    assert process.settle() == 1
    assert full.open().manifest.hashes.min_quality == 50  # type: ignore[union-attr]


@pytest.mark.parametrize("damage", ["a flipped bit", "cut off", "missing"])
def test_a_damaged_file_is_named_and_replaced(
    full: Shelf, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    process = full.open()
    path = process.file
    content = bytearray(path.read_bytes())
    path.unlink()
    content[-1] ^= 1
    if damage != "missing":
        path.write_bytes(content if damage == "a flipped bit" else content[:-40])
    report = fsck(full.database, None, full.directory)
    assert [(each.kind, each.item) for each in report.findings] == [
        (FindingKind.SNAPSHOT_FILE, str(path))
    ]
    with caplog.at_level(logging.WARNING):
        assert process.find() == full.count_bits()
    assert path.name in caplog.text
    assert process.settle() == 1
    assert fsck(full.database, None, full.directory).clean
    assert full.open().find() == full.count_bits()
    process = full.open()
    assert (len(process.find()), process.saved) == (7, 8)


def test_a_check_of_the_files_reads_the_hashes(full: Shelf) -> None:
    process = full.open()
    process.find()
    process.upkeep.write_snapshot()
    process.file.write_bytes(process.file.read_bytes()[:-1])
    with pytest.raises(SnapshotCorrupt, match="hashes"):
        process.upkeep.write_snapshot()


def test_fsck_finds_a_saved_hash_that_differs_from_the_row(full: Shelf) -> None:
    assert fsck(full.database, None, full.directory).clean
    with full.database.write() as conn:
        statement = "UPDATE images SET pdq_hash = :bits WHERE id = 7"
        conn.execute(text(statement), {"bits": hash_with(1).bits})
    (finding,) = fsck(full.database, None, full.directory).findings
    assert finding.kind is FindingKind.SNAPSHOT_FACTS
    assert finding.message == "its hash of image 7 differs from the row"
    assert fsck(full.database, None, full.directory, repair=True).clean
    assert full.open().find() == full.count_bits()


def test_older_snapshots_open_and_get_hashes(shelf: Shelf) -> None:
    for number in range(8):
        shelf.put(number, hash_with(5 * number))
    process = shelf.open()
    process.current.read(lambda *_: None, complete=True)
    process.upkeep.write_snapshot()  # no look-up asked for a hash, so none was read
    assert process.manifest.hashes is None
    assert b"hashes" not in (process.folder.path / MANIFEST).read_bytes()
    process = shelf.open()
    assert process.find() == shelf.count_bits()
    assert process.settle() == 1
    assert shelf.open().manifest.hashes is not None


@pytest.mark.parametrize("more", [6, 7])
def test_a_database_that_was_copied_back_does_not_get_the_hashes_of_its_other_past(
    full: Shelf, tmp_path: Path, more: int
) -> None:
    """Ids are given again: image 11 has another hash now, and there are as many as before."""
    file = next(tmp_path.glob("test-*.db"))
    with full.database.read() as conn:
        conn.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    shutil.copyfile(file, tmp_path / "copy.db")
    for number in range(11, 17):
        full.put(number, hash_with(number))
    process = full.open()
    process.find()
    with directory_lock(process.folder.path, wait=True):
        process.upkeep._write_hashes(process.manifest)
    assert process.manifest.generation == 10
    with Database.open(f"sqlite:///{tmp_path / 'copy.db'}") as database:
        again = Shelf(database, full.material, full.directory)
        for number in range(more):
            again.put(f"again {number}", hash_with(number + 20))
        process = again.open()
        assert process.current.view.generation == 10  # the snapshot of the vectors is right
        assert process.find() == again.count_bits()
        assert process.saved == 0
        (finding,) = fsck(database, None, full.directory).findings
        assert finding.kind is FindingKind.SNAPSHOT_DIGEST


def test_newer_vectors_keep_the_hashes_and_the_other_way_round(full: Shelf) -> None:
    process = full.open()
    file = process.file
    for number in range(20, 24):
        full.put(number, hash_with(number))
    process.current.read(lambda *_: None, complete=True)
    manifest = process.upkeep.write_snapshot()
    assert (process.file, process.manifest) == (file, manifest)
    full.put(24, hash_with(24))
    process.find()
    assert process.upkeep.do_one(train=False, wait=True)
    assert process.file != file
    assert not file.exists()
    assert replace(process.manifest, hashes=manifest.hashes) == manifest
    assert process.upkeep.compact().hashes == process.manifest.hashes
    assert full.open().find() == full.count_bits()


def test_another_process_adopts_the_hashes_without_opening_the_vectors_again(full: Shelf) -> None:
    one, other = full.open(), full.open()
    for number in range(20, 25):
        full.put(number, hash_with(number))
    one.find()
    other.find()
    assert (one.upkeep.is_due(train=False), other.upkeep.is_due(train=False)) == (True, True)
    assert one.upkeep.do_one(train=False, wait=True)
    sealed = other.current.view.sealed
    assert other.upkeep.do_one(train=False, wait=True)
    assert other.current.view.sealed is sealed
    assert other.current.current.manifest == one.manifest
    assert other.saved == 13
    assert not other.upkeep.is_due(train=False)
    assert one.find() == other.find() == full.count_bits()


def test_a_backup_carries_the_hashes(full: Shelf, tmp_path: Path) -> None:
    back_up(full.database, full.directory, thumbnails=None, archive=tmp_path / "all.tar")
    url, place = f"sqlite:///{tmp_path / 'restored.db'}", tmp_path / "restored"
    restore(tmp_path / "all.tar", url, place)
    with Database.open(url) as database:
        process = Shelf(database, full.material, place).open()
        assert process.find() == full.count_bits()
        assert process.saved == 8


def test_a_search_does_not_wait_for_a_thread_that_reads_or_moves_the_hashes(full: Shelf) -> None:
    process = full.open()
    expected = process.find()
    entered, may_end = threading.Event(), threading.Event()

    class SlowRows(HashRows):
        def __len__(self) -> int:
            entered.set()
            assert may_end.wait(60)
            return len(self.ids)

    rows = process.current.pictures.read.held.sort()
    slow = SlowRows(rows.ids, rows.bits, rows.keys)
    with ThreadPoolExecutor(2) as threads:
        moving = threads.submit(process.current.pictures.move_to, slow, 10)
        assert entered.wait(60)
        try:
            assert threads.submit(process.find).result(60) == expected
        finally:
            may_end.set()
        moving.result(60)
    assert process.find() == expected


class Killed(BaseException):
    """The end of a process."""


@pytest.mark.parametrize(
    ("point", "passing", "is_published"),
    [
        (Failpoint.FILE_WRITTEN, 1, False),
        pytest.param(Failpoint.FILE_SYNCED, 1, False, marks=pytest.mark.prove),
        pytest.param(Failpoint.FILE_RENAMED, 1, False, marks=pytest.mark.prove),
        (Failpoint.FILES_COMPLETE, 1, False),
        pytest.param(Failpoint.FILE_WRITTEN, 2, False, marks=pytest.mark.prove),
        pytest.param(Failpoint.FILE_SYNCED, 2, False, marks=pytest.mark.prove),
        (Failpoint.FILE_RENAMED, 2, True),
        (Failpoint.MANIFEST_PUBLISHED, 1, True),
        pytest.param(Failpoint.LEFTOVERS_REMOVED, 1, True, marks=pytest.mark.prove),
    ],
)
def test_a_process_may_end_between_any_two_steps(
    full: Shelf, point: Failpoint, passing: int, is_published: bool
) -> None:
    for number in range(20, 25):
        full.put(number, hash_with(number))
    process = full.open()
    process.find()
    passed = 0

    def end(reached: Failpoint) -> None:
        nonlocal passed
        passed += reached == point
        if passed == passing:
            raise Killed

    failpoints.install(end)
    with pytest.raises(Killed):
        process.upkeep.do_one(train=False, wait=True)
    failpoints.install(None)
    after = full.open()
    assert after.find() == full.count_bits()
    assert after.saved == (13 if is_published else 8)
    assert fsck(full.database, None, full.directory, repair=True).clean
    after.settle()
    again = full.open()
    assert (again.find(), again.saved) == (full.count_bits(), 13)
    assert fsck(full.database, None, full.directory).findings == ()


def test_settling_saves_the_hashes_that_no_look_up_asked_for(shelf: Shelf) -> None:
    for number in range(8):
        shelf.put(number, hash_with(5 * number))
    with LiveIndex.open(
        shelf.database, shelf.material.space, shelf.directory, policy=POLICY, config=CONFIG
    ) as live:
        live.settle()
    process = shelf.open()
    assert process.find() == shelf.count_bits()
    assert process.saved == 8


def test_any_history_of_images_is_found_by_any_process(shelf: Shelf) -> None:
    write_history(shelf, steps=20)


@pytest.mark.prove
@pytest.mark.parametrize(
    "dialect", ["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)], indirect=True
)
def test_a_long_history_of_images_is_found_by_any_process(shelf: Shelf) -> None:
    write_history(shelf, steps=200)


def write_history(shelf: Shelf, steps: int) -> None:
    """Images come, are seen again with a hash or in another corpus, and leave; processes that were
    opened at some time look, or save what they know.
    """
    random = np.random.default_rng(11)
    processes = [shelf.open()]
    entries: list[int] = []
    for step in range(steps):
        number, bits = int(random.integers(25)), int(random.integers(40))
        hashed = None if bits > 33 else hash_with(number, 49 if bits % 6 == 0 else 100)
        entries.append(shelf.put(number, hashed, ("fakes", "others")[bits % 2]))
        if bits % 7 == 0:
            with shelf.database.write() as conn:
                remove_entry(conn, entries[int(random.integers(len(entries)))])
        if step % 6 == 0:
            processes[int(random.integers(len(processes)))].settle()
        if step % 9 == 0:
            processes = [*processes[-2:], shelf.open()]
            assert processes[-1].find() == shelf.count_bits()
    assert shelf.open().find() == shelf.count_bits()
    process = shelf.open()
    assert process.find()
    assert process.saved > 4
    assert fsck(shelf.database, None, shelf.directory).clean
