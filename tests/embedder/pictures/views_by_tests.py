"""Pictures that tests draw, and what Pillow does to them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from PIL import Image

from embedder.pictures.perceptual import PerceptualHash
from embedder.pictures.views import Symmetry

BY_PILLOW: Mapping[Symmetry, Image.Transpose | None] = {
    Symmetry.UPRIGHT: None,
    Symmetry.MIRRORED: Image.Transpose.FLIP_LEFT_RIGHT,
    Symmetry.FLIPPED: Image.Transpose.FLIP_TOP_BOTTOM,
    Symmetry.TURNED_90: Image.Transpose.ROTATE_270,  # Pillow turns anticlockwise
    Symmetry.TURNED_180: Image.Transpose.ROTATE_180,
    Symmetry.TURNED_270: Image.Transpose.ROTATE_90,
    Symmetry.TRANSPOSED: Image.Transpose.TRANSPOSE,
    Symmetry.TRANSVERSED: Image.Transpose.TRANSVERSE,
}


def draw_picture(size: tuple[int, int], seed: int) -> Image.Image:
    """Return a picture with structure in all sizes, to its edges, as a photograph has."""
    random = np.random.default_rng(seed)
    pixels = np.zeros((size[1], size[0], 3), np.float32)
    for side in (3, 6, 12, 24, 48):
        coarse = Image.fromarray(random.integers(0, 256, (side, side, 3), np.uint8))
        pixels += np.asarray(coarse.resize(size, Image.Resampling.BICUBIC), np.float32) * 3 / side
    low, high = pixels.min(), pixels.max()
    grain = random.normal(0, 12, (size[1], size[0], 1))  # no line of it is smooth
    toned = (pixels - low) * 255 / (high - low) + grain
    return Image.fromarray(np.clip(toned, 0, 255).astype(np.uint8))


def measure_distance(one: PerceptualHash, other: PerceptualHash) -> int:
    return (int.from_bytes(one.bits) ^ int.from_bytes(other.bits)).bit_count()
