"""Lists of paths on standard input."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.sources.item import Span
from api.sources.paths import MAX_PATH_BYTES, PathsSource

ReadWhole = Callable[..., list[Any]]


def paths_of(listed: object) -> list[str]:
    return [
        item.name for span in PathsSource(listed).spans(3) for item in PathsSource().items(span)
    ]  # type: ignore[arg-type]


def locations_of(text: bytes) -> list[str | None]:
    spans = json.loads(
        json.dumps([[span.count, span.where] for span in PathsSource(io.BytesIO(text)).spans(4)])
    )
    return [
        item.location for count, where in spans for item in PathsSource().items(Span(count, where))
    ]


def test_what_is_not_there_or_no_file_is_an_item_that_fails(
    tmp_path: Path, read_whole: ReadWhole
) -> None:
    (tmp_path / "a.png").write_bytes(b"a")
    lines = [
        f"{tmp_path}/{name}\n".encode() for name in ("missing.png", "", "a.png", "a.png/below")
    ]
    found = read_whole(partial(PathsSource, [*lines, b"nonsense://x\n", b"\xff\n"]))
    assert [item.content for item in found] == [
        "not_found",
        "not_a_file",
        b"a",
        "not_found",
        "unreadable",
        "not_found",
    ]
    assert [item.name for item in found][-2:] == ["nonsense://x", "\\xff"]


def test_something_that_is_no_list_is_not_gathered_in_memory() -> None:
    piece = bytes([1]) * 1000
    found = paths_of(io.BytesIO(piece * 1000 + b"\nb"))
    assert [len(name) < 3 * MAX_PATH_BYTES for name in found] == [True, True]
    assert (len(found[0]) > MAX_PATH_BYTES, found[1]) == (True, "b")


def test_blank_lines_are_ignored_and_blanks_within_a_line_are_not() -> None:
    assert paths_of([]) == []
    assert paths_of(io.BytesIO(b"\n \n\r\n  a b \n")) == ["  a b "]
    assert paths_of(io.BytesIO(b"\0\0")) == []


def test_lines_end_as_on_any_system_and_with_or_without_their_ends() -> None:
    for listed in (
        [b"a\r\n", b"b\r\n"],
        [b"a\n", b"b"],
        [b"a", b"b"],
        io.BytesIO(b"a\nb"),
        io.BytesIO(b"a\r\nb\n"),
    ):
        assert paths_of(listed) == ["a", "b"]


def test_nul_bytes_end_paths_that_hold_newlines() -> None:
    assert paths_of(io.BytesIO(b"a\nb\0c\0")) == ["a\nb", "c"]
    assert paths_of([b"a\n", b"b\0c\0"]) == ["a\nb", "c"]
    assert paths_of([b"a\0", b"b\0"]) == ["a", "b"]
    assert paths_of(io.BytesIO(b"a\0b")) == ["a", "b"]
    assert paths_of([b"a\0b"]) == ["a", "b"]


NAME = st.binary(min_size=1, max_size=8).filter(lambda name: b"\0" not in name and name.strip())


@given(st.lists(NAME, min_size=1, max_size=20))
def test_a_list_ended_by_nul_bytes_is_read_whole(names: list[bytes]) -> None:
    text = b"".join(b"/" + name + b"\0" for name in names)
    assert locations_of(text) == [os.fsdecode(b"/" + name) for name in names]


@given(
    st.lists(NAME.filter(lambda name: b"\n" not in name and not name.endswith(b"\r")), max_size=20)
)
def test_a_list_of_lines_is_read_whole(names: list[bytes]) -> None:
    text = b"".join(b"/" + name + b"\n" for name in names)
    assert locations_of(text) == [os.fsdecode(b"/" + name) for name in names]


def test_relative_paths_are_taken_from_where_the_list_was_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read_whole: ReadWhole
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").write_bytes(b"a")
    monkeypatch.chdir(tmp_path)
    (span,) = PathsSource([b"in/a.png", b"./in/a.png"]).spans(9)
    monkeypatch.chdir("/")
    first, second = PathsSource().items(span)
    assert (first.name, first.location, first.read(9)) == (
        "in/a.png",
        str(tmp_path / "in" / "a.png"),
        b"a",
    )
    assert second.read(9) == b"a"
    for folder, location in (
        (str(tmp_path), str(tmp_path / "in/a.png")),
        ("memory://far", "memory://far/in/a.png"),
    ):
        (span,) = PathsSource([b"in/a.png"], folder).spans(9)
        assert [item.location for item in PathsSource().items(span)] == [location]


def test_a_list_in_a_file_is_closed_with_its_source(tmp_path: Path) -> None:
    (tmp_path / "list").write_bytes(b"a\0b")
    file = (tmp_path / "list").open("rb")
    with closing(PathsSource(file)) as source:
        assert [span.count for span in source.spans(1)] == [1, 1]
    assert file.closed


def test_paths_and_urls_are_read_in_spans(
    tmp_path: Path, memory_files: Callable[[str, bytes], str], read_whole: ReadWhole
) -> None:
    lines = []
    for number in range(20):
        (tmp_path / f"{number}.png").write_bytes(str(number).encode())
        lines.append(f"{tmp_path}/{number}.png\n".encode())
    lines.append(memory_files("memory://far/20.png", b"20").encode())
    found = read_whole(partial(PathsSource, lines))
    assert [item.content for item in found] == [str(number).encode() for number in range(21)]
    assert [item.location for item in found] == [line.decode().strip() for line in lines]
    assert PathsSource().location == "-"
