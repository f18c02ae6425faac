"""The fixed re-encodings of a probe: would the answer change if the file had been re-encoded?

The list is fixed, so that two laboratories look at the same re-encodings. Each is mild: it happens
to a picture on its way without bad intent. Another module judges what the range of results means.

A picture of up to `MAX_REENCODED_PIXELS` is re-encoded whole. For a model that takes the centre at
native resolution, only the part that decides what it sees is computed where that gives the same
pixels to the last bit: the blocks of JPEG, the rows and columns that a filter reads.

Of a larger picture, only what the model sees is re-encoded. A model that takes the centre at native
resolution sees a few hundred pixels: a window around them is re-encoded, whose JPEG blocks lie
where those of the whole picture lie. The pixels after a JPEG or a crop are those of the whole
picture; after scaling they differ by one level of 255 at most, because filters are rounded
elsewhere; lossy WebP predicts across the picture, so there they differ more. A model that reads the
whole picture gets the re-encodings of a picture that was reduced to the bound first. The decision
records 0019 and 0038 have the figures.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
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
    """All that were asked for, in the order of REENCODING_NAMES. The unchanged picture is not among
    them.

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
# Of JPEG alone: the model's edge lies in a block, whose colour is interpolated from its neighbours.
_JPEG_MARGIN = 2 * _GRID
# A longer side is refused by libjpeg (JPEG_MAX_DIMENSION), whatever part of it would be encoded.
_LONGEST_SIDE = 65_500
# Pillow scales across first, and from version 13 on down first where a picture is about twice as
# high as it is wide.
_HIGHEST = 1.5
_LANCZOS_REACH = 3  # Pillow's: pixels on each side, of the larger of both sizes


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
    and does nothing else. `margin` is how many pixels around those that are seen can change them,
    None for all.
    """

    change: Callable[[Image.Image], Image.Image]
    condition: Condition
    factor: float = 1.0
    stays: Callable[[int, int], Box] = _keep_all
    margin: int | None = _JPEG_MARGIN


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
        "webp80": _Maker(partial(recompress_as_webp, quality=80), Condition.WEBP80, margin=None),
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
# What is worth ordering apart: WebP takes four times as long as the nine others together.
REENCODING_GROUPS: tuple[tuple[str, ...], ...] = (
    tuple(name for name, maker in _MAKERS.items() if maker.margin is not None),
    tuple(name for name, maker in _MAKERS.items() if maker.margin is None),
)


def condition_of_reencoding(name: str) -> Condition:
    """Return how this re-encoding delivers a picture that was not re-encoded before."""
    return _MAKERS[name].condition


def reencode(
    image: Image.Image,
    preprocessing: Preprocessing,
    limits: ImageLimits = DEFAULT_LIMITS,
    *,
    names: Collection[str] = REENCODING_NAMES,
    delivered_as: Condition = Condition.AS_IS,
    max_pixels: int = MAX_REENCODED_PIXELS,
) -> ReEncodings:
    """Preprocess each named re-encoding of an upright RGB image for one model; the same on each
    call.

    `delivered_as` is how the image itself was delivered: a re-encoding restores nothing that this
    delivery removed. Of an image with more than `max_pixels`, what the model sees is re-encoded.
    """
    make, part = _choose_way(image, preprocessing, limits, max_pixels)
    usable, refused = [], []
    for name, maker in _MAKERS.items():
        if name not in names:
            continue
        try:
            condition = coarser_of(delivered_as, maker.condition)
            usable.append(ReEncoding(name, make(maker), condition))
        except ImageError as err:
            refused.append(RefusedReEncoding(name, err.reason, str(err)))
    return ReEncodings(tuple(usable), tuple(refused), part)


def join_reencodings(groups: Sequence[ReEncodings]) -> ReEncodings:
    """Return the re-encodings of one picture that were made in one or more groups, as one list."""
    usable = [each for group in groups for each in group.usable]
    refused = [each for group in groups for each in group.refused]
    return ReEncodings(
        tuple(sorted(usable, key=lambda each: REENCODING_NAMES.index(each.name))),
        tuple(sorted(refused, key=lambda each: REENCODING_NAMES.index(each.name))),
        groups[0].part,
    )


_Make = Callable[[_Maker], NDArray[np.uint8]]


def _choose_way(
    image: Image.Image, preprocessing: Preprocessing, limits: ImageLimits, max_pixels: int
) -> tuple[_Make, tuple[int, int] | None]:
    """Return what makes the pixels of a re-encoding, and the size of the part that it works on."""
    if image.width * image.height <= max_pixels:
        takes_centre = preprocessing.resample is None and max(image.size) <= _LONGEST_SIDE
        make = _make_seen if takes_centre else _make_whole
        return partial(make, image, preprocessing, limits), None
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


def _make_seen(
    image: Image.Image, preprocessing: Preprocessing, limits: ImageLimits, maker: _Maker
) -> NDArray[np.uint8]:
    """Return what `_make_whole` returns, from no more of the image than that depends on.

    The model takes the centre at native resolution. Raises ImageError.
    """
    is_high = maker.factor != 1 and image.height > _HIGHEST * image.width
    if maker.margin is None or is_high:
        return _make_whole(image, preprocessing, limits, maker)
    seen = _find_seen(image, preprocessing, limits, maker)
    if maker.factor != 1:
        return _scale_seen(image, seen)
    return _change_window(image, seen, maker, maker.margin)


def _window_side(crop_size: int, margin: int = _MARGIN) -> int:
    """Return the side of a window: what the model sees, both margins and a step of the grid."""
    return -(-(crop_size + 2 * margin + _GRID) // _GRID) * _GRID


def _make_window(
    image: Image.Image, preprocessing: Preprocessing, limits: ImageLimits, maker: _Maker
) -> NDArray[np.uint8]:
    """Return the pixels after a re-encoding of a window around what the model sees of it.

    The model takes the centre at native resolution. Raises ImageError.
    """
    seen = _find_seen(image, preprocessing, limits, maker)
    if maker.factor == 1:
        return _change_window(image, seen, maker, _MARGIN)
    across, down = seen.stays[0] / seen.width, seen.stays[1] / seen.height
    box = (
        seen.left * across,
        seen.top * down,
        (seen.left + seen.crop) * across,
        (seen.top + seen.crop) * down,
    )
    return np.asarray(image.resize((seen.crop, seen.crop), Image.Resampling.LANCZOS, box=box))


@dataclass(frozen=True, slots=True)
class _Seen:
    """What the model sees of a re-encoding: a square of `crop` pixels at (`left`, `top`) of the
    picture of `width` x `height` that it becomes. `box` is what stays of the image.
    """

    box: Box
    width: int
    height: int
    left: int
    top: int
    crop: int

    @property
    def stays(self) -> tuple[int, int]:
        """The width and height of what stays."""
        return self.box[2] - self.box[0], self.box[3] - self.box[1]


def _find_seen(
    image: Image.Image, preprocessing: Preprocessing, limits: ImageLimits, maker: _Maker
) -> _Seen:
    """Return what the model sees of a re-encoding. Raises ImageError."""
    box, crop = maker.stays(*image.size), preprocessing.crop_size
    stays = box[2] - box[0], box[3] - box[1]
    width, height = (max(1, round(length * maker.factor)) for length in stays)
    limits.check(width, height)
    if min(width, height) < crop:
        raise ImageTooSmall(width, height, crop)
    left, top = (
        compute_crop_offset(length, crop, preprocessing.crop_rounding) for length in (width, height)
    )
    return _Seen(box, width, height, left, top, crop)


def _change_window(
    image: Image.Image, seen: _Seen, maker: _Maker, margin: int
) -> NDArray[np.uint8]:
    """Return the pixels after a change of a window around them that does not scale."""
    box, side = seen.box, _window_side(seen.crop, margin)
    x, y = (max(0, (at - margin) // _GRID * _GRID) for at in (seen.left, seen.top))
    window = image.crop(
        (
            box[0] + x,
            box[1] + y,
            min(box[0] + x + side, box[2]),
            min(box[1] + y + side, box[3]),
        )
    )
    left, top = seen.left - x, seen.top - y
    shown = maker.change(window).crop((left, top, left + seen.crop, top + seen.crop))
    return np.asarray(shown)  # (crop, crop, 3)


def _scale_seen(image: Image.Image, seen: _Seen) -> NDArray[np.uint8]:
    """Return the pixels after a scaling of the whole image.

    Pillow scales across, rounds, and scales down (see `_HIGHEST`), by weights that depend on the
    whole sizes. So the rows that are read later are scaled over the whole width, and the columns
    that are seen over the whole height, in which the other rows are empty.
    """
    step = image.height / seen.height
    reach = _LANCZOS_REACH * max(1.0, step) + 1
    first = max(0, math.floor((seen.top + 0.5) * step - reach))
    last = min(image.height, math.ceil((seen.top + seen.crop - 0.5) * step + reach))
    rows = image.crop((0, first, image.width, last))
    rows = rows.resize((seen.width, last - first), Image.Resampling.LANCZOS)
    columns = Image.new("RGB", (seen.crop, image.height))
    columns.paste(rows.crop((seen.left, 0, seen.left + seen.crop, last - first)), (0, first))
    scaled = columns.resize((seen.crop, seen.height), Image.Resampling.LANCZOS)
    return np.asarray(scaled.crop((0, seen.top, seen.crop, seen.top + seen.crop)))
