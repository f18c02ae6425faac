"""Whether a picture shows enough to be judged: facts for the quality gate, and which picture is
flat.

PDQ's quality, which comes with the hash, describes the whole picture. The pixels that the model
reads are measured separately, because a model that takes the centre at native resolution may see a
blown-out patch of a rich photograph.

Of 687 photographs and 900 synthetic images, PDQ's quality is under 50 for two: a black frame, and
the moon in a black sky. Of the 1,499 that have a centre of 160 x 160 pixels, the standard deviation
of its luminance is 0 for two, that frame and the plain red of a drawing, and 5.5 or more for all
others (2026-11-25). A constant colour has 0 in both. Noise on grey deviates by less than 4 where it
is weak or where JPEG removed it. Strong noise deviates as a photograph does; PDQ's quality detects
it as long as it is averaged away (14 of 100 for a deviation of 8 at 640 x 480, 52 for 12 at 400 x
300).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embedder.pictures.decode import DecodedImage
from embedder.pictures.perceptual import PerceptualHash

# PDQ's authors discard hashes of lower quality (see `perceptual`).
MIN_PDQ_QUALITY = 50
# Levels of 255, between the 0 and the 5.5 of the figures above.
MIN_LUMINANCE_STD = 4.0
_LUMA = np.array([299, 587, 114], np.int32)  # thousandths, ITU-R BT.601, as Pillow's "L"


@dataclass(frozen=True, slots=True)
class PictureQuality:
    """`shortest_side` is in pixels. `pdq_quality`, 0 to 100, describes the whole picture.

    `luminance_std` is the standard deviation of what the model reads, in levels of 255. None means
    unknown.
    """

    shortest_side: int
    pdq_quality: int | None
    luminance_std: float | None


def measure_quality(
    decoded: DecodedImage,
    hashed: PerceptualHash,
    pixels: NDArray[np.uint8],
) -> PictureQuality:
    """Measure a decoded image from its hash and its preprocessed pixels `(h, w, 3)`."""
    return PictureQuality(
        shortest_side=min(decoded.width, decoded.height),
        pdq_quality=hashed.quality,
        luminance_std=measure_luminance_std(pixels),
    )


def measure_luminance_std(pixels: NDArray[np.uint8]) -> float:
    """Return the deviation of preprocessed pixels `(h, w, 3)`, 0 to 127.5 levels of 255."""
    # Whole numbers, so that the order of the additions does not change the last digit.
    luminance = pixels.astype(np.int32) @ _LUMA  # (h, w)
    return float(luminance.std(dtype=np.float64)) / 1000


def is_flat(quality: PictureQuality) -> bool:
    """Whether the picture, or what the model reads of it, shows almost nothing. Unknown values do
    not count.
    """
    has_no_structure = quality.pdq_quality is not None and quality.pdq_quality < MIN_PDQ_QUALITY
    has_no_contrast = (
        quality.luminance_std is not None and quality.luminance_std < MIN_LUMINANCE_STD
    )
    return has_no_structure or has_no_contrast
