from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from embedder.network.embed import Embedder
from embedder.network.patches import Normalisation, PatchProjection
from embedder.network.registry import BUILTIN, MODELS
from embedder.pictures.preprocess import Preprocessing, normalise, preprocess
from embedder.pictures.processors import parse_preprocessing

PictureMaker = Callable[..., Any]

# Every level of every channel, twice: (1, 16, 32, 3).
LEVELS = np.arange(256, dtype=np.uint8).repeat(6).reshape(1, 16, 32, 3)
ORIGINAL = MODELS["community-forensics-384-original"].preprocessing


@pytest.mark.parametrize(
    "preprocessing",
    [
        ORIGINAL,
        Preprocessing(None, None, 160, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)),
        Preprocessing(None, None, 160),
        Preprocessing(None, None, 160, mean=(128.0, 127.0, 120.0), std=(60.0, 61.0, 62.0), scale=1),
        Preprocessing(None, None, 160, mean=(1.0,) * 3, std=(1.0,) * 3, scale=1 / 127.5),
    ],
)
def test_the_device_normalises_every_level_as_numpy_does(preprocessing: Preprocessing) -> None:
    expected = normalise(LEVELS, preprocessing)
    found = Normalisation(preprocessing)(torch.from_numpy(LEVELS)).numpy()
    assert found.dtype == np.float32
    assert found.shape == (1, 3, 16, 32)
    assert np.abs(found - expected).max() <= 1e-6 * max(1.0, float(np.abs(expected).max()))


def test_what_the_network_reads_is_within_1e_6_of_transformers_own_processor(
    published_preprocessing: dict[str, Any], picture_maker: PictureMaker
) -> None:
    image = picture_maker(640, 481)
    processor = CLIPImageProcessorPil(**published_preprocessing)
    reference = processor(image, return_tensors="np")["pixel_values"][0]
    preprocessing = parse_preprocessing(published_preprocessing, "preprocessor_config.json")
    pixels = torch.from_numpy(preprocess(image, preprocessing)[None].copy())
    found = Normalisation(preprocessing)(pixels)[0].numpy()
    assert np.abs(found - reference).max() <= 1e-6


def test_patches_are_projected_as_by_the_convolution() -> None:
    convolution = torch.nn.Conv2d(3, 24, kernel_size=8, stride=8)
    values = torch.randn(2, 3, 32, 48, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = convolution(values)
        projection = PatchProjection(24, 8)
        projection.load_state_dict(convolution.state_dict())
        found = projection(values)
    assert found.shape == (2, 4 * 6, 24)
    assert torch.allclose(found, expected.flatten(2).transpose(1, 2), atol=1e-5)


def test_neighbouring_levels_are_still_told_apart_in_half_precision() -> None:
    """One level of 255 in a bright patch, which bfloat16 has no number for."""
    exact = Embedder.load(BUILTIN, device="cpu", precision="float32")
    rough = Embedder.load(BUILTIN, device="cpu", precision="bfloat16")
    rows, columns = np.mgrid[0:160, 0:160]
    checkers = np.where((rows + columns) % 2, 200, 201).astype(np.uint8)
    pixels = np.stack([checkers, np.full_like(checkers, 200)])[..., None].repeat(3, axis=-1)
    for precise, reduced in zip(
        exact.embed_pixels(pixels).vectors, rough.embed_pixels(pixels).vectors, strict=True
    ):
        assert precise @ reduced > 0.9999
