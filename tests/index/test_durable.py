"""Durable files: complete or absent, whatever interrupts their writing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from index import failpoints
from index.durable import (
    TEMPORARY_SUFFIX,
    publish,
    publish_all,
    stage,
    sync_directory,
    temporary_beside,
    write_bytes_durably,
    write_durably,
)
from index.failpoints import Failpoint

KILLED = """
import os, signal, sys
from pathlib import Path
from index import failpoints
from index.durable import write_bytes_durably
failpoints.install(lambda point: point == sys.argv[2] and os.kill(os.getpid(), signal.SIGKILL))
write_bytes_durably(Path(sys.argv[1]), b"new")
"""
STEPS = [Failpoint.FILE_WRITTEN, Failpoint.FILE_SYNCED, Failpoint.FILE_RENAMED]


@pytest.fixture
def no_hook() -> Iterator[None]:
    yield
    failpoints.install(None)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_write_that_fails_leaves_the_older_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def write(temporary: Path) -> None:
        temporary.write_bytes(b"half")
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="full"):
        write_durably(path, write)
    assert names(tmp_path) == ["file"]
    assert path.read_bytes() == b"old"


def test_a_writer_that_writes_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_durably(tmp_path / "file", lambda _: None)
    assert names(tmp_path) == []


def test_a_missing_folder_is_an_error_and_is_not_created(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_bytes_durably(tmp_path / "missing" / "file", b"content")
    assert names(tmp_path) == []


def test_a_file_that_exists_is_not_replaced_unless_asked(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with temporary_beside(path) as temporary:
        temporary.write_bytes(b"new")
        with pytest.raises(FileExistsError):
            publish(temporary, path, replace=False)
    assert names(tmp_path) == ["file"]
    assert path.read_bytes() == b"old"


@pytest.mark.parametrize("exists", [False, True])
def test_a_file_system_without_links_replaces_no_file_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exists: bool
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError("no hard links here")

    monkeypatch.setattr(os, "link", refuse)
    path = tmp_path / "file"
    if exists:
        path.write_bytes(b"old")
    with temporary_beside(path) as temporary:
        temporary.write_bytes(b"new")
        if exists:
            with pytest.raises(FileExistsError, match=str(path)):
                publish(temporary, path, replace=False)
        else:
            publish(temporary, path, replace=False)
    assert path.read_bytes() == (b"old" if exists else b"new")
    assert names(tmp_path) == ["file"]


def test_a_new_file_is_published_without_replacing(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with temporary_beside(path) as temporary:
        temporary.write_bytes(b"new")
        publish(temporary, path, replace=False)
    assert names(tmp_path) == ["file"]
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("old", [None, b"old"])
def test_a_killed_writer_leaves_the_old_or_the_new_file(
    tmp_path: Path, step: Failpoint, old: bytes | None
) -> None:
    path = tmp_path / "file"
    if old is not None:
        path.write_bytes(old)
    command = [sys.executable, "-c", KILLED, str(path), step.value]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    content = path.read_bytes() if path.exists() else None
    assert content == (b"new" if step is Failpoint.FILE_RENAMED else old)
    leftovers = [name for name in names(tmp_path) if name != "file"]
    assert all(name.endswith(TEMPORARY_SUFFIX) for name in leftovers)


@pytest.mark.parametrize("step", STEPS)
def test_until_the_rename_a_reader_sees_the_old_file(
    tmp_path: Path, step: Failpoint, no_hook: None
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    seen: dict[Failpoint, bytes] = {}
    failpoints.install(lambda point: seen.update({point: path.read_bytes()}))
    write_bytes_durably(path, b"new")
    assert seen[step] == (b"new" if step is Failpoint.FILE_RENAMED else b"old")


def test_temporary_files_of_one_path_have_different_hidden_names(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with temporary_beside(path) as one, temporary_beside(path) as other:
        assert one != other
        for temporary in (one, other):
            assert temporary.parent == tmp_path
            assert temporary.name.startswith(".file.")
            assert temporary.name.endswith(TEMPORARY_SUFFIX)


def test_a_temporary_file_is_removed_at_the_end_also_after_an_error(tmp_path: Path) -> None:
    def fail() -> None:
        with temporary_beside(tmp_path / "file") as temporary:
            temporary.write_bytes(b"half")
            raise InterruptedError

    with pytest.raises(InterruptedError):
        fail()
    assert names(tmp_path) == []


def test_writers_at_the_same_time_leave_one_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    contents = [bytes([number]) * 50_000 for number in range(6)]
    threads = [
        threading.Thread(target=write_bytes_durably, args=(path, content)) for content in contents
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert path.read_bytes() in contents
    assert names(tmp_path) == ["file"]


def test_only_one_of_many_writers_creates_a_file_that_must_be_new(tmp_path: Path) -> None:
    path = tmp_path / "file"
    created: list[bytes] = []

    def create(content: bytes) -> None:
        with temporary_beside(path) as temporary:
            temporary.write_bytes(content)
            try:
                publish(temporary, path, replace=False)
            except FileExistsError:
                return
            created.append(content)

    threads = [threading.Thread(target=create, args=(bytes([n]) * 1000,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert created == [path.read_bytes()]


def test_syncing_a_folder_that_is_missing_is_an_error(tmp_path: Path) -> None:
    sync_directory(tmp_path)
    with pytest.raises(FileNotFoundError):
        sync_directory(tmp_path / "missing")


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(contents=st.lists(st.binary(max_size=2000), min_size=1, max_size=3))
def test_the_last_content_comes_back(tmp_path: Path, contents: list[bytes]) -> None:
    for content in contents:
        write_bytes_durably(tmp_path / "file", content)
        assert (tmp_path / "file").read_bytes() == content
    assert names(tmp_path) == ["file"]


def test_staged_files_are_not_there_until_all_are_published(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
    (tmp_path / "a" / "1").write_bytes(b"old")
    paths = [tmp_path / "a" / "1", tmp_path / "a" / "2", tmp_path / "b" / "3"]
    staged = [stage(path, path.name.encode()) for path in paths]
    assert [path.exists() for path in paths] == [True, False, False]
    assert paths[0].read_bytes() == b"old"
    publish_all(staged)
    assert [path.read_bytes() for path in paths] == [b"1", b"2", b"3"]
    assert (names(tmp_path / "a"), names(tmp_path / "b")) == (["1", "2"], ["3"])
    publish_all([])


def test_all_are_synced_before_the_first_is_renamed(tmp_path: Path, no_hook: None) -> None:
    staged = [stage(tmp_path / name, b"new") for name in "abc"]
    seen: dict[Failpoint, list[str]] = {}
    failpoints.install(lambda point: seen.setdefault(point, names(tmp_path)) and None)
    publish_all(staged)
    assert not set("abc") & set(seen[Failpoint.FILE_SYNCED])
    assert seen[Failpoint.FILE_RENAMED] == ["a", "b", "c"]


def test_a_file_that_cannot_be_published_leaves_no_temporary_file(tmp_path: Path) -> None:
    staged = [stage(tmp_path / name, b"new") for name in "abc"]
    staged[1].temporary.unlink()
    with pytest.raises(FileNotFoundError):
        publish_all(staged)
    assert not [name for name in names(tmp_path) if name.endswith(TEMPORARY_SUFFIX)]


def test_what_is_discarded_is_gone(tmp_path: Path) -> None:
    staged = stage(tmp_path / "a", b"new")
    staged.discard()
    staged.discard()
    assert names(tmp_path) == []
    with pytest.raises(FileNotFoundError):
        stage(tmp_path / "nowhere" / "a", b"new")
