"""The headers of a tar archive, from bytes: damages are named, and `tarfile` agrees on the rest."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.sources.item import UnreadableItem
from api.sources.tarheaders import (
    BLOCK_BYTES,
    MAX_EXTENSION_BYTES,
    MAX_MEMBER_BYTES,
    MAX_NAME_LENGTH,
    Member,
    decode_header,
    list_members,
)

END = bytes(2 * BLOCK_BYTES)
FORMATS = [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT]


def reading(content: bytes) -> Callable[[int, int], bytes]:
    return lambda offset, size: content[offset : offset + size]


def members(content: bytes) -> list[Member]:
    return list(list_members(reading(content)))


def read_until_damage(content: bytes) -> tuple[list[str], str | None]:
    """The names before the damage, and its reason."""
    names = []
    try:
        for member in list_members(reading(content)):
            names.append(member.name)  # noqa: PERF401 - kept when the next one is damaged
    except UnreadableItem as err:
        return names, err.reason
    return names, None


def header(name: str = "a.png", size: int = 0, kind: bytes = tarfile.REGTYPE) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.type = size, kind
    return info.tobuf(tarfile.GNU_FORMAT)


def stored(name: str, data: bytes = b"", kind: bytes = tarfile.REGTYPE) -> bytes:
    return header(name, len(data), kind) + data + bytes(-len(data) % BLOCK_BYTES)


def record(key: str, value: str) -> bytes:
    """A record of a pax header; its length counts its own digits."""
    body = f" {key}={value}\n".encode()
    length = len(body)
    while len(str(length)) + len(body) != length:
        length = len(str(length)) + len(body)
    return str(length).encode() + body


def pax(*records: bytes, kind: bytes = tarfile.XHDTYPE) -> bytes:
    return stored("pax", b"".join(records), kind)


@pytest.mark.parametrize("content", [b"", bytes(511), stored("a.png"), stored("a.png", b"x" * 600)])
def test_an_archive_without_its_end_mark_is_truncated(content: bytes) -> None:
    names, reason = read_until_damage(content)
    assert names == (["a.png"] if content[:1] == b"a" else [])
    assert reason == "truncated_archive"


def test_the_message_says_where_the_archive_ends() -> None:
    with pytest.raises(UnreadableItem, match=r"ends at byte 1,124, without its end mark"):
        members(stored("a.png") + stored("b.png") + bytes(100))


def test_what_is_no_header_is_a_damage_with_its_place() -> None:
    with pytest.raises(UnreadableItem, match="no header at byte 512") as caught:
        members(stored("a.png") + b"x" * BLOCK_BYTES + END)
    assert caught.value.reason == "corrupt_archive"


def test_after_the_end_mark_anything_may_stand() -> None:
    assert [each.name for each in members(stored("a.png") + END + b"x" * 700)] == ["a.png"]


def test_after_the_end_mark_another_archive_may_stand() -> None:
    both = stored("a.png", b"one") + END + stored("b.png", b"two") + END
    assert [(each.name, each.offset) for each in members(both)] == [("a.png", 512), ("b.png", 2560)]


def test_a_second_archive_needs_an_end_mark_too() -> None:
    assert read_until_damage(stored("a.png") + END + stored("b.png")) == (
        ["a.png", "b.png"],
        "truncated_archive",
    )


@pytest.mark.parametrize("place", [0, 100, 124, 148, 150, 257, 511])
def test_a_header_of_which_a_byte_changed_is_none(place: int) -> None:
    whole = header("a.png", 7)
    damaged = bytearray(whole)
    damaged[place] ^= 0x11
    assert decode_header(whole) is not None
    assert decode_header(bytes(damaged)) is None


@pytest.mark.parametrize("size", [0, 7, MAX_MEMBER_BYTES])
def test_a_size_within_the_range_of_positions_is_read(size: int) -> None:
    found = decode_header(header("a.png", size))
    assert found is not None
    assert found.size == size


def test_a_size_beyond_all_positions_is_none() -> None:
    assert decode_header(header("a.png", MAX_MEMBER_BYTES + 1)) is None
    assert decode_header(bytes(BLOCK_BYTES)) is None
    assert decode_header(b"short") is None


@pytest.mark.parametrize(
    "records",
    [
        b"x path=a\n",
        b"0 path=a\n",
        b"99 path=a\n",
        b"8 path=a\n",  # one byte short: it ends before its line feed
        b"10 path=a\nx",
        b"8 nothing\n"[:8],
        b"6 pat\n",
        b"-9 path=a\n",
        b"9path=a\n",
    ],
)
def test_records_that_do_not_fit_their_lengths_are_a_damage(records: bytes) -> None:
    names, reason = read_until_damage(pax(records) + stored("a.png") + END)
    assert (names, reason) == ([], "corrupt_archive")


@pytest.mark.parametrize("size", ["", "x", "-1", "1.5", "9" * 20, str(MAX_MEMBER_BYTES + 1), "²"])
def test_a_size_of_a_record_that_no_member_has_is_a_damage(size: str) -> None:
    names, reason = read_until_damage(pax(record("size", size)) + stored("a.png") + END)
    assert (names, reason) == ([], "corrupt_archive")


def test_an_extension_of_more_than_it_may_have_is_not_read() -> None:
    asked: list[int] = []
    content = header("long", MAX_EXTENSION_BYTES + 1, tarfile.GNUTYPE_LONGNAME) + END

    def read_at(offset: int, size: int) -> bytes:
        asked.append(size)
        return content[offset : offset + size]

    with pytest.raises(UnreadableItem, match="an extension header of 1,048,577 bytes"):
        list(list_members(read_at))
    assert max(asked) == BLOCK_BYTES


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME])
def test_an_archive_that_ends_in_an_extension_is_truncated(kind: bytes) -> None:
    names, reason = read_until_damage(stored("a.png") + header("long", 300, kind) + bytes(200))
    assert (names, reason) == (["a.png"], "truncated_archive")


def test_a_list_of_holes_that_does_not_end_is_truncated() -> None:
    sparse = bytearray(header("a.png", 0, tarfile.GNUTYPE_SPARSE))
    sparse[482] = 1
    sparse[148:156] = b"%06o\0 " % (sum(sparse) - sum(sparse[148:156]) + 8 * 32)
    assert read_until_damage(bytes(sparse)) == ([], "truncated_archive")
    continued = bytearray(BLOCK_BYTES)
    continued[504] = 1
    holes = bytes(continued) + bytes(BLOCK_BYTES)
    (found,) = members(bytes(sparse) + holes + END)
    assert (found.offset, found.refusal) == (
        3 * BLOCK_BYTES,
        ("unsupported_member", "a sparse file"),
    )


@pytest.mark.parametrize(
    ("kind", "refusal"),
    [
        (tarfile.LNKTYPE, ("not_a_file", "a link")),
        (tarfile.SYMTYPE, ("not_a_file", "a symbolic link")),
        (tarfile.CHRTYPE, ("not_a_file", "a device")),
        (tarfile.BLKTYPE, ("not_a_file", "a device")),
        (tarfile.FIFOTYPE, ("not_a_file", "a named pipe")),
        (b"Z", ("unsupported_member", "a member of type b'Z'")),
        (tarfile.REGTYPE, None),
        (tarfile.AREGTYPE, None),
        (tarfile.CONTTYPE, None),
    ],
)
def test_what_cannot_be_read_as_a_file_says_what_it_is(
    kind: bytes, refusal: tuple[str, str] | None
) -> None:
    found, after = members(stored("a.png", b"", kind) + stored("b.png") + END)
    assert (found.name, found.refusal) == ("a.png", refusal)
    assert after == Member("b.png", 1024, 0, after.checksum)


def test_no_data_follow_a_link_whatever_its_size() -> None:
    found = members(header("a.png", 9999, tarfile.SYMTYPE) + stored("b.png", b"two") + END)
    assert [each.name for each in found] == ["a.png", "b.png"]


def test_a_folder_is_passed_over_with_what_was_said_of_it() -> None:
    content = pax(record("path", "of the folder")) + stored("folder/", b"", tarfile.DIRTYPE)
    assert [each.name for each in members(content + stored("b.png") + END)] == ["b.png"]


def test_a_global_record_holds_for_all_members_and_their_own_before_it() -> None:
    content = (
        pax(record("path", "all"), kind=tarfile.XGLTYPE)
        + stored("a.png")
        + pax(record("path", "own"))
        + stored("b.png")
        + stored("c.png")
        + END
    )
    assert [each.name for each in members(content)] == ["all", "own", "all"]


def test_other_records_say_nothing_about_the_name() -> None:
    content = pax(record("mtime", "1.5"), record("comment", "a=b"), record("path", "ü=.png"))
    assert [each.name for each in members(content + stored("a.png") + END)] == ["ü=.png"]


def test_a_size_of_a_record_stands_before_that_of_the_header() -> None:
    content = pax(record("size", "700")) + header("a.png", 3) + bytes(1024) + stored("b.png") + END
    assert [(each.name, each.size) for each in members(content)] == [("a.png", 700), ("b.png", 0)]


def test_a_sparse_member_of_pax_has_its_real_name_and_is_refused() -> None:
    sparse = pax(record("GNU.sparse.major", "1"), record("GNU.sparse.name", "real.png"))
    (found,) = members(sparse + stored("GNUSparseFile.0/a.png") + END)
    assert found.name == "real.png"
    assert found.refusal == ("unsupported_member", "a sparse file")


@pytest.mark.parametrize(("extra", "is_refused"), [(0, False), (1, True)])
def test_a_name_longer_than_a_path_is_cut_and_refused(extra: int, is_refused: bool) -> None:
    name = "x" * (MAX_NAME_LENGTH + extra)
    (found,) = members(pax(record("path", name)) + stored("a.png") + END)
    assert found.name == "x" * MAX_NAME_LENGTH
    assert (found.refusal is not None) is is_refused


def test_the_long_name_of_gnu_ends_at_its_first_nul_and_a_long_link_is_no_name() -> None:
    long = stored("././@LongLink", b"long name.png\0rest", tarfile.GNUTYPE_LONGNAME)
    link = stored("././@LongLink", b"target\0", tarfile.GNUTYPE_LONGLINK)
    assert [each.name for each in members(long + link + stored("a.png") + END)] == ["long name.png"]


def test_a_name_that_is_no_utf8_keeps_its_bytes() -> None:
    (found,) = members(stored("\udcff.png") + END)
    assert found.name == "\udcff.png"


@pytest.mark.parametrize("format", FORMATS)
def test_tarfile_agrees_on_names_sizes_and_places(format: int) -> None:
    names = ["a.png", "folder/b.png", "ü/c.png", "d/" * 40 + "e.png"]
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=format) as archive:
        for number, name in enumerate(names):
            info = tarfile.TarInfo(name)
            info.size = 400 * number
            archive.addfile(info, io.BytesIO(bytes([number]) * info.size))
    content = file.getvalue()
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        expected = [(each.name, each.size, each.offset_data) for each in archive.getmembers()]
    found = members(content)
    assert [(each.name, each.size, each.offset) for each in found] == expected
    assert all(each.refusal is None for each in found)
    for number, each in enumerate(found):
        assert content[each.offset : each.offset + each.size] == bytes([number]) * each.size


@given(
    st.lists(
        st.tuples(st.text(min_size=1, max_size=30).filter(str.strip), st.binary(max_size=700)),
        max_size=4,
    ),
    st.integers(0, 5000),
    st.integers(1, 255),
)
@settings(max_examples=60, deadline=None)
def test_no_changed_byte_raises_anything_else_or_repeats_a_member(
    files: list[tuple[str, bytes]], place: int, flip: int
) -> None:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, data in files:
            info = tarfile.TarInfo(name.encode(errors="replace").decode().replace("\0", "_"))
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    content = bytearray(file.getvalue())
    content[place % len(content)] ^= flip
    offsets = []
    try:
        for member in list_members(reading(bytes(content))):
            offsets.append(member.offset)  # noqa: PERF401 - kept when the next one is damaged
    except UnreadableItem as err:
        assert err.reason in {"corrupt_archive", "truncated_archive"}  # noqa: PT017
    assert offsets == sorted(set(offsets))
