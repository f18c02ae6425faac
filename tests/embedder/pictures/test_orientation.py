from __future__ import annotations

import struct
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from embedder.pictures.decode import decode
from embedder.pictures.orientation import read_orientation

Encoder = Callable[..., bytes]

# What a viewer does to the stored pixels, in numpy, by the table of Exif 3.0 (row 0 and column 0 of
# the seen picture).
SEEN = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: a[::-1].transpose(1, 0, 2),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: a[:, ::-1].transpose(1, 0, 2),
}


def exif_block(orientation: int, order: str = "<", kind: int = 3) -> bytes:
    value = struct.pack(f"{order}H2x" if kind == 3 else f"{order}I", orientation)
    start = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HIH", 42, 8, 1)
    return start + struct.pack(f"{order}HHI", 0x0112, kind, 1) + value + struct.pack(f"{order}I", 0)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["PNG", "WEBP", "TIFF", "JPEG"])
def test_the_stored_pixels_are_turned_as_exif_says(
    picture: Image.Image, encoder: Encoder, format: str, orientation: int
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if format == "WEBP" else {}
    plain = np.asarray(decode(encoder(picture, format, **options)).image)
    decoded = decode(encoder(picture, format, exif=exif, **options))
    assert np.array_equal(np.asarray(decoded.image), SEEN[orientation](plain))
    assert (decoded.width, decoded.height) == ((120, 90) if orientation < 5 else (90, 120))


def test_a_rotated_avif_is_turned_once(picture: Image.Image, encoder: Encoder) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    plain = decode(encoder(picture, "AVIF", quality=95)).image
    turned = decode(encoder(picture, "AVIF", quality=95, exif=exif)).image
    error = np.abs(np.asarray(turned).astype(int) - SEEN[6](np.asarray(plain).astype(int)))
    assert turned.size == (90, 120)
    assert error.mean() < 1


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", [3, 4])
def test_both_byte_orders_and_integer_types_are_read(order: str, kind: int) -> None:
    assert [read_orientation(exif_block(n, order, kind)) for n in range(1, 9)] == list(range(1, 9))
    assert read_orientation(b"Exif\x00\x00" + exif_block(6, order, kind)) == 6


@pytest.mark.parametrize(
    "block",
    [
        None,
        b"",
        b"II*\x00",
        b"XX*\x00\x08\x00\x00\x00",
        b"II*\x00\xff\xff\xff\xff",
        exif_block(0),
        exif_block(9),
        exif_block(6)[:-8],
    ],
)
def test_broken_exif_leaves_the_picture_as_it_is_stored(block: bytes | None) -> None:
    assert read_orientation(block) == 1


@given(st.binary(max_size=200))
def test_no_bytes_make_reading_the_orientation_fail(block: bytes) -> None:
    assert read_orientation(b"II*\x00\x08\x00\x00\x00" + block) in range(1, 9)
    assert read_orientation(block) in range(1, 9)


@pytest.mark.parametrize("format", ["PNG", "WEBP", "JPEG"])
def test_broken_exif_does_not_fail_an_image(
    picture: Image.Image, encoder: Encoder, format: str
) -> None:
    assert (
        decode(encoder(picture, format, exif=b"Exif\x00\x00garbage that is no TIFF")).width == 120
    )
