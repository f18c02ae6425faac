"""Views: an edited copy has one whose hash is near that of its original."""

from __future__ import annotations

from io import BytesIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from embedder.demonstration.photographs import load_bundled_photographs
from embedder.pictures.decode import decode
from embedder.pictures.limits import ImageLimits
from embedder.pictures.perceptual import compute_perceptual_hash
from embedder.pictures.view_hashes import MIN_QUALITY, make_view_hashes
from embedder.pictures.views import MAX_VIEWS, Box, Symmetry, View, ViewHash
from tests.embedder.pictures.views_by_tests import BY_PILLOW, draw_picture, measure_distance

PHOTOGRAPHS = [each.image for each in load_bundled_photographs()]
PHOTOGRAPH = PHOTOGRAPHS[0]
ALIKE, LEAD = 31, 60  # bits


def find_nearest(copy: Image.Image, original: Image.Image) -> tuple[int, View]:
    """Return the distance of the nearest view of the copy, and that view."""
    own = compute_perceptual_hash(original)
    found = [(measure_distance(each.hash, own), each.view) for each in make_view_hashes(copy)]
    return min(found, key=lambda each: each[0])


def crop(image: Image.Image, share: float) -> Image.Image:
    across, down = round(share * image.width), round(share * image.height)
    return image.crop((across, down, image.width - across, image.height - down))


@pytest.mark.parametrize("symmetry", Symmetry)
def test_a_turned_copy_is_found_and_its_symmetry_named(symmetry: Symmetry) -> None:
    method = BY_PILLOW[symmetry]
    copy = PHOTOGRAPH if method is None else PHOTOGRAPH.transpose(method)
    distance, view = find_nearest(copy, PHOTOGRAPH)
    assert distance <= 4
    assert view == View(symmetry)


def test_a_mirrored_copy_between_bars_is_found_and_its_part_named() -> None:
    copy = ImageOps.expand(ImageOps.mirror(PHOTOGRAPH), (0, PHOTOGRAPH.height // 4), "black")
    distance, view = find_nearest(copy, PHOTOGRAPH)
    assert distance <= ALIKE
    assert view.symmetry is Symmetry.MIRRORED
    assert view.part is not None
    edges = (view.part.left, view.part.top, view.part.right, view.part.bottom)
    assert edges == pytest.approx((0, 1 / 6, 1, 5 / 6), abs=0.015)


@pytest.mark.parametrize("share", [0.04, 0.06, 0.1])
def test_a_cropped_copy_is_found_as_a_lead_that_names_what_was_kept(share: float) -> None:
    distance, view = find_nearest(crop(PHOTOGRAPH, share), PHOTOGRAPH)
    assert distance <= LEAD
    assert view.kept is not None
    assert view.kept.left == pytest.approx(share, abs=0.02)
    # Without that view, the hashes have nothing in common.
    plain = compute_perceptual_hash(crop(PHOTOGRAPH, 0.1))
    assert measure_distance(plain, compute_perceptual_hash(PHOTOGRAPH)) > LEAD


def test_a_side_that_was_cut_off_is_found() -> None:
    copy = PHOTOGRAPH.crop((0, 0, PHOTOGRAPH.width * 3 // 4, PHOTOGRAPH.height))
    distance, view = find_nearest(copy, PHOTOGRAPH)
    assert distance <= LEAD
    assert view.kept == Box(0.0, 0.0, 0.75, 1.0)


def test_a_corner_that_was_kept_is_found() -> None:
    left, top = PHOTOGRAPH.width * 17 // 100, PHOTOGRAPH.height * 17 // 100
    copy = PHOTOGRAPH.crop((left, top, PHOTOGRAPH.width, PHOTOGRAPH.height))
    distance, view = find_nearest(copy, PHOTOGRAPH)
    assert distance <= 75  # within the candidates that geometry looks at
    assert view.kept == Box(0.17, 0.17, 1.0, 1.0)


def test_a_list_that_hashes_photographs_as_they_are_stored_is_met_by_a_symmetry() -> None:
    """Other tools hash the stored pixels of a photograph that EXIF turns; here it is upright."""
    stored, exif = BytesIO(), Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise by 90 degrees
    PHOTOGRAPH.save(stored, "JPEG", quality=95, exif=exif)
    seen = decode(stored.getvalue(), ImageLimits(min_image_side=8)).image
    assert seen.size == PHOTOGRAPH.size[::-1]
    distance, view = find_nearest(seen, PHOTOGRAPH)
    assert distance <= 8
    assert view == View(Symmetry.TURNED_90)


@settings(max_examples=10)
@given(st.integers(1, 60), st.integers(1, 60), st.integers(0, 5))
def test_the_first_view_is_the_whole_picture_and_no_view_comes_twice(
    width: int, height: int, seed: int
) -> None:
    image = draw_picture((width, height), seed)
    views = make_view_hashes(image)
    assert views[0] == ViewHash(View(), compute_perceptual_hash(image))
    assert len({each.view for each in views}) == len(views) <= MAX_VIEWS
    assert all(each.hash.quality >= MIN_QUALITY for each in views[1:])


@pytest.mark.parametrize("size", [(4, 300), (300, 4), (64, 48)])
def test_a_flat_picture_has_no_view_but_the_first(size: tuple[int, int]) -> None:
    (only,) = make_view_hashes(Image.new("RGB", size, (200, 180, 90)))
    assert only.view == View()
    assert only.hash.quality == 0


def test_other_photographs_have_no_near_view() -> None:
    others = [compute_perceptual_hash(each) for each in PHOTOGRAPHS[1:]]
    views = make_view_hashes(PHOTOGRAPH)
    assert min(measure_distance(each.hash, own) for each in views for own in others) > LEAD


def test_the_most_views_are_no_more_than_a_reply_holds() -> None:
    sheet = Image.new("RGB", (900, 900), "white")
    for cell in range(9):
        sheet.paste(draw_picture((280, 280), cell), (10 + cell % 3 * 296, 10 + cell // 3 * 296))
    assert len(make_view_hashes(sheet)) <= MAX_VIEWS
