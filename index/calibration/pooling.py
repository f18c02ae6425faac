"""Isotonic regression at even odds by pooling adjacent violators (PAV), and the odds of what it
says.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import isotonic_regression

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

# A log10 likelihood ratio of PAV is infinite at its ends; nothing measured supports this, and JSON
# has no infinity.
LOG10_LIMIT = 300.0
# Observations added to those that are pooled: a positive one at the least value, a negative one at
# the largest.
MISLEADING = 2


def pav(values: ArrayLike, positive: ArrayLike, weights: Floats | None = None) -> Floats:
    """Return P(positive) at even odds for each value, by pooling adjacent violators: monotone,
    equal at equal values.

    Each class weighs one half whatever its size, so the prior is even and odds are likelihood
    ratios. `weights` (n,) are those of a bootstrap resample. Where a class weighs nothing, 0.5: no
    information.
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
    held = weight > 0
    fitted = isotonic_regression(share[held] / weight[held], weights=weight[held]).x
    # A value that the resample left out takes that of its neighbours.
    filled = np.interp(distinct, distinct[held], np.clip(fitted, 0.0, 1.0))
    return np.asarray(filled[group], np.float64)


def pooled_at(values: Floats, positive: Bools, weights: Floats, at: Floats) -> Floats:
    """Return P(positive) at even odds at each of `at` (g,), from values (n,) and one misleading one
    at either end.

    `weights` (n + 2,): the last two are of the misleading ones, which keep every probability off 0
    and 1 and let resamples differ at the ends too; 0 leaves a value out. Between values it is
    interpolated. 0.5 without any value.
    """
    kept = weights[:-MISLEADING] > 0
    if not kept.any():
        return np.full(len(at), 0.5)
    x = np.append(values[kept], [values[kept].min(), values[kept].max()])
    fitted = pav(
        x,
        np.append(positive[kept], [True, False]),
        np.append(weights[:-MISLEADING][kept], weights[-MISLEADING:]),
    )
    order = np.argsort(x, kind="stable")
    return np.asarray(np.interp(at, x[order], fitted[order]), np.float64)


def log10_of_odds(probabilities: Floats) -> Floats:
    """Return log10(p / (1 - p)), kept within +-LOG10_LIMIT."""
    with np.errstate(divide="ignore"):
        odds = np.log10(probabilities) - np.log10(1 - probabilities)
    return np.asarray(np.clip(odds, -LOG10_LIMIT, LOG10_LIMIT), np.float64)
