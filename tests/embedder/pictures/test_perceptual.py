from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from io import BytesIO
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from embedder.demonstration.photographs import load_bundled_photographs
from embedder.pictures.perceptual import (
    PerceptualHash,
    _cosines,
    _pixel_weights,
    _tent,
    _transform,
    compute_perceptual_hash,
    sample_windows,
)

PictureMaker = Callable[..., Image.Image]

# ThreatExchange's README, pdq: two pictures are alike within 31, and hashes of a quality under 50
# are to be discarded.
ALIKE, SOMETHING_TO_SEE = 31, 50
PHOTOGRAPHS = load_bundled_photographs()
PATTERNS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "xor": lambda rows, columns: rows ^ columns,
    "products": lambda rows, columns: rows * columns * 7 % 251,
    "rings": lambda rows, columns: ((columns - 31) ** 2 + (rows - 20) ** 2) // 9,
    "blocks": lambda rows, columns: rows // 8 * 37 + columns // 8 * 91,
}
# By pdqhash 0.2.8, of the 64 x 64 samples: (pattern, width and height, digits, quality).
PINNED = [
    ("xor", (64, 64), "9af38829cabcae44f56398fbe8db0874db3317abf1012f8e1980999b7778444c", 71),
    ("xor", (300, 200), "ba0cc773ba8cfbd4140b01f7188cc1f3457341f4be0bee233a8cee33c6731a94", 100),
    ("products", (64, 64), "9bc8127f27bad4c883dd3177e998ae49bafddd9a64806ec8fbda4c8064484d81", 100),
    (
        "products",
        (300, 200),
        "45cb4180fa2b388a07f539d42754382f2d5fc5d32c7f6cfe09993eb43a344e94",
        100,
    ),
    ("rings", (64, 64), "5feaa0555fa881577ea8015ffaa0055ffa80057eea8585fa7a05a5ea5015abea", 100),
    ("rings", (300, 200), "1fef7e9f701fe01c80a097e017e21f8f7c1f7e1fe01fb0b0807087e087e08fe0", 100),
    ("blocks", (64, 64), "d46aa1bd031fd6caa1bd68f4bd21746819330b9742de178bdec229b57c605e42", 100),
    ("blocks", (300, 200), "60a9457555efaaa295af6cf09def8c34a5ff80b8160083345681e3e696a3e3f1", 100),
]


def distance(one: PerceptualHash, other: PerceptualHash) -> int:
    return (int.from_bytes(one.bits) ^ int.from_bytes(other.bits)).bit_count()


def at_jpeg_quality(image: Image.Image, quality: int) -> Image.Image:
    buffer = BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).convert("RGB")


def photographs() -> pytest.MarkDecorator:
    return pytest.mark.parametrize(
        "image", [each.image for each in PHOTOGRAPHS], ids=[each.name for each in PHOTOGRAPHS]
    )


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 4), (4, 4)])
def test_an_image_of_under_five_pixels_has_no_bits(
    size: tuple[int, int], picture_maker: PictureMaker
) -> None:
    image = picture_maker(*size)
    assert compute_perceptual_hash(image) == PerceptualHash(bytes(32), 0)


@pytest.mark.parametrize("colour", ["black", "white", "red", "#808080"])
def test_a_flat_picture_has_no_quality(colour: str) -> None:
    assert compute_perceptual_hash(Image.new("RGB", (800, 600), colour)).quality == 0
    barely = Image.new("RGB", (800, 600), colour)
    barely.paste("#7f7f7f", (300, 200, 420, 330))
    assert compute_perceptual_hash(barely).quality < SOMETHING_TO_SEE


@pytest.mark.parametrize("pair", list(combinations(range(len(PHOTOGRAPHS)), 2)), ids=str)
def test_different_photographs_are_not_alike(pair: tuple[int, int]) -> None:
    one, other = (compute_perceptual_hash(PHOTOGRAPHS[n].image) for n in pair)
    assert distance(one, other) > ALIKE


@photographs()
def test_a_photograph_at_another_quality_or_size_is_alike(image: Image.Image) -> None:
    whole = compute_perceptual_hash(image)
    assert whole.quality >= SOMETHING_TO_SEE
    assert len(whole.bits) == 32
    for other in (
        at_jpeg_quality(image, 75),
        at_jpeg_quality(image, 30),
        image.reduce(2),
        image.resize((1800, 1500)),
    ):
        assert distance(whole, compute_perceptual_hash(other)) <= ALIKE


@pytest.mark.parametrize(("pattern", "size", "digits", "quality"), PINNED)
def test_a_pinned_hash_stays_as_pdqhash_computed_it(
    pattern: str, size: tuple[int, int], digits: str, quality: int
) -> None:
    """Databases compare the hashes of all releases, so no hash may ever change."""
    columns, rows = np.meshgrid(np.arange(size[0]), np.arange(size[1]))
    image = Image.fromarray((PATTERNS[pattern](rows, columns) % 256).astype(np.uint8)).convert(
        "RGB"
    )
    assert compute_perceptual_hash(image) == PerceptualHash(bytes.fromhex(digits), quality)


def test_each_coefficient_is_summed_from_the_first_sample_to_the_last() -> None:
    """The loops of `dct64To16`, written out: another order of the sums rounds differently."""
    samples = np.random.default_rng(3).integers(0, 256, (64, 64)).astype(np.float32)
    cosines = _cosines()
    columns, expected = np.zeros((16, 64), np.float32), np.zeros((16, 16), np.float32)
    for k in range(64):
        for i in range(16):
            columns[i] += cosines[k, i] * samples[k]
    for k in range(64):
        for i in range(16):
            for j in range(16):
                expected[i, j] += columns[i, k] * cosines[k, j]
    assert np.array_equal(_transform(samples), expected)
    assert not np.array_equal(cosines.T @ samples @ cosines, expected)


def test_the_cosines_are_the_same_numbers_on_every_machine() -> None:
    digest = "bfd23eb20fd28e4b738aad5062f34114a724462eaa8cb68e34d0dad11b23f7de"
    assert sha256(_cosines().astype("<f4").tobytes()).hexdigest() == digest


def test_a_picture_and_the_same_turned_are_not_alike() -> None:
    """So it matters that the hash is of the picture as it is seen, upright."""
    image = PHOTOGRAPHS[0].image
    assert (
        distance(
            compute_perceptual_hash(image),
            compute_perceptual_hash(image.transpose(Image.Transpose.ROTATE_90)),
        )
        > ALIKE
    )


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
        return np.array(
            [values[max(0, n + ahead - window) : n + ahead].mean() for n in range(length)]
        )

    values = np.random.default_rng(length).random(length)
    expected = means(means(values))[((np.arange(64) + 0.5) * length / 64).astype(int)]
    tent = _tent(length, 1)
    assert np.abs((values[tent.cells] * tent.shares).sum(axis=1) - expected).max() < 1e-5


def test_a_very_long_picture_takes_little_memory_and_time() -> None:
    first, weights = _pixel_weights(3_000_000)
    assert weights.shape == (64, 2 * -(-3_000_000 // 128) - 1)
    assert first.shape == (64,)


def test_threads_may_hash_at_the_same_time() -> None:
    images = [
        photograph.image.resize((n, 500)) for n in (300, 777, 1300) for photograph in PHOTOGRAPHS
    ]
    expected = [compute_perceptual_hash(image) for image in images]
    _tent.cache_clear()
    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(compute_perceptual_hash, images * 4)) == expected * 4


def test_windows_sampled_together_are_those_sampled_alone() -> None:
    luma = np.random.default_rng(3).integers(0, 256, (90, 120), np.uint8)
    windows = [(0, 0, 120, 90), (-20, 0, 120, 90), (7, -11, 100, 130), (7, 0, 100, 90)]
    together = list(sample_windows(luma, windows))
    for window, sampled in zip(windows, together, strict=True):
        np.testing.assert_array_equal(sampled, *sample_windows(luma, [window]))


def test_a_window_beyond_an_edge_repeats_the_pixels_there() -> None:
    luma = np.random.default_rng(4).integers(0, 256, (90, 120), np.uint8)
    wider = np.pad(luma, ((11, 0), (20, 5)), mode="edge")
    (beyond,) = sample_windows(luma, [(-20, -11, 125, 90)])
    (inside,) = sample_windows(wider, [(0, 0, 145, 101)])
    np.testing.assert_array_equal(beyond, inside)
