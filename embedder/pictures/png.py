"""The chunks of a PNG file: is it complete, and which bytes make the picture (W3C PNG, third
edition)?

Only chunks that the pixels depend on reach the decoder. Compressed text and colour profiles are
never inflated, so a decompression bomb in them has no effect, and an image with a megabyte of
workflow in its text is still an image. Animation chunks are left out too: the default image is
decoded.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from embedder.errors import CorruptImage, TruncatedImage, UnsupportedFormat

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_NEEDED = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"})
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
# A file of 64 MiB in IDAT chunks of 8 KiB (libpng's default) has 8,192 of them.
MAX_CHUNKS = 200_000
_INFLATE_STEP_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class PngFile:
    """A file that was followed to its end. `data` is what the pixels depend on."""

    width: int
    height: int
    bits_per_pixel: int
    interlaced: bool
    exif: bytes | None
    data: bytes
    compressed: tuple[bytes, ...]

    def require_all_rows(self) -> None:
        """Inflate the picture and count its bytes. Pillow leaves missing rows black.

        Raises TruncatedImage.
        """
        wanted, inflated = self._inflated_size(), 0
        inflater = zlib.decompressobj()
        for piece in self.compressed:
            waiting = piece
            while waiting and inflated < wanted and not inflater.eof:
                inflated += len(inflater.decompress(waiting, _INFLATE_STEP_BYTES))
                waiting = inflater.unconsumed_tail
        inflated += len(inflater.flush()) if inflated < wanted and not inflater.eof else 0
        if inflated < wanted:
            raise TruncatedImage("png", f"the picture has {inflated:,} of {wanted:,} bytes")

    def _inflated_size(self) -> int:
        """Each row has one byte for its filter; interlacing (Adam7) makes seven pictures."""
        passes = (
            (0, 0, 8, 8),
            (4, 0, 8, 8),
            (0, 4, 4, 8),
            (2, 0, 4, 4),
            (0, 2, 2, 4),
            (1, 0, 2, 2),
            (0, 1, 1, 2),
        )
        total = 0
        for left, top, across, down in passes if self.interlaced else ((0, 0, 1, 1),):
            columns, rows = -(-(self.width - left) // across), -(-(self.height - top) // down)
            if columns > 0 and rows > 0:
                total += rows * (1 + (columns * self.bits_per_pixel + 7) // 8)
        return total


def walk_png(data: bytes) -> PngFile:
    """Follow the chunks of a file to IEND.

    Raises TruncatedImage, CorruptImage, UnsupportedFormat.
    """
    kept, compressed, exif = [SIGNATURE], [], None
    header = b""
    for kind, start, end in iterate_chunks(data):
        if kind == b"CgBI":
            raise UnsupportedFormat("Apple's CgBI variant of PNG")
        if kind == b"eXIf" and exif is None:
            exif = data[start:end]
        if kind == b"IHDR" and not header:
            header = data[start:end]
        if kind == b"IDAT":
            compressed.append(data[start:end])
        if kind in _NEEDED:
            kept.append(data[start - 8 : end + 4])
        elif kind and not kind[0] & 0x20:  # an upper-case first letter: the pixels depend on it
            raise CorruptImage("png", f"unknown critical chunk {kind!r}")
    return _describe(header, exif, b"".join(kept), tuple(compressed))


def iterate_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield `(kind, start, end)` of the body of each chunk; the last one is IEND.

    Raises TruncatedImage, CorruptImage.
    """
    at = len(SIGNATURE)
    for _ in range(MAX_CHUNKS):
        length, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        end = at + 8 + length
        if end + 4 > len(data):
            raise TruncatedImage(
                "png", f"the file ends within {kind.decode('latin-1') or 'a chunk'!r}"
            )
        yield kind, at + 8, end
        if kind == b"IEND":
            return
        at = end + 4
    raise CorruptImage("png", f"more than {MAX_CHUNKS:,} chunks")


def _describe(
    header: bytes, exif: bytes | None, data: bytes, compressed: tuple[bytes, ...]
) -> PngFile:
    if len(header) != 13 or not compressed:
        raise CorruptImage("png", "the file has no picture")
    width, height = int.from_bytes(header[:4], "big"), int.from_bytes(header[4:8], "big")
    depth, colour, interlace = header[8], header[9], header[12]
    if not width or not height or colour not in _CHANNELS:
        raise CorruptImage("png", "the header describes no picture")
    return PngFile(
        width, height, depth * _CHANNELS[colour], bool(interlace), exif, data, compressed
    )
