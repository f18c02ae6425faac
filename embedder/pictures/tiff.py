"""The first directory of a TIFF file: do it and its picture lie within the file (TIFF 6.0, section
2; BigTIFF)?

It is followed here before Pillow and libtiff see the file. They fill what is missing, and libtiff
writes to the standard error stream of the process, which Python cannot redirect for one thread.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass

from embedder.errors import TruncatedImage, UnsupportedFormat

# Bytes of one value, by TIFF's type number. The standard says to skip a type that is not listed.
_TYPE_BYTES = {
    1: 1,
    2: 1,
    3: 2,
    4: 4,
    5: 8,
    6: 1,
    7: 1,
    8: 2,
    9: 4,
    10: 8,
    11: 4,
    12: 8,
    13: 4,
    16: 8,
    17: 8,
    18: 8,
}
_INTEGERS = {1: "B", 3: "H", 4: "I", 16: "Q"}

_SUBFILE, _WIDTH, _HEIGHT, _OFFSETS, _ROWS, _COUNTS = 254, 256, 257, 273, 278, 279
_TILE_WIDTH, _TILE_HEIGHT, _TILE_OFFSETS, _TILE_COUNTS = 322, 323, 324, 325
_READ = frozenset(
    {
        _SUBFILE,
        _WIDTH,
        _HEIGHT,
        _OFFSETS,
        _ROWS,
        _COUNTS,
        _TILE_WIDTH,
        _TILE_HEIGHT,
        _TILE_OFFSETS,
        _TILE_COUNTS,
    }
)


@dataclass(frozen=True, slots=True)
class _Layout:
    """How numbers are written.

    Classic TIFF has entries of 12 bytes and offsets of 4; BigTIFF has 20 and 8.
    """

    order: str
    count_format: str
    offset_format: str
    entry_bytes: int
    first: int


def check_tiff(data: bytes) -> None:
    """Check that the first directory, its values and its strips or tiles lie within the file.

    A first picture that calls itself a reduced copy is the preview of a camera's raw file.

    Raises TruncatedImage; UnsupportedFormat for such a preview.
    """
    try:
        tags = _first_directory(data)
    except (struct.error, OverflowError) as err:  # an offset of BigTIFF may exceed an index
        raise TruncatedImage("tiff", "the file ends before its directory does") from err
    if _one(tags, _SUBFILE, 0) & 1:
        raise UnsupportedFormat(
            "TIFF with only a preview", "the file is a camera's raw file: convert it first"
        )
    width, height = _one(tags, _WIDTH, 0), _one(tags, _HEIGHT, 0)
    if _TILE_OFFSETS in tags:
        offsets, counts = tags[_TILE_OFFSETS], tags.get(_TILE_COUNTS, ())
        across = -(-width // max(1, _one(tags, _TILE_WIDTH, width)))
        wanted = across * -(-height // max(1, _one(tags, _TILE_HEIGHT, height)))
    else:
        offsets, counts = tags.get(_OFFSETS, ()), tags.get(_COUNTS, ())
        wanted = -(-height // max(1, _one(tags, _ROWS, height)))
    if len(offsets) < wanted:
        raise TruncatedImage("tiff", f"the file has {len(offsets)} of {wanted} strips or tiles")
    end = max(
        (offset + count for offset, count in zip(offsets, counts, strict=False)),
        default=max(offsets, default=0),
    )
    if end > len(data):
        raise TruncatedImage("tiff", f"the picture ends at byte {end:,}, the file at {len(data):,}")


def _first_directory(data: bytes) -> Mapping[int, tuple[int, ...]]:
    """Return the values of the tags that are read.

    Raises struct.error where the file ends too early.
    """
    layout = _layout(data)
    (entries,) = struct.unpack_from(layout.order + layout.count_format, data, layout.first)
    start = layout.first + struct.calcsize(layout.order + layout.count_format)
    tags: dict[int, tuple[int, ...]] = {}
    for at in range(start, start + entries * layout.entry_bytes, layout.entry_bytes):
        tag, kind, count = struct.unpack_from(f"{layout.order}HH{layout.offset_format}", data, at)
        values = _values(data, layout, at, kind, count)
        if tag in _READ and values:
            tags[tag] = values
    struct.unpack_from(
        layout.order + layout.offset_format, data, start + entries * layout.entry_bytes
    )
    return tags


def _layout(data: bytes) -> _Layout:
    order = "<" if data.startswith(b"II") else ">"
    if struct.unpack_from(f"{order}H", data, 2)[0] == 43:  # BigTIFF's number, as 42 is TIFF's
        return _Layout(order, "Q", "Q", 20, struct.unpack_from(f"{order}Q", data, 8)[0])
    return _Layout(order, "H", "I", 12, struct.unpack_from(f"{order}I", data, 4)[0])


def _values(data: bytes, layout: _Layout, entry: int, kind: int, count: int) -> tuple[int, ...]:
    """Return the integers of one entry; () for other types.

    The place of the value in the file is checked for every type.
    """
    size = _TYPE_BYTES.get(kind, 0) * count
    field = entry + layout.entry_bytes - struct.calcsize(layout.order + layout.offset_format)
    room = entry + layout.entry_bytes - field
    start = (
        field
        if size <= room
        else struct.unpack_from(layout.order + layout.offset_format, data, field)[0]
    )
    if start + size > len(data):
        raise struct.error("a value lies beyond the end")
    if kind not in _INTEGERS:
        return ()
    return struct.unpack_from(f"{layout.order}{count}{_INTEGERS[kind]}", data, start)


def _one(tags: Mapping[int, tuple[int, ...]], tag: int, default: int) -> int:
    return tags.get(tag, (default,))[0]
