from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from embedder.errors import ImageTooLarge
from embedder.file_metadata.reading import read_file_metadata
from embedder.pictures.decode import decode
from embedder.pictures.delivery import (
    RE_ENCODINGS,
    Condition,
    Delivery,
    coarser_of,
    condition_of,
    deliver,
    delivery_of,
)
from embedder.pictures.sniff import FORMATS

Encoder = Callable[..., bytes]
PictureMaker = Callable[..., Image.Image]


def recognise(data: bytes) -> Condition:
    return condition_of(delivery_of(data, decode(data)))


def difference(one: Image.Image, other: Image.Image) -> float:
    """RMS in levels of 255."""
    return float(
        np.sqrt(np.square(np.asarray(one, np.float64) - np.asarray(other, np.float64)).mean())
    )


# Recognising the condition of a file


@settings(max_examples=300, deadline=None)
@given(
    st.builds(
        Delivery,
        format=st.sampled_from(FORMATS) | st.text(max_size=5),
        width=st.integers(1, 10**6),
        height=st.integers(1, 10**6),
        jpeg_quality=st.none() | st.integers(1, 100),
        webp_lossless=st.booleans(),
        names_screenshot=st.booleans(),
        shows_screen=st.booleans(),
        is_resampled=st.booleans(),
    )
)
def test_every_file_has_one_condition_however_it_is_turned(delivery: Delivery) -> None:
    condition = condition_of(delivery)
    is_screenshot = delivery.names_screenshot or delivery.shows_screen or delivery.is_resampled
    lossy_jpeg = {Condition.JPEG50, Condition.JPEG75, Condition.JPEG90}
    possible = {
        "jpeg": lossy_jpeg | {Condition.HALF, Condition.AS_IS},
        "avif": {Condition.WEBP80},
        "heic": {Condition.HALF, Condition.AS_IS},
    }.get(delivery.format, {Condition.AS_IS})
    if delivery.format == "webp" and not delivery.webp_lossless:
        possible = {Condition.WEBP80}
    if is_screenshot:
        possible = {coarser_of(each, Condition.SCREENSHOT) for each in possible}
    assert condition in possible
    turned = replace(delivery, width=delivery.height, height=delivery.width)
    assert condition_of(turned) is condition


@pytest.mark.parametrize("size", [(4000, 3000), (200, 300)])
def test_a_jpeg_of_lower_quality_is_never_taken_for_a_finer_condition(
    size: tuple[int, int],
) -> None:
    order = [Condition.JPEG50, Condition.JPEG75, Condition.JPEG90, Condition.HALF, Condition.AS_IS]
    ranks = [
        order.index(condition_of(Delivery("jpeg", *size, quality))) for quality in range(1, 101)
    ]
    assert ranks == sorted(ranks)


@pytest.mark.parametrize(
    ("delivery", "condition"),
    [
        (Delivery("jpeg", 4000, 3000, 95), Condition.AS_IS),
        (Delivery("jpeg", 4000, 3000, 94), Condition.JPEG90),
        (Delivery("jpeg", 4000, 3000, 83), Condition.JPEG90),
        (Delivery("jpeg", 4000, 3000, 82), Condition.JPEG75),
        (Delivery("jpeg", 4000, 3000, 63), Condition.JPEG75),
        (Delivery("jpeg", 4000, 3000, 62), Condition.JPEG50),
        (Delivery("jpeg", 4000, 3000, None), Condition.JPEG75),
        (Delivery("jpeg", 257, 300, 85), Condition.JPEG90),
        (Delivery("jpeg", 256, 300, 85), Condition.HALF),
        (Delivery("jpeg", 256, 300, 100), Condition.HALF),
        (Delivery("jpeg", 256, 300, 50), Condition.JPEG50),
        (Delivery("webp", 1024, 1024), Condition.WEBP80),
        (Delivery("webp", 1024, 1024, webp_lossless=True), Condition.AS_IS),
        (Delivery("avif", 1024, 1024), Condition.WEBP80),
        (Delivery("heic", 4032, 3024), Condition.AS_IS),
        (Delivery("heic", 256, 192), Condition.HALF),
        (Delivery("png", 1024, 1024), Condition.AS_IS),
        (Delivery("png", 256, 256), Condition.AS_IS),
        (Delivery("png", 248, 256), Condition.AS_IS),
        (Delivery("png", 819, 819), Condition.AS_IS),
        (Delivery("png", 1080, 1920), Condition.AS_IS),
        (Delivery("bmp", 1366, 768), Condition.AS_IS),
        (Delivery("png", 819, 819, names_screenshot=True), Condition.SCREENSHOT),
        (Delivery("png", 819, 819, is_resampled=True), Condition.SCREENSHOT),
        (Delivery("bmp", 1366, 768, shows_screen=True), Condition.SCREENSHOT),
        (Delivery("jpeg", 1080, 1920, 95, names_screenshot=True), Condition.SCREENSHOT),
        (Delivery("jpeg", 1080, 1920, 75, names_screenshot=True), Condition.JPEG75),
        (Delivery("tiff", 4000, 3000), Condition.AS_IS),
        (Delivery("gif", 512, 512), Condition.AS_IS),
    ],
    ids=str,
)
def test_the_rules(delivery: Delivery, condition: Condition) -> None:
    assert condition_of(delivery) is condition


@pytest.mark.parametrize(
    ("format", "options", "condition"),
    [
        ("JPEG", {"quality": 90}, Condition.JPEG90),
        ("JPEG", {"quality": 75}, Condition.JPEG75),
        ("JPEG", {"quality": 50}, Condition.JPEG50),
        ("JPEG", {"quality": 98}, Condition.AS_IS),
        ("WEBP", {"quality": 80}, Condition.WEBP80),
        ("WEBP", {"lossless": True}, Condition.AS_IS),
        ("WEBP", {"lossless": True, "exif": b"Exif\x00\x00"}, Condition.AS_IS),
        ("PNG", {}, Condition.AS_IS),
    ],
    ids=str,
)
def test_a_real_file_is_reported_by_its_bytes(
    picture_maker: PictureMaker,
    encoder: Encoder,
    format: str,
    options: dict[str, Any],
    condition: Condition,
) -> None:
    assert recognise(encoder(picture_maker(512, 384), format, **options)) is condition


@pytest.mark.parametrize("lossless", [False, True])
def test_of_an_animated_webp_the_first_frame_counts(
    picture_maker: PictureMaker, encoder: Encoder, lossless: bool
) -> None:
    frames = [picture_maker(264, 264, seed) for seed in (1, 2)]
    data = encoder(frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=lossless)
    assert b"ANMF" in data
    assert delivery_of(data, decode(data)).webp_lossless is lossless


# ---- making a delivery


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (33, 1)])
@pytest.mark.parametrize("condition", Condition)
def test_a_picture_that_is_too_small_for_any_model_is_made_all_the_same(
    picture_maker: PictureMaker, condition: Condition, size: tuple[int, int]
) -> None:
    made = deliver(picture_maker(*size), condition)
    assert made.mode == "RGB"
    assert min(made.size) >= 1


def test_a_side_that_a_format_cannot_store_is_an_image_error() -> None:
    sliver = Image.new("RGB", (70_000, 32))
    for condition in (Condition.JPEG75, Condition.WEBP80):
        with pytest.raises(ImageTooLarge):
            deliver(sliver, condition)
    assert deliver(sliver, Condition.HALF).size == (35_000, 16)
    with pytest.raises(ImageTooLarge):
        deliver(Image.new("RGB", (16_384, 32)), Condition.WEBP80)


@pytest.mark.parametrize("condition", Condition)
def test_a_delivery_is_the_same_on_each_call_and_leaves_its_picture_alone(
    picture: Image.Image, condition: Condition
) -> None:
    before = picture.tobytes()
    one, other = deliver(picture, condition), deliver(picture, condition)
    assert one.tobytes() == other.tobytes()
    assert one is not picture
    assert picture.tobytes() == before


@pytest.mark.parametrize("condition", Condition)
def test_no_metadata_comes_through(picture: Image.Image, condition: Condition) -> None:
    tagged = picture.copy()
    tagged.info = {
        "icc_profile": b"profile",
        "exif": b"Exif\x00\x00",
        "transparency": (1, 2, 3),
        "comment": b"who",
    }
    made = deliver(tagged, condition)
    assert not made.info
    assert made.tobytes() == deliver(picture, condition).tobytes()


def test_each_condition_changes_the_picture_and_coarser_ones_more(picture: Image.Image) -> None:
    assert deliver(picture, Condition.AS_IS).tobytes() == picture.tobytes()
    ladder = [Condition.AS_IS, Condition.JPEG90, Condition.JPEG75, Condition.JPEG50]
    errors = [difference(deliver(picture, condition), picture) for condition in ladder]
    assert errors == sorted(set(errors))
    assert deliver(picture, Condition.HALF).size == (60, 45)
    assert deliver(picture, Condition.SCREENSHOT).size == (96, 72)
    assert difference(deliver(picture, Condition.WEBP80), picture) > 1
    assert set(RE_ENCODINGS) == set(Condition) - {Condition.AS_IS}


def test_jpeg_strata_are_what_their_qualities_write(picture: Image.Image, encoder: Encoder) -> None:
    for condition, quality in (
        (Condition.JPEG90, 90),
        (Condition.JPEG75, 75),
        (Condition.JPEG50, 50),
    ):
        assert (
            deliver(picture, condition).tobytes()
            == decode(encoder(picture, "JPEG", quality=quality)).image.tobytes()
        )


def test_a_screenshot_samples_the_four_nearest_pixels() -> None:
    """Two columns of five become four a fifth of a pixel off, as a browser's bilinear texture does
    it.
    """
    ramp = Image.fromarray(
        np.repeat(np.arange(0, 250, 25, dtype=np.uint8)[None, :, None], 3, axis=2).repeat(
            10, axis=0
        )
    )
    row = np.asarray(deliver(ramp, Condition.SCREENSHOT))[4, :, 0].astype(int)
    expected = [25 * (1.25 * (column + 0.5) - 0.5) for column in range(8)]
    assert np.abs(row - expected).max() <= 1


@pytest.mark.parametrize("condition", RE_ENCODINGS)
def test_a_picture_of_a_generators_size_is_reported_after_its_delivery(
    picture_maker: PictureMaker, encoder: Encoder, condition: Condition
) -> None:
    """As the file that was written; `deliver` gives its pixels.

    At 0.8 of the size the weights repeat every four pixels, as the blocks of codecs do. So this
    screenshot is not recognised by its pixels, and those of most other sizes are.
    """
    made = deliver(picture_maker(512, 512), condition)
    written_as, options = {
        Condition.JPEG90: ("JPEG", {"quality": 90}),
        Condition.JPEG75: ("JPEG", {"quality": 75}),
        Condition.JPEG50: ("JPEG", {"quality": 50}),
        Condition.WEBP80: ("WEBP", {"quality": 80}),
        Condition.HALF: ("JPEG", {"quality": 85}),
        Condition.SCREENSHOT: ("PNG", {}),
    }[condition]
    expected = Condition.AS_IS if condition is Condition.SCREENSHOT else condition
    assert recognise(encoder(made, written_as, **options)) is expected


@pytest.mark.parametrize("format", ["PNG", "BMP", "TIFF", "GIF"])
@pytest.mark.parametrize("size", [(512, 512), (501, 377), (230, 250), (1080, 1920)], ids=str)
def test_a_picture_without_camera_data_is_no_screenshot_whatever_its_size(
    picture_maker: PictureMaker, encoder: Encoder, format: str, size: tuple[int, int]
) -> None:
    assert recognise(encoder(picture_maker(*size), format)) is Condition.AS_IS


def test_what_the_file_says_is_read_from_its_metadata(
    picture_maker: PictureMaker, encoder: Encoder
) -> None:
    texts = PngInfo()
    texts.add_text("Software", "gnome-screenshot")
    data = encoder(picture_maker(300, 200), "PNG", pnginfo=texts)
    assert recognise(data) is Condition.AS_IS
    delivery = delivery_of(data, decode(data), read_file_metadata(data))
    assert condition_of(delivery) is Condition.SCREENSHOT
