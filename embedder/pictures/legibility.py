"""Is there anything in a picture to judge by? Facts for the quality gate, and which picture is
flat.

The whole picture is asked by PDQ's quality, which the hash brings along; what the model reads is
asked by itself, for a model that takes the middle at native resolution may be shown a blown-out
patch of a rich photograph.

Of 687 photographs and 900 synthetic images PDQ's quality is under 50 in two: a black frame, the
moon in a black sky. Of the 1,499 that have a middle of 160 x 160 pixels its luminance deviates by 0
in two, that frame and the plain red of a drawing, and by 5.5 and more in all others (2026-11-25). A
constant colour has 0 in both. Noise on grey deviates by less than 4 where it is weak or where JPEG
took it away; strong noise deviates as a photograph does, and PDQ's quality tells it while it is
averaged away (14 of 100 where it deviates by 8 at 640 x 480, 52 by 12 at 400 x 300).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embedder.pictures.decode import DecodedImage
from embedder.pictures.perceptual import PerceptualHash
from embedder.pictures.preprocess import Preprocessing

# PDQ's authors discard hashes of less (see `perceptual`).
MIN_PDQ_QUALITY = 50
# Between 0 and 5.5, the figures above; levels of 255.
MIN_LUMINANCE_STD = 4.0
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601, as Pillow's "L"


@dataclass(frozen=True, slots=True)
class PictureQuality:
    """`shortest_side` in pixels; `pdq_quality` 0 to 100, of the whole picture.

    `luminance_std` is the standard deviation in levels of 255 of what the model reads. None of
    either: not known.
    """

    shortest_side: int
    pdq_quality: int | None
    luminance_std: float | None


def measure_quality(
    decoded: DecodedImage,
    hashed: PerceptualHash,
    pixels: NDArray[np.float32],
    preprocessing: Preprocessing,
) -> PictureQuality:
    """Of a decoded image, its hash, and its pixels `(3, h, w)` after that preprocessing."""
    return PictureQuality(
        min(decoded.width, decoded.height),
        hashed.quality,
        measure_luminance_std(pixels, preprocessing),
    )


def measure_luminance_std(pixels: NDArray[np.float32], preprocessing: Preprocessing) -> float:
    """Of preprocessed pixels `(3, h, w)`, in levels of 255; 0 to 127.5."""
    per_level = _LUMA * np.asarray(preprocessing.std or (1.0, 1.0, 1.0), np.float32) * 255  # (3,)
    return float(np.einsum("chw,c->hw", pixels, per_level).std(dtype=np.float64))


def is_flat(quality: PictureQuality) -> bool:
    """Whether the picture, or what the model reads of it, shows next to nothing; what is not known
    does not count.
    """
    too_plain = quality.pdq_quality is not None and quality.pdq_quality < MIN_PDQ_QUALITY
    too_even = quality.luminance_std is not None and quality.luminance_std < MIN_LUMINANCE_STD
    return too_plain or too_even
