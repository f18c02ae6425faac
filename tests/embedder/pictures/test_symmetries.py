"""The eight symmetries: they undo one another, as a group, and agree with what Pillow turns."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from embedder.pictures.perceptual import compute_perceptual_hash, hash_samples, sample_flips
from embedder.pictures.symmetries import undo, undo_each
from embedder.pictures.views import Symmetry
from tests.embedder.pictures.views_by_tests import BY_PILLOW, draw_picture, measure_distance

squares = arrays(np.uint8, (4, 4), elements=st.integers(0, 255))
symmetries = st.sampled_from(Symmetry)
ALL_DIFFERENT = np.arange(16, dtype=np.uint8).reshape(4, 4)


@given(symmetries)
def test_what_pillow_turns_is_turned_back(symmetry: Symmetry) -> None:
    picture = Image.fromarray(ALL_DIFFERENT)
    turned = picture if BY_PILLOW[symmetry] is None else picture.transpose(BY_PILLOW[symmetry])
    assert np.array_equal(undo(symmetry, np.asarray(turned)), ALL_DIFFERENT)


def test_they_are_eight_and_no_two_are_alike() -> None:
    seen = {undo(each, ALL_DIFFERENT).tobytes() for each in Symmetry}
    assert len(seen) == len(Symmetry) == 8


@given(squares, symmetries, symmetries)
def test_two_in_succession_are_one_of_them(
    seen: np.ndarray, one: Symmetry, other: Symmetry
) -> None:
    both = undo(other, undo(one, seen))
    assert any(np.array_equal(undo(each, seen), both) for each in Symmetry)


@given(squares, symmetries)
def test_each_is_undone_by_one_of_them(seen: np.ndarray, symmetry: Symmetry) -> None:
    turned = {Symmetry.TURNED_90: Symmetry.TURNED_270, Symmetry.TURNED_270: Symmetry.TURNED_90}
    inverse = turned.get(symmetry, symmetry)
    assert np.array_equal(undo(inverse, undo(symmetry, seen)), seen)


@pytest.mark.parametrize("size", [(128, 128), (200, 131), (500, 333)])
def test_the_hash_of_each_symmetry_is_that_of_the_turned_picture(size: tuple[int, int]) -> None:
    picture = draw_picture(size, 3)
    for symmetry in Symmetry:
        method = BY_PILLOW[symmetry]
        turned = picture if method is None else picture.transpose(method)
        flips = sample_flips(turned)
        assert flips is not None
        found = hash_samples(undo_each(flips)[symmetry])
        assert found == compute_perceptual_hash(picture)


@settings(max_examples=15)
@given(st.integers(769, 1700), st.integers(769, 1700), symmetries)
def test_a_large_picture_is_averaged_from_another_corner_and_hardly_differs(
    width: int, height: int, symmetry: Symmetry
) -> None:
    picture = draw_picture((width, height), 5)
    method = BY_PILLOW[symmetry]
    flips = sample_flips(picture if method is None else picture.transpose(method))
    assert flips is not None
    found = hash_samples(undo_each(flips)[symmetry])
    assert measure_distance(found, compute_perceptual_hash(picture)) <= 16


def test_what_is_too_small_for_a_hash_has_no_samples() -> None:
    for size in product((4, 9), (4,)):
        assert sample_flips(Image.new("RGB", size)) is None
