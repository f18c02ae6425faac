"""Folders and single files as sources."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from api.sources.folder import FolderSource
from api.sources.item import UnreadableItem, UnusableSource

ReadWhole = Callable[..., list[Any]]


def write(folder: Path, **contents: bytes) -> None:
    for name, content in contents.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def test_a_source_that_is_gone_is_not_a_row_of_failures(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    write(folder, **{"a.png": b"a"})
    (span,) = FolderSource(str(folder)).spans(9)
    folder.rename(tmp_path / "away")
    with pytest.raises(UnusableSource, match="no such file or folder"):
        list(FolderSource(str(folder)).items(span))
    with pytest.raises(UnusableSource):
        list(FolderSource(str(folder)).spans(9))


def test_a_file_that_went_since_the_listing_is_an_item_that_fails(tmp_path: Path) -> None:
    write(tmp_path, **{"a.png": b"a", "a.json": b"{}", "b.png": b"b"})
    source = FolderSource(str(tmp_path))
    (span,) = source.spans(9)
    (tmp_path / "a.png").unlink()
    (tmp_path / "a.json").unlink()
    with closing(source):
        gone, there = source.items(span)
    with pytest.raises(UnreadableItem) as caught:
        gone.read(9)
    assert caught.value.reason == "not_found"
    assert gone.declared == {"sidecar_error": "a.json: not_found: no such file"}
    assert there.read(9) == b"b"


def test_an_empty_folder_has_no_spans(tmp_path: Path, read_whole: ReadWhole) -> None:
    (tmp_path / ".hidden").touch()
    assert read_whole(partial(FolderSource, str(tmp_path))) == []


def test_names_that_are_no_text_are_read_and_printed(tmp_path: Path, read_whole: ReadWhole) -> None:
    for name in (
        b"\xff\\x.png",
        b"\\xff.png",
        b"new\nline.png",
        b"\xff\\x.txt",
        "ü😀.png".encode(),
    ):
        Path(os.fsdecode(bytes(tmp_path) + b"/" + name)).write_bytes(name)
    found = read_whole(partial(FolderSource, str(tmp_path)))
    assert {item.name: item.content for item in found} == {
        "\\xff\\x.png": b"\xff\\x.png",
        "\\xff.png": b"\\xff.png",
        "new\nline.png": b"new\nline.png",
        "ü😀.png": "ü😀.png".encode(),
    }
    assert [item.declared for item in found if item.content == b"\xff\\x.png"] == [
        {"sidecar_error": "\\xff\\x.txt: not UTF-8 text at byte 0"}
    ]


def test_a_single_file_is_an_item_and_what_lies_beside_it_is_not_asked(
    tmp_path: Path, read_whole: ReadWhole
) -> None:
    write(tmp_path, **{"a.png": b"a", "a.txt": b"words"})
    location = str(tmp_path / "a.png")
    assert read_whole(partial(FolderSource, location)) == [("a.png", b"a", {}, location)]
    assert read_whole(partial(FolderSource, f"file://{location}")) == [
        ("a.png", b"a", {}, f"file://{location}")
    ]


def test_a_large_file_is_read_a_byte_beyond_the_bound(
    tmp_path: Path, read_whole: ReadWhole
) -> None:
    write(tmp_path, **{"a.png": bytes(5000)})
    assert [len(item.content) for item in read_whole(partial(FolderSource, str(tmp_path)))] == [
        1001
    ]


def test_a_url_is_a_source_too(
    memory_files: Callable[[str, bytes], str], read_whole: ReadWhole
) -> None:
    for name, content in {
        "b/1.png": b"one",
        "b/1.json": b'{"n": 1}',
        "a.png": b"a",
        "b/2.txt": b"lonely",
    }.items():
        memory_files(f"memory://top/in/{name}", content)
    assert read_whole(partial(FolderSource, "memory://top/in")) == [
        ("a.png", b"a", {}, "memory://top/in/a.png"),
        ("b/1.png", b"one", {"n": 1}, "memory://top/in/b/1.png"),
        ("b/2.txt", b"lonely", {}, "memory://top/in/b/2.txt"),
    ]
    assert read_whole(partial(FolderSource, "memory://top/in/a.png"))[0][:2] == ("a.png", b"a")


def test_a_folder_is_read_in_spans(tmp_path: Path, read_whole: ReadWhole) -> None:
    os.mkfifo(tmp_path / "pipe")
    write(
        tmp_path, **{f"sub{number % 3}/{number}.png": str(number).encode() for number in range(20)}
    )
    write(
        tmp_path,
        **{
            f"sub{number % 3}/{number}.json": json.dumps({"n": number}).encode()
            for number in range(0, 20, 2)
        },
    )
    found = read_whole(partial(FolderSource, str(tmp_path)))
    assert found[0] == ("pipe", "not_a_file", {}, str(tmp_path / "pipe"))
    images = sorted(found[1:], key=lambda item: int(item.content))
    assert [item.name for item in images] == [
        f"sub{number % 3}/{number}.png" for number in range(20)
    ]
    assert [item.declared for item in images] == [
        {"n": number} if number % 2 == 0 else {} for number in range(20)
    ]
    assert [item.location for item in images] == [str(tmp_path / item.name) for item in images]
