"""Logistic regression at even prior odds, with constrained signs, for many resamples at once.

With equal class weights the prior odds are 1, so that the fitted log odds are the log of a
likelihood ratio (Brümmer & du Preez 2006). A coefficient with the wrong sign is set to 0 and the
others are fitted again, because a nearer known fake must never lower the ratio.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

# A normal prior with this standard deviation on the coefficients of standardised columns. It weighs
# less than a hundredth of an image and keeps the coefficients of separable data finite; ELUB bounds
# the ratios of such data.
PRIOR_DEVIATION = 10.0
# Newton's method on a convex function of a few coefficients. A step is limited, for separable data.
MOST_STEPS, LONGEST_STEP, DONE = 60, 2.0, 1e-9


def balance(positive: Bools, weights: Floats) -> Floats:
    """Return weights (r, n) such that each class sums to one half in each row; a row that lacks a
    class gets zeros.
    """
    of_positive = (weights * positive).sum(axis=1, keepdims=True)
    of_others = (weights * ~positive).sum(axis=1, keepdims=True)
    both = (of_positive > 0) & (of_others > 0)
    sums = np.where(positive, np.where(both, of_positive, 1.0), np.where(both, of_others, 1.0))
    return np.asarray(np.where(both, weights / (2 * sums), 0.0), np.float64)


def fit_logistic(x: Floats, positive: Bools, weights: Floats, signs: Sequence[int]) -> Floats:
    """Return the coefficients (r, 1 + d) of natural log odds, the constant first, for each row of
    `weights` (r, n).

    `x` is (n, d). `signs` (d,) is 1 for a coefficient of at least 0, and -1 for one of at most 0.
    The optimum of a convex function under such bounds is the best of the feasible fits that leave
    out some coefficients, so all of these are computed.
    """
    centre, spread = x.mean(axis=0), x.std(axis=0)
    scaled = (x - centre) / np.where(spread > 0, spread, 1.0)  # (n, d)
    w = balance(positive, weights)
    best = np.zeros((len(weights), x.shape[1] + 1))
    least = _losses(best, scaled, positive, w)  # (r,)
    for kept in product([False, True], repeat=x.shape[1]):
        columns = np.flatnonzero(kept)
        if not len(columns):
            continue  # without any column the log odds are 0
        fitted = np.zeros_like(best)
        fitted[:, np.append(0, columns + 1)] = _newton(scaled[:, columns], positive, w)
        feasible = (fitted[:, 1:] * np.asarray(signs) >= 0).all(axis=1)
        losses = _losses(fitted, scaled, positive, w)
        better = feasible & (losses < least)
        best[better], least[better] = fitted[better], losses[better]
    slopes = best[:, 1:] / np.where(spread > 0, spread, 1.0)
    return np.column_stack([best[:, 0] - slopes @ centre, slopes])


def _newton(x: Floats, positive: Bools, w: Floats) -> Floats:
    design = np.column_stack([np.ones(len(x)), x])  # (n, 1 + d)
    # The prior, in units of one image. The constant has none but a tiny value, which keeps the
    # equations of an empty resample solvable.
    ridge = np.append(1e-9, np.full(x.shape[1], 1 / (PRIOR_DEVIATION**2 * max(len(x), 1))))
    # Resamples differ little from the data: from its fit, two or three steps are enough.
    start = _newton(x, positive, w[:1]) if len(w) > 1 else np.zeros((1, design.shape[1]))
    fitted = np.repeat(start, len(w), axis=0)
    for _ in range(MOST_STEPS):
        p = 1 / (1 + np.exp(-np.clip(fitted @ design.T, -500, 500)))  # (r, n)
        gradient = (w * (p - positive)) @ design + fitted * ridge
        curvature = np.einsum(
            "rn,ni,nj->rij", w * p * (1 - p), design, design, optimize=True
        ) + np.diag(ridge)
        step = np.linalg.solve(curvature, gradient[:, :, None])[:, :, 0]
        fitted -= step * np.minimum(
            1.0, LONGEST_STEP / np.maximum(np.abs(step).max(axis=1, keepdims=True), 1e-300)
        )
        if np.abs(step).max() < DONE:
            break
    return fitted


def _losses(fitted: Floats, x: Floats, positive: Bools, w: Floats) -> Floats:
    log_odds = fitted[:, :1] + fitted[:, 1:] @ x.T  # (r, n)
    return np.asarray(
        (w * np.logaddexp(0, np.where(positive, -log_odds, log_odds))).sum(axis=1), np.float64
    )
