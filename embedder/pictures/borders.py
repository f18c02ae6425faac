"""Borders around a picture: of one colour, smooth, or those of a page or a screen that shows it.

A letterbox, a passe-partout, a page of news, a telephone's screen: all put something around a
picture that changes its perceptual hash. Whatever is found is a guess, one of several, so nothing
is lost by a wrong one. Pictures are looked at in 384 x 384 pixels, stretched: positions are exact
to 0.3 % of a side, and what differs less than noise of JPEG 60 counts as equal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE = 384

Pixels = NDArray[np.uint8]  # (3, h, w)
Mask = NDArray[np.bool_]


class Region(NamedTuple):
    """A part of a picture, in pixels of the stretched one; right and bottom are outside."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def shortest(self) -> int:
        """The shorter side."""
        return min(self.right - self.left, self.bottom - self.top)

    @property
    def area(self) -> int:
        """The number of pixels."""
        return (self.right - self.left) * (self.bottom - self.top)

    def resembles(self, other: Region) -> bool:
        """Whether no edge differs by more than 1.3 % of the side: a hash hardly notices that."""
        return max(abs(one - two) for one, two in zip(self, other, strict=True)) <= _SAME_EDGE


WHOLE = Region(0, 0, SIDE, SIDE)
# A picture's part that is smaller than a tenth of the side has fewer pixels than its hash samples.
SHORTEST_REGION = SIDE // 10

_SAME_EDGE = 5
# In levels of 255: JPEG at quality 60 moves a flat colour by up to 8 beside an edge, and averaging
# to this size halves it.
_SAME_COLOUR = 12
_SAME_NEIGHBOUR = 5
# The share of a line that must be alike: logotypes, dust and corners may disturb the rest.
_UNIFORM_SHARE = 0.97
_LAYERS = 4  # frames in one another, and colours around a page
_COLOUR_SHARE = 0.06  # of the outermost pixels, for a colour to count as one of the page
_CELL = 8  # pixels: the dense rectangle is first found in cells
_PAGE_WEIGHT = 1.2  # a rectangle that is to 55 % picture is worth its area
# What eight pixels weigh, by which of them, the first in the highest bit, are of the page.
_LINE_WEIGHTS = np.where(
    np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1), -_PAGE_WEIGHT, 1.0
).sum(axis=1)
_LOOK_AHEAD = 8  # rows that are examined at once, from an edge inwards
_REACH = 6  # pixels around a cell's edge in which the picture's edge is looked for


def stretch(image: Image.Image) -> Image.Image:
    """Return an RGB image in `SIDE` x `SIDE` pixels."""
    factors = (max(1, image.width // (2 * SIDE)), max(1, image.height // (2 * SIDE)))
    small = image.reduce(factors)
    method = Image.Resampling.BOX if min(small.size) >= SIDE else Image.Resampling.BILINEAR
    return small.resize((SIDE, SIDE), method)


def split_planes(image: Image.Image) -> Pixels:
    """Return the pixels of an RGB image, plane by plane."""
    return np.stack([np.asarray(each) for each in image.split()])


def find_borders(pixels: Pixels) -> list[Region]:
    """Return what remains of a picture without its borders, the most probable guess first.

    Empty if it has none.
    """
    guesses = [*_find_shown(pixels), peel(pixels, WHOLE), peel(pixels, WHOLE, _find_smooth_lines)]
    return [each for each in guesses if each is not None and each != WHOLE]


def peel(
    pixels: Pixels,
    region: Region,
    find: Callable[[Pixels], Mask] | None = None,
    most: int = SIDE,
) -> Region | None:
    """Return a region without the uniform lines at its edges; None if nothing is left of it. More
    lines than `most` at one edge are no border.
    """
    find = find or _find_uniform_lines
    for _ in range(_LAYERS):
        left, top, right, bottom = before = region
        rows = _count_ends(find, _cut(pixels, region), most)
        if rows is None:
            return None
        region = Region(left, top + rows[0], right, bottom - rows[1])
        columns = _count_ends(find, _cut(pixels, region).swapaxes(1, 2), most)
        if columns is None:
            return None
        region = region._replace(left=left + columns[0], right=right - columns[1])
        if region.shortest < SHORTEST_REGION:
            return None
        if region == before:
            break
    return region


def _find_shown(pixels: Pixels) -> Iterator[Region]:
    """Yield the picture that a page shows, and the one in it that it shows in turn."""
    found: list[Region] = []
    region = WHOLE
    for _ in range(2):
        shown = _find_dense(pixels, region)
        if shown is None or shown.shortest < SHORTEST_REGION:
            break
        inner = peel(pixels, shown) or shown
        found += [shown] if inner == shown else [inner, shown]
        region = inner
    yield from found


def _cut(pixels: Pixels, region: Region) -> Pixels:
    return pixels[:, region.top : region.bottom, region.left : region.right]


def measure_difference(one: Pixels, other: Pixels) -> NDArray[np.uint8]:
    """Return the largest difference of the three colours, in levels of 255; (3, ...) to (...)."""
    difference: NDArray[np.uint8] = (np.maximum(one, other) - np.minimum(one, other)).max(axis=0)
    return difference


def _find_uniform_lines(pixels: Pixels) -> Mask:
    """Return which rows have one colour."""
    step = max(1, pixels.shape[2] // 32)
    colour = np.sort(pixels[:, :, ::step], axis=2)
    middle = colour[:, :, colour.shape[2] // 2, None]  # (3, h, 1)
    alike = measure_difference(pixels, middle) <= _SAME_COLOUR
    uniform: Mask = alike.mean(axis=1) >= _UNIFORM_SHARE
    return uniform


def _find_smooth_lines(pixels: Pixels) -> Mask:
    """Return which rows change slowly only, as gradients and blurred pictures do."""
    if pixels.shape[2] < 3:
        return np.zeros(pixels.shape[1], np.bool_)
    slow = measure_difference(pixels[:, :, 2:], pixels[:, :, :-2]) <= _SAME_NEIGHBOUR
    smooth: Mask = slow.mean(axis=1) >= _UNIFORM_SHARE
    return smooth


def _count_ends(
    find: Callable[[Pixels], Mask], pixels: Pixels, most: int
) -> tuple[int, int] | None:
    """Return how many rows are set from the start, and from the end, none where it is more than
    `most`; None if all rows are set.
    """
    start = _count_first(find, pixels)
    if start == pixels.shape[1]:
        return None
    end = _count_first(find, pixels[:, ::-1])
    return start if start <= most else 0, end if end <= most else 0


def _count_first(find: Callable[[Pixels], Mask], pixels: Pixels) -> int:
    """Return how many rows are set before the first that is not. Few pictures have many."""
    for at in range(0, pixels.shape[1], _LOOK_AHEAD):
        others = np.flatnonzero(~find(pixels[:, at : at + _LOOK_AHEAD]))
        if len(others):
            return at + int(others[0])
    rows: int = pixels.shape[1]
    return rows


def _find_dense(pixels: Pixels, region: Region) -> Region | None:
    """Return the rectangle that has most of what is not in the colours around the region."""
    inner = _cut(pixels, region)
    page = np.zeros(inner.shape[1:], np.bool_)
    for colour in _find_page_colours(inner):
        page |= _find_colour(inner, colour)
    if not page.any():
        return None
    found = _find_heaviest(page)
    if found is None:
        return None
    moved = Region(
        region.left + found.left,
        region.top + found.top,
        region.left + found.right,
        region.top + found.bottom,
    )
    return _fit_edges(pixels, moved, region)


def _find_colour(pixels: Pixels, colour: Pixels) -> Mask:
    """Return where pixels (3, h, w) differ from a colour (3,) by at most `_SAME_COLOUR`."""
    lowest = np.maximum(colour, _SAME_COLOUR) - _SAME_COLOUR
    span = np.minimum(colour, 255 - _SAME_COLOUR) + _SAME_COLOUR - lowest
    red, green, blue = (
        plane - low <= high  # uint8: what is below the lowest wraps round, and is above all
        for plane, low, high in zip(pixels, lowest, span, strict=True)
    )
    near: Mask = red & green & blue
    return near


def _find_page_colours(pixels: Pixels) -> list[Pixels]:
    """Return the most frequent colours (3,) of the two outermost lines at each side."""
    sides = (pixels[:, :2], pixels[:, -2:], pixels[:, :, :2], pixels[:, :, -2:])
    left = np.concatenate([each.reshape(3, -1) for each in sides], axis=1)  # (3, n)
    least, colours = _COLOUR_SHARE * left.shape[1], list[Pixels]()
    while len(colours) < _LAYERS and left.shape[1] >= least:
        red, green, blue = (left >> 4).astype(np.int16)
        codes = red << 8 | green << 4 | blue
        top = codes == np.bincount(codes).argmax()
        colour = _find_medians(left[:, top])
        near = measure_difference(left, colour[:, None]) <= _SAME_COLOUR
        if near.sum() < least:
            break
        colours.append(colour)
        left = left[:, ~near]
    return colours


def _find_medians(pixels: Pixels) -> Pixels:
    """Return the median colour (3,) of pixels (3, n), rounded down."""
    low, high = (pixels.shape[1] - 1) // 2, pixels.shape[1] // 2
    ordered = np.sort(pixels, axis=1).astype(np.uint16)
    return ((ordered[:, low] + ordered[:, high]) // 2).astype(np.uint8)


def _find_heaviest(page: Mask) -> Region | None:
    """Return the rectangle with the largest sum of weights, in whole cells, where a pixel weighs
    `-_PAGE_WEIGHT` if it is of the page (h, w) and 1 if not; None if no cell weighs more than
    nothing.

    For each pair of rows, the heaviest run of columns is where the running sum has risen most.
    """
    down, across = (side // _CELL for side in page.shape)
    if min(down, across) < 1:
        return None
    lines = np.packbits(page[: down * _CELL, : across * _CELL], axis=1)  # a cell's, in a byte
    sums = _LINE_WEIGHTS[lines].reshape(down, _CELL, across).sum(axis=1)
    above = np.concatenate([np.zeros((1, across)), np.cumsum(sums, axis=0)])
    tops, bottoms = np.triu_indices(down + 1, 1)  # (p,)
    running, rises = _run_along(above.T[:, bottoms] - above.T[:, tops])
    pair = int(rises.max(axis=0).argmax())
    column = int(rises[:, pair].argmax())
    if rises[column, pair] <= 0:
        return None
    left = int(running[: column + 1, pair].argmin())
    found = (left, int(tops[pair]), column + 1, int(bottoms[pair]))
    return Region(*(each * _CELL for each in found))


def _run_along(
    weights: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the running sums (n + 1, p) of weights (n, p), and how far each has risen above the
    lowest before it (n, p).

    Row by row: the steps of all p sums at once take a fraction of the time of one after the other.
    """
    running, rises = np.zeros((len(weights) + 1, weights.shape[1])), np.empty_like(weights)
    lowest = np.zeros(weights.shape[1])
    for at, each in enumerate(weights):
        np.add(running[at], each, out=running[at + 1])
        np.subtract(running[at + 1], lowest, out=rises[at])
        np.minimum(lowest, running[at + 1], out=lowest)
    return running, rises


def _fit_edges(pixels: Pixels, region: Region, within: Region) -> Region:
    """Move the edges that came from cells to the strongest step near them."""
    left, top, right, bottom = region
    across, down = pixels[:, :, left:right], pixels[:, top:bottom].swapaxes(1, 2)
    return Region(
        _find_step(down, left, within.left, within.right),
        _find_step(across, top, within.top, within.bottom),
        _find_step(down, right, within.left, within.right),
        _find_step(across, bottom, within.top, within.bottom),
    )


def _find_step(lines: Pixels, at: int, first: int, last: int) -> int:
    """Return where rows (3, h, w) differ most from the one before, around a place. An edge of the
    page stays where it is.
    """
    start, end = max(first + 1, at - _REACH), min(last - 1, at + _REACH)
    if at <= first or end < start:
        return max(at, first)
    steps = measure_difference(lines[:, start : end + 1], lines[:, start - 1 : end]).mean(axis=1)
    found = start + int(steps.argmax())
    # At the far end the cells may leave a remainder, which belongs to the picture if nothing
    # separates it.
    return last if last - at < _CELL and steps.max() < _SAME_COLOUR else found
