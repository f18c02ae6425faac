"""Zip archives, whole and damaged."""

from __future__ import annotations

import io
import random
import stat
import tracemalloc
import zipfile
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.sources.item import UnreadableItem, UnusableSource
from api.sources.zip import ZipSource
from tests.api.sources.storage import FailingStorage, disk_error

ReadWhole = Callable[..., list[Any]]
Write = Callable[[bytes], str]

METHODS = {
    "stored": zipfile.ZIP_STORED,
    "deflate": zipfile.ZIP_DEFLATED,
    "bzip2": zipfile.ZIP_BZIP2,
    "lzma": zipfile.ZIP_LZMA,
}
NUMBERED = [
    (f"d/{number:03}.png", random.Random(number).randbytes(number * 20)) for number in range(30)
]


def archive(
    files: Iterable[tuple[str | zipfile.ZipInfo, bytes]], method: int = zipfile.ZIP_DEFLATED
) -> bytes:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", method) as opened:
        for name, content in files:
            opened.writestr(name, content)
    return written.getvalue()


def with_field(content: bytes, offset: int, value: bytes, member: int = 0) -> bytes:
    """The archive with a field of a member's local and central header changed;

    `offset` is that of the local header.
    """
    changed = bytearray(content)
    for magic, place in ((b"PK\x03\x04", offset), (b"PK\x01\x02", offset + 2)):
        start = -1
        for _ in range(member + 1):
            start = changed.index(magic, start + 1)
        changed[start + place : start + place + len(value)] = value
    return bytes(changed)


def contents(location: str, max_bytes: int = 1000) -> dict[str, bytes | str]:
    found: dict[str, bytes | str] = {}
    with closing(ZipSource(location)) as source:
        for span in list(source.spans(3)):
            for item in source.items(span):
                try:
                    found[item.name] = item.read(max_bytes)
                except UnreadableItem as err:
                    found[item.name] = err.reason
    return found


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write_archive(content: bytes) -> str:
        (tmp_path / "a.zip").write_bytes(content)
        return str(tmp_path / "a.zip")

    return write_archive


@pytest.mark.parametrize("cut", [0, 10, 500, -1, -30])
def test_a_damaged_directory_is_no_source(write: Write, cut: int) -> None:
    location = write(archive(NUMBERED)[:cut])
    with pytest.raises(UnusableSource, match="not a readable zip archive: "):
        list(ZipSource(location).spans(1))


def test_an_archive_that_is_gone_or_another_is_noticed(write: Write) -> None:
    location = write(archive([("a.png", b"a"), ("b.png", b"b"), ("b.txt", b"words")]))
    with closing(ZipSource(location)) as source:
        (span,) = source.spans(9)
    write(archive([("b.png", b"b"), ("a.png", b"a")]))
    with closing(ZipSource(location)) as source:
        for item in source.items(span):
            with pytest.raises(UnreadableItem) as caught:
                item.read(9)
            assert caught.value.reason == "changed_archive"
    Path(location).unlink()
    with pytest.raises(UnusableSource):
        list(ZipSource(location).items(span))


def test_an_encrypted_member_and_an_unknown_compression_fail_alone(write: Write) -> None:
    whole = archive([("a.png", b"a"), ("b.png", b"b"), ("c.png", b"c")])
    encrypted = with_field(whole, 6, b"\x01\x00")
    assert contents(write(with_field(encrypted, 8, b"\x09\x00", member=1))) == {
        "a.png": "encrypted",
        "b.png": "unsupported_member",
        "c.png": b"c",
    }


@pytest.mark.parametrize("method", METHODS)
def test_damaged_data_fail_alone(write: Write, method: str) -> None:
    whole = bytearray(archive([("a.png", bytes(range(256)) * 3), ("b.png", b"b")], METHODS[method]))
    whole[80] ^= 0xFF
    assert contents(write(bytes(whole))) == {"a.png": "corrupt_member", "b.png": b"b"}


def test_a_size_or_a_checksum_that_is_not_the_data_s_is_a_damage(write: Write) -> None:
    whole = archive([("a.png", b"0123456789"), ("b.png", b"b")], zipfile.ZIP_STORED)
    for offset, value in ((14, b"\0\0\0\0"), (22, b"\x05\0\0\0"), (22, b"\x50\0\0\0")):
        assert contents(write(with_field(whole, offset, value))) == {
            "a.png": "corrupt_member",
            "b.png": b"b",
        }


def test_a_member_without_a_name_is_an_item_too(write: Write) -> None:
    nameless = archive([("a.png", b"a"), ("b.png", b"b")]).replace(b"a.png", b"\0.png")

    assert contents(write(nameless)) == {"member 1": b"a", "b.png": b"b"}


@given(data=st.data())
def test_no_damage_raises_anything_else(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    method = data.draw(st.sampled_from(sorted(METHODS.values())))
    content = bytearray(archive([*NUMBERED[:3], ("ü/a.png", b"x")], method))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "damaged.zip"
    path.write_bytes(content)
    try:
        found = contents(str(path))
    except UnusableSource:
        found = {}
    assert all(name.encode() for name in found)


def test_storage_that_fails_is_not_taken_for_damage(failing_storage: type[FailingStorage]) -> None:
    failing_storage.files["a.zip"] = archive([("a.png", b"a")])
    with closing(ZipSource("failing://a.zip")) as source:
        (span,) = source.spans(9)
        (item,) = source.items(span)
        failing_storage.error = disk_error
        with pytest.raises(UnreadableItem, match="Input/output error") as caught:
            item.read(9)
        assert caught.value.reason == "unreadable"
        failing_storage.error = None
        assert item.read(9) == b"a"


@pytest.mark.parametrize("method", METHODS)
def test_a_bomb_is_read_a_byte_beyond_the_bound(write: Write, method: str) -> None:
    location = write(archive([("a.png", bytes(128 * 2**20))], METHODS[method]))
    tracemalloc.start()
    assert contents(location, 10_000) == {"a.png": bytes(10_001)}
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100 * 2**20


def test_folders_and_hidden_members_are_left_out_and_links_fail(write: Write) -> None:
    link = zipfile.ZipInfo("link.png")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    files = [
        ("d/", b""),
        ("__MACOSX/._a.png", b"x"),
        (".x/a.png", b"x"),
        (link, b"a.png"),
        ("../a.png", b"a"),
    ]
    assert contents(write(archive(files))) == {"link.png": "not_a_file", "../a.png": b"a"}


def test_sidecars_are_told_wherever_they_lie_in_the_archive(
    write: Write, read_whole: ReadWhole
) -> None:
    files: Mapping[str, bytes] = {
        "a.json": b'{"n": 1}',
        "d/b.png": b"b",
        "a.png": b"a",
        "d/a.png": b"other",
        "lonely.txt": b"words of nothing",
        "a.tif": b"aa",
        "d/b.cls": b"cat",
    }
    location = write(archive(files.items()))
    assert [item[:3] for item in read_whole(partial(ZipSource, location))] == [
        ("d/b.png", b"b", {"class": "cat"}),
        ("a.png", b"a", {"n": 1}),
        ("d/a.png", b"other", {}),
        ("lonely.txt", b"words of nothing", {}),
        ("a.tif", b"aa", {"n": 1}),
    ]


def test_members_of_the_same_name_are_both_items(write: Write, read_whole: ReadWhole) -> None:
    with pytest.warns(UserWarning, match="Duplicate name"):
        location = write(archive([("a.png", b"first"), ("a.png", b"second")]))
    assert [item[:2] for item in read_whole(partial(ZipSource, location))] == [
        ("a.png", b"first"),
        ("a.png", b"second"),
    ]


def test_an_empty_archive_has_no_items(write: Write, read_whole: ReadWhole) -> None:
    assert read_whole(partial(ZipSource, write(archive([])))) == []


@pytest.mark.parametrize("method", METHODS)
def test_an_archive_is_read_in_spans(write: Write, method: str, read_whole: ReadWhole) -> None:
    files = [*NUMBERED, ("ü/😀.png", b""), ("large.png", bytes(5000))]
    found = read_whole(partial(ZipSource, write(archive(files, METHODS[method]))))
    assert [item[:2] for item in found] == [(name, content[:1001]) for name, content in files]


def test_an_archive_behind_a_url_is_read_in_spans(
    memory_files: Callable[[str, bytes], str], read_whole: ReadWhole
) -> None:
    location = memory_files("memory://far/a.zip", archive(NUMBERED))
    assert [item[:2] for item in read_whole(partial(ZipSource, location))] == NUMBERED
