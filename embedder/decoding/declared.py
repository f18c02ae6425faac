"""The size that a file declares, read from its header alone, in plain Python.

It serves to set memory aside before a file is decoded elsewhere, so it is never less than what
`decode` then reports for a file that it accepts. It need not be exact, and says nothing about
whether the file is sound: `decode` follows the whole structure and judges. A file is visited in a
bounded number of steps, about 50 ms at most, for this runs in the process that hostile files must
not stop.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType

from embedder.pictures.containers import read_webp_canvas
from embedder.pictures.sniff import ImageFormat, sniff

# What is visited of a file: enough for a comment of 12 MiB in full sub-blocks of 255 bytes before
# the first frame of a GIF, and for any other file that was seen.
_MAX_STEPS = 50_000
_FILL_BYTES = re.compile(rb"\xff+")
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_STANDALONE = frozenset({0x00, 0x01, *range(0xD0, 0xD9)})
_JPEG_END, _JPEG_SCAN = 0xD9, 0xDA
_TIFF_WIDTH, _TIFF_HEIGHT = 256, 257
_TIFF_INTEGERS = {1: "B", 3: "H", 4: "I", 16: "Q"}
# Boxes that hold the properties of pictures, from the file down to `ispe` and to the sample entries
# of sequences; and by how many bytes their children begin later.
_CONTAINERS: Mapping[bytes, int] = MappingProxyType(
    {
        b"meta": 4, b"iprp": 0, b"ipco": 0,
        b"moov": 0, b"trak": 0, b"mdia": 0, b"minf": 0, b"stbl": 0, b"stsd": 8,
    }
)  # fmt: skip
_SAMPLES = frozenset({b"av01", b"hvc1", b"hev1"})


class _TooManyStepsError(Exception):
    pass


def count_declared_pixels(data: bytes) -> int | None:
    """Return how many pixels a file declares; None where its header does not say.

    Raises NotAnImage, UnsupportedFormat.
    """
    image_format = sniff(data)
    try:
        sizes = list(_READERS[image_format](data))
    except (_TooManyStepsError, struct.error, IndexError, OverflowError):
        return None
    return max((width * height for width, height in sizes), default=0) or None


def _read_jpeg(data: bytes) -> Iterator[tuple[int, int]]:
    """The first frame header: a second one is an error."""
    at = 2
    for _ in _steps():
        at = data.find(b"\xff", at)
        fill = _FILL_BYTES.match(data, at) if at >= 0 else None
        if fill is None:
            return
        at = fill.end()  # of the marker's second byte
        marker = data[at]
        if marker in (_JPEG_END, _JPEG_SCAN):
            return
        if marker in _JPEG_FRAMES:
            height, width = struct.unpack_from(">HH", data, at + 4)
            yield width, height
            return
        at += 1
        if marker not in _JPEG_STANDALONE:
            at += max(2, int.from_bytes(data[at : at + 2], "big"))


def _read_png(data: bytes) -> Iterator[tuple[int, int]]:
    """IHDR, which is the first chunk in every file that a decoder accepts."""
    if data[12:16] == b"IHDR":
        width, height = struct.unpack_from(">II", data, 16)
        yield width, height


def _read_gif(data: bytes) -> Iterator[tuple[int, int]]:
    """The screen, and what the first frame needs: Pillow makes a picture that holds both."""
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    yield width, height
    at, in_extension = 13 + (3 << ((flags & 7) + 1) if flags & 0x80 else 0), False
    for _ in _steps():
        if in_extension:
            in_extension = data[at] != 0
            at += 1 + data[at]
        elif data[at] == 0x2C:  # a comma: a frame
            left, top, across, down = struct.unpack_from("<HHHH", data, at + 1)
            yield max(width, left + across), max(height, top + down)
            return
        elif data[at] == 0x21:  # an exclamation mark
            at, in_extension = at + 2, True
        else:
            at += 1


def _read_bmp(data: bytes) -> Iterator[tuple[int, int]]:
    is_os2 = int.from_bytes(data[14:18], "little") == 12
    width, height = struct.unpack_from("<HH" if is_os2 else "<ii", data, 18)
    yield abs(width), abs(height)


def _read_webp(data: bytes) -> Iterator[tuple[int, int]]:
    """The canvas: no frame may be larger."""
    canvas = read_webp_canvas(data)
    if canvas is not None:
        yield canvas


def _read_tiff(data: bytes) -> Iterator[tuple[int, int]]:
    """The largest width and height of the first directory: which of several counts is not judged
    here.
    """
    order = "<" if data.startswith(b"II") else ">"
    is_big = struct.unpack_from(f"{order}H", data, 2)[0] == 43
    word, entry_bytes = ("Q", 20) if is_big else ("I", 12)
    (at,) = struct.unpack_from(order + word, data, 8 if is_big else 4)
    (entries,) = struct.unpack_from(order + ("Q" if is_big else "H"), data, at)
    at += 8 if is_big else 2
    largest = {_TIFF_WIDTH: 0, _TIFF_HEIGHT: 0}
    for _ in _steps(entries):
        tag, kind, _count = struct.unpack_from(f"{order}HH{word}", data, at)
        if tag in largest and kind in _TIFF_INTEGERS:
            value_at = at + (12 if is_big else 8)
            (value,) = struct.unpack_from(order + _TIFF_INTEGERS[kind], data, value_at)
            largest[tag] = max(largest[tag], value)
        at += entry_bytes
    yield largest[_TIFF_WIDTH], largest[_TIFF_HEIGHT]


def _read_boxes(data: bytes) -> Iterator[tuple[int, int]]:
    """Every size that any item or sample declares: which of them is shown is not judged here.

    `ispe` gives the size of each item, that of a grid too (ISO/IEC 23008-12, 6.5.3).
    """
    waiting = [(0, len(data))]
    for _ in _steps():
        if not waiting:
            return
        at, end = waiting.pop()
        if at + 8 > end:
            continue
        size, kind = struct.unpack_from(">I4s", data, at)
        header = 8
        if size == 1:
            (size,) = struct.unpack_from(">Q", data, at + 8)
            header = 16
        box_end = min(end, at + size) if size else end
        if box_end < at + header:
            continue
        waiting.append((box_end, end))
        if kind in _CONTAINERS:
            waiting.append((at + header + _CONTAINERS[kind], box_end))
        elif kind == b"ispe":
            width, height = struct.unpack_from(">II", data, at + header + 4)
            yield width, height
        elif kind in _SAMPLES:
            width, height = struct.unpack_from(">HH", data, at + header + 24)
            yield width, height


def _steps(needed: int | None = None) -> Iterator[int]:
    """Count the steps that are needed, or any number. Raises _TooManyStepsError."""
    if needed is not None and needed <= _MAX_STEPS:
        yield from range(needed)
        return
    yield from range(_MAX_STEPS)
    raise _TooManyStepsError


_READERS: Mapping[ImageFormat, Callable[[bytes], Iterator[tuple[int, int]]]] = MappingProxyType(
    {
        ImageFormat.JPEG: _read_jpeg,
        ImageFormat.PNG: _read_png,
        ImageFormat.GIF: _read_gif,
        ImageFormat.BMP: _read_bmp,
        ImageFormat.WEBP: _read_webp,
        ImageFormat.TIFF: _read_tiff,
        ImageFormat.AVIF: _read_boxes,
        ImageFormat.HEIC: _read_boxes,
    }
)
