"""Pairs of keypoints of two pictures whose surroundings look alike; a mirrored picture's features.

Descriptors are compared as RootSIFT (Arandjelovic and Zisserman, "Three things everyone should know
to improve object retrieval", 2012).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from embedder.copies.features import LocalFeatures

# A pair counts if the next best keypoint is at least so much further: Lowe's ratio test. His own
# 0.8 leaves out every second right pair of a thumbnail and a photographed screen; wrong pairs are
# the transform's concern.
_RATIO = 0.9
# Pairs of one picture with another that are looked at, the most distinct first.
MAX_PAIRS = 300
# Keypoints this near, in pixels, are one place: a corner has one for each direction that it shows.
ONE_PLACE = 3.0


def normalise(descriptors: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return RootSIFT `(n, 128)` of norm 1: the roots of descriptors whose sum is 1."""
    values = descriptors.astype(np.float32)
    values /= np.maximum(values.sum(axis=1, keepdims=True), 1)
    return np.sqrt(values)


def mirror(features: LocalFeatures) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Return points `(n, 4)` and descriptors `(n, 128)` of the picture with left and right changed.

    It needs no pixels: a descriptor is 4 x 4 cells of histograms along the keypoint's direction, so
    the cells beside that direction change places and each histogram turns the other way.
    """
    points = features.points.copy()
    points[:, 0] = features.width - 1 - points[:, 0]
    points[:, 3] = (180 - points[:, 3]) % 360
    return points, mirror_descriptors(features.descriptors)


def mirror_descriptors(descriptors: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the descriptors `(n, 128)` that the keypoints have in the mirrored picture."""
    return descriptors[:, _MIRRORED]


def find_pairs(
    first: NDArray[np.float32],
    second: NDArray[np.float32],
    first_places: NDArray[np.float64],
    second_places: NDArray[np.float64],
) -> NDArray[np.intp]:
    """Return pairs `(m, 2)` of rows of two sets of RootSIFT descriptors, the most distinct first.

    Each is the nearest of one of the two and passes the ratio test. Places are `(n, 2)` pixels.
    """
    similar = first @ second.T  # (n, m)
    turned = np.ascontiguousarray(similar.T)
    of_first, ratio_of_first = _find_nearest(similar, second_places)
    of_second, ratio_of_second = _find_nearest(turned, first_places)
    ratios = np.concatenate([ratio_of_first, ratio_of_second])
    ones = np.concatenate([np.arange(len(first)), of_second])
    others = np.concatenate([of_first, np.arange(len(second))])
    order = np.lexsort((others, ones, ratios))
    order = order[ratios[order] < _RATIO]
    _, unique = np.unique(ones[order] * len(second) + others[order], return_index=True)
    kept = order[np.sort(unique)[:MAX_PAIRS]]
    return np.stack([ones[kept], others[kept]], axis=1)


def _find_nearest(
    similar: NDArray[np.float32], places: NDArray[np.float64]
) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Return the most similar column of each row, and its distance by that of the next best column
    of another place. Changes `similar`.
    """
    rows = np.arange(len(similar))
    nearest = similar.argmax(axis=1)
    best = similar[rows, nearest]
    similar[rows, nearest] = -1
    other = similar.argmax(axis=1)
    step = places[other] - places[nearest]
    is_same = (step * step).sum(axis=1) < ONE_PLACE**2
    again = rows[is_same]
    similar[again, other[again]] = -1
    other[again] = similar[again].argmax(axis=1)
    next_best = similar[rows, other]
    # Of unit vectors, the squared distance is 2 - 2 times the inner product.
    return nearest, np.sqrt((1 - best).clip(0) / (1 - next_best).clip(1e-6))


def _mirror_cells() -> NDArray[np.intp]:
    rows, columns, directions = np.meshgrid(np.arange(4), np.arange(4), np.arange(8), indexing="ij")
    mirrored: NDArray[np.intp] = (3 - rows) * 32 + columns * 8 + (-directions) % 8
    return mirrored.ravel()


_MIRRORED = _mirror_cells()
