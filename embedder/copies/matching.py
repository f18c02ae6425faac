"""How two pictures correspond: pairs of keypoints, a transform that many of them fit, and whether
that shows one picture in the other.

An inlier is a pair of keypoints, each used once, that fits the transform in place, size and
direction.
"""

from __future__ import annotations

from dataclasses import dataclass

from embedder.copies.features import LocalFeatures


@dataclass(frozen=True, slots=True)
class Fit:
    """How a stored picture lies in the probe; the numbers of `index.copies.Correspondence`.

    `homography` takes a point of the stored picture to the probe, each in fractions of width and
    height; 9 numbers, row by row, the last 1. `fits` is the decision: the pictures show the same,
    edited. `inliers` are counted after all checks; they are what a calibration counts, whether it
    fits or not.
    """

    fits: bool
    inliers: int
    matches: int
    homography: tuple[float, ...]
    scale: float
    rotation_degrees: float
    mirrored: bool
    probe_covered: float
    entry_covered: float


def find_correspondence(entry: LocalFeatures, probe: LocalFeatures) -> Fit | None:
    """Find how a stored picture lies in the probe, also mirrored; None if no transform is found."""
    return None
