"""Local paths and URLs: what is there, reading it, listing it, and names that come back as they
were.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import fsspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.sources import locations
from api.sources.item import UnreadableItem, UnusableSource
from api.sources.locations import (
    decode_path,
    encode_path,
    folder_of,
    is_hidden,
    is_url,
    join_location,
    make_absolute,
    name_of,
)
from tests.api.sources.storage import FailingStorage

Put = Callable[[str, bytes], str]


def reason_of(location: str | Path) -> str:
    with pytest.raises(UnreadableItem) as caught:
        locations.read_bytes(str(location), 10)
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
        locations.open_binary(str(tmp_path / "a"))


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
        assert locations.kind_of(str(missing)) is None
        with pytest.raises(UnusableSource, match="no such file"):
            locations.open_binary(str(missing))


def test_a_path_that_no_system_takes_is_unreadable(tmp_path: Path) -> None:
    assert reason_of(tmp_path / "a\0b") == "unreadable"
    assert reason_of(tmp_path / ("n" * 5000)) == "unreadable"


def test_an_unknown_protocol_and_a_missing_package_are_named() -> None:
    with pytest.raises(UnusableSource, match="nonsense"):
        locations.kind_of("nonsense://a/b")
    assert reason_of("nonsense://a/b") == "unreadable"
    with pytest.raises(UnusableSource, match="paramiko"):
        locations.open_binary("sftp://host/b")


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
        locations.open_binary,
        locations.kind_of,
        lambda location: list(locations.walk(location)),
    ):
        with pytest.raises(UnusableSource, match=r"^[^\n]*no credentials[^\n]*$"):
            refused(location)


def test_a_file_on_the_web_that_cannot_be_sought_in_is_no_source(
    failing_storage: type[FailingStorage],
) -> None:
    failing_storage.files["a"] = b"content"
    failing_storage.is_seekable = False
    with pytest.raises(UnusableSource, match="cannot be read at any position"):
        locations.open_binary("failing://a")
    (opened,) = failing_storage.opened
    assert opened.closed


def test_reading_stops_a_byte_behind_the_bound(tmp_path: Path, memory_files: Put) -> None:
    (tmp_path / "a").write_bytes(bytes(100))
    for location in (
        str(tmp_path / "a"),
        f"file://{tmp_path}/a",
        memory_files("memory://a", bytes(100)),
    ):
        assert [
            len(locations.read_bytes(location, bound)) for bound in (0, 98, 99, 100, 2**40)
        ] == [
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

    assert len(locations.read_up_to(Dripping(), 8)) == 8  # type: ignore[arg-type]
    assert len(locations.read_up_to(Dripping(), 80)) == 10  # type: ignore[arg-type]


def test_opened_files_are_sought_in(tmp_path: Path, memory_files: Put) -> None:
    (tmp_path / "a").write_bytes(b"0123456789")
    for location in (
        str(tmp_path / "a"),
        f"file://{tmp_path}/a",
        memory_files("memory://f/a", b"0123456789"),
    ):
        with locations.open_binary(location) as file:
            file.seek(7)
            assert (file.read(2), file.seek(0), file.read(2)) == (b"78", 0, b"01")
        assert locations.kind_of(location) == "file"
        assert locations.kind_of(folder_of(location)) == "folder"


def test_a_folder_that_cannot_be_listed_ends_the_listing_only_as_its_root(tmp_path: Path) -> None:
    with pytest.raises(UnusableSource, match="No such file"):
        list(locations.walk(str(tmp_path / "missing")))
    (tmp_path / "a.png").touch()
    (tmp_path / "z").mkdir()
    (tmp_path / "z" / "z.png").touch()
    make_deep_folder(tmp_path)

    found = dict(locations.walk(str(tmp_path)))

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
        found = list(locations.walk(folder))
        assert [name for name, _ in found] == expected
        assert all(location == join_location(folder, name) for name, location in found)


def test_a_url_is_walked_as_a_folder_is(memory_files: Put) -> None:
    for name in ("b/two.png", "a.png", "b/.hidden/c.png", "b/c/d.png", ".e.png"):
        memory_files(f"memory://top/{name}", name.encode())
    for folder in ("memory://top", "memory://top/"):
        found = list(locations.walk(folder))
        assert [name for name, _ in found] == ["a.png", "b/two.png", "b/c/d.png"]
        assert [locations.read_bytes(location, 99).decode() for _, location in found] == [
            name for name, _ in found
        ]


def test_folders_within_folders_are_walked_deeper_than_python_recurses(memory_files: Put) -> None:
    depth = sys.getrecursionlimit() + 100
    memory_files(f"memory://deep/{'d/' * depth}f", b"found")
    assert [name for name, _ in locations.walk("memory://deep")] == [f"{'d/' * depth}f"]


@given(st.binary(min_size=1).filter(lambda name: b"\0" not in name))
def test_every_name_comes_back_from_text_that_sql_can_hold(name: bytes) -> None:
    path = name.decode("utf-8", "surrogateescape")
    text = encode_path(path)
    assert "\0" not in text.encode().decode()
    assert decode_path(text) == path


@pytest.mark.parametrize(
    ("location", "folder", "name"),
    [
        ("/a/b/c.png", "/a/b", "c.png"),
        ("s3://bucket/a/c.png", "s3://bucket/a", "c.png"),
        ("s3://bucket/a/", "s3://bucket", "a"),
        ("memory://c.png", "memory://", "c.png"),
        ("https://host/a/c.csv?key=x/y#z", "https://host/a", "c.csv"),
        ("s3://bucket/what?.png", "s3://bucket", "what?.png"),
    ],
)
def test_locations_are_taken_apart_and_joined(location: str, folder: str, name: str) -> None:
    assert (folder_of(location), name_of(location)) == (folder, name)
    assert join_location(folder, name) == location.partition("?key")[0].rstrip("/")
    assert join_location(folder, location) == location


def test_what_is_a_url_and_what_becomes_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert [
        is_url(text) for text in ("s3://a", "file:///a", "C:/a", "C://a", "a/b://c", "://a", "a")
    ] == [True] * 2 + [False] * 5
    assert make_absolute("memory://a/../b") == "memory://a/../b"
    assert make_absolute("a/../b") == f"{tmp_path}/a/../b"
    assert [is_hidden(name) for name in ("a/b", "./a", "../a", "a/.b/c", ".a", "a..b")] == [
        False
    ] * 3 + [True] * 2 + [False]


@given(st.text(st.sampled_from("a./"), max_size=12))
def test_hidden_is_what_pathlib_sees_as_hidden(name: str) -> None:
    parts = PurePosixPath(name).parts
    assert is_hidden(name) is any(part.startswith(".") and part != ".." for part in parts)
