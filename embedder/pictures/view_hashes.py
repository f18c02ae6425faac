"""The hashes of a picture's views: what it is compared as, so that edited copies are found by the
hashes that are stored of other pictures.

A picture is looked at as it is and in the other seven symmetries, without the borders that it may
have, in the parts that it may be composed of, and as a crop of a larger one. For the last, the
pixels at its edges are repeated outwards until it fills as much as if it had been cropped. A hash
is made of slow waves over the whole picture, which the middle determines for the most part: of 60
pictures cropped by 5, 10 and 20 % at each side, 28, 15 and 3 % come within 31 bits like this, and
100, 95 and 22 % within 60; as they are, it is none, and 11 % of the first (2026-11-30).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from embedder.pictures.borders import SIDE, WHOLE, Region, find_borders, split_planes, stretch
from embedder.pictures.parts import find_parts
from embedder.pictures.perceptual import (
    NOTHING_TO_SEE,
    PerceptualHash,
    hash_many,
    hash_samples,
    sample_flips,
    sample_windows,
)
from embedder.pictures.symmetries import undo, undo_each
from embedder.pictures.views import Box, Symmetry, View, ViewHash

# Its authors advise to discard hashes of lower quality: those of flat pictures resemble each other.
MIN_QUALITY = 50
# Parts that are compared in all symmetries: a border has few good guesses, a collage many parts.
_TURNED_PARTS = 3
_PARTS = 14
_MIRRORS = (Symmetry.UPRIGHT, Symmetry.MIRRORED)
# Shares that were cropped: at each side, at one side, at two that meet. A hash comes within 60 bits
# if the share is right by a third or, at one side, by 4 % of it; within 90 by twice as much. Of 37
# pictures cropped at one side by a random share, these reach 87 % within 60 bits if it was 5 to
# 15 %; 31 % within 60 and 91 % within 90 if it was 15 to 30 %. At a corner it is 20 to 40 % within
# 60, for 8 to 30 % (2026-11-30).
_CROPPED = (0.035, 0.065, 0.1, 0.145, 0.2)
_CROPPED_PART = _CROPPED[1::2]
_CROPPED_AT_ONE_SIDE = (0.1, 0.25)
_CROPPED_AT_A_CORNER = (0.17, 0.3)

_Samples = NDArray[np.uint8]


def make_view_hashes(image: Image.Image) -> tuple[ViewHash, ...]:
    """Compute the hashes of the views of an RGB image. Thread-safe.

    The first is that of the image as it is. Of the others, those that show too little to be
    compared are left out.
    """
    flips = sample_flips(image)
    if flips is None:
        return (ViewHash(View(), NOTHING_TO_SEE),)
    upright = ViewHash(View(), hash_samples(flips[0, 0]))
    sampled = {View(each): own for each, own in undo_each(flips).items() if View(each) != View()}
    sampled |= _sample_parts_and_crops(image)
    hashes = hash_many(np.stack(list(sampled.values())))
    others = zip(sampled, hashes, strict=True)
    return upright, *(ViewHash(view, own) for view, own in others if _shows_enough(own))


def _shows_enough(hashed: PerceptualHash) -> bool:
    return hashed.quality >= MIN_QUALITY


def _sample_parts_and_crops(image: Image.Image) -> dict[View, _Samples]:
    stretched = stretch(image)
    pixels, luma = split_planes(stretched), np.asarray(stretched.convert("L"))  # (3, h, w), (h, w)
    parts = _choose(find_borders(pixels), find_parts(pixels))
    sampled = dict(_sample_middles(luma, WHOLE, _CROPPED)) | dict(_sample_sides(luma))
    for number, (part, seen) in enumerate(zip(parts, sample_windows(luma, parts), strict=True)):
        for symmetry in Symmetry if number < _TURNED_PARTS else _MIRRORS:
            sampled[View(symmetry, _to_box(part))] = undo(symmetry, seen)
    if parts:
        sampled |= dict(_sample_middles(luma, parts[0], _CROPPED_PART))
    return sampled


def _choose(borders: Iterable[Region], parts: Iterable[Region]) -> list[Region]:
    """Return regions that differ from the whole and from one another, the most probable first."""
    chosen: list[Region] = []
    for region in (*borders, *parts):
        if not any(region.resembles(each) for each in (WHOLE, *chosen)):
            chosen.append(region)
    return chosen[:_PARTS]


def _sample_middles(
    luma: _Samples, region: Region, shares: Sequence[float]
) -> Iterator[tuple[View, _Samples]]:
    """Yield a region as if it were the middle of a larger picture."""
    part = None if region == WHOLE else _to_box(region)
    boxes = [Box(share, share, 1 - share, 1 - share) for share in shares]
    sampled = sample_windows(luma, [_widen(region, kept) for kept in boxes])
    for kept, seen in zip(boxes, sampled, strict=True):
        for symmetry in _MIRRORS:
            yield View(symmetry, part, kept), undo(symmetry, seen)


def _sample_sides(luma: _Samples) -> Iterator[tuple[View, _Samples]]:
    """Yield a picture as if one side of a larger one, or two that meet, had been cropped."""
    kept: list[tuple[float, float, float, float]] = []
    for low in _CROPPED_AT_ONE_SIDE:
        high = 1 - low
        kept += [(low, 0.0, 1.0, 1.0), (0.0, low, 1.0, 1.0)]
        kept += [(0.0, 0.0, high, 1.0), (0.0, 0.0, 1.0, high)]
    for low in _CROPPED_AT_A_CORNER:
        high = 1 - low
        kept += [(low, low, 1.0, 1.0), (0.0, low, high, 1.0)]
        kept += [(low, 0.0, 1.0, high), (0.0, 0.0, high, high)]
    boxes = [Box(*edges) for edges in kept]
    sampled = sample_windows(luma, [_widen(WHOLE, box) for box in boxes])
    for box, seen in zip(boxes, sampled, strict=True):
        yield View(kept=box), seen


def _widen(region: Region, kept: Box) -> Region:
    """Return the region of which this one is the part that was kept."""
    width = (region.right - region.left) / (kept.right - kept.left)
    height = (region.bottom - region.top) / (kept.bottom - kept.top)
    left, top = region.left - kept.left * width, region.top - kept.top * height
    return Region(round(left), round(top), round(left + width), round(top + height))


def _to_box(region: Region) -> Box:
    return Box(*(edge / SIDE for edge in region))
