"""The outer structure of GIF, WebP, BMP and of ISO media files (AVIF, HEIC): is the file whole?

Each walk reads lengths and offsets only. A file that ends before its own structure does is
truncated, also where the decoder would have been content: there is one rule for every format.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from embedder.errors import CorruptImage, TruncatedImage

# A file of 64 MiB in full sub-blocks of 255 bytes has 263,000 of them.
MAX_BLOCKS = 1_000_000
_BMP_UNCOMPRESSED = frozenset({0, 3, 6})  # BI_RGB, BI_BITFIELDS, BI_ALPHABITFIELDS


def check_gif(data: bytes) -> None:
    """Raises TruncatedImage unless the trailer is reached, CorruptImage when there is no frame
    (GIF89a, appendix B).
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
            raise TruncatedImage("gif", "there is no trailer")
        else:
            raise CorruptImage("gif", f"unknown block {kind!r}")
    else:
        raise CorruptImage("gif", f"more than {MAX_BLOCKS} blocks")
    if not frames:
        raise CorruptImage("gif", "there is no picture in it")


def read_webp_size(data: bytes) -> tuple[int, int] | None:
    """`(width, height)` of the canvas from the first chunk; None when it cannot be told.

    Raises TruncatedImage when the file is shorter than it says. Pillow allocates the canvas when it
    opens the file, so the size must be known before that (RFC 9649).
    """
    for _ in iterate_webp_chunks(data):
        pass
    body = data[20:34]
    match data[12:16]:
        case b"VP8X":
            return 1 + int.from_bytes(body[4:7], "little"), 1 + int.from_bytes(body[7:10], "little")
        case b"VP8L":
            bits = int.from_bytes(body[1:5], "little")
            return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
        case b"VP8 " if body[3:6] == b"\x9d\x01\x2a":
            return int.from_bytes(body[6:8], "little") & 0x3FFF, int.from_bytes(
                body[8:10], "little"
            ) & 0x3FFF
        case _:
            return None


def iterate_webp_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """`(kind, start, end)` of the body of each chunk.

    Raises TruncatedImage when the file is shorter than it says.
    """
    at, file_end = 12, 8 + int.from_bytes(data[4:8], "little")
    if file_end > len(data):
        raise TruncatedImage("webp", f"{len(data):,} of {file_end:,} bytes are there")
    for _ in range(MAX_BLOCKS):
        if at + 8 > file_end:
            break
        end = at + 8 + int.from_bytes(data[at + 4 : at + 8], "little")
        if end > file_end:
            raise TruncatedImage("webp", "the file ends within a chunk")
        yield data[at : at + 4], at + 8, end
        at = end + (end & 1)


def check_boxes(data: bytes, image_format: str) -> None:
    """Raises TruncatedImage unless each top-level box of an ISO media file is there (ISO/IEC
    14496-12, 4.2).
    """
    at, kinds = 0, set()
    for _ in range(MAX_BLOCKS):
        if at == len(data):
            break
        size, header = int.from_bytes(data[at : at + 4], "big"), 8
        if size == 1:
            size, header = int.from_bytes(data[at + 8 : at + 16], "big"), 16
        if size == 0:  # up to the end of the file
            size = len(data) - at
        if at + header > len(data) or at + size > len(data):
            raise TruncatedImage(image_format, "the file ends within a box")
        if size < header:
            raise CorruptImage(image_format, f"a box of {size} bytes")
        kinds.add(data[at + 4 : at + 8])
        at += size
    described = b"meta" in kinds or b"moov" in kinds
    if not described or (
        b"mdat" not in kinds and b"idat" not in data
    ):  # `idat` is a box within `meta`
        raise TruncatedImage(image_format, "the picture's boxes are not all there")


def check_bmp(data: bytes) -> None:
    """Raises TruncatedImage unless the header and, where nothing is compressed, each row with its
    padding is there.
    """
    header = int.from_bytes(data[14:18], "little")
    if len(data) < 14 + header:
        raise TruncatedImage("bmp", "the file ends within its header")
    if header == 12:  # OS/2 1.x: 16-bit sizes, never compressed
        width, height, bits, compression = (
            *struct.unpack_from("<HH", data, 18),
            *struct.unpack_from("<H", data, 24),
            0,
        )
    else:
        width, height, bits, compression = struct.unpack_from("<iixxHI", data, 18)
    row_bytes = (abs(width) * bits + 31) // 32 * 4
    end = int.from_bytes(data[10:14], "little") + row_bytes * abs(height)
    if compression in _BMP_UNCOMPRESSED and end > len(data):
        raise TruncatedImage("bmp", f"{len(data):,} of {end:,} bytes are there")


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
