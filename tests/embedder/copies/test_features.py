"""Tests of local features: what is extracted, and their bytes, which hostile ones imitate."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from embedder.copies.features import (
    LUMA_PIXELS,
    MAX_KEYPOINTS,
    WORKING_PIXELS,
    InvalidFeatures,
    LocalFeatures,
    count_bytes,
    extract_features,
)
from tests.embedder.copies.drawn import photograph


def make(count: int, width: int = 200, height: int = 100, seed: int = 0) -> LocalFeatures:
    random = np.random.default_rng(seed)
    low, high = (0, 0, 0.5, 0), (width, height, 80, 359.9)
    return LocalFeatures(
        width,
        height,
        random.uniform(low, high, (count, 4)).astype(np.float32),
        random.integers(0, 256, (count, 128), np.uint8),
        random.integers(0, 256, (20, 40), np.uint8),
    )


def extract(image: Image.Image, most: int = MAX_KEYPOINTS) -> LocalFeatures:
    features = extract_features(image, most)
    assert features is not None
    return features


@settings(max_examples=30, deadline=None)
@given(st.binary(max_size=400), st.integers(0, 16))
def test_bytes_that_are_no_features_are_refused_and_raise_nothing_else(
    junk: bytes, kept: int
) -> None:
    with pytest.raises(InvalidFeatures):
        LocalFeatures.from_bytes(make(2).to_bytes()[:kept] + junk)


@pytest.mark.parametrize("change", [b"", b"x", b"x" * 136])
def test_another_length_is_refused(change: bytes) -> None:
    whole = make(3).to_bytes()

    with pytest.raises(InvalidFeatures, match="number of bytes"):
        LocalFeatures.from_bytes((whole + change) if change else whole[:-1])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("points", np.zeros((1, 3), np.float32)),
        ("points", np.zeros((1, 4), np.float64)),
        ("points", np.full((1, 4), np.nan, np.float32)),
        ("points", np.zeros((1, 4), np.float32)),  # no size
        ("points", np.ones((2, 4), np.float32)),  # more points than descriptors
        ("descriptors", np.zeros((1, 64), np.uint8)),
        ("luma", np.zeros((0, 4), np.uint8)),
        ("luma", np.zeros((4, LUMA_PIXELS + 1), np.uint8)),
        ("luma", np.zeros((4, 4), np.float32)),
        ("width", 0),
        ("height", 5_000),
    ],
)
def test_impossible_features_are_refused(name: str, value: object) -> None:
    values = {each: getattr(make(1), each) for each in LocalFeatures.__slots__}

    with pytest.raises(InvalidFeatures):
        LocalFeatures(**(values | {name: value}))


def test_more_keypoints_than_the_most_are_refused() -> None:
    with pytest.raises(InvalidFeatures, match="more than"):
        make(MAX_KEYPOINTS + 1)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 40), st.integers(1, 4_096), st.integers(1, 4_096), st.integers(0, 99))
def test_bytes_round_trip(count: int, width: int, height: int, seed: int) -> None:
    features = make(count, width, height, seed)
    data = features.to_bytes()
    again = LocalFeatures.from_bytes(data)

    step = np.array([width / 65_535, height / 65_535, 1 / 64, 360 / 65_536])
    assert len(data) <= count_bytes(count)
    assert again.to_bytes() == data
    assert (again.width, again.height) == (width, height)
    assert np.array_equal(again.descriptors, features.descriptors)
    assert np.array_equal(again.luma, features.luma)
    assert (np.abs(again.points - features.points) <= step).all()


def test_a_flat_picture_has_no_keypoints_and_a_tiny_one_is_no_error() -> None:
    assert extract(Image.new("RGB", (300, 200), (90, 90, 90))).count == 0
    tiny = extract(Image.new("RGB", (1, 1)))
    assert (tiny.width, tiny.height, tiny.count) == (1, 1, 0)


@pytest.mark.parametrize("size", [(3_000, 2), (2, 3_000)])
def test_a_picture_of_an_extreme_shape_is_no_error(size: tuple[int, int]) -> None:
    features = extract(Image.effect_noise(size, 80).convert("RGB"))

    assert max(features.width, features.height) == WORKING_PIXELS
    assert max(features.luma.shape) == LUMA_PIXELS


def test_a_photograph_has_keypoints_all_over_it() -> None:
    image = photograph("astronaut", 1_000)
    features = extract(image)
    few = extract(image, 64)

    assert (features.width, features.height) == (WORKING_PIXELS, WORKING_PIXELS)
    assert 300 < features.count <= MAX_KEYPOINTS
    assert few.count == 64
    cells = np.unique((few.points[:, :2] / WORKING_PIXELS * 4).astype(int), axis=0)
    assert len(cells) >= 14, "of 16"


def test_the_same_picture_has_the_same_features_and_they_are_those_of_its_bytes() -> None:
    image = photograph("coffee", 300)
    features = extract(image)

    assert extract(image).to_bytes() == features.to_bytes()
    again = LocalFeatures.from_bytes(features.to_bytes())
    assert np.array_equal(again.points, features.points)


def test_too_little_memory_is_a_memory_error() -> None:
    """OpenCV raises an error of its own. In a process of its own: a limit cannot be lifted here."""
    code = """
import resource
from PIL import Image
from embedder.copies.features import extract_features, load_extractor
load_extractor()
picture = Image.effect_noise((640, 640), 60).convert("RGB")
(held,) = (int(line.split()[1]) for line in open("/proc/self/status") if "VmSize" in line)
resource.setrlimit(resource.RLIMIT_AS, (held * 1024 + 40 * 2**20,) * 2)
try:
    extract_features(picture)
except MemoryError:
    print("as it should")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "as it should\n", done.stderr
