"""The fixed re-encodings of a probe: would the answer change if the file had been re-encoded?

The list is fixed, so that two laboratories look at the same re-encodings. Each is mild: it happens
to a picture on its way without bad intent. Another module judges what the range of results means.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from embedder.errors import ImageError
from embedder.pictures.delivery import (
    Condition,
    coarser_of,
    recompress_as_jpeg,
    recompress_as_webp,
    scale,
    strip_metadata,
)
from embedder.pictures.limits import DEFAULT_LIMITS, ImageLimits
from embedder.pictures.preprocess import Preprocessing, preprocess


@dataclass(frozen=True, slots=True, eq=False)
class ReEncoding:
    """A re-encoding of a probe.

    `pixels` `(h, w, 3)` uint8 are what the model reads; `condition` is how it was delivered.
    """

    name: str
    pixels: NDArray[np.uint8]
    condition: Condition


@dataclass(frozen=True, slots=True)
class RefusedReEncoding:
    """A re-encoding that the model or the limits would refuse as a probe.

    `reason` is that of the ImageError.
    """

    name: str
    reason: str
    detail: str


@dataclass(frozen=True, slots=True, eq=False)
class ReEncodings:
    """Both tuples are in the order of REENCODING_NAMES. The unchanged picture is not among them."""

    usable: tuple[ReEncoding, ...]
    refused: tuple[RefusedReEncoding, ...]


def _crop_left_and_top(image: Image.Image, share: float) -> Image.Image:
    across, down = _choose_cut(image, share)
    return strip_metadata(image.crop((across, down, image.width, image.height)))


def _crop_right_and_bottom(image: Image.Image, share: float) -> Image.Image:
    across, down = _choose_cut(image, share)
    return strip_metadata(image.crop((0, 0, image.width - across, image.height - down)))


def _choose_cut(image: Image.Image, share: float) -> tuple[int, int]:
    """Return how many pixels to cut across and down: at least one, and one remains."""
    across, down = (min(max(1, round(side * share)), side - 1) for side in image.size)
    return across, down


# The qualities, scales and shares are chosen, not measured.
# A crop takes off two sides that meet. A cut on all sides would leave the centre where it was, and
# a model that reads the centre at native resolution would see no change.
# Each has the condition of the nearest delivery. A quality follows the boundaries of
# `condition_of`. 0.75 of the size counts as a screenshot, which shows 0.8 and loses nothing either.
# A crop, or 0.9 of the size, leaves a picture as it came.
_MAKERS: Mapping[str, tuple[Callable[[Image.Image], Image.Image], Condition]] = MappingProxyType(
    {
        "jpeg95": (partial(recompress_as_jpeg, quality=95), Condition.AS_IS),
        "jpeg85": (partial(recompress_as_jpeg, quality=85), Condition.JPEG90),
        "jpeg75": (partial(recompress_as_jpeg, quality=75), Condition.JPEG75),
        "jpeg60": (partial(recompress_as_jpeg, quality=60), Condition.JPEG50),
        "webp80": (partial(recompress_as_webp, quality=80), Condition.WEBP80),
        "scaled90": (partial(scale, factor=0.9), Condition.AS_IS),
        "scaled75": (partial(scale, factor=0.75), Condition.SCREENSHOT),
        "scaled50": (partial(scale, factor=0.5), Condition.HALF),
        "cropped2": (partial(_crop_left_and_top, share=0.02), Condition.AS_IS),
        "cropped5": (partial(_crop_right_and_bottom, share=0.05), Condition.AS_IS),
    }
)
REENCODING_NAMES: tuple[str, ...] = tuple(_MAKERS)


def condition_of_reencoding(name: str) -> Condition:
    """Return how this re-encoding delivers a picture that was not re-encoded before."""
    return _MAKERS[name][1]


def reencode(
    image: Image.Image,
    preprocessing: Preprocessing,
    limits: ImageLimits = DEFAULT_LIMITS,
    *,
    delivered_as: Condition = Condition.AS_IS,
) -> ReEncodings:
    """Preprocess each re-encoding of an upright RGB image for one model; the same on each call.

    `delivered_as` is how the image itself was delivered: a re-encoding restores nothing that this
    delivery removed.
    """
    usable, refused = [], []
    for name, (make, condition) in _MAKERS.items():
        try:
            changed = make(image)
            limits.check(*changed.size)
            usable.append(
                ReEncoding(
                    name, preprocess(changed, preprocessing), coarser_of(delivered_as, condition)
                )
            )
        except ImageError as err:
            refused.append(RefusedReEncoding(name, err.reason, str(err)))
    return ReEncodings(tuple(usable), tuple(refused))
