"""What is at a location, reading it and listing it: local paths and URLs in the same way."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import fsspec
import pytest

from api.sources.access import Access
from api.sources.item import UnreadableItem, UnusableSource
from api.sources.locations import folder_of, join_location, read_up_to
from tests.api.sources.storage import FailingStorage

ACCESS = Access()  # the operator's: anything may be read

Put = Callable[[str, bytes], str]


def reason_of(location: str | Path) -> str:
    with pytest.raises(UnreadableItem) as caught:
        ACCESS.read_bytes(str(location), 10)
    assert "\n" not in str(caught.value)
    return caught.value.reason


def make_deep_folder(within: Path) -> None:
    """Folders whose path is longer than any system call takes: even root cannot list the last of
    them by its path.
    """
    inside = os.open(within, os.O_RDONLY)
    for _ in range(20):
        os.mkdir("d" * 250, dir_fd=inside)
        deeper = os.open("d" * 250, os.O_RDONLY, dir_fd=inside)
        os.close(inside)
        inside = deeper
    os.close(inside)


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to("nothing")])
def test_what_is_no_file_is_refused_without_waiting_for_it(
    tmp_path: Path, make: Callable[[Path], None]
) -> None:
    make(tmp_path / "a")
    assert reason_of(tmp_path / "a") == "not_a_file"
    with pytest.raises(UnusableSource):
        ACCESS.open_binary(str(tmp_path / "a"))


def test_a_link_in_a_circle_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    assert reason_of(tmp_path / "a") == "not_a_file"


def test_a_missing_file_is_not_found_wherever_the_path_breaks(
    tmp_path: Path, memory_files: Put
) -> None:
    (tmp_path / "file").touch()
    memory_files("memory://folder/file", b"")
    for missing in (
        tmp_path / "no",
        tmp_path / "no" / "file",
        tmp_path / "file" / "below",
        "memory://folder/no",
    ):
        assert reason_of(missing) == "not_found"
        assert ACCESS.kind_of(str(missing)) is None
        with pytest.raises(UnusableSource, match="no such file"):
            ACCESS.open_binary(str(missing))


def test_a_path_that_no_system_takes_is_unreadable(tmp_path: Path) -> None:
    assert reason_of(tmp_path / "a\0b") == "unreadable"
    assert reason_of(tmp_path / ("n" * 5000)) == "unreadable"


def test_an_unknown_protocol_and_a_missing_package_are_named() -> None:
    with pytest.raises(UnusableSource, match="nonsense"):
        ACCESS.kind_of("nonsense://a/b")
    assert reason_of("nonsense://a/b") == "unreadable"
    with pytest.raises(UnusableSource, match="paramiko"):
        ACCESS.open_binary("sftp://host/b")


def test_errors_of_a_protocol_s_package_are_ours() -> None:
    class Locked(fsspec.AbstractFileSystem):
        protocol = "locked"
        cachable = False

        def fail(self, *_: object, **__: object) -> None:
            raise KeyError("no credentials\nand a second line")

        open = info = ls = fail

    fsspec.register_implementation("locked", Locked, clobber=True)
    location = "locked://folder/file"
    assert reason_of(location) == "unreadable"
    for refused in (
        ACCESS.open_binary,
        ACCESS.kind_of,
        lambda location: list(ACCESS.walk(location)),
    ):
        with pytest.raises(UnusableSource, match=r"^[^\n]*no credentials[^\n]*$"):
            refused(location)


def test_a_file_on_the_web_that_cannot_be_sought_in_is_no_source(
    failing_storage: type[FailingStorage],
) -> None:
    failing_storage.files["a"] = b"content"
    failing_storage.is_seekable = False
    with pytest.raises(UnusableSource, match="cannot be read at any position"):
        ACCESS.open_binary("failing://a")
    (opened,) = failing_storage.opened
    assert opened.closed


def test_reading_stops_a_byte_behind_the_bound(tmp_path: Path, memory_files: Put) -> None:
    (tmp_path / "a").write_bytes(bytes(100))
    for location in (
        str(tmp_path / "a"),
        f"file://{tmp_path}/a",
        memory_files("memory://a", bytes(100)),
    ):
        assert [len(ACCESS.read_bytes(location, bound)) for bound in (0, 98, 99, 100, 2**40)] == [
            1,
            99,
            100,
            100,
            100,
        ]


def test_a_reader_that_gives_less_than_was_asked_is_asked_again() -> None:
    class Dripping:
        left = 10

        def read(self, size: int) -> bytes:
            given = min(size, 3, self.left)
            self.left -= given
            return bytes(given)

    assert len(read_up_to(Dripping(), 8)) == 8  # type: ignore[arg-type]
    assert len(read_up_to(Dripping(), 80)) == 10  # type: ignore[arg-type]


def test_opened_files_are_sought_in(tmp_path: Path, memory_files: Put) -> None:
    (tmp_path / "a").write_bytes(b"0123456789")
    for location in (
        str(tmp_path / "a"),
        f"file://{tmp_path}/a",
        memory_files("memory://f/a", b"0123456789"),
    ):
        with ACCESS.open_binary(location) as file:
            file.seek(7)
            assert (file.read(2), file.seek(0), file.read(2)) == (b"78", 0, b"01")
        assert ACCESS.kind_of(location) == "file"
        assert ACCESS.kind_of(folder_of(location)) == "folder"


def test_a_folder_that_cannot_be_listed_ends_the_listing_only_as_its_root(tmp_path: Path) -> None:
    with pytest.raises(UnusableSource, match="No such file"):
        list(ACCESS.walk(str(tmp_path / "missing")))
    (tmp_path / "a.png").touch()
    (tmp_path / "z").mkdir()
    (tmp_path / "z" / "z.png").touch()
    make_deep_folder(tmp_path)

    found = dict(ACCESS.walk(str(tmp_path)))

    assert list(found)[0::2] == ["a.png", "z/z.png"]
    unlisted = list(found)[1]
    assert unlisted.startswith("d" * 250 + "/")
    assert reason_of(found[unlisted]) == "unreadable"


def test_a_walk_leaves_out_hidden_names_and_links_to_folders_and_keeps_its_order(
    tmp_path: Path,
) -> None:
    for name in (
        "b/a.b.png",
        "b/a-b.png",
        "b/a.png",
        "b/.hidden.png",
        "b/deep/x",
        "B/y",
        ".git/z",
        "a.png",
        "a",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "link").symlink_to("b")
    (tmp_path / "b" / "round").symlink_to("..")
    (tmp_path / "linked.png").symlink_to("a.png")
    (tmp_path / "dangling.png").symlink_to("nothing")

    expected = [
        "a",
        "a.png",
        "dangling.png",
        "linked.png",
        "B/y",
        "b/a.b.png",
        "b/a.png",
        "b/a-b.png",
        "b/deep/x",
    ]

    for folder in (str(tmp_path), f"file://{tmp_path}", f"{tmp_path}/"):
        found = list(ACCESS.walk(folder))
        assert [name for name, _ in found] == expected
        assert all(location == join_location(folder, name) for name, location in found)


def test_a_url_is_walked_as_a_folder_is(memory_files: Put) -> None:
    for name in ("b/two.png", "a.png", "b/.hidden/c.png", "b/c/d.png", ".e.png"):
        memory_files(f"memory://top/{name}", name.encode())
    for folder in ("memory://top", "memory://top/"):
        found = list(ACCESS.walk(folder))
        assert [name for name, _ in found] == ["a.png", "b/two.png", "b/c/d.png"]
        assert [ACCESS.read_bytes(location, 99).decode() for _, location in found] == [
            name for name, _ in found
        ]


def test_folders_within_folders_are_walked_deeper_than_python_recurses(memory_files: Put) -> None:
    depth = sys.getrecursionlimit() + 100
    memory_files(f"memory://deep/{'d/' * depth}f", b"found")
    assert [name for name, _ in ACCESS.walk("memory://deep")] == [f"{'d/' * depth}f"]
