"""Snapshots on disk: written, opened, checked, cleaned up, locked and set aside."""

import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from index import failpoints
from index.cache.plans.config import Plan
from index.cache.plans.recall import Tuning
from index.cache.segments.facts import facts_of
from index.cache.segments.sealed import TunedCodes
from index.cache.snapshots.manifest import MANIFEST, Manifest, read_manifest
from index.cache.snapshots.snapshot import (
    LOCK,
    Contents,
    check_files,
    directory_lock,
    leftovers,
    new_stem,
    open_snapshot,
    set_aside,
    write_snapshot,
)
from index.cache.vectors.codes import Codes
from index.cache.vectors.rows import write_rows
from index.errors import IndexDirectoryUnwritable, SnapshotCorrupt
from tests.index.cache.samples import Words, clustered_rows, member

FINGERPRINT = "ab" * 32
DIMENSION = 16
N = 90


def contents_in(folder: Path, dead: Any = (), generation: int = 7) -> Contents:
    folder.mkdir(exist_ok=True)
    words = Words()
    facts = facts_of([member(i) for i in range(1, N + 1)], words)
    rows = write_rows(
        folder / f"{new_stem(generation)}.vectors", None, [clustered_rows(N)], DIMENSION
    )
    return Contents(generation, 0xABC, rows, facts, words, np.array(dead, np.int64))


def tuned_codes() -> TunedCodes:
    codes = Codes.train(clustered_rows(N), 4, threads=1)
    codes.add([clustered_rows(N)], threads=1)
    return TunedCodes(codes, Tuning(2, 32, 10, 0.99, 8, 0, N, "2026-11-24T00:00:00+00:00"))


def write(folder: Path, tuned: TunedCodes | None = None, **options: Any) -> Manifest:
    return write_snapshot(folder, contents_in(folder, **options), tuned, 0, None, FINGERPRINT)


@pytest.mark.parametrize("dead", [(), (3, 60)], ids=["all live", "two dead"])
@pytest.mark.parametrize("coded", [False, True], ids=["flat", "coded"])
def test_a_snapshot_is_opened_as_it_was_written(tmp_path: Path, dead: Any, coded: bool) -> None:
    tuned = tuned_codes() if coded else None
    written = contents_in(tmp_path, dead)
    manifest = write_snapshot(tmp_path, written, tuned, 12, None, FINGERPRINT)
    assert read_manifest(tmp_path) == manifest
    assert (manifest.rows, manifest.count, manifest.trained_rows) == (N, N - len(dead), 12)
    assert manifest.plan is (Plan.LISTS if coded else Plan.FLAT)
    opened, codes = open_snapshot(tmp_path, manifest, FINGERPRINT, DIMENSION)
    assert (opened.generation, opened.digest) == (7, 0xABC)
    assert np.array_equal(opened.rows.chunk(0, N), clustered_rows(N))
    assert opened.facts.tolist() == written.facts.tolist()
    assert opened.words.texts() == written.words.texts()
    live = [position for position in range(N) if position not in dead]
    assert (list(range(N)) if opened.live is None else opened.live.positions.tolist()) == live
    assert (codes is not None) is coded
    if codes is not None and tuned is not None:
        assert codes.tuning == tuned.tuning
        probe = clustered_rows(N)[5]
        assert np.array_equal(
            codes.codes.search(probe[np.newaxis], 9, 4), tuned.codes.search(probe[np.newaxis], 9, 4)
        )
    segment = opened.segment(codes)
    assert (segment.size, segment.tuned) == (N, codes)
    check_files(tmp_path, manifest)


@pytest.mark.parametrize(
    ("fingerprint", "dimension"), [("cd" * 32, DIMENSION), (FINGERPRINT, DIMENSION + 1)]
)
def test_a_snapshot_of_another_space_is_refused(
    tmp_path: Path, fingerprint: str, dimension: int
) -> None:
    with pytest.raises(SnapshotCorrupt, match="another embedding space"):
        open_snapshot(tmp_path, write(tmp_path), fingerprint, dimension)


@pytest.mark.parametrize("name", ["blocks", "facts", "words", "dead", "codes"])
def test_a_changed_file_is_noticed_when_the_snapshot_is_opened(tmp_path: Path, name: str) -> None:
    manifest = write(tmp_path, tuned_codes())
    path = tmp_path / getattr(manifest, name).name
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(SnapshotCorrupt, match="sha256"):
        open_snapshot(tmp_path, manifest, FINGERPRINT, DIMENSION)
    with pytest.raises(SnapshotCorrupt, match="sha256"):
        check_files(tmp_path, manifest)


def test_a_changed_vector_is_noticed_by_the_check_of_all_files(tmp_path: Path) -> None:
    manifest = write(tmp_path)
    with (tmp_path / manifest.vectors).open("r+b") as file:
        file.seek(100)
        file.write(b"\xff")
    open_snapshot(tmp_path, manifest, FINGERPRINT, DIMENSION)  # vectors are checked when read
    with pytest.raises(SnapshotCorrupt, match="rows from 0"):
        check_files(tmp_path, manifest)


def test_bytes_behind_the_rows_are_from_a_later_write_and_not_read(tmp_path: Path) -> None:
    manifest = write(tmp_path)
    with (tmp_path / manifest.vectors).open("ab") as file:
        file.write(b"half of a later write")
    check_files(tmp_path, manifest)


def test_stems_begin_with_the_generation_and_never_repeat() -> None:
    stems = {new_stem(12) for _ in range(50)}
    assert len(stems) == 50
    assert all(stem.startswith("12-") for stem in stems)


def test_publishing_removes_the_files_of_the_snapshot_before(tmp_path: Path) -> None:
    first = write(tmp_path)
    (tmp_path / ".1.facts.npy.99-aa.tmp").write_bytes(b"interrupted")
    (tmp_path / "old.faiss").write_bytes(b"of format 1")
    (tmp_path / "notes.txt").write_text("of a person")
    second = write(tmp_path, generation=8)
    assert not {*first.files} & {path.name for path in tmp_path.iterdir()}
    assert {path.name for path in tmp_path.iterdir()} == {MANIFEST, "notes.txt", *second.files}


def test_leftovers_are_what_the_manifest_does_not_name(tmp_path: Path) -> None:
    assert leftovers(tmp_path / "nowhere", None) == ()
    manifest = write(tmp_path)
    (tmp_path / LOCK).touch()
    assert leftovers(tmp_path, manifest) == ()
    (tmp_path / "9-zz.words.json").write_text("[]")
    assert [path.name for path in leftovers(tmp_path, manifest)] == ["9-zz.words.json"]
    assert {path.name for path in leftovers(tmp_path, None)} == {
        "9-zz.words.json",
        *manifest.files,
    }


def test_a_write_that_fails_leaves_the_snapshot_before_in_force(
    tmp_path: Path, at_failpoint: Callable[..., None]
) -> None:
    first = write(tmp_path)

    def fail() -> None:
        raise OSError(28, "No space left on device")

    at_failpoint(failpoints.Failpoint.FILES_COMPLETE, fail)
    with pytest.raises(IndexDirectoryUnwritable, match="No space left"):
        write(tmp_path, generation=8)
    assert read_manifest(tmp_path) == first
    check_files(tmp_path, first)


def _hold(folder: Path, locked: Any, done: Any) -> None:
    with directory_lock(folder, wait=True):
        locked.set()
        done.wait(30)


def test_one_process_holds_the_folder_and_others_are_told_so(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    locked, done = context.Event(), context.Event()
    other = context.Process(target=_hold, args=(tmp_path / "index", locked, done))
    other.start()
    try:
        assert locked.wait(30)
        with directory_lock(tmp_path / "index", wait=False) as is_locked:
            assert not is_locked
        set_aside(tmp_path / "index", "not now")  # left to the process that writes
        done.set()
        with directory_lock(tmp_path / "index", wait=True) as is_locked:
            assert is_locked
    finally:
        done.set()
        other.join(30)


def test_a_folder_that_cannot_be_made_is_an_error_of_the_directory(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(IndexDirectoryUnwritable), directory_lock(tmp_path / "file", wait=True):
        pass


def test_a_snapshot_set_aside_is_kept_for_a_person_and_not_opened(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path)
    content = (tmp_path / MANIFEST).read_bytes()
    set_aside(tmp_path, "it has a wrong digest")
    assert read_manifest(tmp_path) is None
    assert (tmp_path / f"{MANIFEST}.set-aside").read_bytes() == content
    assert "it has a wrong digest" in caplog.text
    assert "rebuilt from SQL" in caplog.text


def test_setting_aside_what_is_not_there_is_only_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    set_aside(tmp_path, "a reason")
    assert "could not be set aside" in caplog.text


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_an_error_of_the_directory(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with (
        pytest.raises(IndexDirectoryUnwritable),
        directory_lock(tmp_path / "index", wait=True),
    ):
        pass
