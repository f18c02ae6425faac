from __future__ import annotations

import struct
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from embedder.errors import CorruptImage, TruncatedImage, UnsupportedFormat
from embedder.pictures.decode import decode
from embedder.pictures.png import SIGNATURE
from tests.work import count_calls

Encoder = Callable[..., bytes]


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(
    width: int, height: int, raw: bytes, *, depth: int = 8, colour: int = 0, interlace: int = 0
) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace)
    return (
        SIGNATURE
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(raw))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("rows", [0, 1, 32, 63])
@pytest.mark.parametrize(
    ("depth", "colour", "row_bytes"),
    [(8, 0, 64), (8, 2, 192), (8, 6, 256), (16, 0, 128), (1, 0, 8)],
)
def test_a_stream_that_ends_properly_before_the_last_row_is_truncated(
    rows: int, depth: int, colour: int, row_bytes: int
) -> None:
    row = b"\x00" + b"\x5a" * row_bytes
    with pytest.raises(TruncatedImage):
        decode(png(64, 64, row * rows, depth=depth, colour=colour))
    assert decode(png(64, 64, row * 64, depth=depth, colour=colour)).height == 64


def test_a_picture_whose_last_rows_are_really_black_is_whole() -> None:
    raw = (b"\x00" + b"\xc8" * 64) * 40 + bytes(65 * 24)
    assert np.asarray(decode(png(64, 64, raw)).image)[63].max() == 0


def test_an_interlaced_picture_that_lacks_a_pass_is_truncated() -> None:
    def adam7(passes: int) -> bytes:
        sizes = (
            (8, 8),
            (8, 8),
            (16, 8),
            (16, 16),
            (32, 16),
            (32, 32),
            (64, 32),
        )  # (columns, rows) of 64 x 64
        return b"".join((b"\x00" + b"\x77" * columns) * rows for columns, rows in sizes[:passes])

    for passes in range(1, 7):
        with pytest.raises(TruncatedImage):
            decode(png(64, 64, adam7(passes), interlace=1))
    assert np.asarray(decode(png(64, 64, adam7(7), interlace=1)).image).min() == 0x77


def test_a_file_without_its_end_chunk_is_truncated(samples: dict[str, bytes]) -> None:
    with pytest.raises(TruncatedImage):
        decode(samples["png"][:-12])


def test_bytes_after_the_end_chunk_are_ignored(samples: dict[str, bytes]) -> None:
    assert decode(samples["png"] + b"PK\x03\x04 an archive hidden behind the picture").width == 120


def test_an_unknown_chunk_that_the_pixels_depend_on_is_corrupt(samples: dict[str, bytes]) -> None:
    data = samples["png"]
    with pytest.raises(CorruptImage, match="critical"):
        decode(data[:33] + chunk(b"ABCD", b"") + data[33:])
    assert decode(data[:33] + chunk(b"abCD", b"") + data[33:]).width == 120


def test_apples_variant_is_unsupported_not_corrupt(samples: dict[str, bytes]) -> None:
    data = samples["png"]
    with pytest.raises(UnsupportedFormat, match="CgBI"):
        decode(data[:8] + chunk(b"CgBI", b"\x50\x00\x20\x06") + data[8:])


def test_damaged_data_are_corrupt(samples: dict[str, bytes]) -> None:
    data = bytearray(samples["png"])
    data[len(data) // 2] ^= 0xFF
    with pytest.raises(CorruptImage):
        decode(bytes(data))


def test_a_million_tiny_chunks_are_refused_before_all_are_read(samples: dict[str, bytes]) -> None:
    data = samples["png"]
    many = data[:33] + chunk(b"abCD", b"") * 1_000_000 + data[33:]
    with count_calls() as work, pytest.raises(CorruptImage, match="chunks"):
        decode(many)
    assert work.calls < 900_000  # three for each of the million chunks would be more


def test_an_animation_without_its_own_default_frame_order_gives_the_default_image(
    picture: Image.Image, encoder: Encoder
) -> None:
    other = Image.new("RGB", picture.size, (9, 8, 7))
    data = encoder(picture, "PNG", save_all=True, append_images=[other], default_image=True)
    assert np.array_equal(np.asarray(decode(data).image), np.asarray(picture))
