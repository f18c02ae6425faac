"""The benchmark of copies measures what it says: its edits are the same each time, its figures are
those of counting, and no source is in both sets.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.benchmarks.copy_edits import CORE, EDITS, Edit, get_edit, make_copy
from tests.benchmarks.copy_figures import compute_precision, find_best, find_threshold
from tests.benchmarks.copy_pictures import Alike, Picture, choose_queries, split_by_source


def make_picture(size: tuple[int, int] = (96, 64)) -> Image.Image:
    random = np.random.default_rng(3)
    coarse = Image.fromarray(random.integers(0, 256, (6, 9, 3), np.uint8))
    return coarse.resize(size, Image.Resampling.BICUBIC)


def read(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), float)


def test_there_are_at_least_27_edits_of_equal_weight() -> None:
    assert len(CORE) == 27
    assert len({edit.name for edit in EDITS}) == len(EDITS)


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit.name)
def test_an_edit_makes_a_picture_that_is_not_the_one_it_was_given(edit: Edit) -> None:
    image = make_picture()
    made = make_copy(edit, image, "seed", [make_picture((80, 80))])
    shown = read(made)
    assert shown.shape != (64, 96, 3) or not np.array_equal(shown, np.asarray(image, float))
    assert shown.std() > 5


@pytest.mark.parametrize("name", ["crop-half", "stickers", "noise", "collage-2x2", "phone"])
def test_an_edit_is_the_same_for_a_seed_and_another_for_another(name: str) -> None:
    image, others = make_picture(), [make_picture((80, 80))]
    made = make_copy(get_edit(name), image, "seed", others)
    assert make_copy(get_edit(name), image, "seed", others) == made
    assert make_copy(get_edit(name), image, "another", others) != made


def test_symmetries_are_those_of_their_names() -> None:
    grey = np.zeros((32, 32, 3), np.uint8)
    grey[:16, :16] = 255  # bright at the top left
    image = Image.fromarray(grey)
    corners = {"mirror": (0, 1), "flip": (1, 0), "turn-90": (0, 1), "turn-180": (1, 1)}
    for name, (down, across) in {**corners, "turn-270": (1, 0)}.items():
        shown = read(make_copy(get_edit(name), image, ""))
        assert shown[16 * down : 16 * down + 16, 16 * across : 16 * across + 16].mean() > 200, name


def test_a_collage_needs_other_pictures() -> None:
    with pytest.raises(ValueError, match="other pictures"):
        make_copy(get_edit("collage-2x2"), make_picture(), "")


def test_precision_is_that_of_going_down_the_list() -> None:
    right = np.array([9, 7, 3, -np.inf], np.float32)
    wrong = np.array([8, 2, 1], np.float32)
    assert compute_precision(right, wrong) == pytest.approx((1 / 1 + 2 / 3 + 3 / 4 + 0) / 4)


def test_a_threshold_lets_the_allowed_number_of_false_matches_through() -> None:
    values = np.array([[5, 4, 1], [6, 2, 3], [1, 7, 2]], np.float32)
    nothing = np.zeros((3, 3), bool)
    best, _ = find_best(values, np.array([0, 0, 1]), Alike(np.eye(3, dtype=bool), nothing, {}))
    assert best.original.tolist() == [5, 6, 7]
    assert best.other.tolist() == [4, 3, 2]
    for allowed in range(3):
        threshold = find_threshold(best, rate=allowed / 3 + 0.01)
        assert np.sum(best.other >= threshold) == allowed


def test_twins_are_neither_right_nor_false() -> None:
    values = np.array([[1, 5, 2]], np.float32)
    twins = np.zeros((3, 3), bool)
    twins[0, 1] = twins[1, 0] = True
    best, precision = find_best(values, np.array([0]), Alike(np.eye(3, dtype=bool), twins, {}))
    assert (best.original[0], best.twin[0], best.other[0]) == (1, 5, 2)
    assert precision == pytest.approx(1 / 2)


def test_no_source_is_in_both_sets_and_queries_come_from_all_collections() -> None:
    pictures = [
        Picture(Path(f"{n}"), f"fake/{n % 5}/{n}", "synthetic", "", f"source {n % 7}", "", f"{n}")
        for n in range(70)
    ]
    sets = split_by_source(pictures)
    one, other = ({each.source for each in members} for members in sets.values())
    assert not one & other
    assert sum(map(len, sets.values())) == 70
    chosen = choose_queries(pictures, 10, None)
    assert len({each.collection for each in chosen}) == 5
    assert len(choose_queries(pictures, 70, 2)) == 14
