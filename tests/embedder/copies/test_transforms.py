"""Tests of plane transforms: an estimate recovers what made the points."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedder.copies.transforms import (
    CORNERS,
    apply,
    clip_to_square,
    estimate_affine,
    estimate_homography,
    estimate_similarity,
    find_area,
    find_jacobian,
    rescale,
)

POINTS = np.random.default_rng(1).uniform(0, 500, (12, 2))
numbers = st.floats(-0.4, 0.4)


@settings(max_examples=40, deadline=None)
@given(st.floats(0.1, 9), st.floats(-180, 180), st.floats(-300, 300), st.floats(-300, 300))
def test_a_similarity_is_recovered(scale: float, turn: float, x: float, y: float) -> None:
    cosine, sine = scale * np.cos(np.radians(turn)), scale * np.sin(np.radians(turn))
    wanted = np.array([[cosine, -sine, x], [sine, cosine, y], [0, 0, 1]])

    for estimate in (estimate_similarity, estimate_affine, estimate_homography):
        found = estimate(POINTS, apply(wanted, POINTS))
        assert found is not None
        assert np.allclose(apply(found, POINTS), apply(wanted, POINTS), atol=1e-3)


@settings(max_examples=40, deadline=None)
@given(st.lists(numbers, min_size=8, max_size=8))
def test_a_homography_is_recovered(values: list[float]) -> None:
    wanted = np.eye(3)
    wanted.ravel()[:8] += values
    wanted[2, :2] /= 2_000
    wanted[:2, 2] *= 100
    found = estimate_homography(POINTS, apply(wanted, POINTS))

    assert found is not None
    assert np.allclose(apply(found, POINTS), apply(wanted, POINTS), atol=1e-2)


def test_points_that_determine_nothing_give_none() -> None:
    line = np.column_stack([np.arange(8.0), 2 * np.arange(8.0)])

    assert estimate_similarity(np.ones((5, 2)), np.ones((5, 2))) is None
    assert estimate_affine(line, line) is None
    assert estimate_homography(line, line) is None


def test_the_jacobian_is_the_slope_at_a_point() -> None:
    matrix = np.array([[1.2, 0.1, 5], [-0.2, 0.9, 3], [1e-3, -5e-4, 1]])
    at, step = np.array([40.0, 70.0]), 1e-4
    moved = apply(matrix, at + np.array([[0, 0], [step, 0], [0, step]]))

    slope = (moved[1:] - moved[0]).T / step
    assert np.allclose(find_jacobian(matrix, at), slope, atol=1e-4)


@pytest.mark.parametrize("depth", [1.0, 2.0])
def test_fractions_of_both_pictures_go_in_and_come_out(depth: float) -> None:
    half = np.diag([0.5, 0.5, 1.0]) * depth  # 200 x 100 pixels into the quarter of as many

    in_fractions = rescale(half, (200, 100), (200, 100))
    assert in_fractions[2, 2] == 1
    assert np.allclose(apply(in_fractions, CORNERS), CORNERS / 2)


def test_a_polygon_is_cut_to_the_square() -> None:
    assert len(clip_to_square(CORNERS + 2)) == 0
    assert find_area(clip_to_square(CORNERS)) == pytest.approx(1)
    nearly = CORNERS * (1 + 1e-7) - 3e-8  # for which OpenCV finds no area
    assert find_area(clip_to_square(nearly)) == pytest.approx(1, abs=1e-6)
    assert find_area(clip_to_square(CORNERS + np.array([0.25, -0.5]))) == pytest.approx(0.375)
    assert find_area(clip_to_square(4 * CORNERS - 2)) == pytest.approx(1)


@settings(max_examples=40, deadline=None)
@given(st.floats(0, 90), st.floats(0.2, 2), st.floats(-0.5, 0.5))
def test_what_is_cut_lies_in_the_square_and_in_the_polygon(
    turn: float, side: float, shift: float
) -> None:
    cosine, sine = side * np.cos(np.radians(turn)), side * np.sin(np.radians(turn))
    square = (CORNERS - 0.5) @ np.array([[cosine, sine], [-sine, cosine]]) + 0.5 + shift
    cut = clip_to_square(square)

    assert (cut >= -1e-9).all()
    assert (cut <= 1 + 1e-9).all()
    assert find_area(cut) <= min(1, side * side) + 1e-9
