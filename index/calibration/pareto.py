"""The tail of the largest similarity: a generalised Pareto distribution of y = -log(1 -
similarity), fitted to many resamples at once.

The fit is by probability-weighted moments (Hosking & Wallis 1987). They need no iteration, so that
four hundred resamples take a few matrix products.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

# The tail is fitted to the share min(0.2, 3 / sqrt(n)) of the sources, as in Vehtari et al. 2024,
# "Pareto smoothed importance sampling", section 2.4, for the same distribution.
MOST_TAIL, TAIL_ROOT = 0.2, 3.0
# The tail is used above the similarity that this many sources exceed.
MIN_EXCEEDANCES = 10
# The shape is shrunk towards 0, its theoretical value, as if this many more exceedances had a shape
# of 0, and is limited. Resamples are shrunk less and limited less, so that their spread includes
# the error of the shrinkage.
SHAPE_PRIOR, SHAPE_LIMITS = 30, (-0.15, 0.5)
RESAMPLED_PRIOR, RESAMPLED_LIMITS = 10, (-0.5, 0.5)
# A smaller 1 - similarity is rounding error of float32 vectors: 1e-6 for a few hundred dimensions.
LEAST_DISTANCE = 1e-6


@dataclass(frozen=True, slots=True)
class Tail:
    """P(maximum > s) = share * (1 + shape * (y - y_u) / scale)^(-1/shape) for s > u, where y =
    -log(1 - s).

    Shape and scale are fitted to the `fitted_to` images above the similarity `fitted_above`, which
    is at most u.
    """

    u: float
    share: float  # of all images, above u
    exceedances: int
    shape: float
    scale: float
    fitted_above: float
    fitted_to: int


@dataclass(frozen=True, slots=True, eq=False)
class Tails:
    """The tails above u, of the data first, then of each resample: shares, shapes and scales
    (1 + r,).
    """

    u: float
    fitted_above: float
    shares: Floats
    shapes: Floats
    scales: Floats

    def rates(self, at: Floats) -> Floats:
        """Return the rates (1 + r, g) at similarities (g,) above u."""
        z = (_y(at) - _y(self.u)) / self.scales[:, None]
        shape = self.shapes[:, None]
        return np.asarray(
            self.shares[:, None] * np.maximum(1 + shape * z, 0.0) ** (-1 / shape), np.float64
        )

    def similarities_at(self, points: int, least_rate: float) -> Floats:
        """Return the similarities at which the rate of the data falls to `least_rate` in equal
        steps of its logarithm.
        """
        share, shape, scale = self.shares[0], self.shapes[0], self.scales[0]
        beyond = np.geomspace(share, min(least_rate, share / 2), points + 1)[1:] / share
        y = _y(self.u) + scale / shape * (beyond**-shape - 1)
        return np.asarray(1 - np.exp(-np.minimum(y, -math.log(LEAST_DISTANCE))), np.float64)

    def of_data(self, x: Floats) -> Tail:
        """Return the tail of the data, which are x."""
        share, shape, scale = (
            float(values[0]) for values in (self.shares, self.shapes, self.scales)
        )
        exceedances, fitted_to = (int((x > limit).sum()) for limit in (self.u, self.fitted_above))
        return Tail(self.u, share, exceedances, shape, scale, self.fitted_above, fitted_to)


def fit_tails(
    x: Floats, weights: Floats, n_sources: int, least_shape: float | None = None
) -> Tails | None:
    """Fit the tails of all resamples by probability-weighted moments; None if there are too few
    values, or too many equal ones.

    `x` (n,) rising similarities, `weights` (1 + r, n) of the data and of the resamples. No shape is
    below `least_shape`, where something is known of tails like this one.
    """
    least = math.ceil(MIN_EXCEEDANCES * len(x) / n_sources)
    wanted = math.ceil(min(MOST_TAIL, TAIL_ROOT / math.sqrt(n_sources)) * len(x))
    start, u = _find_exceeded(x, max(wanted, least)), _find_exceeded(x, least)
    if n_sources < 2 * MIN_EXCEEDANCES or start is None or u is None or _y(x[-1]) <= _y(u):
        return None
    above = x > start
    z, w = _y(x[above]) - _y(start), weights[:, above]  # (e,), (1 + r, e)
    w = w / w.sum(axis=1, keepdims=True)
    mean, moment = w @ z, (w * (1 - np.cumsum(w, axis=1) + w / 2)) @ z
    raw = 2 - mean / np.maximum(mean - 2 * moment, 1e-12)  # (1 + r,)
    shapes = _shrink(raw, len(z), RESAMPLED_PRIOR, RESAMPLED_LIMITS)
    shapes[:1] = _shrink(raw[:1], len(z), SHAPE_PRIOR, SHAPE_LIMITS)
    if least_shape is not None:
        shapes = np.maximum(shapes, max(least_shape, 1e-9))
    # The excess over u > start has a generalised Pareto distribution of the same shape.
    scales = np.maximum(mean * (1 - shapes) + shapes * (_y(u) - _y(start)), 1e-12)
    return Tails(u, start, weights[:, x > u].sum(axis=1), shapes, scales)


def _shrink(shapes: Floats, exceedances: int, prior: int, limits: tuple[float, float]) -> Floats:
    shrunk = np.clip(shapes * exceedances / (exceedances + prior), *limits)
    # A shape of exactly 0 is a limit of the formula, which divides by it.
    return np.asarray(np.where(np.abs(shrunk) < 1e-9, 1e-9, shrunk), np.float64)


def _find_exceeded(x: Floats, wanted: int) -> float | None:
    """Return the largest value of sorted x that at least `wanted` others exceed."""
    exceeding = len(x) - np.searchsorted(x, x, side="right")  # (n,) falling
    candidates = np.flatnonzero(exceeding >= wanted)
    return float(x[candidates[-1]]) if len(candidates) else None


def _y(similarity: ArrayLike) -> Floats:
    return np.asarray(
        -np.log(np.maximum(1 - np.asarray(similarity, np.float64), LEAST_DISTANCE)), np.float64
    )
