"""Parts of a picture between straight edges: the cells of a collage, a picture laid into another
one, what is left beside a bar of text.

Where two pictures meet, most lines across the edge have a step just there, and a larger one than
anywhere near. In a photograph few edges are as straight. Taking one for a seam costs no more than
one comparison. So a picture is cut at its best seam, and each half again, as
pages are for reading (the X-Y cut of G. Nagy and S. Seth, ICPR 1984).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from embedder.pictures.borders import (
    SHORTEST_REGION,
    SIDE,
    WHOLE,
    Pixels,
    Region,
    measure_difference,
    peel,
)

# In levels of 255: a smaller step is noise of JPEG.
_LEAST_STEP = 8
# A step counts if none within so many pixels beside it is larger: of a texture's, one in eleven.
_BESIDE = 6
# The share of lines with a step at a seam. Of two photographs that meet, a third of the lines have
# about the same colour on both sides.
_SEAM = 0.5
# The share of lines with a step at either edge of a strip, and the least at each of the two.
_STRIP_SEAM, _STRIP = 0.75, 0.25
_CUTS_DEEP = 6
# A smaller part of a region is a bar with text beside a picture, more often than a picture.
_PICTURE_SHARE = 0.25
# Of a run of steps, a third may be missing: as many as at a seam, less chance.
_BREAK = 2
_ENDS = 10  # pixels: how far the ends of two upright sides may differ
_RUNS, _FRAMED = 24, 4  # runs that are compared with one another, and rectangles that are kept
# A uniform strip beside a seam that is wider, 4 % of the side, is cut off at its other edge too, or
# it belongs to the picture.
_GAP = 15


class _Seam(NamedTuple):
    """A seam: the share of lines that have a step there, and the places where it ends the part
    before it (`end`) and starts the one behind it.
    """

    share: float
    end: int
    start: int


def find_parts(pixels: Pixels) -> list[Region]:
    """Return the parts of a picture that seams separate, without their own borders, the most
    probable first: what a frame surrounds, then what is cut no further or loses only a bar, the
    largest first, then what falls into several pictures.
    """
    rows, columns = _find_steps(pixels), _find_steps(pixels.swapaxes(1, 2))
    across, down = _sum_along(rows), _sum_along(columns)
    wholes: list[Region] = []
    composed: list[Region] = []
    waiting = [(WHOLE, 0)]
    while waiting:
        region, depth = waiting.pop(0)
        halves = _cut_at_seam(region, across, down) if depth < _CUTS_DEEP else ()
        if region != WHOLE:
            (composed if _are_pictures(region, halves) else wholes).append(region)
        waiting += [(each, depth + 1) for each in halves if each.shortest >= SHORTEST_REGION]
    found = [*sorted(wholes, key=_by_area), *sorted(composed, key=_by_area)]
    return _find_framed(across, columns) + [peel(pixels, each, most=_GAP) or each for each in found]


def _by_area(region: Region) -> int:
    return -region.area


def _are_pictures(region: Region, halves: tuple[Region, ...]) -> bool:
    """Return whether both halves are large enough to be pictures of their own."""
    return bool(halves) and min(each.area for each in halves) >= _PICTURE_SHARE * region.area


def _find_steps(pixels: Pixels) -> NDArray[np.bool_]:
    """Return where a row differs from the one above it, and more than any row near it (h, w)."""
    steps = np.zeros(pixels.shape[1:], np.uint8)
    steps[1:] = measure_difference(pixels[:, 1:], pixels[:, :-1])
    largest = np.zeros_like(steps)
    for beside in range(2, _BESIDE + 1):
        np.maximum(largest[beside:], steps[:-beside], out=largest[beside:])
        np.maximum(largest[:-beside], steps[beside:], out=largest[:-beside])
    found: NDArray[np.bool_] = (steps >= _LEAST_STEP) & (steps > largest)
    return found


def _sum_along(steps: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Return, for each row, how many steps it has up to each column (h, w + 1)."""
    summed = np.zeros((SIDE, SIDE + 1), np.int32)
    np.cumsum(steps, axis=1, out=summed[:, 1:])
    return summed


def _cut_at_seam(
    region: Region, across: NDArray[np.int32], down: NDArray[np.int32]
) -> tuple[Region, ...]:
    """Return the two halves at the best seam of a region; nothing if it has none."""
    left, top, right, bottom = region
    rows = (across[top:bottom, right] - across[top:bottom, left]) / (right - left)
    columns = (down[left:right, bottom] - down[left:right, top]) / (bottom - top)
    for find in (_find_seam, _find_strip):
        row, column = find(rows), find(columns)
        if row.share > 0 and row.share >= column.share:
            return region._replace(bottom=top + row.end), region._replace(top=top + row.start)
        if column.share > 0:
            return region._replace(right=left + column.end), region._replace(
                left=left + column.start
            )
    return ()


def _find_seam(shares: NDArray[np.float64]) -> _Seam:
    """Return the best seam, by the shares (n,) of lines with a step; of share 0 without one."""
    best = int(shares[_BESIDE:-_BESIDE].argmax()) + _BESIDE
    share = float(shares[best])
    return _Seam(share if share >= _SEAM else 0.0, best, best)


def _find_strip(shares: NDArray[np.float64]) -> _Seam:
    """Return the best narrow strip between two pictures; of share 0 without one.

    Some lines have their larger step at its start, others at its end, so the shares are added.
    """
    inner = shares.copy()
    inner[:_BESIDE] = inner[-_BESIDE:] = 0
    behind = np.zeros((_BESIDE, len(inner)))
    for distance in range(1, _BESIDE):
        behind[distance, :-distance] = inner[distance:]
    other = behind.max(axis=0)
    both = np.where(np.minimum(inner, other) >= _STRIP, inner + other, 0)
    place = int(both.argmax())
    if both[place] < _STRIP_SEAM:
        return _Seam(0.0, place, place)
    return _Seam(float(both[place]), place, place + int(behind[:, place].argmax()))


def _find_framed(across: NDArray[np.int32], columns: NDArray[np.bool_]) -> list[Region]:
    """Return rectangles inside the picture that have a seam at each of their four sides, by the
    sums of steps `across` (h, w + 1) and where a column has steps.

    The two upright sides come first: two runs of steps that begin and end at the same heights. The
    seams across must lie there.
    """
    runs = _find_runs(columns)
    found: list[tuple[int, Region]] = []
    for number, (left, top, bottom) in enumerate(runs):
        for right, other_top, other_bottom in runs[number + 1 :]:
            if right - left < SHORTEST_REGION:
                continue
            if max(abs(top - other_top), abs(bottom - other_bottom)) > _ENDS:
                continue
            edges = [
                _find_across(across, left, right, at)
                for at in ((top + other_top) // 2, (bottom + other_bottom) // 2)
            ]
            if None not in edges:
                region = Region(left, edges[0] or 0, right, edges[1] or 0)
                found.append((region.area, region))
    found.sort(reverse=True)
    return [region for _, region in found if region.shortest >= SHORTEST_REGION][:_FRAMED]


def _find_runs(columns: NDArray[np.bool_]) -> list[tuple[int, int, int]]:
    """Return the longest dense run of steps of each column, as (column, start, end), if it is long
    enough; of columns beside each other the one with the longest run, from left to right.
    """
    least = SHORTEST_REGION * _SEAM
    long = np.flatnonzero(np.count_nonzero(columns, axis=1) >= least)  # no other can have one
    running = np.zeros((len(long), SIDE + 1), np.int16)  # (column, place along it)
    np.cumsum(columns[long].view(np.int8) * (1 + _BREAK) - _BREAK, axis=1, out=running[:, 1:])
    rises = running[:, 1:] - np.minimum.accumulate(running, axis=1)[:, :-1]
    ends = rises.argmax(axis=1)
    scores = rises[np.arange(len(long)), ends]
    runs: list[tuple[int, int, int]] = []
    for number in np.argsort(-scores, kind="stable").tolist():
        if len(runs) == _RUNS or scores[number] < least:
            break
        column = int(long[number])
        if all(abs(column - taken) > _BESIDE // 2 for taken, _, _ in runs):
            end = int(ends[number])
            start = int(running[number, : end + 1].argmin())
            runs.append((column, start, end + 1))
    return sorted(runs)


def _find_across(across: NDArray[np.int32], left: int, right: int, at: int) -> int | None:
    """Return the row near a place that has a seam from left to right; None if none has."""
    start, end = max(0, at - _ENDS), min(SIDE, at + _ENDS + 1)
    shares = (across[start:end, right] - across[start:end, left]) / (right - left)
    best = int(shares.argmax())
    return start + best if shares[best] >= _SEAM else None
