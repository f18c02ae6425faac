"""How two pictures correspond: a transform that many pairs of keypoints fit, and whether it shows
one picture in the other.

1. `pairing` finds pairs of keypoints whose surroundings look alike, also for a mirrored probe.
2. Each pair alone proposes a similarity transform, by its places, sizes and directions. The pairs
   that agree with it are its votes. So a picture is found in a collage, where a random choice of
   four pairs hardly ever hits four right ones. Nothing here is random.
3. The proposals with the most votes are refined by least squares, up to a homography.
4. The transform must be one that a camera or an editor makes, and most of the overlap must look
   alike under it (`agreement`): a shared logo, frame or template is no copy.

**What is counted** is `Fit.counted_inliers`: the inliers of a transform that passes every check but
their number, else 0. A calibration counts them on pairs of different pictures, the largest number
over the candidates of one look-up. An inlier is a pair of keypoints that fits the final transform
in place and size. Pairs of one place in either picture count once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embedder.copies.agreement import NOTHING, Agreement, compare_lumas
from embedder.copies.features import LocalFeatures
from embedder.copies.pairing import ONE_PLACE, find_pairs, mirror, normalise
from embedder.copies.transforms import (
    CORNERS,
    Matrix,
    Points,
    apply,
    clip_to_square,
    estimate_affine,
    estimate_homography,
    estimate_similarity,
    find_area,
    find_jacobian,
    rescale,
)

# A copy needs `MIN_INLIERS`, and more the less alike the overlap looks: up to
# `_INLIERS_FOR_DIFFERENCE` more where nothing is alike. Faces of one generator, pictures of one
# prompt and variations of one picture look alike in two thirds of the overlap, with up to 32
# inliers (8,000 pairs of 1,585 pictures,
# half of them of one collection and generator, 2026-11-30); a copy with little on it in nine
# tenths.
MIN_INLIERS = 8
_INLIERS_FOR_DIFFERENCE = 110
# The fewest blocks that look alike,
MIN_ALIKE_BLOCKS = 6
# and this share of all blocks with something in them. Charts with the same axes and other bars
# reach 0.74; half of all copies with captions, stickers or watermarks more than 0.86.
MIN_ALIKE_SHARE = 0.76
# So many of the pairs of keypoints in the overlap fit the transform. Of two faces that are cut to
# one layout 2 to 10 % do, of two cats of one generator up to 31 %, of 256 hard copies more than
# 46 % but for one (2026-11-30).
MIN_FITTING_SHARE = 0.33
# And most of one of the pictures lies in the other: less is a part that two pictures share.
MIN_COVERED = 0.5
# And it is no small thing in the other: a known fake that is the avatar or the logo on a page, a
# hundredth of it, does not make the page a copy. Of 61 edits, that with the least shows it in a
# tenth, a collage of nine pictures (2026-11-30).
MIN_SHOWN = 0.03
# A pattern fits itself wherever it is laid, and every other piece of its kind.
MAX_REPETITION = 0.9
# Fewer pairs determine no transform that could be checked; with fewer than these, hardly any pair
# of pictures looks alike, and comparing them takes time.
_LEAST_INLIERS, _COMPARED_INLIERS = 4, 6
# With this many inliers or more, the other handedness is not tried.
_CLEAR_INLIERS = 20

# Pairs that make a proposal, the most distinct first, and proposals that are refined.
_PROPOSING = 100
_REFINED = 4
# A pair votes for a proposal if its place is this near, in pixels of the coarser picture, and a
# share of the way from the proposing pair, whose own size and direction are not exact,
_VOTE_PIXELS = 4.0
_VOTE_SHARE = 0.2
# its size this near, as a factor, and its direction in degrees.
_VOTE_SIZE = 1.7
_VOTE_DEGREES = 30.0
_FIT_SIZE = 2.0

Estimate = Callable[[Points, Points], Matrix | None]
# How a proposal becomes a homography: the estimate, how many pairs it needs, and the distance in
# pixels of the coarser picture within which a pair fits it.
_STEPS: tuple[tuple[Estimate, int, float], ...] = (
    (estimate_similarity, 3, 10.0),
    (estimate_similarity, 3, 8.0),
    (estimate_affine, 6, 6.0),
    (estimate_affine, 6, 4.0),
    (estimate_homography, 12, 3.0),
    (estimate_homography, 12, 3.0),
)
_FIT_PIXELS = 3.0

# What a camera does to a picture on a screen: one corner up to five times as far as another, one
# direction up to three times as large.
_MOST_DEPTH = 5.0
_MOST_STRETCH = 3.0
_SINGULAR = 1e-9


@dataclass(frozen=True, slots=True)
class Fit:
    """How a stored picture lies in the probe; the numbers of `index.copies.Correspondence`.

    `matches` counts the pairs of keypoints in the part that both pictures show, `inliers` those of
    them that fit. `homography` takes a point of the stored picture to the probe, each in fractions
    of width and height; 9 numbers, row by row, the last 1. `agreement` says how far the overlap
    looks alike.
    """

    inliers: int
    matches: int
    homography: tuple[float, ...]
    scale: float
    rotation_degrees: float
    mirrored: bool
    probe_covered: float
    entry_covered: float
    agreement: Agreement

    @property
    def looks_alike(self) -> bool:
        """Whether the overlap shows the same in both pictures, given this number of inliers."""
        return (
            self.inliers >= self._inliers_for_difference
            and self.inliers >= MIN_FITTING_SHARE * self.matches
            and self.agreement.alike >= MIN_ALIKE_BLOCKS
            and self.agreement.share >= MIN_ALIKE_SHARE
            and self.agreement.repetition <= MAX_REPETITION
            and max(self.probe_covered, self.entry_covered) >= MIN_COVERED
            and min(self.probe_covered, self.entry_covered) >= MIN_SHOWN
        )

    @property
    def counted_inliers(self) -> int:
        """The inliers, 0 unless the overlap looks alike: what a calibration counts."""
        return self.inliers if self.looks_alike else 0

    @property
    def fits(self) -> bool:
        """The decision: one picture is an edited version of the other."""
        return self.counted_inliers >= MIN_INLIERS + self._inliers_for_difference

    @property
    def _inliers_for_difference(self) -> float:
        return _INLIERS_FOR_DIFFERENCE * (1 - self.agreement.share)


@dataclass(frozen=True, slots=True)
class _Pairs:
    """Keypoints of both pictures, pair by pair: places `(n, 2)`; how much larger `(n,)` and how far
    turned, in radians `(n,)`, the probe's is.
    """

    entry: Points
    probe: Points
    growth: NDArray[np.float64]
    turn: NDArray[np.float64]

    def count(self, chosen: NDArray[np.bool_]) -> int:
        """Count the chosen pairs, those of one place in either picture once."""
        return min(_count_places(self.entry[chosen]), _count_places(self.probe[chosen]))


@dataclass(frozen=True, slots=True)
class _Found:
    matrix: Matrix
    inliers: int


def find_correspondence(entry: LocalFeatures, probe: LocalFeatures) -> Fit | None:
    """Find how a stored picture lies in the probe, also mirrored; None if no transform is found.

    Needs OpenCV. Thread-safe; the same on each call.
    """
    if min(entry.count, probe.count) < _LEAST_INLIERS:
        return None
    wanted = normalise(probe.descriptors)
    fit = _find_fit(entry, probe, entry.points, normalise(entry.descriptors), wanted)
    if fit is not None and fit.fits and fit.inliers >= _CLEAR_INLIERS:
        return fit
    points, descriptors = mirror(entry)
    other = _find_fit(entry, probe, points, normalise(descriptors), wanted, mirrored=True)
    return max((fit, other), key=_rank)


def _rank(fit: Fit | None) -> tuple[int, int]:
    return (-1, -1) if fit is None else (fit.counted_inliers, fit.inliers)


def _find_fit(
    entry: LocalFeatures,
    probe: LocalFeatures,
    points: NDArray[np.float32],
    descriptors: NDArray[np.float32],
    wanted: NDArray[np.float32],
    *,
    mirrored: bool = False,
) -> Fit | None:
    own, others = points.astype(np.float64), probe.points.astype(np.float64)
    rows = find_pairs(descriptors, wanted, own[:, :2], others[:, :2])
    if len(rows) < _LEAST_INLIERS:
        return None
    own, others = own[rows[:, 0]], others[rows[:, 1]]
    pairs = _Pairs(
        own[:, :2], others[:, :2], others[:, 2] / own[:, 2], np.radians(others[:, 3] - own[:, 3])
    )
    found = _find_transform(pairs)
    if found is None:
        return None
    matches = pairs.count(_find_overlapping(pairs, found.matrix, entry, probe))
    matrix = found.matrix
    if mirrored:
        matrix = matrix @ np.array([[-1.0, 0, entry.width - 1], [0, 1, 0], [0, 0, 1]])
    return _describe(entry, probe, matrix, found.inliers, matches, mirrored=mirrored)


def _find_overlapping(
    pairs: _Pairs, matrix: Matrix, entry: LocalFeatures, probe: LocalFeatures
) -> NDArray[np.bool_]:
    """Return which pairs could fit: both keypoints lie in the part that both pictures show."""
    taken = apply(matrix, pairs.entry) / (probe.width, probe.height)
    inverse = np.asarray(np.linalg.inv(matrix), np.float64)
    back = apply(inverse, pairs.probe) / (entry.width, entry.height)
    result: NDArray[np.bool_] = np.all(
        (taken >= 0) & (taken <= 1) & (back >= 0) & (back <= 1), axis=1
    )
    return result


def _find_transform(pairs: _Pairs) -> _Found | None:
    """Return the transform that the most pairs fit."""
    votes = _vote(pairs)  # (s, n)
    counts = votes.sum(axis=1)
    tried: list[NDArray[np.bool_]] = []
    best = None
    for seed in np.argsort(-counts, kind="stable"):
        if counts[seed] < 3 or len(tried) == _REFINED:
            break
        chosen = votes[seed]
        if any((chosen & each).sum() > 0.5 * counts[seed] for each in tried):
            continue
        tried.append(chosen)
        found = _refine(pairs, chosen)
        if found is not None and (best is None or found.inliers > best.inliers):
            best = found
    return best


def _vote(pairs: _Pairs) -> NDArray[np.bool_]:
    """Return which pairs agree with the transform that each of the first pairs proposes."""
    seeds = slice(0, _PROPOSING)
    entry, probe = pairs.entry.astype(np.float32), pairs.probe.astype(np.float32)
    growths, turns = pairs.growth.astype(np.float32), pairs.turn.astype(np.float32)
    growth, turn = growths[seeds, None], turns[seeds, None]  # (s, 1)
    across, down = (entry[None, :, axis] - entry[seeds, None, axis] for axis in (0, 1))  # (s, n)
    along, aside = growth * np.cos(turn), growth * np.sin(turn)
    x = probe[seeds, None, 0] + along * across - aside * down - probe[None, :, 0]
    y = probe[seeds, None, 1] + aside * across + along * down - probe[None, :, 1]
    reach = growth * np.sqrt(across * across + down * down)
    tolerance = _VOTE_PIXELS * np.maximum(1, growth) + _VOTE_SHARE * reach
    larger = growths[None] / growth
    turned = np.cos(turns[None] - turn)
    result: NDArray[np.bool_] = (
        (x * x + y * y < tolerance * tolerance)
        & (larger < _VOTE_SIZE)
        & (larger > 1 / _VOTE_SIZE)
        & (turned > np.cos(np.radians(_VOTE_DEGREES)))
    )
    return result


def _refine(pairs: _Pairs, chosen: NDArray[np.bool_]) -> _Found | None:
    """Estimate the transform of the chosen pairs, from few parameters to many, and choose again."""
    usual = float(np.median(pairs.growth[chosen]))
    unit = max(1.0, usual)
    is_sized = (pairs.growth < _FIT_SIZE * usual) & (pairs.growth > usual / _FIT_SIZE)
    matrix = None
    for estimate, needed, pixels in _STEPS:
        if pairs.count(chosen) < needed:
            continue
        estimated = estimate(pairs.entry[chosen], pairs.probe[chosen])
        if estimated is None:
            continue
        fitting = is_sized & (_find_distances(pairs, estimated) < pixels * unit)
        if pairs.count(fitting) < 3:
            break
        chosen, matrix = fitting, estimated
    if matrix is None:
        return None
    inliers = pairs.count(is_sized & (_find_distances(pairs, matrix) < _FIT_PIXELS * unit))
    if inliers < _LEAST_INLIERS or abs(np.linalg.det(matrix)) < _SINGULAR:
        return None
    return _Found(matrix, inliers)


def _find_distances(pairs: _Pairs, matrix: Matrix) -> NDArray[np.float64]:
    step = apply(matrix, pairs.entry) - pairs.probe
    distances: NDArray[np.float64] = np.sqrt((step * step).sum(axis=1))
    return distances


def _count_places(points: Points) -> int:
    cells = np.rint(points / ONE_PLACE).astype(np.int64)
    return len(np.unique(cells[:, 0] * 65_536 + cells[:, 1]))


def _describe(
    entry: LocalFeatures,
    probe: LocalFeatures,
    matrix: Matrix,
    inliers: int,
    matches: int,
    *,
    mirrored: bool,
) -> Fit | None:
    """Return the fit of a transform in pixels; None if no camera or editor makes it, or if the
    stored picture lies outside the probe.
    """
    in_fractions = rescale(matrix, (entry.width, entry.height), (probe.width, probe.height))
    if not _is_plausible(matrix, entry, mirrored=mirrored):
        return None
    overlap = _find_overlap(in_fractions)
    if overlap is None:
        return None
    jacobian = find_jacobian(matrix, np.array([entry.width / 2, entry.height / 2]))
    turned = jacobian @ np.diag([-1.0, 1.0]) if mirrored else jacobian
    return Fit(
        inliers=inliers,
        matches=matches,
        homography=tuple(in_fractions.ravel().tolist()),
        scale=float(np.sqrt(abs(np.linalg.det(jacobian)))),
        rotation_degrees=float(
            np.degrees(np.arctan2(turned[1, 0] - turned[0, 1], turned[0, 0] + turned[1, 1]))
        ),
        mirrored=mirrored,
        probe_covered=min(1.0, find_area(apply(in_fractions, overlap))),
        entry_covered=min(1.0, find_area(overlap)),
        agreement=compare_lumas(entry, probe, in_fractions, overlap)
        if inliers >= _COMPARED_INLIERS
        else NOTHING,
    )


def _is_plausible(matrix: Matrix, entry: LocalFeatures, *, mirrored: bool) -> bool:
    """Whether a camera or an editor makes this of a picture."""
    size = np.array([entry.width, entry.height])
    depths = (CORNERS * size) @ matrix[2, :2] + matrix[2, 2]
    if depths.min() <= 0 or depths.max() > _MOST_DEPTH * depths.min():
        return False
    jacobian = find_jacobian(matrix, size / 2)
    larger, smaller = np.linalg.svd(jacobian, compute_uv=False)
    is_mirror = bool(np.linalg.det(jacobian) < 0)
    return is_mirror == mirrored and bool(larger <= _MOST_STRETCH * smaller)


def _find_overlap(matrix: Matrix) -> Points | None:
    """Return the part of the stored picture that lies in the probe, as a polygon in fractions."""
    polygon = clip_to_square(apply(matrix, CORNERS))
    if len(polygon) < 3:
        return None
    return apply(np.asarray(np.linalg.inv(matrix), np.float64), polygon)
