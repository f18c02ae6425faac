"""The fixed re-encodings of a probe: would the answer change if the file had been re-encoded?

The list is fixed, so that two laboratories look at the same re-encodings. Each is mild: it happens
to a picture on its way without bad intent. Another module judges what the range of results means.

A picture of up to `MAX_REENCODED_PIXELS` is re-encoded whole. Of a larger one, only what the model
sees is. A model that takes the centre at native resolution sees a few hundred pixels: a window
around them is re-encoded, whose JPEG blocks lie where those of the whole picture lie. The pixels
after a JPEG or a crop are those of the whole picture; after scaling they differ by one level of 255
at most, because filters are rounded elsewhere; lossy WebP predicts across the picture, so there
they differ more. A model that reads the whole picture gets the re-encodings of a picture that was
reduced to the bound first. The decision record 0019 has the figures.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from embedder.errors import ImageError, ImageTooSmall
from embedder.pictures.delivery import (
    Condition,
    coarser_of,
    recompress_as_jpeg,
    recompress_as_webp,
    scale,
    strip_metadata,
)
from embedder.pictures.limits import DEFAULT_LIMITS, ImageLimits
from embedder.pictures.preprocess import Preprocessing, compute_crop_offset, preprocess


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
    """Both tuples are in the order of REENCODING_NAMES. The unchanged picture is not among them.

    `part` is the width and height of what was re-encoded: a window of the picture or the picture
    reduced. It is None where the whole picture was.
    """

    usable: tuple[ReEncoding, ...]
    refused: tuple[RefusedReEncoding, ...]
    part: tuple[int, int] | None = None


Box = tuple[int, int, int, int]  # left, top, right, bottom

# More than a camera of 24 megapixels writes. The re-encodings of a picture of this size take about
# 3 s of one slow core, those of 100 megapixels took 12 s (2026-11-30).
MAX_REENCODED_PIXELS = 25_000_000
# A window begins at multiples of the blocks of JPEG with 4:2:0 colour.
_GRID = 16
# Pixels around what the model sees. JPEG reads two of its blocks at most; WebP adapts to more.
_MARGIN = 160


def _keep_all(width: int, height: int) -> Box:
    return 0, 0, width, height


def _cut_left_and_top(width: int, height: int, share: float) -> Box:
    across, down = _choose_cut(width, height, share)
    return across, down, width, height


def _cut_right_and_bottom(width: int, height: int, share: float) -> Box:
    across, down = _choose_cut(width, height, share)
    return 0, 0, width - across, height - down


def _choose_cut(width: int, height: int, share: float) -> tuple[int, int]:
    """Return how many pixels to cut across and down: at least one, and one remains."""
    across, down = (min(max(1, round(side * share)), side - 1) for side in (width, height))
    return across, down


@dataclass(frozen=True, slots=True)
class _Maker:
    """What makes a re-encoding: first the part of the picture that stays, then `change`.

    `condition` is that of the nearest delivery. A `factor` other than 1 means that `change` scales,
    and does nothing else.
    """

    change: Callable[[Image.Image], Image.Image]
    condition: Condition
    factor: float = 1.0
    stays: Callable[[int, int], Box] = _keep_all


def _scaled(factor: float, condition: Condition) -> _Maker:
    return _Maker(partial(scale, factor=factor), condition, factor)


# The qualities, scales and shares are chosen, not measured.
# A crop takes off two sides that meet. A cut on all sides would leave the centre where it was, and
# a model that reads the centre at native resolution would see no change.
# A quality follows the boundaries of
# `condition_of`. 0.75 of the size counts as a screenshot, which shows 0.8 and loses nothing either.
# A crop, or 0.9 of the size, leaves a picture as it came.
_MAKERS: Mapping[str, _Maker] = MappingProxyType(
    {
        "jpeg95": _Maker(partial(recompress_as_jpeg, quality=95), Condition.AS_IS),
        "jpeg85": _Maker(partial(recompress_as_jpeg, quality=85), Condition.JPEG90),
        "jpeg75": _Maker(partial(recompress_as_jpeg, quality=75), Condition.JPEG75),
        "jpeg60": _Maker(partial(recompress_as_jpeg, quality=60), Condition.JPEG50),
        "webp80": _Maker(partial(recompress_as_webp, quality=80), Condition.WEBP80),
        "scaled90": _scaled(0.9, Condition.AS_IS),
        "scaled75": _scaled(0.75, Condition.SCREENSHOT),
        "scaled50": _scaled(0.5, Condition.HALF),
        "cropped2": _Maker(
            strip_metadata, Condition.AS_IS, stays=partial(_cut_left_and_top, share=0.02)
        ),
        "cropped5": _Maker(
            strip_metadata, Condition.AS_IS, stays=partial(_cut_right_and_bottom, share=0.05)
        ),
    }
)
REENCODING_NAMES: tuple[str, ...] = tuple(_MAKERS)


def condition_of_reencoding(name: str) -> Condition:
    """Return how this re-encoding delivers a picture that was not re-encoded before."""
    return _MAKERS[name].condition


def reencode(
    image: Image.Image,
    preprocessing: Preprocessing,
    limits: ImageLimits = DEFAULT_LIMITS,
    *,
    delivered_as: Condition = Condition.AS_IS,
    max_pixels: int = MAX_REENCODED_PIXELS,
) -> ReEncodings:
    """Preprocess each re-encoding of an upright RGB image for one model; the same on each call.

    `delivered_as` is how the image itself was delivered: a re-encoding restores nothing that this
    delivery removed. Of an image with more than `max_pixels`, what the model sees is re-encoded.
    """
    make, part = _choose_way(image, preprocessing, limits, max_pixels)
    usable, refused = [], []
    for name, maker in _MAKERS.items():
        try:
            condition = coarser_of(delivered_as, maker.condition)
            usable.append(ReEncoding(name, make(maker), condition))
        except ImageError as err:
            refused.append(RefusedReEncoding(name, err.reason, str(err)))
    return ReEncodings(tuple(usable), tuple(refused), part)


_Make = Callable[[_Maker], NDArray[np.uint8]]


def _choose_way(
    image: Image.Image, preprocessing: Preprocessing, limits: ImageLimits, max_pixels: int
) -> tuple[_Make, tuple[int, int] | None]:
    """Return what makes the pixels of a re-encoding, and the size of the part that it works on."""
    if image.width * image.height <= max_pixels:
        return partial(_make_whole, image, preprocessing, limits), None
    if preprocessing.resample is None:
        side = _window_side(preprocessing.crop_size)
        if max(image.size) > side:
            part = min(side, image.width), min(side, image.height)
            return partial(_make_window, image, preprocessing, limits), part
        return partial(_make_whole, image, preprocessing, limits), None
    share = math.sqrt(max_pixels / (image.width * image.height))
    size = max(1, math.floor(image.width * share)), max(1, math.floor(image.height * share))
    reduced = image.resize(size, Image.Resampling.LANCZOS)
    return partial(_make_whole, reduced, preprocessing, limits), size


def _make_whole(
    image: Image.Image, preprocessing: Preprocessing, limits: ImageLimits, maker: _Maker
) -> NDArray[np.uint8]:
    """Return the pixels after a re-encoding of the whole image. Raises ImageError."""
    box = maker.stays(*image.size)
    changed = maker.change(image if box == _keep_all(*image.size) else image.crop(box))
    limits.check(*changed.size)
    return preprocess(changed, preprocessing)


def _window_side(crop_size: int) -> int:
    """Return the side of a window: what the model sees, both margins and a step of the grid."""
    return -(-(crop_size + 2 * _MARGIN + _GRID) // _GRID) * _GRID


def _make_window(
    image: Image.Image, preprocessing: Preprocessing, limits: ImageLimits, maker: _Maker
) -> NDArray[np.uint8]:
    """Return the pixels after a re-encoding of a window around what the model sees of it.

    The model takes the centre at native resolution. Raises ImageError.
    """
    box, crop = maker.stays(*image.size), preprocessing.crop_size
    stays = box[2] - box[0], box[3] - box[1]
    width, height = (max(1, round(length * maker.factor)) for length in stays)
    limits.check(width, height)
    if min(width, height) < crop:
        raise ImageTooSmall(width, height, crop)
    left, top = (
        compute_crop_offset(length, crop, preprocessing.crop_rounding) for length in (width, height)
    )
    if maker.factor != 1:
        across, down = stays[0] / width, stays[1] / height
        seen = (left * across, top * down, (left + crop) * across, (top + crop) * down)
        return np.asarray(image.resize((crop, crop), Image.Resampling.LANCZOS, box=seen))
    side = _window_side(crop)
    x, y = (max(0, (at - _MARGIN) // _GRID * _GRID) for at in (left, top))
    window = image.crop(
        (
            box[0] + x,
            box[1] + y,
            min(box[0] + x + side, box[2]),
            min(box[1] + y + side, box[3]),
        )
    )
    shown = maker.change(window).crop((left - x, top - y, left - x + crop, top - y + crop))
    return np.asarray(shown)  # (crop, crop, 3)
