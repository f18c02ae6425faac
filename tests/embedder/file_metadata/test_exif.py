from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedder.file_metadata.exif import (
    MAX_ENTRIES,
    XMP_TAG,
    decode_user_comment,
    read_exif,
    read_tiff_value,
)
from embedder.file_metadata.statements import Statements

SOFTWARE, MODEL, GPS, SERIAL = 0x0131, 0x0110, 0x8825, 0xA431


def block_of(order: str, *tags: tuple[int, int, bytes], count: int | None = None) -> bytes:
    """A TIFF block of one directory; values longer than four bytes follow it."""
    values_at, entries, values = 8 + 2 + 12 * len(tags) + 4, b"", b""
    for tag, kind, value in tags:
        place = struct.pack(f"{order}I", values_at + len(values))
        entries += struct.pack(f"{order}HHI", tag, kind, len(value))
        entries += value.ljust(4, b"\x00") if len(value) <= 4 else place
        values += value if len(value) > 4 else b""
    start = (b"II*\x00" if order == "<" else b"MM\x00*") + struct.pack(f"{order}I", 8)
    number = len(tags) if count is None else count
    return start + struct.pack(f"{order}H", number) + entries + bytes(4) + values


def read(block: bytes) -> dict[str, object]:
    statements = Statements()
    read_exif(block, statements)
    return dict(statements.collected)


@pytest.mark.parametrize("order", ["<", ">"])
def test_short_and_long_texts_are_read_in_both_byte_orders(order: str) -> None:
    block = block_of(order, (MODEL, 2, b"abc\x00"), (SOFTWARE, 2, b"a program\x00"))
    assert read(block) == {"exif:Model": "abc", "exif:Software": "a program"}
    assert read(b"Exif\x00\x00" + block) == read(block)


def test_private_tags_and_numbers_are_not_read() -> None:
    block = block_of("<", (GPS, 2, b"48.2 N\x00"), (SERIAL, 2, b"1234567\x00"), (MODEL, 3, b"12"))
    assert read(block) == {}


def test_a_value_beyond_the_end_leaves_the_others() -> None:
    block = block_of("<", (MODEL, 2, b"camera\x00"), (SOFTWARE, 2, b"a long program"))
    says = read(block[:-3])
    assert says["exif:Model"] == "camera"
    assert says["exif:error"] == "a value lies beyond the end of the block"


@pytest.mark.parametrize(
    ("block", "reason"),
    [
        (b"no TIFF at all", "does not begin like TIFF"),
        (block_of("<", count=MAX_ENTRIES + 1), "a directory has 1001 entries"),
    ],
)
def test_a_block_that_cannot_be_read_raises(block: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        read(block)


def test_a_tag_is_found_or_not() -> None:
    block = block_of(">", (XMP_TAG, 1, b"<x:xmpmeta/>"))
    assert read_tiff_value(block, XMP_TAG, Statements()) == b"<x:xmpmeta/>"
    assert read_tiff_value(block, SOFTWARE, Statements()) is None


@pytest.mark.parametrize("order", ["<", ">"])
@given(text=st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1))
def test_a_unicode_comment_is_read_in_either_byte_order(order: str, text: str) -> None:
    for coding in ("utf-16-le", "utf-16-be", "utf-16"):
        assert decode_user_comment(b"UNICODE\x00" + text.encode(coding), order) == text
