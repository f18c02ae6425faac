"""Isotonic regression at even prior odds, by pooling adjacent violators (PAV), and its log odds."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from index.calibration.special import isotonic_regression

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

# A log10 likelihood ratio of PAV is infinite at both ends. No data support that, and JSON has no
# infinity.
LOG10_LIMIT = 300.0
# The number of misleading observations added to the data: a positive one at the smallest value, a
# negative one at the largest.
MISLEADING = 2


def pav(values: ArrayLike, positive: ArrayLike, weights: Floats | None = None) -> Floats:
    """Return P(positive) at even prior odds for each value: monotone, and equal for equal values.

    Each class has a total weight of one half, so the prior odds are 1 and the odds are likelihood
    ratios. `weights` (n,) are those of a bootstrap resample. If a class has no weight, the result
    is 0.5: no information.
    """
    x, is_positive = np.asarray(values, np.float64), np.asarray(positive, np.bool_)
    own = np.ones(len(x)) if weights is None else weights
    sums = own[is_positive].sum(), own[~is_positive].sum()
    if not sums[0] or not sums[1]:
        return np.full(len(x), 0.5)
    w = np.where(is_positive, own / sums[0], own / sums[1])
    distinct, group = np.unique(x, return_inverse=True)  # (g,), (n,)
    weight = np.bincount(group, w, minlength=len(distinct))
    share = np.bincount(group, w * is_positive, minlength=len(distinct))
    has_weight = weight > 0
    fitted = isotonic_regression(
        share[has_weight] / weight[has_weight], weights=weight[has_weight]
    ).x
    # A value that the resample left out is interpolated between its neighbours.
    filled = np.interp(distinct, distinct[has_weight], np.clip(fitted, 0.0, 1.0))
    return np.asarray(filled[group], np.float64)


def pool_at(values: Floats, positive: Bools, weights: Floats, at: Floats) -> Floats:
    """Return P(positive) at even prior odds at each of `at` (g,), from values (n,) and one
    misleading observation at either end.

    `weights` is (n + 2,): the last two belong to the misleading observations, which keep every
    probability away from 0 and 1 and let resamples differ at the ends too. A weight of 0 leaves a
    value out. Probabilities between values are interpolated; without any value they are 0.5.
    """
    is_used = weights[:-MISLEADING] > 0
    if not is_used.any():
        return np.full(len(at), 0.5)
    x = np.append(values[is_used], [values[is_used].min(), values[is_used].max()])
    fitted = pav(
        x,
        np.append(positive[is_used], [True, False]),
        np.append(weights[:-MISLEADING][is_used], weights[-MISLEADING:]),
    )
    order = np.argsort(x, kind="stable")
    return np.asarray(np.interp(at, x[order], fitted[order]), np.float64)


def log10_of_odds(probabilities: Floats) -> Floats:
    """Return log10(p / (1 - p)), limited to +-LOG10_LIMIT."""
    with np.errstate(divide="ignore"):
        odds = np.log10(probabilities) - np.log10(1 - probabilities)
    return np.asarray(np.clip(odds, -LOG10_LIMIT, LOG10_LIMIT), np.float64)
