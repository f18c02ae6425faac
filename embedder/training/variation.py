"""Variations of a photograph before it is re-synthesised: they give more scenes than the few
hundred photographs alone.

Each scene is turned or mirrored, and some are put out of focus and grained. A model that saw only
sharp photographs takes smooth backgrounds for a decoder's work.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

DEFOCUS_CHANCE = 0.3
DEFOCUS_RADII = (0.5, 3.0)  # pixels
GRAIN_DEVIATIONS = (0.3, 2.0)  # grey levels of 255
GAMMAS = (0.8, 1.25)


def vary(picture: NDArray[np.uint8], random: np.random.Generator) -> NDArray[np.uint8]:
    """(h, w, 3) -> (h, w, 3) or (w, h, 3).

    The picture is turned, mirrored, made brighter or darker and, at random, put out of focus.
    """
    turned = np.rot90(picture, int(random.integers(4)))
    if random.random() < 0.5:
        turned = turned[:, ::-1]
    table = np.round(255.0 * (np.arange(256) / 255.0) ** random.uniform(*GAMMAS)).astype(np.uint8)
    adjusted: NDArray[np.uint8] = table[np.ascontiguousarray(turned)]
    return defocus(adjusted, random) if random.random() < DEFOCUS_CHANCE else adjusted


def defocus(picture: NDArray[np.uint8], random: np.random.Generator) -> NDArray[np.uint8]:
    """Blur, then add grain as a sensor does, whose noise no lens blurs."""
    blurred = Image.fromarray(picture).filter(
        ImageFilter.GaussianBlur(random.uniform(*DEFOCUS_RADII))
    )
    grain = random.normal(0.0, random.uniform(*GRAIN_DEVIATIONS), picture.shape)
    return np.clip(np.round(np.asarray(blurred) + grain), 0, 255).astype(np.uint8)
