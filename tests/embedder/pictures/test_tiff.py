from __future__ import annotations

import struct
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from embedder.errors import ImageError, TruncatedImage, UnsupportedFormat
from embedder.pictures.decode import decode
from embedder.pictures.tiff import check_tiff

Encoder = Callable[..., bytes]
WIDTH, HEIGHT, OFFSETS, ROWS, COUNTS, TILE_WIDTH, TILE_HEIGHT = 256, 257, 273, 278, 279, 322, 323
TILE_OFFSETS, TILE_COUNTS = 324, 325


def tiff_of(order: str, tags: dict[int, int], picture: bytes = bytes(64)) -> bytes:
    """A classic TIFF file with one LONG in each tag; its picture begins at byte 8."""
    entries = b"".join(
        struct.pack(f"{order}HHII", tag, 4, 1, value) for tag, value in sorted(tags.items())
    )
    start = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, 8 + len(picture))
    return start + picture + struct.pack(f"{order}H", len(tags)) + entries + bytes(4)


STRIP = {WIDTH: 8, HEIGHT: 8, ROWS: 8, OFFSETS: 8, COUNTS: 64}
TILE = {WIDTH: 8, HEIGHT: 8, TILE_WIDTH: 8, TILE_HEIGHT: 8, TILE_OFFSETS: 8, TILE_COUNTS: 64}


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("tags", [STRIP, TILE])
def test_a_picture_that_ends_beyond_the_file_is_truncated(order: str, tags: dict[int, int]) -> None:
    whole = tiff_of(order, tags)
    check_tiff(whole)
    counts = TILE_COUNTS if TILE_COUNTS in tags else COUNTS
    beyond = tags | {counts: len(whole) - 8 + 1}
    with pytest.raises(TruncatedImage, match="the picture ends at byte"):
        check_tiff(tiff_of(order, beyond))
    check_tiff(tiff_of(order, tags | {counts: len(whole) - 8}))


@pytest.mark.parametrize("order", ["<", ">"])
def test_missing_strips_and_tiles_are_counted(order: str) -> None:
    with pytest.raises(TruncatedImage, match="1 of 2 strips or tiles"):
        check_tiff(tiff_of(order, STRIP | {ROWS: 4}))
    with pytest.raises(TruncatedImage, match="1 of 4 strips or tiles"):
        check_tiff(tiff_of(order, TILE | {TILE_WIDTH: 4, TILE_HEIGHT: 4}))


def test_a_directory_that_ends_beyond_the_file_is_truncated() -> None:
    whole = tiff_of("<", STRIP)
    for kept in range(4, len(whole)):
        with pytest.raises(TruncatedImage):
            check_tiff(whole[:kept])


def test_an_offset_beyond_any_file_is_truncated() -> None:
    header = b"II+\x00\x08\x00\x00\x00"
    for offset in (2**32, 2**63 - 1, 2**63, 2**64 - 1):
        with pytest.raises(TruncatedImage):
            check_tiff(header + struct.pack("<Q", offset) + bytes(64))


@given(st.binary(max_size=120))
def test_no_bytes_raise_anything_but_an_image_error(data: bytes) -> None:
    for start in (b"II*\x00\x08\x00\x00\x00", b"MM\x00*", b"II+\x00\x08\x00\x00\x00"):
        try:
            check_tiff(start + data)
        except ImageError as err:
            assert err.reason in ("truncated", "unsupported_format")  # noqa: PT017


@pytest.mark.parametrize("name", ["tiff", "tiff-lzw", "tiff-jpeg", "tiff-fax"])
def test_a_tiff_whose_strips_point_behind_the_end_is_truncated(
    samples: dict[str, bytes], name: str
) -> None:
    data = bytearray(samples[name])
    position = tag_value_position(data, 273)
    data[position : position + 4] = struct.pack("<I", len(data) - 10)
    with pytest.raises(TruncatedImage):
        decode(bytes(data))


def test_a_tiff_with_fewer_strips_than_rows_need_is_truncated(samples: dict[str, bytes]) -> None:
    data = bytearray(samples["tiff"])
    position = tag_value_position(data, 278)
    data[position : position + 4] = struct.pack("<I", 10)[:4]
    with pytest.raises(TruncatedImage, match="strips"):
        decode(bytes(data))


def test_the_preview_in_a_camera_raw_file_is_not_taken_for_the_picture(
    encoder: Encoder, picture: Image.Image
) -> None:
    with pytest.raises(UnsupportedFormat, match="raw"):
        decode(encoder(picture, "TIFF", tiffinfo={254: 1}))
    assert decode(encoder(picture, "TIFF", tiffinfo={254: 0})).width == 120


def test_a_big_tiff_is_walked_as_well(encoder: Encoder, picture: Image.Image) -> None:
    data = encoder(picture, "TIFF", big_tiff=True)
    assert np.array_equal(np.asarray(decode(data).image), np.asarray(picture))
    with pytest.raises(TruncatedImage):
        decode(data[:-200])


def tag_value_position(data: bytes | bytearray, tag: int) -> int:
    (start,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, start)
    for at in range(start + 2, start + 2 + 12 * count, 12):
        if struct.unpack_from("<H", data, at)[0] == tag:
            return at + 8
    raise AssertionError(f"no tag {tag}")
