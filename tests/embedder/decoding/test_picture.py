"""A picture is what the functions that it is made of make, and orders travel as JSON."""

from __future__ import annotations

import json
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from embedder.decoding.picture import PictureOrder, make_picture, make_pictures
from embedder.errors import (
    CorruptImage,
    ImageTooLarge,
    ImageTooSmall,
    NotAnImage,
    TruncatedImage,
)
from embedder.file_metadata.reading import read_file_metadata
from embedder.pictures.decode import decode, make_thumbnail
from embedder.pictures.delivery import Condition, deliver
from embedder.pictures.legibility import measure_luminance_std
from embedder.pictures.limits import ImageLimits
from embedder.pictures.perceptual import compute_perceptual_hash
from embedder.pictures.preprocess import Preprocessing, Resample, preprocess
from embedder.pictures.reencodings import REENCODING_GROUPS, REENCODING_NAMES, reencode

LIMITS = ImageLimits(min_image_side=8)
MODEL = Preprocessing(
    shortest_edge=48, resample=Resample.BICUBIC, crop_size=40, mean=(0.5,) * 3, std=(0.5,) * 3
)
NATIVE = Preprocessing(shortest_edge=None, resample=None, crop_size=40)


def encode(width: int = 70, height: int = 50, seed: int = 0, text: str | None = None) -> bytes:
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    file, info = BytesIO(), PngImagePlugin.PngInfo()
    if text is not None:
        info.add_text("parameters", text)
    Image.fromarray(noise).save(file, "PNG", pnginfo=info)
    return file.getvalue()


def test_a_file_that_cannot_be_decoded_fails_each_order_that_decodes_it() -> None:
    orders = [PictureOrder(LIMITS, MODEL), PictureOrder(LIMITS, file_metadata=True)] * 2
    made = list(make_pictures(encode(text="a landscape")[:-20], orders))
    assert [type(each) for each in made[::2]] == [TruncatedImage] * 2
    alone = make_picture(encode(text="a landscape")[:-20], orders[1])
    assert [each.file_metadata for each in made[1::2]] == [alone.file_metadata] * 2


def test_several_orders_make_what_each_of_them_makes_and_a_refusal_is_of_one_order() -> None:
    data = encode(200, 170)
    too_small = PictureOrder(LIMITS, replace(NATIVE, crop_size=300))
    read = PictureOrder(LIMITS, NATIVE, condition=True, luminance=True)
    again = replace(read, pixels=False, luminance=False, reencodings=REENCODING_GROUPS[0])
    rest = PictureOrder(LIMITS, perceptual_hash=True, view_hashes=True)
    refused, *made = make_pictures(data, [too_small, read, again, rest])
    assert isinstance(refused, ImageTooSmall)
    one, other, last = made
    expected = [make_picture(data, order) for order in (read, again, rest)]
    assert np.array_equal(one.pixels, expected[0].pixels)
    assert (one.condition, one.luminance_std) == (
        expected[0].condition,
        expected[0].luminance_std,
    )
    for mine, theirs in zip(other.reencodings.usable, expected[1].reencodings.usable, strict=True):
        assert np.array_equal(mine.pixels, theirs.pixels)
    assert last.view_hashes == expected[2].view_hashes


def test_what_is_no_image_or_cut_or_too_large_raises_a_leaf() -> None:
    order = PictureOrder(LIMITS, MODEL)
    with pytest.raises(NotAnImage):
        make_picture(b"nothing", order)
    with pytest.raises(NotAnImage):
        make_picture(b"nothing", PictureOrder(LIMITS, file_metadata=True))
    with pytest.raises(TruncatedImage):
        make_picture(encode()[:-20], order)
    whole = encode()
    with pytest.raises(CorruptImage):
        make_picture(whole[:60] + bytes(200) + whole[260:], order)
    with pytest.raises(ImageTooLarge):
        make_picture(encode(), replace(order, limits=ImageLimits(max_image_pixels=3499)))


def test_deliveries_and_reencodings_need_a_preprocessing() -> None:
    for extra in (
        {"deliveries": (Condition.HALF,)},
        {"luminance": True},
        {"reencodings": REENCODING_NAMES},
    ):
        with pytest.raises(ValueError, match="preprocessing"):
            PictureOrder(LIMITS, **extra)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="on pixels"):
        PictureOrder(LIMITS, MODEL, pixels=False, luminance=True)
    with pytest.raises(ValueError, match="thumbnail_pixels"):
        PictureOrder(LIMITS, thumbnail_pixels=0)


def test_nothing_is_made_that_was_not_ordered() -> None:
    assert PictureOrder(LIMITS).delivery is Condition.AS_IS
    picture = make_picture(encode(), PictureOrder(LIMITS))
    assert (picture.format, picture.mode) == ("png", "RGB")
    assert (picture.width, picture.height) == (70, 50)
    rest = (picture.pixels, picture.luminance_std, picture.perceptual_hash, picture.thumbnail)
    rest += (picture.file_metadata, picture.file_generator, picture.condition, picture.reencodings)
    assert set(rest) == {None}
    assert picture.deliveries == ()


def test_an_order_for_metadata_alone_decodes_nothing() -> None:
    data = encode(text="a cat\nSteps: 20, Model: dreamshaper_8")
    cut = data[: data.index(b"IDAT") + 8]
    picture = make_picture(cut, PictureOrder(LIMITS, file_metadata=True))
    assert picture.file_metadata == read_file_metadata(cut)
    assert picture.file_generator is not None
    assert picture.file_generator[0] == "dreamshaper_8"
    assert (picture.format, picture.mode, picture.width, picture.height) == ("png", "", 0, 0)


def test_everything_that_is_ordered_is_what_its_function_makes() -> None:
    data = encode(90, 64, text="Steps: 20, Model: dreamshaper_8")
    order = PictureOrder(
        LIMITS,
        MODEL,
        deliveries=(Condition.HALF, Condition.JPEG50),
        perceptual_hash=True,
        thumbnail_pixels=32,
        file_metadata=True,
        condition=True,
        luminance=True,
        reencodings=REENCODING_NAMES,
    )
    picture, image = make_picture(data, order), decode(data, LIMITS).image
    assert picture.pixels is not None
    assert np.array_equal(picture.pixels, preprocess(image, MODEL))
    assert picture.luminance_std == measure_luminance_std(picture.pixels)
    assert picture.perceptual_hash == compute_perceptual_hash(image)
    assert picture.thumbnail == make_thumbnail(image, 32)
    assert picture.file_metadata == read_file_metadata(data)
    assert picture.condition is Condition.AS_IS
    for each, condition in zip(picture.deliveries, order.deliveries, strict=True):
        delivered = deliver(image, condition)
        assert (each.condition, each.width, each.height) == (condition, *delivered.size)
        assert np.array_equal(each.pixels, preprocess(delivered, MODEL))
        assert each.perceptual_hash == compute_perceptual_hash(delivered)
        assert each.luminance_std == measure_luminance_std(each.pixels)
    assert picture.reencodings is not None
    expected = reencode(image, MODEL, LIMITS, delivered_as=Condition.AS_IS)
    for one, other in zip(picture.reencodings.usable, expected.usable, strict=True):
        assert (one.name, one.condition) == (other.name, other.condition)
        assert np.array_equal(one.pixels, other.pixels)


def test_pixels_hash_and_thumbnail_are_those_after_the_delivery() -> None:
    data = encode(90, 64)
    order = PictureOrder(
        LIMITS, MODEL, delivery=Condition.JPEG50, perceptual_hash=True, thumbnail_pixels=32
    )
    picture, image = make_picture(data, order), deliver(decode(data, LIMITS).image, order.delivery)
    assert np.array_equal(np.asarray(picture.pixels), preprocess(image, MODEL))
    assert picture.perceptual_hash == compute_perceptual_hash(image)
    assert picture.thumbnail == make_thumbnail(image, 32)


def test_reencodings_can_be_made_of_a_picture_that_is_too_small_for_the_model() -> None:
    order = PictureOrder(LIMITS, NATIVE, pixels=False, reencodings=REENCODING_NAMES)
    picture = make_picture(encode(30, 30), order)
    assert picture.pixels is None
    assert picture.reencodings is not None
    assert picture.reencodings.usable == ()
    assert {each.reason for each in picture.reencodings.refused} == {"too_small"}


def test_a_delivery_that_the_model_refuses_fails_alone_and_is_left_out_beside_others() -> None:
    data = encode(70, 50)
    asked = PictureOrder(LIMITS, NATIVE, deliveries=(Condition.HALF, Condition.JPEG75))
    assert [each.condition for each in make_picture(data, asked).deliveries] == [Condition.JPEG75]
    with pytest.raises(Exception, match="at least 40"):
        make_picture(data, PictureOrder(LIMITS, NATIVE, delivery=Condition.HALF))


def test_a_result_takes_no_more_than_its_order_says() -> None:
    order = PictureOrder(
        LIMITS,
        MODEL,
        deliveries=tuple(Condition),
        thumbnail_pixels=64,
        reencodings=REENCODING_NAMES,
    )
    picture = make_picture(encode(300, 300), order)
    assert picture.pixels is not None
    assert picture.thumbnail is not None
    assert picture.reencodings is not None
    arrays = [picture.pixels, *(each.pixels for each in picture.deliveries)]
    arrays += [each.pixels for each in picture.reencodings.usable]
    taken = sum(each.nbytes for each in arrays) + len(picture.thumbnail)
    assert order.result_bytes * 0.8 < taken <= order.result_bytes


preprocessings = st.none() | st.sampled_from(
    [
        MODEL,
        NATIVE,
        Preprocessing(None, Resample.LANCZOS, 32, "half_even", resized=(33, 40), scale=1.0),
        Preprocessing(40, Resample.BOX, 32, longest_edge=99),
    ]
)


@given(
    preprocessing=preprocessings,
    limits=st.builds(ImageLimits, st.integers(1), st.integers(1), st.integers(1, 99)),
    delivery=st.sampled_from(Condition),
    deliveries=st.lists(st.sampled_from(Condition), max_size=3).map(tuple),
    thumbnail=st.none() | st.integers(1, 512),
    flags=st.lists(st.booleans(), min_size=6, max_size=6),
)
def test_an_order_survives_json(
    preprocessing: Preprocessing | None,
    limits: ImageLimits,
    delivery: Condition,
    deliveries: tuple[Condition, ...],
    thumbnail: int | None,
    flags: list[bool],
) -> None:
    has_model = preprocessing is not None
    order = PictureOrder(
        limits,
        preprocessing,
        flags[5],
        delivery,
        deliveries if has_model else (),
        flags[0],
        thumbnail,
        flags[1],
        flags[2],
        flags[3] and flags[5] and has_model,
        REENCODING_GROUPS[0] if flags[4] and has_model else (),
    )
    assert PictureOrder.from_json(json.loads(json.dumps(order.to_json()))) == order


def test_an_order_for_unknown_reencodings_is_refused() -> None:
    with pytest.raises(ValueError, match="reencodings must be some of"):
        PictureOrder(LIMITS, MODEL, reencodings=("jpeg95", "sharpened"))


def test_an_order_with_unknown_values_is_refused() -> None:
    values = PictureOrder(LIMITS, MODEL).to_json()
    for changed in (
        {**values, "delivery": "by pigeon"},
        {**values, "unknown": 1},
        {**values, "limits": {"max_image_bytes": 1, "other": 2}},
    ):
        with pytest.raises((KeyError, TypeError, ValueError)):
            PictureOrder.from_json(changed)
