"""Text in EXIF blocks and TIFF files (Exif 3.0; TIFF 6.0), only from the tags that describe the
origin.

A few lines read these tags and no others. An EXIF parser would follow every offset of a block that
may be hostile.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass

from embedder.file_metadata.statements import Statements, as_text

TEXT_TAGS: Mapping[int, str] = {
    0x010E: "ImageDescription",
    0x010F: "Make",
    0x0110: "Model",
    0x0131: "Software",
    0x013B: "Artist",
    0x013C: "HostComputer",
    0x9003: "DateTimeOriginal",
    0x9286: "UserComment",
}
XMP_TAG, IPTC_TAG = 0x02BC, 0x83BB
_EXIF_DIRECTORY, _USER_COMMENT = 0x8769, 0x9286
# BYTE, ASCII, UNDEFINED and the UTF-8 of Exif 3.0. IPTC in TIFF often has the type LONG.
_TEXT_TYPES = frozenset({1, 2, 7, 129})
_BYTES = {1: 1, 2: 1, 4: 4, 7: 1, 129: 1}
# Cameras write a few dozen.
MAX_ENTRIES = 1_000


@dataclass(frozen=True, slots=True)
class _Entry:
    kind: int
    count: int
    at: int  # place of the value, or of its offset where it is longer than four bytes


def read_exif(block: bytes, statements: Statements) -> None:
    """Collect the texts of an EXIF block or of a classic TIFF file.

    Raises ValueError, struct.error.
    """
    block = block.removeprefix(b"Exif\x00\x00")
    order, main = _read_main_directory(block)
    tags = dict(main)
    pointer = main.get(_EXIF_DIRECTORY)
    if pointer is not None:
        with statements.reading("exif"):
            (at,) = struct.unpack_from(f"{order}I", block, pointer.at)
            tags.update(_read_directory(block, order, at))
    for tag, name in TEXT_TAGS.items():
        entry = tags.get(tag)
        if entry is not None and entry.kind in _TEXT_TYPES:
            with statements.reading("exif"):
                raw = _read_value(block, order, entry, statements)
                text = decode_user_comment(raw, order) if tag == _USER_COMMENT else as_text(raw)
                statements.put(f"exif:{name}", text)


def read_tiff_value(block: bytes, tag: int, statements: Statements) -> bytes | None:
    """Return the bytes of a tag in the first directory, None where it is missing.

    Raises ValueError, struct.error.
    """
    order, main = _read_main_directory(block)
    entry = main.get(tag)
    return (
        None
        if entry is None or entry.kind not in _BYTES
        else _read_value(block, order, entry, statements)
    )


def decode_user_comment(raw: bytes, order: str) -> str:
    """Decode the text after the eight bytes of its character code, or all of it without a code."""
    code, body = raw[:8], raw[8:]
    match code:
        case b"UNICODE\x00":
            return body.decode(_choose_utf_16(body, order), errors="replace")
        case b"JIS\x00\x00\x00\x00\x00":
            return body.decode("iso2022_jp", errors="replace")
        case b"ASCII\x00\x00\x00" | b"\x00\x00\x00\x00\x00\x00\x00\x00":
            return as_text(body)
        case _:
            return as_text(raw)


def _choose_utf_16(body: bytes, order: str) -> str:
    """Choose the byte order by the byte order mark, or else by where the zeros are.

    Web interfaces write big-endian text into blocks of either order.
    """
    if body[:2] in (b"\xfe\xff", b"\xff\xfe"):
        return "utf-16"
    even, odd = body[::2].count(0), body[1::2].count(0)
    big = even > odd if even != odd else order == ">"
    return "utf-16-be" if big else "utf-16-le"


def _read_main_directory(block: bytes) -> tuple[str, dict[int, _Entry]]:
    order = {b"II*\x00": "<", b"MM\x00*": ">"}.get(block[:4])
    if order is None:
        raise ValueError("the block does not begin like TIFF")
    (first,) = struct.unpack_from(f"{order}I", block, 4)
    return order, _read_directory(block, order, first)


def _read_directory(block: bytes, order: str, at: int) -> dict[int, _Entry]:
    (count,) = struct.unpack_from(f"{order}H", block, at)
    if count > MAX_ENTRIES:
        raise ValueError(f"a directory has {count} entries")
    entries: dict[int, _Entry] = {}
    for start in range(at + 2, at + 2 + 12 * count, 12):
        tag, kind, values = struct.unpack_from(f"{order}HHI", block, start)
        entries.setdefault(tag, _Entry(kind, values, start + 8))
    return entries


def _read_value(block: bytes, order: str, entry: _Entry, statements: Statements) -> bytes:
    size, at = entry.count * _BYTES[entry.kind], entry.at
    if size > 4:
        (at,) = struct.unpack_from(f"{order}I", block, entry.at)
    if at + size > len(block):
        raise ValueError("a value lies beyond the end of the block")
    statements.require_readable(size)
    return block[at : at + size]
