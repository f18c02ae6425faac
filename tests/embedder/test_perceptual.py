from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from itertools import combinations

import numpy as np
import pdqhash
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from embedder import PerceptualHash, perceptual_hash
from embedder.perceptual import _pixel_weights, _tent
from embedder.photographs import bundled_photographs

PictureMaker = Callable[..., Image.Image]

# ThreatExchange's README, pdq: two pictures are alike within 31, two implementations agree within 10 where there is
# something to see, and hashes of a quality under 50 are to be discarded.
ALIKE, AGREEING, SOMETHING_TO_SEE = 31, 10, 50
PHOTOGRAPHS = bundled_photographs()


def distance(one: PerceptualHash, other: PerceptualHash) -> int:
    return (int.from_bytes(one.bits) ^ int.from_bytes(other.bits)).bit_count()


def hash_of_the_whole(image: Image.Image) -> tuple[str, int]:
    """The hexadecimal digits and the quality that pytx gives: its `pdq_from_file` in three lines."""
    vector, quality = pdqhash.compute(np.asarray(image))
    return f"{int(''.join(str(bit) for bit in vector), 2):064x}", quality


def at_jpeg_quality(image: Image.Image, quality: int) -> Image.Image:
    buffer = BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).convert("RGB")


def photographs() -> pytest.MarkDecorator:
    return pytest.mark.parametrize(
        "image", [each.image for each in PHOTOGRAPHS], ids=[each.name for each in PHOTOGRAPHS]
    )


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 4), (4, 4)])
def test_an_image_of_under_five_pixels_has_no_bits_as_in_the_reference(
    size: tuple[int, int], picture_maker: PictureMaker
) -> None:
    image = picture_maker(*size)
    assert perceptual_hash(image) == PerceptualHash(bytes(32), 0)
    assert hash_of_the_whole(image) == ("00" * 32, 0)


@pytest.mark.parametrize("colour", ["black", "white", "red", "#808080"])
def test_a_flat_picture_has_no_quality(colour: str) -> None:
    assert perceptual_hash(Image.new("RGB", (800, 600), colour)).quality == 0
    barely = Image.new("RGB", (800, 600), colour)
    barely.paste("#7f7f7f", (300, 200, 420, 330))
    assert perceptual_hash(barely).quality < SOMETHING_TO_SEE


@pytest.mark.parametrize("pair", list(combinations(range(len(PHOTOGRAPHS)), 2)), ids=str)
def test_different_photographs_are_not_alike(pair: tuple[int, int]) -> None:
    one, other = (perceptual_hash(PHOTOGRAPHS[n].image) for n in pair)
    assert distance(one, other) > ALIKE


@photographs()
def test_a_photograph_at_another_quality_or_size_is_alike(image: Image.Image) -> None:
    whole = perceptual_hash(image)
    assert whole.quality >= SOMETHING_TO_SEE
    assert len(whole.bits) == 32
    for other in (at_jpeg_quality(image, 75), at_jpeg_quality(image, 30), image.reduce(2), image.resize((1800, 1500))):
        assert distance(whole, perceptual_hash(other)) <= ALIKE


@photographs()
@pytest.mark.parametrize(
    "size", [(176, 132), (383, 385), (640, 427), (767, 768), (1280, 960), (2300, 1701), (70, 1900)]
)
def test_the_hash_agrees_with_that_of_the_whole_picture(image: Image.Image, size: tuple[int, int]) -> None:
    resized = image.resize(size, Image.Resampling.BICUBIC)
    digits, quality = hash_of_the_whole(resized)
    made = perceptual_hash(resized)
    assert distance(made, PerceptualHash(bytes.fromhex(digits), quality)) <= AGREEING
    assert abs(made.quality - quality) <= 2


def test_the_bits_are_in_the_order_of_the_usual_digits(picture_maker: PictureMaker) -> None:
    """At 64 x 64 in whole grey values nothing is blurred or rounded: the digits are pytx's, one for one."""
    for seed in range(10):
        image = picture_maker(64, 64, seed).convert("L").convert("RGB")
        assert perceptual_hash(image).bits.hex() == hash_of_the_whole(image)[0]


def test_a_picture_and_the_same_turned_are_not_alike() -> None:
    """So it matters that the hash is of the picture as it is seen, upright."""
    image = PHOTOGRAPHS[0].image
    assert distance(perceptual_hash(image), perceptual_hash(image.transpose(Image.Transpose.ROTATE_90))) > ALIKE


@settings(max_examples=60, deadline=None)
@given(length=st.integers(5, 3000), factor=st.integers(1, 9))
def test_each_sample_is_made_of_shares_that_sum_to_one(length: int, factor: int) -> None:
    _, weights = _pixel_weights(length)
    tent = _tent(length, factor)
    assert np.abs(weights.sum(axis=1) - 1).max() < 1e-9
    assert weights.min() > -1e-12
    assert np.abs(tent.shares.sum(axis=1) - 1).max() < 1e-5
    assert tent.cells.min() >= 0
    assert tent.cells.max() <= (length - 1) // factor


@pytest.mark.parametrize("length", [5, 63, 64, 65, 127, 128, 129, 500, 1000])
def test_the_tent_is_the_running_means_of_the_reference(length: int) -> None:
    """Written out: a mean over each window, twice, and the pixel in the middle of each block."""
    window = -(-length // 128)
    ahead = (window + 2) // 2

    def means(values: np.ndarray) -> np.ndarray:
        return np.array([values[max(0, n + ahead - window) : n + ahead].mean() for n in range(length)])

    values = np.random.default_rng(length).random(length)
    expected = means(means(values))[((np.arange(64) + 0.5) * length / 64).astype(int)]
    tent = _tent(length, 1)
    assert np.abs((values[tent.cells] * tent.shares).sum(axis=1) - expected).max() < 1e-5


def test_a_very_long_picture_takes_little_memory_and_time() -> None:
    first, weights = _pixel_weights(3_000_000)
    assert weights.shape == (64, 2 * -(-3_000_000 // 128) - 1)
    assert first.shape == (64,)


def test_threads_may_hash_at_the_same_time() -> None:
    images = [photograph.image.resize((n, 500)) for n in (300, 777, 1300) for photograph in PHOTOGRAPHS]
    expected = [perceptual_hash(image) for image in images]
    _tent.cache_clear()
    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(perceptual_hash, images * 4)) == expected * 4
