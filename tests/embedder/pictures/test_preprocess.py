from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from transformers.image_transforms import get_size_with_aspect_ratio
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from embedder.errors import ImageTooSmall
from embedder.network.registry import MODELS
from embedder.pictures.preprocess import (
    Preprocessing,
    Resample,
    compute_bounded_size,
    compute_crop_offset,
    compute_resized_size,
    normalise,
    preprocess,
)
from embedder.pictures.processors import parse_preprocessing
from tests.work import count_images

PictureMaker = Callable[..., Image.Image]

ORIGINAL = MODELS["community-forensics-384-original"].preprocessing
# Our own pixels and transformers' agree to 3e-7 (measured).
AGREEMENT = 1e-6


def values_of(image: Image.Image, preprocessing: Preprocessing) -> np.ndarray:
    return normalise(preprocess(image, preprocessing), preprocessing)


@pytest.fixture
def default(published_preprocessing: dict[str, Any]) -> Preprocessing:
    return parse_preprocessing(published_preprocessing, "preprocessor_config.json")


@pytest.mark.parametrize(
    ("width", "height"),
    [
        (640, 481),
        (481, 640),
        (500, 500),
        (384, 384),
        (440, 440),
        (33, 40),
        (7, 5),
        (1, 1),
        (3000, 2001),
        (1200, 37),
    ],
)
def test_pixels_equal_those_of_transformers_for_the_published_configuration(
    default: Preprocessing,
    published_preprocessing: dict[str, Any],
    picture_maker: PictureMaker,
    width: int,
    height: int,
) -> None:
    image = picture_maker(width, height)
    reference = CLIPImageProcessorPil(**published_preprocessing)(image, return_tensors="np")[
        "pixel_values"
    ][0]
    pixels = preprocess(image, default)
    assert (pixels.shape, pixels.dtype) == ((384, 384, 3), np.uint8)
    ours = normalise(pixels, default)
    assert (ours.shape, ours.dtype) == ((3, 384, 384), np.float32)
    assert pixels.flags.c_contiguous
    assert ours.flags.c_contiguous
    assert np.abs(ours - reference).max() <= AGREEMENT


def test_the_two_published_specifications_give_different_pixels(
    default: Preprocessing, picture_maker: PictureMaker
) -> None:
    assert ORIGINAL is not None
    image = picture_maker(641, 480)
    difference = np.abs(values_of(image, default) - values_of(image, ORIGINAL))
    assert difference.mean() > 0.05
    assert default.fingerprint != ORIGINAL.fingerprint
    same_numbers = Preprocessing(440, Resample.BICUBIC, 384, "floor", ORIGINAL.mean, ORIGINAL.std)
    assert np.abs(values_of(image, same_numbers) - values_of(image, ORIGINAL)).max() > 0.01, (
        "the filter counts too"
    )


def test_the_registry_holds_the_specification_that_the_original_checkpoint_does_not_publish() -> (
    None
):
    assert (
        Preprocessing(
            440, Resample.BILINEAR, 384, "half_even", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
        )
        == ORIGINAL
    )


def test_an_odd_centre_is_floored_or_rounded_half_to_even() -> None:
    assert [compute_crop_offset(length, 384, "floor") for length in (384, 385, 386, 387, 389)] == [
        0,
        0,
        1,
        1,
        2,
    ]
    assert [
        compute_crop_offset(length, 384, "half_even") for length in (384, 385, 386, 387, 389)
    ] == [
        0,
        0,
        1,
        2,
        2,
    ]


@given(st.integers(1, 20_000), st.integers(1, 20_000))
def test_the_shorter_side_becomes_the_edge_and_the_longer_is_floored(
    width: int, height: int
) -> None:
    new_width, new_height = compute_resized_size(width, height, 440)
    assert min(new_width, new_height) == 440
    assert max(new_width, new_height) == int(440 * max(width, height) / min(width, height))


def test_an_image_smaller_than_the_crop_of_a_model_that_does_not_resize_is_refused_not_padded(
    picture_maker: PictureMaker,
) -> None:
    native = Preprocessing(None, None, 160)
    assert native.min_side == 160
    for size in ((159, 300), (300, 159), (1, 1)):
        with pytest.raises(ImageTooSmall) as refused:
            preprocess(picture_maker(*size), native)
        assert (refused.value.width, refused.value.height, refused.value.min_side) == (*size, 160)
    assert Preprocessing(440, Resample.BICUBIC, 384).min_side == 1
    image = picture_maker(163, 201)
    centre = np.asarray(image)[20:180, 1:161]
    assert np.array_equal(preprocess(image, native), centre)
    assert np.allclose(values_of(image, native), centre.transpose(2, 0, 1) / 255, atol=1e-7)


def test_only_rgb_is_taken() -> None:
    with pytest.raises(ValueError, match="decode it first"):
        preprocess(Image.new("L", (200, 200)), Preprocessing(None, None, 160))


def test_a_sliver_is_cropped_without_the_memory_of_the_whole(
    default: Preprocessing, picture_maker: PictureMaker
) -> None:
    """33 x 200,000 pixels: 1.2 billion once resized."""
    sliver = picture_maker(33, 1000).resize((33, 200_000), Image.Resampling.NEAREST)
    with count_images() as made:
        pixels = preprocess(sliver, default)
    assert pixels.shape == (384, 384, 3)
    assert made.blocks <= 2 * made.images  # a block has 16 MiB; the whole would need 300


@pytest.mark.parametrize("size", [(865, 395), (42, 266), (1200, 37), (500, 500)])
def test_cropping_by_box_is_within_one_level_of_the_whole_resize(
    default: Preprocessing,
    picture_maker: PictureMaker,
    monkeypatch: pytest.MonkeyPatch,
    size: tuple[int, int],
) -> None:
    image = picture_maker(*size)
    whole = preprocess(image, default).astype(int)
    monkeypatch.setattr(sys.modules["embedder.pictures.preprocess"], "MAX_RESIZED_PIXELS", 0)
    assert np.abs(preprocess(image, default) - whole).max() <= 1


def test_the_published_file_of_306_bytes_is_read_whole(default: Preprocessing) -> None:
    assert default == Preprocessing(
        shortest_edge=440,
        resample=Resample.BICUBIC,
        crop_size=384,
        crop_rounding="floor",
        mean=(0.48145466, 0.4578275, 0.40821073),
        std=(0.26862954, 0.26130258, 0.27577711),
    )


def test_the_fingerprint_is_stable_and_changes_with_every_field(default: Preprocessing) -> None:
    # Vectors in users' databases carry this number: it must never change for the same
    # specification.
    assert default.fingerprint == "00d6494a86256753cd2a57b8b9d66103a1878a869a7a8f0d42d809bf9d1d026b"
    others = [
        Preprocessing(441, Resample.BICUBIC, 384, "floor", default.mean, default.std),
        Preprocessing(440, Resample.LANCZOS, 384, "floor", default.mean, default.std),
        Preprocessing(440, Resample.BICUBIC, 380, "floor", default.mean, default.std),
        Preprocessing(440, Resample.BICUBIC, 384, "half_even", default.mean, default.std),
        Preprocessing(440, Resample.BICUBIC, 384, "floor", (0.5, 0.5, 0.5), default.std),
        Preprocessing(440, Resample.BICUBIC, 384, "floor", default.mean, (0.5, 0.5, 0.5)),
        Preprocessing(440, Resample.BICUBIC, 384, "floor"),
        Preprocessing(None, None, 384, "floor", default.mean, default.std),
        replace(default, scale=1 / 127.5),
        replace(default, longest_edge=900),
        replace(default, shortest_edge=None, resized=(440, 440)),
        replace(default, shortest_edge=None, resized=(440, 441)),
    ]
    assert len({default.fingerprint, *(each.fingerprint for each in others)}) == 13


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"resized": (440, 440)}, "only one"),
        ({"shortest_edge": None, "resized": (440, 383)}, "at least as large"),
        ({"resample": None}, "together"),
        ({"longest_edge": 439}, "at least shortest_edge"),
        ({"std": None}, "together"),
        ({"scale": 0.0}, "scale must be positive"),
        ({"scale": float("nan")}, "scale must be positive"),
        ({"std": (0.5, float("nan"), 0.5)}, "std must be positive"),
    ],
)
def test_a_specification_that_contradicts_itself_is_refused(
    default: Preprocessing, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        replace(default, **changes)


@given(st.integers(1, 20_000), st.integers(1, 20_000))
def test_a_bounded_size_is_that_of_transformers(width: int, height: int) -> None:
    expected = get_size_with_aspect_ratio((height, width), 440, 900)
    assert compute_bounded_size(width, height, 440, 900) == expected[::-1]


def test_an_image_that_the_longest_edge_makes_smaller_than_the_crop_is_refused(
    default: Preprocessing, picture_maker: PictureMaker
) -> None:
    bounded = replace(default, longest_edge=900)
    with pytest.raises(ImageTooSmall) as refused:
        preprocess(picture_maker(900, 383), bounded)
    assert refused.value.min_side == 384
    assert preprocess(picture_maker(900, 384), bounded).shape == (384, 384, 3)
