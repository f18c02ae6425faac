"""Borders: a bordered picture is trimmed to itself, and one without borders is left alone."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFilter

from embedder.pictures.borders import SIDE, WHOLE, Region, find_borders, split_planes, stretch
from tests.embedder.pictures.views_by_tests import draw_picture

colours = st.tuples(*[st.integers(0, 255)] * 3)
# In percent of the picture's side: none, or enough to be seen.
widths = st.tuples(*[st.just(0) | st.integers(4, 60)] * 4)


def find_borders_of(image: Image.Image) -> list[Region]:
    return find_borders(split_planes(stretch(image)))


def frame(
    picture: Image.Image, widths: tuple[int, ...], colour: tuple[int, ...]
) -> tuple[Image.Image, Region]:
    """Return the picture with a border, and where it is."""
    left, top, right, bottom = (
        round(width * side / 100) for width, side in zip(widths, picture.size * 2, strict=True)
    )
    size = (picture.width + left + right, picture.height + top + bottom)
    framed = Image.new("RGB", size, colour)
    framed.paste(picture, (left, top))
    inside = (left, top, left + picture.width, top + picture.height)
    edges = (round(SIDE * edge / side) for edge, side in zip(inside, size * 2, strict=True))
    return framed, Region(*edges)


def save_again(image: Image.Image, quality: int) -> Image.Image:
    buffer = BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).convert("RGB")


def is_found(image: Image.Image, inside: Region) -> bool:
    return any(each.resembles(inside) for each in find_borders_of(image))


@settings(max_examples=25)
@given(st.integers(0, 9), widths, colours, st.sampled_from([None, 85, 60]))
def test_a_bordered_picture_is_trimmed_to_itself(
    seed: int, widths: tuple[int, ...], colour: tuple[int, ...], quality: int | None
) -> None:
    framed, inside = frame(draw_picture((300, 240), seed), widths, colour)
    if quality is not None:
        framed = save_again(framed, quality)
    found = find_borders_of(framed)
    if inside == WHOLE:
        assert all(each.resembles(WHOLE) for each in found)
    else:
        assert any(each.resembles(inside) for each in found)


@settings(max_examples=15)
@given(st.integers(0, 99), st.integers(120, 900), st.integers(120, 900))
def test_a_picture_without_borders_is_left_alone(seed: int, width: int, height: int) -> None:
    found = find_borders_of(draw_picture((width, height), seed))
    assert all(each.resembles(WHOLE) for each in found)


def test_a_border_in_a_border_is_trimmed_too() -> None:
    inner, _ = frame(draw_picture((300, 240), 1), (5, 5, 5, 5), (240, 240, 235))
    framed, _ = frame(inner, (0, 30, 0, 30), (0, 0, 0))
    outer = (inner.width - 300) / 2 / inner.width
    top = (framed.height - 240) / 2 / framed.height
    edges = (outer, top, 1 - outer, 1 - top)
    assert is_found(framed, Region(*(round(SIDE * edge) for edge in edges)))


def test_a_picture_between_its_own_blurred_sides_is_found() -> None:
    picture = draw_picture((240, 320), 4)
    filled = picture.resize((640, 853)).crop((0, 266, 640, 586))
    filled = filled.filter(ImageFilter.GaussianBlur(24))
    filled.paste(picture, (200, 0))
    assert is_found(filled, Region(SIDE * 200 // 640, 0, SIDE * 440 // 640, SIDE))


def test_a_picture_on_a_telephones_screen_is_found_beside_texts_and_signs() -> None:
    picture = draw_picture((720, 540), 6)
    screen = Image.new("RGB", (720, 1560), (12, 12, 14))
    screen.paste(picture, (0, 480))
    draw = ImageDraw.Draw(screen)
    for at in range(30, 640, 60):
        draw.rectangle((at, 30, at + 30, 60), fill=(230, 230, 230))
        draw.ellipse((at, 1450, at + 40, 1490), outline=(230, 230, 230), width=4)
    inside = Region(0, SIDE * 480 // 1560, SIDE, SIDE * 1020 // 1560)
    assert is_found(save_again(screen, 80), inside)


@pytest.mark.parametrize("colour", [(0, 0, 0), (255, 255, 255), (90, 120, 30)])
def test_nothing_is_left_of_a_flat_picture(colour: tuple[int, int, int]) -> None:
    assert find_borders_of(Image.new("RGB", (64, 48), colour)) == []


def test_noise_and_stripes_end_well() -> None:
    random = np.random.default_rng(0)
    noise = Image.fromarray(random.integers(0, 256, (97, 41, 3), np.uint8))
    stripes = Image.fromarray(np.tile(np.uint8([[[0] * 3, [255] * 3]]), (60, 30, 1)))
    for image in (noise, stripes):
        for found in find_borders_of(image):
            assert 0 <= found.left < found.right <= SIDE
            assert 0 <= found.top < found.bottom <= SIDE
