from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from embedder.demonstration.photographs import load_bundled_photographs
from embedder.pictures.decode import decode
from embedder.pictures.delivery import (
    Condition,
    Delivery,
    coarser_of,
    condition_of,
    recompress_as_jpeg,
    recompress_as_webp,
    scale,
)
from embedder.pictures.limits import ImageLimits
from embedder.pictures.preprocess import CropRounding, Preprocessing, Resample, preprocess
from embedder.pictures.reencodings import (
    REENCODING_GROUPS,
    REENCODING_NAMES,
    condition_of_reencoding,
    join_reencodings,
    reencode,
)

Encoder = Callable[..., bytes]
PictureMaker = Callable[..., Image.Image]

NATIVE = Preprocessing(None, None, crop_size=32)
RESIZING = Preprocessing(40, Resample.BICUBIC, crop_size=32)


def test_a_re_encoding_that_the_model_would_refuse_is_left_out_with_its_reason(
    picture_maker: PictureMaker,
) -> None:
    found = reencode(picture_maker(50, 40), NATIVE)
    assert [(one.name, one.reason) for one in found.refused] == [
        ("scaled75", "too_small"),
        ("scaled50", "too_small"),
    ]
    assert "at least 32" in found.refused[0].detail
    assert {reencoding.name for reencoding in found.usable} == set(REENCODING_NAMES) - {
        "scaled75",
        "scaled50",
    }


def test_a_re_encoding_that_the_limits_would_refuse_is_left_out_for_a_model_that_takes_any_size(
    picture_maker: PictureMaker,
) -> None:
    found = reencode(picture_maker(50, 40), RESIZING, ImageLimits(min_image_side=35))
    assert [one.name for one in found.refused] == ["scaled75", "scaled50"]
    assert not reencode(picture_maker(50, 40), RESIZING, ImageLimits(min_image_side=1)).refused


def test_a_picture_of_the_models_own_size_still_has_the_re_encodings_that_keep_its_size(
    picture_maker: PictureMaker,
) -> None:
    found = reencode(picture_maker(32, 32), NATIVE)
    assert [reencoding.name for reencoding in found.usable] == [
        "jpeg95",
        "jpeg85",
        "jpeg75",
        "jpeg60",
        "webp80",
    ]
    assert [reencoding.name for reencoding in found.usable] + [
        one.name for one in found.refused
    ] == list(REENCODING_NAMES)


def test_a_side_that_a_format_cannot_store_leaves_out_that_re_encoding_only() -> None:
    found = reencode(Image.new("RGB", (17_000, 70), "olive"), NATIVE)
    assert [(one.name, one.reason) for one in found.refused] == [("webp80", "too_large")]


@pytest.mark.parametrize("size", [(1, 1), (3, 200)])
def test_a_picture_that_is_too_small_for_every_re_encoding_has_none(
    picture_maker: PictureMaker, size: tuple[int, int]
) -> None:
    found = reencode(picture_maker(*size), NATIVE)
    assert not found.usable
    assert [one.name for one in found.refused] == list(REENCODING_NAMES)
    assert reencode(picture_maker(*size), RESIZING, ImageLimits(min_image_side=1)).usable


@pytest.mark.parametrize("preprocessing", [NATIVE, RESIZING], ids=["native", "resizing"])
def test_every_re_encoding_shows_the_model_something_else(preprocessing: Preprocessing) -> None:
    """Crops too: off all four sides alike, one of 2 % would leave a model that reads the middle
    what it had.
    """
    image = load_bundled_photographs()[0].image.crop((100, 100, 300, 280))
    unchanged = preprocess(image, preprocessing)
    found = reencode(image, preprocessing)
    assert [reencoding.name for reencoding in found.usable] == list(REENCODING_NAMES)
    seen = {unchanged.tobytes()} | {reencoding.pixels.tobytes() for reencoding in found.usable}
    assert len(seen) == 1 + len(REENCODING_NAMES)
    for reencoding in found.usable:
        assert reencoding.pixels.dtype == np.uint8
        assert reencoding.pixels.shape == (32, 32, 3)


def test_re_encodings_are_the_same_on_each_call_and_leave_their_picture_alone(
    picture_maker: PictureMaker,
) -> None:
    picture = picture_maker(130, 110)
    before = picture.tobytes()
    one, other = reencode(picture, NATIVE), reencode(picture, NATIVE)
    assert [reencoding.pixels.tobytes() for reencoding in one.usable] == [
        reencoding.pixels.tobytes() for reencoding in other.usable
    ]
    assert picture.tobytes() == before


@pytest.mark.parametrize(
    ("name", "quality"), [("jpeg95", 95), ("jpeg85", 85), ("jpeg75", 75), ("jpeg60", 60)]
)
def test_a_re_encoding_is_what_the_re_encoded_file_would_be_as_a_probe(
    picture: Image.Image, encoder: Encoder, name: str, quality: int
) -> None:
    made = {reencoding.name: reencoding for reencoding in reencode(picture, RESIZING).usable}
    probe = decode(encoder(picture, "JPEG", quality=quality)).image
    assert np.array_equal(made[name].pixels, preprocess(probe, RESIZING))


@given(
    st.integers(150, 500),
    st.integers(150, 500),
    st.sampled_from(["floor", "half_even"]),
    st.integers(0, 2**32 - 1),
)
@settings(max_examples=15, deadline=None)
def test_what_the_model_sees_is_that_of_the_whole_picture_to_the_last_bit(
    width: int, height: int, rounding: CropRounding, seed: int
) -> None:
    photographs = load_bundled_photographs()
    image = photographs[seed % len(photographs)].image.resize((width, height))
    model = Preprocessing(None, None, crop_size=60, crop_rounding=rounding)
    wholes = {
        "jpeg95": recompress_as_jpeg(image, 95),
        "jpeg60": recompress_as_jpeg(image, 60),
        "webp80": recompress_as_webp(image, 80),
        "scaled90": scale(image, 0.9),
        "scaled75": scale(image, 0.75),
        "scaled50": scale(image, 0.5),
    }
    found = {each.name: each.pixels for each in reencode(image, model).usable}
    for name, whole in wholes.items():
        np.testing.assert_array_equal(found[name], preprocess(whole, model), name)


def test_crops_take_their_share_off_two_sides_that_meet() -> None:
    """Each pixel tells its place: red is its column, green its row."""
    rows, columns = np.mgrid[0:100, 0:200]
    image = Image.fromarray(np.stack([columns, rows, rows * 0], axis=-1).astype(np.uint8))
    made = {reencoding.name: reencoding.pixels for reencoding in reencode(image, NATIVE).usable}
    first = {name: tuple(made[name][0, 0, :2].tolist()) for name in ("cropped2", "cropped5")}
    assert first == {
        "cropped2": (4 + (196 - 32) // 2, 2 + (98 - 32) // 2),
        "cropped5": ((190 - 32) // 2, (95 - 32) // 2),
    }


@pytest.mark.parametrize("name", ["png-16", "png-alpha", "jpeg-cmyk", "png-palette"])
def test_re_encodings_of_a_decoded_picture_of_any_mode_can_be_made(
    samples: dict[str, bytes], name: str
) -> None:
    assert reencode(decode(samples[name]).image, NATIVE).usable


def test_a_crop_of_a_small_picture_takes_off_a_pixel_at_least(picture_maker: PictureMaker) -> None:
    picture = picture_maker(20, 20)
    unchanged = preprocess(picture, RESIZING)
    made = {
        reencoding.name: reencoding.pixels
        for reencoding in reencode(picture, RESIZING, ImageLimits(min_image_side=1)).usable
    }
    assert not np.array_equal(made["cropped2"], unchanged)


def test_a_re_encoding_has_been_delivered_as_its_file_would_tell_and_never_better_than_its_picture(
    picture_maker: PictureMaker,
) -> None:
    """A quality says what `condition_of` says of it; nothing brings back what an earlier delivery
    took away.
    """
    image = picture_maker(512, 512)
    as_made = {
        reencoding.name: reencoding.condition for reencoding in reencode(image, NATIVE).usable
    }
    for quality in (95, 85, 75, 60):
        assert as_made[f"jpeg{quality}"] is condition_of(Delivery("jpeg", 512, 512, quality))
    assert as_made["scaled50"] is Condition.HALF
    assert as_made == {name: condition_of_reencoding(name) for name in REENCODING_NAMES}
    once_coarse = {
        reencoding.name: reencoding.condition
        for reencoding in reencode(image, NATIVE, delivered_as=Condition.JPEG50).usable
    }
    assert set(once_coarse.values()) == {Condition.JPEG50}
    half = {
        reencoding.name: reencoding.condition
        for reencoding in reencode(image, NATIVE, delivered_as=Condition.HALF).usable
    }
    assert half["jpeg60"] is Condition.JPEG50
    assert half["jpeg75"] is half["cropped2"] is Condition.HALF


@given(
    one=st.sampled_from(Condition),
    other=st.sampled_from(Condition),
    third=st.sampled_from(Condition),
)
def test_of_two_deliveries_one_is_the_coarser_in_any_order(
    one: Condition, other: Condition, third: Condition
) -> None:
    assert coarser_of(one, other) is coarser_of(other, one)
    assert coarser_of(one, other) in (one, other)
    assert coarser_of(one, Condition.AS_IS) is coarser_of(one, one) is one
    assert coarser_of(coarser_of(one, other), third) is coarser_of(one, coarser_of(other, third))


@pytest.mark.parametrize("size", [(800, 640), (811, 643), (1200, 97), (320, 999)])
@pytest.mark.parametrize("crop", [32, 33])
def test_of_a_large_picture_a_model_that_takes_the_centre_gets_what_it_would_see_of_the_whole(
    size: tuple[int, int], crop: int
) -> None:
    image = _photograph().resize(size)
    native = Preprocessing(None, None, crop_size=crop)
    whole, part = reencode(image, native), reencode(image, native, max_pixels=1)
    assert whole.part is None
    assert part.part is not None
    assert max(part.part) < 400
    assert whole.refused == part.refused
    for one, other in zip(whole.usable, part.usable, strict=True):
        assert (one.name, one.condition) == (other.name, other.condition)
        apart = np.abs(one.pixels.astype(int) - other.pixels.astype(int))
        if one.name.startswith("scaled"):
            assert apart.max() <= 1, one.name
        elif one.name == "webp80":
            assert apart.mean() < 4, one.name
        else:
            assert not apart.any(), one.name


def test_of_a_large_picture_a_model_that_reads_it_whole_gets_it_reduced() -> None:
    image = _photograph().resize((900, 600))
    reduced = image.resize((300, 200), Image.Resampling.LANCZOS)
    found = reencode(image, RESIZING, max_pixels=60_000)
    assert found.part == (300, 200)
    for one, other in zip(found.usable, reencode(reduced, RESIZING).usable, strict=True):
        assert np.array_equal(one.pixels, other.pixels)


def test_a_picture_within_the_bound_is_re_encoded_whole() -> None:
    image = _photograph().resize((600, 400))
    for model in (NATIVE, RESIZING):
        assert reencode(image, model, max_pixels=240_000).part is None
        assert reencode(image, model, max_pixels=239_999).part is not None
    tiny = image.resize((300, 200))  # which a window covers
    assert reencode(tiny, NATIVE, max_pixels=1).part is None


def _photograph() -> Image.Image:
    return next(iter(load_bundled_photographs())).image


def test_groups_of_reencodings_are_together_what_is_made_at_once() -> None:
    image = load_bundled_photographs()[0].image
    preprocessing = Preprocessing(None, None, 160)
    assert sorted(name for group in REENCODING_GROUPS for name in group) == sorted(REENCODING_NAMES)
    at_once = reencode(image, preprocessing)
    groups = [reencode(image, preprocessing, names=each) for each in reversed(REENCODING_GROUPS)]
    joined = join_reencodings(groups)
    assert [each.name for each in joined.usable] == [each.name for each in at_once.usable]
    assert (joined.refused, joined.part) == (at_once.refused, at_once.part)
    for one, other in zip(joined.usable, at_once.usable, strict=True):
        assert one.condition is other.condition
        np.testing.assert_array_equal(one.pixels, other.pixels)
