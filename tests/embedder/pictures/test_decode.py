from __future__ import annotations

import struct
import sys
import warnings
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from embedder.errors import (
    CorruptImage,
    ImageError,
    ImageTooLarge,
    ImageTooSmall,
    NotAnImage,
    TruncatedImage,
    UnsupportedFormat,
)
from embedder.pictures.decode import decode, make_thumbnail
from embedder.pictures.limits import ImageLimits
from tests.work import count_images, forbid_hanging, measure_memory

Encoder = Callable[..., bytes]

FORMAT_BY_SAMPLE_PREFIX = ("jpeg", "png", "webp", "bmp", "tiff", "gif", "avif", "heic")
# A wall-clock bound for one file on a slow, busy core; the slowest of them takes 10 ms on a free
# one.


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def with_chunk_after_header(png: bytes, chunk: bytes) -> bytes:
    return png[:33] + chunk + png[33:]  # 8 bytes of signature, 25 of IHDR


def test_bytes_that_are_no_image_are_read_from_images_that_are_not_taken() -> None:
    for data in (
        b"",
        b"hello, world",
        b"<html></html>",
        b"\x00" * 64,
        b"BM but no bitmap header follows this",
    ):
        with pytest.raises(NotAnImage) as refused:
            decode(data)
        assert refused.value.reason == "not_an_image"
    for data in (
        b"8BPS\x00\x01",
        b"%PDF-1.7",
        b"<?xml version='1.0'?><svg xmlns=''/>",
        b"\x00\x00\x01\x00\x01\x00",
    ):
        with pytest.raises(UnsupportedFormat) as unsupported:
            decode(data)
        assert unsupported.value.reason == "unsupported_format"


def test_a_video_is_not_an_image() -> None:
    with pytest.raises(NotAnImage):
        decode(struct.pack(">I", 24) + b"ftypisom\x00\x00\x02\x00isommp41" + bytes(40))


def test_too_many_bytes_are_refused_before_anything_is_looked_at() -> None:
    with pytest.raises(ImageTooLarge) as refused:
        decode(b"no image at all", ImageLimits(max_image_bytes=4))
    assert (refused.value.unit, refused.value.actual, refused.value.limit) == ("bytes", 15, 4)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "AVIF", "HEIC"])
def test_pixels_and_sides_outside_the_limits_are_refused_in_every_format(
    picture: Image.Image, encoder: Encoder, format: str
) -> None:
    data = encoder(picture, format)
    with pytest.raises(ImageTooLarge) as large:
        decode(data, ImageLimits(max_image_pixels=picture.width * picture.height - 1))
    assert (large.value.unit, large.value.actual) == ("pixels", picture.width * picture.height)
    with pytest.raises(ImageTooSmall) as small:
        decode(data, ImageLimits(min_image_side=picture.height + 1))
    assert (small.value.width, small.value.height, small.value.min_side) == (120, 90, 91)
    assert decode(data, ImageLimits(max_image_pixels=120 * 90, min_image_side=90)).width == 120


def test_a_bomb_is_refused_by_its_header_before_its_pixels_take_time_or_memory() -> None:
    """16,000 x 16,000 grey pixels in 250 kB: 256 MB, if they were decoded."""
    squeeze = zlib.compressobj(9)
    body = b"".join(squeeze.compress(bytes(16_001)) for _ in range(16_000)) + squeeze.flush()
    header = struct.pack(">IIBBBBB", 16_000, 16_000, 8, 0, 0, 0, 0)
    chunks = png_chunk(b"IHDR", header) + png_chunk(b"IDAT", body) + png_chunk(b"IEND", b"")
    data = b"\x89PNG\r\n\x1a\n" + chunks
    with count_images() as made, measure_memory() as used, pytest.raises(ImageTooLarge) as refused:
        decode(data)
    assert (refused.value.unit, refused.value.actual) == ("pixels", 256_000_000)
    assert (made.images, made.blocks) == (0, 0)
    assert used.peak_bytes < 5_000_000


def test_compressed_text_and_profiles_are_never_inflated(
    picture: Image.Image, encoder: Encoder
) -> None:
    bomb = zlib.compress(bytes(50_000_000), 9)
    text = png_chunk(b"zTXt", b"workflow\x00\x00" + bomb)
    profile = png_chunk(b"iCCP", b"profile\x00\x00" + bomb)
    data = with_chunk_after_header(encoder(picture, "PNG"), text + profile)
    with measure_memory() as used:
        decoded = decode(data)
    assert np.array_equal(np.asarray(decoded.image), np.asarray(picture))
    assert used.peak_bytes < 5_000_000


def test_content_decides_the_format_and_the_whole_picture_comes_back(
    samples: dict[str, bytes], picture: Image.Image
) -> None:
    for name, data in samples.items():
        decoded = decode(data)
        assert decoded.format == name.partition("-")[0]
        assert (decoded.width, decoded.height) == decoded.image.size == picture.size
        assert decoded.image.mode == "RGB"
        assert type(decoded.image) is Image.Image, (
            "a plugin's class would keep the file's bytes alive"
        )


@pytest.mark.parametrize("name", ["png", "webp-lossless", "bmp", "tiff", "tiff-lzw"])
def test_lossless_formats_give_back_each_pixel(
    encoder: Encoder, picture: Image.Image, name: str
) -> None:
    kind, _, option = name.partition("-")
    options = {"lossless": {"lossless": True}, "lzw": {"compression": "tiff_lzw"}}.get(option, {})
    assert np.array_equal(
        np.asarray(decode(encoder(picture, kind.upper(), **options)).image), np.asarray(picture)
    )


def test_a_file_cut_anywhere_is_an_error_in_every_format(samples: dict[str, bytes]) -> None:
    random = np.random.default_rng(20240501)
    for name, data in samples.items():
        cuts = {
            *range(0, 40, 3),
            *range(len(data) - 12, len(data)),
            *random.integers(40, len(data), 40).tolist(),
        }
        for cut in sorted(cuts):
            with pytest.raises((TruncatedImage, NotAnImage)) as refused:
                decode(data[:cut])
            assert cut < 20 or isinstance(refused.value, TruncatedImage), (name, cut, refused.value)


def test_what_a_decoder_throws_becomes_a_typed_error_with_its_cause() -> None:
    with pytest.raises(CorruptImage) as refused:
        decode(b"RIFF\x0c\x00\x00\x00WEBPVP8 \x00\x00\x00\x00")
    assert refused.value.reason == "corrupt"
    assert refused.value.__cause__ is not None


def test_an_animation_gives_its_first_frame(picture: Image.Image, encoder: Encoder) -> None:
    other = Image.new("RGB", picture.size, (1, 2, 3))
    for kind, options in (
        ("GIF", {}),
        ("PNG", {}),
        ("WEBP", {"lossless": True}),
        ("AVIF", {"quality": 95}),
    ):
        first = picture.convert("P").convert("RGB") if kind == "GIF" else picture
        data = encoder(first, kind, save_all=True, append_images=[other, other], **options)
        error = np.abs(np.asarray(decode(data).image).astype(int) - np.asarray(first))
        assert np.median(error) <= 8, kind


def test_hostile_files_make_no_warning_and_leave_no_filter_behind(
    encoder: Encoder, picture: Image.Image
) -> None:
    exif = Image.Exif()
    exif[0x011A] = 72.0
    whole = encoder(picture, "TIFF", exif=exif)
    before = list(warnings.filters)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        inside = list(warnings.filters)
        for at in range(8, len(whole), 97):
            try:
                decode(whole[:at] + b"\xff" + whole[at + 1 :])
            except ImageError:
                continue
        assert warnings.filters == inside
    assert not caught
    assert warnings.filters == before


def test_no_global_of_pillow_is_touched(samples: dict[str, bytes]) -> None:
    before = (ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS, list(Image.ID))
    for data in samples.values():
        decode(data)
    assert (ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS, list(Image.ID)) == before


def test_an_image_above_pillows_own_limit_and_under_ours_is_decoded_quietly(
    encoder: Encoder,
) -> None:
    side = 9_600  # 92 million pixels; Pillow warns above 89
    assert decode(encoder(Image.new("L", (side, side), 9), "PNG")).width == side


def test_threads_decode_the_same_as_one(samples: dict[str, bytes]) -> None:
    data = list(samples.values()) * 4
    with ThreadPoolExecutor(8) as pool:
        together = [np.asarray(each.image) for each in pool.map(decode, data)]
    alone = [np.asarray(decode(each).image) for each in data]
    assert all(np.array_equal(a, b) for a, b in zip(together, alone, strict=True))


def test_heic_without_its_extra_says_what_to_install(
    samples: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(
        sys.modules, "pillow_heif", None
    )  # what an uninstalled package looks like to find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(UnsupportedFormat, match=r"lineup-forensics\[heic\]"):
        decode(samples["heic"])


@pytest.mark.corpus
def test_every_hostile_file_of_the_corpus_ends_typed_and_in_time(special_files: Path) -> None:
    decoded: dict[str, int] = {}
    for path in sorted((special_files / "badinput").iterdir()):
        try:
            with forbid_hanging():
                image = decode(path.read_bytes(), ImageLimits(min_image_side=1))
            assert image.image.size == (image.width, image.height)
            outcome = "decoded"
        except ImageError as err:
            outcome = err.reason
        decoded[outcome] = decoded.get(outcome, 0) + 1
    assert set(decoded) >= {"decoded", "truncated", "corrupt", "not_an_image", "unsupported_format"}


@pytest.mark.corpus
@pytest.mark.parametrize("kind", ["orientation", "c2pa", "metadata", "similarity"])
def test_every_sound_file_of_the_corpus_is_decoded(special_files: Path, kind: str) -> None:
    for path in sorted((special_files / kind).iterdir()):
        assert decode(path.read_bytes(), ImageLimits(min_image_side=1)).image.mode == "RGB", (
            path.name
        )


def test_a_thumbnail_is_a_small_webp_in_proportion(picture: Image.Image) -> None:
    data = make_thumbnail(picture, 60)
    small = Image.open(BytesIO(data))
    assert (small.format, small.size) == ("WEBP", (60, 45))
    assert Image.open(BytesIO(make_thumbnail(picture))).size == picture.size, "never enlarged"
    assert picture.size == (120, 90), "the picture itself stays as it was"
