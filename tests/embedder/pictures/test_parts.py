"""Parts: what straight edges separate is found, wherever the edges are."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from embedder.pictures.borders import SIDE, Region, split_planes, stretch
from embedder.pictures.parts import find_parts
from tests.embedder.pictures.views_by_tests import draw_picture


def find(image: Image.Image) -> list[Region]:
    return find_parts(split_planes(stretch(image)))


def region_of(left: float, top: float, right: float, bottom: float) -> Region:
    return Region(*(round(SIDE * edge) for edge in (left, top, right, bottom)))


@settings(max_examples=12)
@given(st.integers(0, 50), st.integers(25, 75), st.integers(25, 75), st.sampled_from([0, 8]))
def test_the_cells_of_a_collage_are_found(seed: int, across: int, down: int, gap: int) -> None:
    sheet = Image.new("RGB", (640, 480), "white")
    column, row = 640 * across // 100, 480 * down // 100
    cells = []
    for number, (left, right) in enumerate(((0, column), (column + gap, 640))):
        for below, (top, bottom) in enumerate(((0, row), (row + gap, 480))):
            size = (right - left, bottom - top)
            sheet.paste(draw_picture(size, 4 * seed + 2 * number + below), (left, top))
            cells.append(region_of(left / 640, top / 480, right / 640, bottom / 480))
    found = find(sheet)
    assert all(any(each.resembles(cell) for each in found) for cell in cells)


def test_a_picture_laid_into_another_one_is_found() -> None:
    ground = draw_picture((800, 600), 1)
    ground.paste(draw_picture((300, 260), 2), (420, 40))
    inside = region_of(420 / 800, 40 / 600, 720 / 800, 300 / 600)
    assert any(each.resembles(inside) for each in find(ground))


def test_a_picture_below_a_bar_of_text_is_found() -> None:
    page = Image.new("RGB", (600, 560), "white")
    page.paste(draw_picture((600, 440), 3), (0, 120))
    draw = ImageDraw.Draw(page)
    for at in range(20, 560, 24):
        draw.line((at, 30, at + 14, 50), "black", 5)
        draw.line((at + 3, 70, at + 14, 95), "black", 5)
    inside = region_of(0, 120 / 560, 1, 1)
    assert any(each.resembles(inside) for each in find(page))


def test_a_picture_without_straight_edges_has_no_parts() -> None:
    for seed in range(12):
        assert find(draw_picture((500, 400), seed)) == []


def test_the_number_of_parts_of_a_hostile_grid_is_bounded() -> None:
    squares = np.kron(np.indices((40, 40)).sum(axis=0) % 2, np.ones((10, 10)))
    board = Image.fromarray((255 * squares).astype(np.uint8)).convert("RGB")
    found = find(board)
    assert 0 < len(found) <= 2 * (2**6 - 1) + 4
