from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from embedder.demonstration.photographs import Photograph, load_bundled_photographs
from embedder.pictures.decode import decode
from embedder.pictures.legibility import (
    MIN_LUMINANCE_STD,
    MIN_PDQ_QUALITY,
    PictureQuality,
    is_flat,
    measure_luminance_std,
    measure_quality,
)
from embedder.pictures.perceptual import compute_perceptual_hash
from embedder.pictures.preprocess import Preprocessing, preprocess

Encoder = Callable[..., bytes]

MIDDLE = Preprocessing(None, None, crop_size=160, mean=(0.5, 0.4, 0.3), std=(0.5, 0.25, 0.2))


def quality_of(image: Image.Image, encoder: Encoder, **options: int) -> PictureQuality:
    decoded = decode(encoder(image, "JPEG" if options else "PNG", **options))
    return measure_quality(
        decoded, compute_perceptual_hash(decoded.image), preprocess(decoded.image, MIDDLE)
    )


def noisy(deviation: float) -> Image.Image:
    noise = np.random.default_rng(1).normal(128, deviation, (300, 400, 1)).repeat(3, axis=2)
    return Image.fromarray(np.clip(np.rint(noise), 0, 255).astype(np.uint8))


@pytest.mark.parametrize("colour", ["black", "white", "red", "#808080"])
def test_a_constant_colour_is_flat(encoder: Encoder, colour: str) -> None:
    quality = quality_of(Image.new("RGB", (400, 300), colour), encoder)
    assert (quality.shortest_side, quality.pdq_quality) == (300, 0)
    assert quality.luminance_std == pytest.approx(0, abs=1e-3)
    assert is_flat(quality)


@pytest.mark.parametrize("deviation", [0.5, 2, 5])
def test_weak_noise_on_grey_is_flat_before_and_after_compression(
    encoder: Encoder, deviation: float
) -> None:
    assert is_flat(quality_of(noisy(deviation), encoder))
    assert is_flat(quality_of(noisy(deviation), encoder, quality=75))


def test_a_rich_picture_of_which_the_model_reads_a_plain_patch_is_flat(encoder: Encoder) -> None:
    image = load_bundled_photographs()[0].image.copy()
    image.paste("#d00010", (160, 160, 352, 352))
    quality = quality_of(image, encoder)
    assert quality.pdq_quality is not None
    assert quality.pdq_quality >= MIN_PDQ_QUALITY
    assert is_flat(quality)


def test_what_is_not_known_does_not_count() -> None:
    assert not is_flat(PictureQuality(300, None, None))
    assert is_flat(PictureQuality(300, MIN_PDQ_QUALITY - 1, None))
    assert is_flat(PictureQuality(300, None, MIN_LUMINANCE_STD - 0.01))
    assert not is_flat(PictureQuality(300, MIN_PDQ_QUALITY, MIN_LUMINANCE_STD))


def test_the_deviation_is_that_of_the_picture_as_pillow_weighs_its_colours() -> None:
    image = load_bundled_photographs()[1].image.crop((100, 100, 260, 260))
    expected = np.asarray(image.convert("L"), np.float64).std()
    assert measure_luminance_std(preprocess(image, MIDDLE)) == pytest.approx(expected, abs=0.1)


@pytest.mark.parametrize(
    "photograph", load_bundled_photographs(), ids=lambda photograph: photograph.name
)
def test_a_photograph_is_not_flat_however_it_was_compressed(
    encoder: Encoder, photograph: Photograph
) -> None:
    assert not is_flat(quality_of(photograph.image, encoder))
    assert not is_flat(quality_of(photograph.image, encoder, quality=30))
