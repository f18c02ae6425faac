"""The outer structure of GIF, WebP, BMP and ISO media files (AVIF, HEIC): is the file complete?

Only lengths and offsets are read. A file that ends before its own structure ends is truncated, even
where a decoder would accept it, so that one rule holds for every format.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from embedder.errors import CorruptImage, TruncatedImage

# A file of 64 MiB in full sub-blocks of 255 bytes has 263,000 of them.
MAX_BLOCKS = 1_000_000
_BMP_UNCOMPRESSED = frozenset({0, 3, 6})  # BI_RGB, BI_BITFIELDS, BI_ALPHABITFIELDS


def check_gif(data: bytes) -> None:
    """Check that a GIF file has a frame and reaches its trailer (GIF89a, appendix B).

    Raises TruncatedImage, CorruptImage.
    """
    if len(data) < 13:
        raise TruncatedImage("gif", "the file ends within its header")
    at, frames = 13 + _colour_table_bytes(data[10]), 0
    for _ in range(MAX_BLOCKS):
        kind = data[at : at + 1]
        if kind == b";":
            break
        if kind == b",":
            frames += 1
            if at + 10 > len(data):
                raise TruncatedImage("gif", "the file ends within a frame")
            at = _after_sub_blocks(data, at + 11 + _colour_table_bytes(data[at + 9]))
        elif kind == b"!":
            at = _after_sub_blocks(data, at + 2)
        elif kind == b"\x00":  # stray block terminators are common and harmless
            at += 1
        elif not kind:
            raise TruncatedImage("gif", "the file has no trailer")
        else:
            raise CorruptImage("gif", f"unknown block {kind!r}")
    else:
        raise CorruptImage("gif", f"more than {MAX_BLOCKS:,} blocks")
    if not frames:
        raise CorruptImage("gif", "the file has no picture")


def read_webp_size(data: bytes) -> tuple[int, int] | None:
    """Return `(width, height)` of the canvas from the first chunk; None where it cannot be read.

    Pillow allocates the canvas when it opens the file, so the size must be known before that (RFC
    9649).

    Raises TruncatedImage where the file is shorter than it declares.
    """
    for _ in iterate_webp_chunks(data):
        pass
    return read_webp_canvas(data)


def read_webp_canvas(data: bytes) -> tuple[int, int] | None:
    """Return `(width, height)` of the canvas from the first chunk, whatever comes after it; None
    where it cannot be read.
    """
    body = data[20:34]
    match data[12:16]:
        case b"VP8X":
            return 1 + int.from_bytes(body[4:7], "little"), 1 + int.from_bytes(body[7:10], "little")
        case b"VP8L":
            bits = int.from_bytes(body[1:5], "little")
            return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
        case b"VP8 " if body[3:6] == b"\x9d\x01\x2a":
            width, height = (int.from_bytes(body[at : at + 2], "little") for at in (6, 8))
            return width & 0x3FFF, height & 0x3FFF
        case _:
            return None


def iterate_webp_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield `(kind, start, end)` of the body of each chunk.

    Raises TruncatedImage where the file is shorter than it declares.
    """
    at, file_end = 12, 8 + int.from_bytes(data[4:8], "little")
    if file_end > len(data):
        raise TruncatedImage("webp", f"the file has {len(data):,} of {file_end:,} bytes")
    for _ in range(MAX_BLOCKS):
        if at + 8 > file_end:
            break
        end = at + 8 + int.from_bytes(data[at + 4 : at + 8], "little")
        if end > file_end:
            raise TruncatedImage("webp", "the file ends within a chunk")
        yield data[at : at + 4], at + 8, end
        at = end + (end & 1)


def check_boxes(data: bytes, image_format: str) -> None:
    """Check that each top-level box of an ISO media file is there (ISO/IEC 14496-12, 4.2).

    Raises TruncatedImage, CorruptImage.
    """
    at, kinds = 0, set()
    for _ in range(MAX_BLOCKS):
        if at == len(data):
            break
        size, header = int.from_bytes(data[at : at + 4], "big"), 8
        if size == 1:
            size, header = int.from_bytes(data[at + 8 : at + 16], "big"), 16
        if size == 0:  # the box reaches to the end of the file
            size = len(data) - at
        if at + header > len(data) or at + size > len(data):
            raise TruncatedImage(image_format, "the file ends within a box")
        if size < header:
            raise CorruptImage(image_format, f"a box of {size} bytes")
        kinds.add(data[at + 4 : at + 8])
        at += size
    described = b"meta" in kinds or b"moov" in kinds
    has_data = b"mdat" in kinds or b"idat" in data  # `idat` is a box within `meta`
    if not (described and has_data):
        raise TruncatedImage(image_format, "boxes of the picture are missing")


def check_bmp(data: bytes) -> None:
    """Check that a BMP file has its header and, where it is not compressed, every padded row.

    Raises TruncatedImage.
    """
    header = int.from_bytes(data[14:18], "little")
    if len(data) < 14 + header:
        raise TruncatedImage("bmp", "the file ends within its header")
    if header == 12:  # OS/2 1.x: 16-bit sizes, never compressed
        width, height = struct.unpack_from("<HH", data, 18)
        (bits,), compression = struct.unpack_from("<H", data, 24), 0
    else:
        width, height, bits, compression = struct.unpack_from("<iixxHI", data, 18)
    row_bytes = (abs(width) * bits + 31) // 32 * 4
    end = int.from_bytes(data[10:14], "little") + row_bytes * abs(height)
    if compression in _BMP_UNCOMPRESSED and end > len(data):
        raise TruncatedImage("bmp", f"the file has {len(data):,} of {end:,} bytes")


def _colour_table_bytes(flags: int) -> int:
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _after_sub_blocks(data: bytes, at: int) -> int:
    for _ in range(MAX_BLOCKS):
        if at >= len(data):
            raise TruncatedImage("gif", "the file ends within a block")
        size = data[at]
        at += 1 + size
        if not size:
            return at
    raise CorruptImage("gif", f"more than {MAX_BLOCKS} blocks")
