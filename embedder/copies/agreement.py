"""Whether two pictures look alike where one lies on the other, block for block.

Keypoints say where a picture lies; they do not say that all of it is there. Two pictures that share
a logo, a frame or a template have many keypoints in common. So both lumas are laid over each other,
and each block of the overlap is compared by its correlation, which does not see brightness and
contrast. A copy agrees in most blocks; a template with another text only between its letters, where
there is nothing to compare.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embedder.copies.features import LocalFeatures
from embedder.copies.transforms import Matrix, Points, find_jacobian

_BLOCK = 8  # pixels a side
# The overlap is laid out at what both lumas resolve, within these pixels for the longer side.
_LEAST_PIXELS, _MOST_PIXELS = 40.0, 160.0
# Levels of 255 by which a block must vary in one of the pictures to be compared at all, and in both
# to be alike: under it a block is flat, and flat blocks are alike everywhere.
_TEXTURED_LEVELS = 2.0
_LEAST_LEVELS = 0.5
_ALIKE = 0.6
_SOFTNESS = 0.8  # pixels: deviation of the blur that forgives a shift of half a pixel
_SHIFTS = tuple((down, across) for down in (-1, 0, 1) for across in (-1, 0, 1))


@dataclass(frozen=True, slots=True)
class Agreement:
    """How many blocks of the overlap are alike, how many show different things, and how many show
    something in one of the pictures only.

    `repetition` is how like itself the stored picture's overlap is elsewhere: 1 for a chequerboard;
    0 where most blocks differ.
    """

    alike: int
    different: int
    one_sided: int
    repetition: float

    @property
    def share(self) -> float:
        """The share of blocks that are alike; 0 where there is nothing to compare.

        Where only one of the pictures shows something, an overlay may lie on a plain ground: that
        speaks half as much against them as two different things do.
        """
        against = self.different + self.one_sided / 2
        return self.alike / (self.alike + against) if self.alike else 0.0


NOTHING = Agreement(0, 0, 0, 0.0)


def compare_lumas(
    entry: LocalFeatures, probe: LocalFeatures, matrix: Matrix, overlap: Points
) -> Agreement:
    """Compare the lumas under a matrix that takes the stored picture to the probe, in fractions.
    `overlap` `(n, 2)` is the part of the stored picture that the probe shows.
    """
    low, high = overlap.min(axis=0).clip(0, 1), overlap.max(axis=0).clip(0, 1)
    extent = high - low
    if (extent * (entry.luma.shape[1], entry.luma.shape[0]) < 2).any():
        return NOTHING
    growth = _measure_growth(entry, probe, matrix, (low + high) / 2)
    sides = extent * (entry.luma.shape[1], entry.luma.shape[0])
    longer = float(np.clip(sides.max() * min(1, growth), _LEAST_PIXELS, _MOST_PIXELS))
    factor = longer / sides.max()
    width, height = (max(_BLOCK, round(float(side) * factor)) for side in sides)
    size = (width, height)
    to_entry = np.array(
        [
            [extent[0] / width, 0, low[0] + extent[0] / width / 2],
            [0, extent[1] / height, low[1] + extent[1] / height / 2],
            [0, 0, 1],
        ]
    )
    own = _lay_out(entry.luma, to_entry, size, 1 / factor)
    other = _lay_out(probe.luma, matrix @ to_entry, size, growth / factor)
    return _compare_blocks(own, other)


def _measure_growth(
    entry: LocalFeatures, probe: LocalFeatures, matrix: Matrix, at: Points
) -> float:
    """Return how many pixels of the probe's luma one of the stored picture's becomes."""
    (entry_height, entry_width), (probe_height, probe_width) = entry.luma.shape, probe.luma.shape
    determinant = abs(float(np.linalg.det(find_jacobian(matrix, at))))
    area = determinant * probe_width * probe_height / (entry_width * entry_height)
    return math.sqrt(max(area, 1e-6))


def _lay_out(
    luma: NDArray[np.uint8], to_fraction: Matrix, size: tuple[int, int], step: float
) -> NDArray[np.float32]:
    """Return the luma `(h, w)` float32 at a size; not a number outside the picture. `step` is how
    many of its pixels lie between two of the result.
    """
    import cv2  # noqa: PLC0415 -- optional

    if step > 1.3:
        luma = np.asarray(cv2.GaussianBlur(luma, (0, 0), 0.45 * step))
    height, width = luma.shape
    to_pixels = np.array([[width, 0, -0.5], [0, height, -0.5], [0, 0, 1]]) @ to_fraction
    laid = cv2.warpPerspective(
        luma.astype(np.float32),
        to_pixels,
        size,
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=(np.nan,),
    )
    return np.asarray(cv2.GaussianBlur(laid, (0, 0), _SOFTNESS), np.float32)


def _compare_blocks(first: NDArray[np.float32], second: NDArray[np.float32]) -> Agreement:
    own, own_levels = _split(first)
    best = np.full(len(own), -1.0)
    in_one = in_both = np.zeros(len(own), np.bool_)
    for shift in _SHIFTS:
        other, other_levels = _split(np.roll(second, shift, (0, 1)))
        correlation = (own * other).mean(axis=1) / (own_levels * other_levels).clip(1e-6)
        visible = np.minimum(own_levels, other_levels) > _LEAST_LEVELS
        best = np.fmax(best, np.where(visible, correlation, -1))
        if shift == (0, 0):
            # Both are False outside a picture, where the levels are not a number.
            in_one = np.maximum(own_levels, other_levels) > _TEXTURED_LEVELS
            in_both = np.minimum(own_levels, other_levels) > _TEXTURED_LEVELS
    is_alike = in_one & (best > _ALIKE)
    alike, different = int(is_alike.sum()), int((in_both & ~is_alike).sum())
    one_sided = int((in_one & ~in_both & ~is_alike).sum())
    repetition = _measure_repetition(first) if alike > different else 0.0
    return Agreement(alike, different, one_sided, repetition)


def _measure_repetition(image: NDArray[np.float32]) -> float:
    """Return the highest correlation of an image with itself, shifted by more than a block."""
    seen = np.isfinite(image)
    if not seen.any():
        return 0.0
    import cv2  # noqa: PLC0415 -- optional

    filled = np.where(seen, image, image[seen].mean())
    detail = np.where(seen, filled - cv2.GaussianBlur(filled, (0, 0), _BLOCK / 2), 0)
    height, width = image.shape
    size = (2 * height, 2 * width)  # padded, so that nothing comes in again at the other end
    energy = _correlate_with_itself(detail.astype(np.float64), size)
    squares = np.fft.rfft2(detail.astype(np.float64) ** 2, size)
    ones = np.fft.rfft2(seen.astype(np.float64), size)
    # The energy of what lies under the other copy, from each side.
    under = np.fft.irfft2(squares * ones.conj(), size)
    other = np.fft.irfft2(ones * squares.conj(), size)
    shared = _correlate_with_itself(seen.astype(np.float64), size)
    down, across = (np.minimum(np.arange(side), side - np.arange(side)) for side in size)
    is_far = np.maximum(down[:, None], across[None]) > _BLOCK
    is_far &= shared > seen.sum() / 4
    norms = np.sqrt((under * other).clip(1e-6))
    return float(np.where(is_far, energy / norms, 0).max())


def _correlate_with_itself(
    image: NDArray[np.float64], size: tuple[int, int]
) -> NDArray[np.float64]:
    spectrum = np.fft.rfft2(image, size)
    return np.asarray(np.fft.irfft2(np.abs(spectrum) ** 2, size), np.float64)


def _split(image: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the whole blocks `(n, 64)` of an image, less their means by row and by column, and the
    deviations of what is left.

    So lines of text, bars and straight edges of frames are alike nowhere: only what stands in them.
    """
    rows, columns = (side // _BLOCK for side in image.shape)
    whole = image[: rows * _BLOCK, : columns * _BLOCK]
    cut = whole.reshape(rows, _BLOCK, columns, _BLOCK).swapaxes(1, 2)
    blocks = cut.reshape(rows * columns, _BLOCK, _BLOCK)
    blocks = blocks - blocks.mean(axis=1, keepdims=True)
    blocks = (blocks - blocks.mean(axis=2, keepdims=True)).reshape(rows * columns, -1)
    return blocks, np.sqrt((blocks * blocks).mean(axis=1))
