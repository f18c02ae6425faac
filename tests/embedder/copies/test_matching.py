"""Tests of what corresponds, and above all of what must not."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
from PIL import Image, ImageOps

from embedder.copies.features import LocalFeatures, extract_features
from embedder.copies.matching import Fit, find_correspondence
from embedder.copies.transforms import apply
from tests.embedder.copies import drawn
from tests.embedder.copies.drawn import photograph, thumbnail

Change = Callable[[Image.Image], Image.Image]


def extract(image: Image.Image) -> LocalFeatures:
    features = extract_features(image)
    assert features is not None
    return features


def compare(entry: Image.Image, probe: Image.Image) -> Fit | None:
    return find_correspondence(extract(entry), extract(probe))


@cache
def stored(name: str) -> LocalFeatures:
    """The features of a thumbnail of 256 pixels."""
    return extract(thumbnail(photograph(name)))


def find(name: str, change: Change) -> Fit:
    fit = find_correspondence(stored(name), extract(change(photograph(name))))
    assert fit is not None
    return fit


ASTRONAUT, CHELSEA, COFFEE = (photograph(name) for name in ("astronaut", "chelsea", "coffee"))
SQUARE_CAT = CHELSEA.resize(ASTRONAUT.size)

NO_COPIES = {
    "one template, other text": (drawn.text_card(1), drawn.text_card(2)),
    "one template, other small text": (drawn.text_card(1, 12, 16), drawn.text_card(2, 12, 16)),
    "one template, other large text": (drawn.text_card(1, 4, 56), drawn.text_card(3, 4, 56)),
    "one template, two other lines": (drawn.text_card(1, 2), drawn.text_card(2, 2)),
    "one template, one other line": (drawn.text_card(1, 1), drawn.text_card(2, 1)),
    "one chart, other numbers": (drawn.chart(1), drawn.chart(2)),
    "screenshots of two pictures": (drawn.screenshot(ASTRONAUT), drawn.screenshot(CHELSEA)),
    "screenshots of two wide pictures": (drawn.screenshot(CHELSEA), drawn.screenshot(COFFEE)),
    "one logo": (drawn.with_logo(ASTRONAUT, 0.2), drawn.with_logo(CHELSEA, 0.2)),
    "one large logo": (drawn.with_logo(ASTRONAUT, 0.5), drawn.with_logo(SQUARE_CAT, 0.5)),
    "a known picture that is an avatar": (ASTRONAUT, drawn.with_avatar(COFFEE, ASTRONAUT)),
    "one watermark": (drawn.with_watermark(CHELSEA), drawn.with_watermark(COFFEE)),
    "chequers": (drawn.chequers(32, 0, 1), drawn.chequers(32, 16, 2)),
    "walls": (drawn.bricks(1, 64, 24), drawn.bricks(2, 64, 24)),
    "finer walls": (drawn.bricks(3, 40, 20), drawn.bricks(4, 40, 20)),
    "flat": (Image.linear_gradient("L").convert("RGB"),) * 2,
    "two photographs": (ASTRONAUT, COFFEE),
}


@pytest.mark.parametrize("name", NO_COPIES)
@pytest.mark.parametrize("kept", ["thumbnail", pytest.param("original", marks=pytest.mark.prove)])
def test_what_two_pictures_share_makes_no_copy(name: str, kept: str) -> None:
    entry, probe = NO_COPIES[name]
    fit = compare(thumbnail(entry) if kept == "thumbnail" else entry, probe)

    assert fit is None or not fit.fits, fit


@pytest.mark.parametrize("side", [(0, 5), (5, 0), (3, 3)])
def test_features_too_few_for_a_transform_are_no_error(side: tuple[int, int]) -> None:
    some = stored("coffee")
    entry, probe = (
        LocalFeatures(
            some.width, some.height, some.points[:count], some.descriptors[:count], some.luma
        )
        for count in side
    )

    assert find_correspondence(entry, probe) is None


def crop(left: float, top: float, right: float, bottom: float) -> Change:
    def change(image: Image.Image) -> Image.Image:
        width, height = image.size
        return image.crop(
            (round(left * width), round(top * height), round(right * width), round(bottom * height))
        )

    return change


def turn(degrees: float) -> Change:
    return lambda image: image.rotate(-degrees, Image.Resampling.BICUBIC, expand=True)


def in_collage(image: Image.Image) -> Image.Image:
    sheet = Image.new("RGB", (2 * image.width, 2 * image.height))
    others = [photograph(name).resize(image.size) for name in ("coffee", "chelsea", "astronaut")]
    for cell, each in enumerate([others[0], image, others[1], others[2]]):
        sheet.paste(each, (cell % 2 * image.width, cell // 2 * image.height))
    return sheet


def askew(image: Image.Image) -> Image.Image:
    width, height = image.size
    corners = (0.08 * width, 0.05 * height, 0.0, height, width, 0.9 * height, 0.95 * width, 0.0)
    return image.transform(image.size, Image.Transform.QUAD, corners, Image.Resampling.BICUBIC)


COPIES: dict[str, Change] = {
    "itself": lambda image: image,
    "40 % of each side": crop(0.3, 0.3, 0.7, 0.7),
    "a corner": crop(0.0, 0.4, 0.6, 1.0),
    "mirrored": ImageOps.mirror,
    "upside down": ImageOps.flip,
    "turned": turn(90),
    "a small, grey one": lambda image: thumbnail(ImageOps.grayscale(image).convert("RGB"), 160),
    "askew": askew,
    "a screenshot": drawn.screenshot,
    "a mirrored crop in a screenshot": lambda image: drawn.screenshot(
        ImageOps.mirror(crop(0.1, 0.1, 0.9, 0.9)(image))
    ),
    "with a logo": lambda image: drawn.with_logo(image, 0.25),
    "with a watermark": drawn.with_watermark,
    "dark": lambda image: image.point(lambda value: value // 3),
}


@pytest.mark.parametrize("edit", COPIES)
def test_edited_copies_fit(edit: str) -> None:
    assert find("astronaut", COPIES[edit]).fits


def test_a_picture_is_found_in_a_collage_of_four() -> None:
    rocket = photograph("motorcycle_left")
    fit = compare(thumbnail(rocket), in_collage(rocket))

    assert fit is not None
    assert fit.fits
    assert fit.entry_covered == pytest.approx(1, abs=0.03)
    assert fit.probe_covered == pytest.approx(0.25, abs=0.02)
    corners = apply(np.reshape(fit.homography, (3, 3)), np.array([[0.0, 0.0], [1.0, 1.0]]))
    assert np.allclose(corners, [[0.5, 0.0], [1.0, 0.5]], atol=0.02)


def test_a_crop_is_described() -> None:
    fit = find("astronaut", crop(0.2, 0.1, 0.7, 0.6))

    assert fit.homography[8] == 1
    matrix = np.reshape(fit.homography, (3, 3))
    assert np.allclose(
        apply(matrix, np.array([[0.2, 0.1], [0.7, 0.6]])), [[0, 0], [1, 1]], atol=0.03
    )
    assert fit.entry_covered == pytest.approx(0.25, abs=0.02)
    assert fit.probe_covered == pytest.approx(1, abs=0.03)
    assert fit.scale == pytest.approx(2, rel=0.03), "256 of 512 pixels in the thumbnail"
    assert not fit.mirrored
    assert abs(fit.rotation_degrees) < 2


@pytest.mark.parametrize("degrees", [-90, 20, 135])
def test_turns_are_clockwise(degrees: float) -> None:
    fit = find("coffee", turn(degrees))

    assert fit.fits
    assert fit.rotation_degrees == pytest.approx(degrees, abs=2)


def test_a_mirrored_picture_is_described_as_mirrored_first_and_turned_then() -> None:
    fit = find("coffee", lambda image: turn(30)(ImageOps.mirror(image)))

    assert fit.fits
    assert fit.mirrored
    assert fit.rotation_degrees == pytest.approx(30, abs=2)
    top_left = apply(
        np.reshape(find("coffee", ImageOps.mirror).homography, (3, 3)), np.array([[0.0, 0.0]])
    )
    assert np.allclose(top_left, [[1, 0]], atol=0.02)


def test_what_does_not_look_alike_counts_no_inliers() -> None:
    fit = compare(drawn.text_card(1, 2), drawn.text_card(2, 2))

    assert fit is not None
    assert fit.inliers > 50, "the template is all there"
    assert (fit.counted_inliers, fit.looks_alike, fit.fits) == (0, False, False)


def test_the_same_pictures_have_the_same_fit() -> None:
    assert find("chelsea", turn(10)) == find("chelsea", turn(10))
    assert math.isfinite(find("chelsea", turn(10)).agreement.share)
