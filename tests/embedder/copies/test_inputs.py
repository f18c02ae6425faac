"""What a copy descriptor reads: any picture gets the size, and the fingerprint names the way."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from embedder.copies.inputs import DescriptorInput, Fit, make_descriptor_pixels
from embedder.pictures.preprocess import Resample

GREY = (0.5, 0.5, 0.5)


@pytest.mark.parametrize(
    "values",
    [
        {"height": 0, "width": 8},
        {"height": 8, "width": 5_000},
        {"height": 8, "width": 8, "mean": GREY},
        {"height": 8, "width": 8, "mean": GREY, "std": (1.0, 0.0, 1.0)},
    ],
)
def test_an_input_that_nothing_can_be_is_refused(values: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"side|mean|std"):
        DescriptorInput(**values)  # type: ignore[arg-type]


def test_a_picture_that_is_not_rgb_is_refused() -> None:
    with pytest.raises(ValueError, match="RGB"):
        make_descriptor_pixels(Image.new("L", (8, 8)), DescriptorInput(8, 8))


@given(st.integers(1, 90), st.integers(1, 90), st.sampled_from(list(Resample)))
def test_pictures_of_every_size_and_shape_get_the_size(
    width: int, height: int, resample: Resample
) -> None:
    picture = Image.linear_gradient("L").resize((width, height)).convert("RGB")
    pixels = make_descriptor_pixels(picture, DescriptorInput(12, 20, resample))
    assert pixels.shape == (12, 20, 3)
    assert pixels.dtype == np.uint8
    assert pixels.flags.c_contiguous


def test_nothing_of_the_picture_is_left_out() -> None:
    picture = Image.new("RGB", (400, 40))
    picture.paste((255, 0, 0), (0, 0, 40, 40))
    picture.paste((0, 0, 255), (360, 0, 400, 40))
    pixels = make_descriptor_pixels(picture, DescriptorInput(20, 20))
    assert pixels[10, 0].tolist() == [255, 0, 0]
    assert pixels[10, -1].tolist() == [0, 0, 255]


@given(st.integers(1, 90), st.integers(1, 90))
def test_a_picture_that_is_kept_whole_keeps_its_shape_and_is_never_enlarged(
    width: int, height: int
) -> None:
    picture = Image.new("RGB", (width, height), (9, 200, 30))
    pixels = make_descriptor_pixels(picture, DescriptorInput(24, 40, fit=Fit.WHOLE))
    scale = min(1, 40 / width, 24 / height)
    shown = pixels.any(axis=2)
    across, down = max(1, round(width * scale)), max(1, round(height * scale))
    assert shown[:down, :across].all()
    assert shown.sum() == across * down
    assert pixels.shape == (24, 40, 3)


def test_a_fingerprint_changes_with_every_field_and_survives_json() -> None:
    wanted = DescriptorInput(8, 9, Resample.BICUBIC, GREY, (0.1, 0.2, 0.3))
    others = [
        replace(wanted, height=9),
        replace(wanted, width=8),
        replace(wanted, resample=Resample.BILINEAR),
        replace(wanted, mean=(0.4, 0.5, 0.5)),
        replace(wanted, std=(0.1, 0.2, 0.4)),
        replace(wanted, fit=Fit.WHOLE),
    ]
    assert len({wanted.fingerprint, *(each.fingerprint for each in others)}) == 7
    # What filled a copy space once: it stays.
    assert DescriptorInput(288, 288).fingerprint == (
        "9c0bf9ea8e0bbfaa2ee6236aa072e7fcaa0f8206ce33ac5d0d2a9ee0234c8bce"
    )
    assert DescriptorInput.from_json(json.loads(json.dumps(asdict(wanted)))) == wanted
