import itertools

import numpy as np
import pytest
from PIL import Image, ImageFilter

from embedder.training import deliveries
from embedder.training.deliveries import (
    choose_place,
    coarse_of,
    cut_piece,
    deliver_place,
    exchange_coarse,
    recolour,
    recompress_image,
    refocus,
    source_of,
    turn,
)
from embedder.training.fakes import CROP_SIDE
from tests.embedder.training.corpora import noisy


@pytest.mark.parametrize("side", [176, 200, 512])
@pytest.mark.parametrize("container", ["PNG", "JPEG", "WEBP"])
def test_every_delivery_is_a_crop_that_the_model_takes(side: int, container: str) -> None:
    source, other = source_of(noisy(0, side), container), source_of(noisy(1, side), "JPEG")

    for seed in range(12):
        random = np.random.default_rng(seed)
        crop = deliver_place(choose_place(source, random), other, random)
        assert (crop.shape, crop.dtype) == ((CROP_SIDE, CROP_SIDE, 3), np.uint8)


def test_the_same_seed_delivers_the_same_crop() -> None:
    source, other = source_of(noisy(0), "PNG"), source_of(noisy(1), "PNG")

    def crop() -> np.ndarray:
        random = np.random.default_rng(4)
        return deliver_place(choose_place(source, random), other, random)

    assert np.array_equal(crop(), crop())


def test_a_place_is_inside_of_its_picture_and_as_sharp_as_it_looks() -> None:
    sharp, random = noisy(0, 400), np.random.default_rng(0)
    blurred = sharp.filter(ImageFilter.GaussianBlur(2.0))
    flat = Image.new("RGB", (400, 400), "olive")

    found = [
        [choose_place(source_of(image, "PNG"), random) for _ in range(30)]
        for image in (flat, blurred, sharp)
    ]

    for place in found[2]:
        assert 0 <= min(place.top, place.left) <= max(place.top, place.left) + place.side <= 400
    assert len({place.side for place in found[2]}) > 3
    for one, other in itertools.pairwise(found):
        assert max(place.sharpness for place in one) < min(place.sharpness for place in other)


def test_focus_changes_pixels_by_chance_and_never_the_size() -> None:
    piece = noisy(0, 168)

    made = [np.asarray(refocus(piece, np.random.default_rng(seed))) for seed in range(60)]

    changed = [not np.array_equal(each, np.asarray(piece)) for each in made]
    assert {each.shape for each in made} == {(168, 168, 3)}
    assert 10 < sum(changed) < 35


def test_the_past_of_the_others_is_given_more_often_than_ones_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    codecs: list[str] = []

    def noted(codec: str, piece: Image.Image, *_: object) -> Image.Image:
        codecs.append(codec)
        return piece

    monkeypatch.setattr(deliveries, "recompress_as", noted)
    source = source_of(noisy(0), "WEBP")
    for seed in range(200):
        random = np.random.default_rng(seed)
        cut_piece(choose_place(source, random), random)

    assert 70 < codecs.count("JPEG") < 130
    assert codecs.count("WEBP") < 40


def test_another_pictures_coarse_shapes_come_with_ones_own_detail() -> None:
    piece, other = noisy(0, 168), noisy(1, 168)

    mixed = exchange_coarse(piece, coarse_of(other))

    def detail(image: Image.Image) -> np.ndarray:
        return np.diff(np.asarray(image).astype(float), axis=0).ravel()

    assert np.abs(coarse_of(mixed).astype(int) - coarse_of(other)).mean() < 6
    assert np.corrcoef(detail(mixed), detail(piece))[0, 1] > 0.8
    assert abs(np.corrcoef(detail(mixed), detail(other))[0, 1]) < 0.3


def test_colours_are_shifted_channel_by_channel_and_order_is_kept() -> None:
    grey = Image.fromarray(np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2))

    made = np.asarray(recolour(grey, np.random.default_rng(0)))[0].astype(int)

    assert (np.diff(made, axis=0) >= 0).all()
    assert len({made[:, channel].tobytes() for channel in range(3)}) == 3


@pytest.mark.parametrize("codec", ["JPEG", "WEBP"])
def test_storing_keeps_the_size_and_changes_pixels(codec: str) -> None:
    piece = noisy(0, 168)

    made = recompress_image(codec, piece, 80)

    assert (made.size, made.mode) == (piece.size, "RGB")
    assert not np.array_equal(np.asarray(made), np.asarray(piece))


def test_turning_moves_pixels_and_loses_none() -> None:
    pixels = np.asarray(noisy(0, 20))

    made = [turn(pixels, np.random.default_rng(seed)) for seed in range(20)]

    assert all(np.array_equal(np.sort(each.ravel()), np.sort(pixels.ravel())) for each in made)
    assert len({each.tobytes() for each in made}) > 2
