"""Local paths and URLs as text, and names that come back as they were."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
