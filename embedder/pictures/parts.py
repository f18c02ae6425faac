"""Parts of a picture between straight edges: the cells of a collage, a picture laid into another
one, what is left beside a bar of text.

Where two pictures meet, most lines across the edge have a step just there, and a larger one than
anywhere near. In a photograph few edges are as straight, and none need be told from a seam: a part
that is none costs one comparison. So a picture is cut at its best seam, and each half again, as
pages are for reading (the X-Y cut of G. Nagy and S. Seth, ICPR 1984).
"""

from __future__ import annotations

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
_CUTS_DEEP = 6
# A uniform strip beside a seam that is wider, 4 % of the side, is cut off at its other edge too, or
# it belongs to the picture.
_GAP = 15


def find_parts(pixels: Pixels) -> list[Region]:
    """Return the parts of a picture that seams separate, without their own borders, the largest
    first.
    """
    across, down = _sum_steps(pixels), _sum_steps(pixels.swapaxes(1, 2))
    found: list[Region] = []
    waiting = [(WHOLE, 0)]
    while waiting:
        region, depth = waiting.pop(0)
        for each in _cut_at_seam(region, across, down) if depth < _CUTS_DEEP else ():
            if each.shortest >= SHORTEST_REGION:
                found.append(peel(pixels, each, most=_GAP) or each)
                waiting.append((each, depth + 1))
    return sorted(found, key=lambda each: -each.area)


def _sum_steps(pixels: Pixels) -> NDArray[np.int32]:
    """Return, for each row, how many pixels up to each column begin a seam (h, w + 1)."""
    steps = np.zeros(pixels.shape[1:], np.uint8)
    steps[1:] = measure_difference(pixels[:, 1:], pixels[:, :-1])
    largest = np.zeros_like(steps)
    for beside in range(2, _BESIDE + 1):
        np.maximum(largest[beside:], steps[:-beside], out=largest[beside:])
        np.maximum(largest[:-beside], steps[beside:], out=largest[:-beside])
    peaks = (steps >= _LEAST_STEP) & (steps > largest)
    summed = np.zeros((SIDE, SIDE + 1), np.int32)
    np.cumsum(peaks, axis=1, out=summed[:, 1:])
    return summed


def _cut_at_seam(
    region: Region, across: NDArray[np.int32], down: NDArray[np.int32]
) -> tuple[Region, ...]:
    """Return the two halves at the best seam of a region; nothing if it has none."""
    left, top, right, bottom = region
    rows = (across[top:bottom, right] - across[top:bottom, left]) / (right - left)
    columns = (down[left:right, bottom] - down[left:right, top]) / (bottom - top)
    for shares in (rows, columns):
        shares[:_BESIDE] = shares[-_BESIDE:] = 0
    row, column = int(rows.argmax()), int(columns.argmax())
    if max(rows[row], columns[column]) < _SEAM:
        return ()
    if rows[row] >= columns[column]:
        return region._replace(bottom=top + row), region._replace(top=top + row)
    return region._replace(right=left + column), region._replace(left=left + column)
