from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from embedder.network.panel_pictures import (
    PHOTOGRAPH_SIDE,
    PHOTOGRAPHS_FOLDER,
    compute_panel_digest,
    draw_panel,
    preprocess_panel,
)
from embedder.network.registry import MODELS
from embedder.pictures.preprocess import Preprocessing
from embedder.training.panel import CROPS, cut

NATIVE = Preprocessing(None, None, crop_size=160)
ORIGINAL = MODELS["community-forensics-384-original"].preprocessing
LARGE = Preprocessing(None, None, crop_size=391)


@pytest.fixture(scope="module")
def panel() -> dict[str, Image.Image]:
    return draw_panel(NATIVE)


def test_it_has_pictures_of_many_kinds(panel: dict[str, Image.Image]) -> None:
    assert len(panel) >= 24
    assert set(CROPS) <= set(panel)
    assert sum(" by demo-" in name for name in panel) == 4
    kinds = {"text", "noise", "night", "grey", "gradient", "stripes", "damaged by JPEG 15"}
    assert kinds <= set(panel)
    assert {image.mode for image in panel.values()} == {"RGB"}


def test_no_two_pictures_are_the_same_to_the_model(panel: dict[str, Image.Image]) -> None:
    pixels = preprocess_panel(NATIVE)
    assert pixels.shape == (len(panel), 160, 160, 3)
    assert len({each.tobytes() for each in pixels}) == len(panel)


@pytest.mark.parametrize("preprocessing", [ORIGINAL, LARGE], ids=["resized", "native"])
def test_it_is_drawn_for_models_that_read_more_than_its_photographs_have(
    preprocessing: Preprocessing,
) -> None:
    pixels = preprocess_panel(preprocessing)
    side = preprocessing.crop_size
    assert pixels.shape[1:] == (side, side, 3)
    assert pixels.dtype == np.uint8


def test_it_is_the_same_on_each_call(panel: dict[str, Image.Image]) -> None:
    again = draw_panel(NATIVE)
    assert [*again] == [*panel]
    assert all(again[name].tobytes() == image.tobytes() for name, image in panel.items())
    assert compute_panel_digest() == compute_panel_digest()


def test_its_photographs_are_those_of_scikit_image_without_loss() -> None:
    assert {path.stem for path in PHOTOGRAPHS_FOLDER.glob("*.webp")} == set(CROPS)
    for name, crop in CROPS.items():
        with Image.open(PHOTOGRAPHS_FOLDER / f"{name}.webp") as stored:
            assert stored.size == (PHOTOGRAPH_SIDE, PHOTOGRAPH_SIDE)
            assert np.array_equal(np.asarray(stored.convert("RGB")), np.asarray(cut(crop)))


def test_the_rights_of_every_photograph_are_stated() -> None:
    lines = (PHOTOGRAPHS_FOLDER / "SOURCES.md").read_text(encoding="utf-8").splitlines()
    for name in CROPS:
        (line,) = [each for each in lines if each.startswith(f"| `{name}.webp`")]
        assert line.endswith(("| CC0 |", "| public domain |"))
