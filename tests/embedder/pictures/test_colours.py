"""One test for each row of the table in `embedder/pictures/colours.py`."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms

from embedder.errors import UnsupportedFormat
from embedder.pictures.colours import convert_to_rgb
from embedder.pictures.decode import decode

Encoder = Callable[..., bytes]

WHITE = (255, 255, 255)


def first_pixel(data: bytes) -> tuple[int, ...]:
    value = decode(data).image.getpixel((0, 0))
    assert isinstance(value, tuple)
    return value


def plain(mode: str, colour: object) -> Image.Image:
    return Image.new(mode, (64, 64), colour)  # type: ignore[arg-type]


def png(depth: int, colour: int, row: bytes, *chunks: tuple[bytes, bytes]) -> bytes:
    """64 x 64 pixels of the one row; for what Pillow cannot write."""
    header = struct.pack(">IIBBBBB", 64, 64, depth, colour, 0, 0, 0)
    parts = [
        (b"IHDR", header),
        *chunks,
        (b"IDAT", zlib.compress((b"\x00" + row) * 64)),
        (b"IEND", b""),
    ]
    framed = [
        struct.pack(">I", len(b)) + k + b + struct.pack(">I", zlib.crc32(k + b)) for k, b in parts
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(framed)


def test_grey_becomes_three_equal_channels(encoder: Encoder) -> None:
    for kind in ("PNG", "JPEG", "BMP", "TIFF"):
        assert first_pixel(encoder(plain("L", 200), kind)) == (200, 200, 200)


def test_one_bit_becomes_black_and_white(encoder: Encoder) -> None:
    for kind in ("PNG", "BMP", "TIFF"):
        assert first_pixel(encoder(plain("1", 1), kind)) == WHITE
        assert first_pixel(encoder(plain("1", 0), kind)) == (0, 0, 0)
    assert decode(encoder(plain("1", 1), "PNG")).mode == "1"


def test_a_palette_is_looked_up(encoder: Encoder) -> None:
    image = plain("RGB", (10, 200, 30)).quantize(4)
    for kind in ("PNG", "GIF", "BMP", "TIFF"):
        assert first_pixel(encoder(image, kind)) == (10, 200, 30)


def test_a_transparent_palette_entry_is_white_and_its_hidden_colour_does_not_leak(
    encoder: Encoder,
) -> None:
    image = plain("RGB", (10, 200, 30)).quantize(4)
    index = image.getpixel((0, 0))
    for kind in ("PNG", "GIF"):
        assert first_pixel(encoder(image, kind, transparency=index)) == WHITE
    half = encoder(image, "PNG", transparency=bytes([128] * 4))
    assert first_pixel(half) == pytest.approx((132, 227, 142), abs=1)


@pytest.mark.parametrize("format", ["PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize(
    ("alpha", "seen"),
    [(0, WHITE), (255, (200, 40, 0)), (128, (227, 147, 127)), (1, (255, 254, 254))],
)
def test_alpha_is_laid_on_white(
    encoder: Encoder, format: str, alpha: int, seen: tuple[int, int, int]
) -> None:
    options = {"lossless": True, "exact": True} if format == "WEBP" else {}
    data = encoder(plain("RGBA", (200, 40, 0, alpha)), format, **options)
    assert first_pixel(data) == pytest.approx(seen, abs=1)


def test_alpha_in_avif_and_heic_is_laid_on_white_too(encoder: Encoder) -> None:
    for kind in ("AVIF", "HEIC"):
        assert first_pixel(encoder(plain("RGBA", (200, 40, 0, 0)), kind)) == pytest.approx(
            WHITE, abs=2
        )


def test_grey_with_alpha_is_laid_on_white(encoder: Encoder) -> None:
    assert first_pixel(encoder(plain("LA", (100, 0)), "PNG")) == WHITE
    assert first_pixel(encoder(plain("LA", (100, 255)), "PNG")) == (100, 100, 100)


def test_modes_with_alpha_that_files_seldom_have_follow_the_same_rule() -> None:
    for mode in ("PA", "La", "RGBa"):
        source = plain("RGBA", (90, 90, 90, 0)).convert("LA" if mode == "La" else "RGBA")
        assert convert_to_rgb(source.convert(mode)).getpixel((0, 0)) == WHITE


def test_a_transparent_colour_of_an_opaque_mode_is_white() -> None:
    grey = png(8, 0, bytes([77] * 64), (b"tRNS", b"\x00\x4d"))
    colour = png(8, 2, bytes([1, 2, 3] * 64), (b"tRNS", struct.pack(">HHH", 1, 2, 3)))
    wide = png(16, 0, struct.pack(">H", 1000) * 64, (b"tRNS", struct.pack(">H", 1000)))
    for data in (grey, colour, wide):
        assert first_pixel(data) == WHITE
    other = png(16, 0, struct.pack(">H", 1000) * 64, (b"tRNS", struct.pack(">H", 1001)))
    assert first_pixel(other) == (4, 4, 4)


@given(st.lists(st.integers(0, 65535), min_size=1, max_size=64))
def test_sixteen_bits_are_scaled_by_257_and_never_clipped(values: list[int]) -> None:
    image = Image.fromarray(np.array([values], np.uint16))
    expected = np.rint(np.array(values) / 257)
    assert np.array_equal(np.asarray(convert_to_rgb(image))[0, :, 0], expected)


def test_sixteen_bit_grey_is_scaled_in_files_of_either_byte_order(encoder: Encoder) -> None:
    values = np.full((64, 64), 51_400)  # 200 * 257
    image = Image.fromarray(values.astype(np.uint16))
    big_endian = Image.frombytes("I;16B", (64, 64), values.astype(">u2").tobytes())
    for data in (encoder(image, "PNG"), encoder(image, "TIFF"), encoder(big_endian, "TIFF")):
        assert first_pixel(data) == (200, 200, 200)
        assert decode(data).mode.startswith("I;16")


def test_integers_of_32_bits_are_taken_up_to_16_and_refused_above(encoder: Encoder) -> None:
    assert first_pixel(encoder(plain("I", 51_400), "TIFF")) == (200, 200, 200)
    for value in (-1, 65_536):
        with pytest.raises(UnsupportedFormat, match="32-bit"):
            decode(encoder(plain("I", value), "TIFF"))


def test_sixteen_bit_colour_keeps_its_high_byte() -> None:
    assert first_pixel(png(16, 2, struct.pack(">HHH", 0x0AFF, 0x1400, 0x1E80) * 64)) == (10, 20, 30)


def test_floats_run_from_black_at_0_to_white_at_1_and_are_refused_outside(encoder: Encoder) -> None:
    assert first_pixel(encoder(plain("F", 0.2), "TIFF")) == (51, 51, 51)
    assert first_pixel(encoder(plain("F", 1.0), "TIFF")) == WHITE
    for value in (1.5, -0.1, float("nan"), float("inf")):
        with pytest.raises(UnsupportedFormat, match="floating"):
            decode(encoder(plain("F", value), "TIFF"))


def test_cmyk_is_read_the_same_with_adobes_inversion_and_without(encoder: Encoder) -> None:
    ink = (0, 128, 255, 0)  # no cyan, half magenta, all yellow: orange
    with_marker = encoder(plain("CMYK", ink), "JPEG", quality=100)
    assert b"Adobe" in with_marker
    assert first_pixel(with_marker) == pytest.approx((255, 127, 0), abs=4)

    inverted = encoder(plain("CMYK", tuple(255 - each for each in ink)), "JPEG", quality=100)
    at = inverted.index(b"\xff\xee")
    length = int.from_bytes(inverted[at + 2 : at + 4], "big")
    without_marker = inverted[:at] + inverted[at + 2 + length :]
    assert b"Adobe" not in without_marker
    assert first_pixel(without_marker) == pytest.approx((255, 127, 0), abs=4)
    assert first_pixel(encoder(plain("CMYK", ink), "TIFF")) == (255, 127, 0)


def test_ycbcr_is_converted(encoder: Encoder) -> None:
    image = plain("RGB", (200, 40, 90)).convert("YCbCr")
    assert first_pixel(encoder(image, "TIFF")) == pytest.approx((200, 40, 90), abs=2)
    assert convert_to_rgb(plain("HSV", (0, 255, 255))).getpixel((0, 0)) == (255, 0, 0)


def test_lab_is_converted_by_colour_management(encoder: Encoder) -> None:
    source = plain("RGB", (200, 40, 90))
    to_lab = ImageCms.buildTransform(
        ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB"
    )
    lab = ImageCms.applyTransform(source, to_lab)
    assert lab is not None
    assert first_pixel(encoder(lab, "TIFF")) == pytest.approx((200, 40, 90), abs=3)


def test_a_colour_profile_changes_nothing(encoder: Encoder) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("XYZ")).tobytes()
    for kind in ("PNG", "TIFF"):
        assert first_pixel(encoder(plain("RGB", (10, 20, 30)), kind, icc_profile=profile)) == (
            10,
            20,
            30,
        )


def test_an_unknown_mode_is_unsupported_not_guessed() -> None:
    image = plain("RGB", 0)
    image._mode = "BGR;24"  # what a plugin of a later Pillow may bring
    with pytest.raises(UnsupportedFormat, match="pixel mode"):
        convert_to_rgb(image)


def tall(mode: str) -> Image.Image:
    """A picture that is converted in bands, with a colour that is transparent where that is how
    the mode has transparency.
    """
    noise = np.random.default_rng(4).integers(0, 256, (20_000, 64, 4), np.uint8)
    if mode in {"I", "I;16", "I;16B", "F"}:
        values = noise[..., 0].astype(np.uint16) * 257 + noise[..., 1]
        image = {
            "I": lambda: Image.fromarray(values.astype(np.int32)),
            "I;16": lambda: Image.fromarray(values),
            "I;16B": lambda: Image.frombytes("I;16B", (64, 20_000), values.astype(">u2").tobytes()),
            "F": lambda: Image.fromarray((values / 65535).astype(np.float32)),
        }[mode]()
        if mode == "I;16":
            image.info["transparency"] = int(values[15_700, 3])
        return image
    image = Image.fromarray(noise)
    if mode == "P":
        image = image.convert("RGB").quantize(8)
        image.info["transparency"] = bytes([0, 128, 255, 255, 255, 255, 255, 255])
    elif mode in {"L", "RGB"}:
        image = image.convert(mode)
        image.info["transparency"] = image.getpixel((5, 15_700))
    return image.convert(mode)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "RGBa", "P", "L", "RGB", "I", "I;16", "I;16B", "F"])
def test_a_picture_that_is_converted_in_bands_is_the_same_to_the_last_bit(mode: str) -> None:
    image = tall(mode)
    whole = convert_to_rgb(image)
    assert whole.mode == "RGB"
    parts = [image.crop((0, top, 64, min(top + 7001, 20_000))) for top in range(0, 20_000, 7001)]
    apart = np.concatenate([np.asarray(convert_to_rgb(part)) for part in parts])
    assert np.array_equal(np.asarray(whole), apart)
