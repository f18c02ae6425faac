"""The perceptual hash against pdqhash, which wraps its authors' own C++ code.

pdqhash ships no wheels: where no C++ compiler installed it, `test_perceptual.py` alone holds the
pinned hashes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from embedder.demonstration.photographs import load_bundled_photographs
from embedder.pictures.perceptual import PerceptualHash, compute_perceptual_hash

pdqhash = pytest.importorskip("pdqhash", reason="pdqhash is not installed: it needs a C++ compiler")

PictureMaker = Callable[..., Image.Image]
Samples = NDArray[np.uint8]  # (64, 64)

# ThreatExchange's README, pdq: two implementations agree within 10 where there is something to see.
AGREEING = 10
PHOTOGRAPHS = load_bundled_photographs()
photographs = pytest.mark.parametrize(
    "image", [each.image for each in PHOTOGRAPHS], ids=[each.name for each in PHOTOGRAPHS]
)


def reference_hash(image: Image.Image) -> PerceptualHash:
    """What pytx gives for the whole picture: its `pdq_from_file` in two lines."""
    vector, quality = pdqhash.compute(np.asarray(image))
    return PerceptualHash(np.packbits(vector.astype(np.uint8)).tobytes(), quality)


def distance(one: PerceptualHash, other: PerceptualHash) -> int:
    return (int.from_bytes(one.bits) ^ int.from_bytes(other.bits)).bit_count()


def samples(count: int) -> Iterator[Samples]:
    """Noise, flat and nearly flat pictures, ramps, blocks, walks, and symmetric pictures.

    Every second coefficient of a symmetric picture is zero but for rounding, so its bits show the
    order of the sums.
    """
    rng = np.random.default_rng(7)
    for _ in range(count):
        noise = rng.integers(0, 256, (64, 64))
        flat = np.full((64, 64), rng.integers(256))
        nearly_flat = flat.copy()
        nearly_flat[tuple(rng.integers(64, size=2))] = rng.integers(256)
        ramp = (
            np.add.outer(np.arange(64) * rng.uniform(-2, 2), np.arange(64) * rng.uniform(-2, 2))
            + 128
        )
        blocks = np.kron(rng.integers(0, 256, (8, 8)), np.ones((8, 8)))
        mirrored = np.hstack([noise[:, :32], noise[:, 31::-1]])
        quarter = (noise[:32, :32] + noise[:32, :32].T) / 2
        half = np.hstack([quarter, quarter[:, ::-1]])
        walk = np.cumsum(np.cumsum(rng.normal(size=(64, 64)), 0), 1)
        walk = (walk - walk.min()) / np.ptp(walk) * 255
        for each in (
            noise,
            flat,
            nearly_flat,
            ramp,
            blocks,
            mirrored,
            np.vstack([half, half[::-1]]),
            walk,
        ):
            yield np.clip(each, 0, 255).astype(np.uint8)


def test_bits_and_quality_are_those_of_the_reference_at_64_by_64() -> None:
    """At 64 x 64 in grey nothing is blurred or averaged: no bit may differ."""
    for each in samples(500):
        image = Image.fromarray(each).convert("RGB")
        assert compute_perceptual_hash(image) == reference_hash(image)


@photographs
def test_bits_and_quality_of_photographs_at_64_by_64_are_those_of_the_reference(
    image: Image.Image,
) -> None:
    grey = image.convert("L")
    for turn in range(0, 360, 9):
        small = grey.rotate(turn).resize((64, 64), Image.Resampling.BOX).convert("RGB")
        assert compute_perceptual_hash(small) == reference_hash(small)


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 4), (4, 4)])
def test_an_image_of_under_five_pixels_has_no_bits_in_the_reference_either(
    size: tuple[int, int], picture_maker: PictureMaker
) -> None:
    assert reference_hash(picture_maker(*size)) == PerceptualHash(bytes(32), 0)


@photographs
@pytest.mark.parametrize(
    "size", [(176, 132), (383, 385), (640, 427), (767, 768), (1280, 960), (2300, 1701), (70, 1900)]
)
def test_the_hash_agrees_with_that_of_the_whole_picture(
    image: Image.Image, size: tuple[int, int]
) -> None:
    resized = image.resize(size, Image.Resampling.BICUBIC)
    expected, made = reference_hash(resized), compute_perceptual_hash(resized)
    assert distance(made, expected) <= AGREEING
    assert abs(made.quality - expected.quality) <= 2
