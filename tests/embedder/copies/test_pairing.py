"""Tests of pairs of keypoints, and of mirrored features against really mirrored pictures."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import ImageOps

from embedder.copies.features import LocalFeatures, extract_features
from embedder.copies.pairing import find_pairs, mirror, normalise
from tests.embedder.copies.drawn import photograph


def extract(image: object) -> LocalFeatures:
    features = extract_features(image)  # type: ignore[arg-type]
    assert features is not None
    return features


@pytest.mark.parametrize("name", ["astronaut", "coffee", "chelsea"])
def test_mirrored_features_are_those_of_the_mirrored_picture(name: str) -> None:
    image = photograph(name, 300)
    points, descriptors = mirror(extract(image))
    real = extract(ImageOps.mirror(image))

    similar = normalise(descriptors) @ normalise(real.descriptors).T
    nearest = similar.argmax(axis=1)
    places = np.abs(points[:, :2] - real.points[nearest, :2]).max(axis=1)
    turns = np.abs((points[:, 3] - real.points[nearest, 3] + 180) % 360 - 180)
    same = (similar.max(axis=1) > 0.97) & (places < 1.5) & (turns < 5)
    assert same.mean() > 0.8, "the detector itself is not quite symmetric"


def test_a_picture_mirrored_twice_is_itself() -> None:
    features = extract(photograph("coffee", 200))
    points, descriptors = mirror(features)
    once = LocalFeatures(features.width, features.height, points, descriptors, features.luma)
    again_points, again = mirror(once)

    assert np.array_equal(again, features.descriptors)
    assert np.allclose(again_points % 360, features.points % 360, atol=1e-3)


def unit(values: list[list[float]]) -> np.ndarray:
    rows = np.array(values, np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows


FAR = np.array([[0.0, 0.0], [50.0, 0.0], [0.0, 50.0]])


def test_a_pair_whose_next_best_is_as_near_is_none() -> None:
    first = unit([[1, 0.002, 0], [1, -0.002, 0]])
    second = unit([[1, 0.1, 0], [1, -0.1, 0]])

    assert find_pairs(first, second, FAR[:2], FAR[:2]).tolist() == []


def test_keypoints_of_one_place_do_not_compete() -> None:
    first = unit([[1, 0, 0], [0, 1, 0]])
    twice = unit([[1, 0.1, 0], [1, -0.1, 0], [0, 1, 0.05]])
    together = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 50.0]])

    pairs = find_pairs(first, twice, FAR[:2], together).tolist()
    assert [1, 2] in pairs
    assert [0, 0] in pairs


def test_the_most_distinct_pair_comes_first() -> None:
    first = unit([[1, 0, 0], [0, 1, 0.3]])
    second = unit([[1, 0.2, 0], [0, 1, 0.3], [0.2, 0, 1]])

    assert find_pairs(first, second, FAR[:2], FAR)[0].tolist() == [1, 1]
