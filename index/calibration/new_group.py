"""What images of several groups say about a group that is not among them.

A group is a generator, or a collection of known-real images. Images of one group resemble each
other, so two hundred of one generator say less about the next generator than ten each of twenty.
Two things follow. An image counts by what it adds (`weights_by_group`), with the intraclass
correlation of Fisher 1925 and the design effect of Kish 1965. And the share of images beyond a
limit has an interval for a new group (`predict_share`), which is wider than that of more images
like these: shares of groups have a beta distribution, as in Williams 1975, whose mean and
correlation are averaged over what the counts leave open.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import betainc, betaln, expit, logsumexp

from index.calibration.population import Population
from index.calibration.resampling import LEVEL

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# With fewer groups, how much they differ cannot be learned from them: the evaluation's bootstrap
# over sources starts at five too.
MIN_GROUPS = 5
# Means and correlations over which the beta distributions are averaged, and shares at which they
# are evaluated.
MEANS, CORRELATIONS, SHARES = 48, 16, 400
LEAST_MEAN = 1e-4
# The prior of the correlation is that of Beta(1, 4): it is 0.2 in the mean. With 1 (any correlation
# is as likely) ten collections without a match gave an upper end of 90 %; with 8, one count in six
# was beyond the interval of the other collections (10 collections, docs/evidence.md, 2026-11-30).
CORRELATION_PRIOR = 4
# A lower end below this is 0: a thousand images of a new group would not tell them apart.
LEAST_SHARE = 1e-3


def number_groups(images: Population) -> Ints:
    """Return the number of each image's group (n,): its generator, or its collection where no
    generator is declared. Images of which neither is known are one group.
    """
    collections = images.collections or [None] * len(images)
    names = [
        f"generator {generator}" if generator is not None else f"collection {collection}"
        for generator, collection in zip(images.generators, collections, strict=True)
    ]
    return np.unique(np.array(names, np.str_), return_inverse=True)[1].astype(np.int64).reshape(-1)


def fold_groups(groups: ArrayLike, most: int) -> Ints:
    """Return the fold of each image (n,), from 0 on. No group is in two folds.

    The largest groups have a fold of their own; if there are more than `most`, the others are dealt
    to those folds, the larger ones first.
    """
    _, which, sizes = np.unique(np.asarray(groups), return_inverse=True, return_counts=True)
    rank = np.empty(len(sizes), np.int64)
    rank[np.argsort(-sizes, kind="stable")] = np.arange(len(sizes))
    return np.asarray((rank % most)[which], np.int64)


def weights_by_group(values: ArrayLike, groups: ArrayLike) -> Floats:
    """Return the weight (n,) of each image, by its group and the values (n,) of all.

    An image of a group of m weighs 1 / (1 + (m - 1) c), where c is the share of the variance that
    lies between groups: all images are equal where groups do not differ, and all groups where
    nothing else does.
    """
    x = np.asarray(values, np.float64)
    _, which, sizes = np.unique(np.asarray(groups), return_inverse=True, return_counts=True)
    own = sizes[which]
    return np.asarray(1 / (1 + (own - 1) * _correlation(x, which, sizes)), np.float64)


def _correlation(x: Floats, which: Ints, sizes: Ints) -> float:
    """Return the intraclass correlation by one-way analysis of variance, in [0, 1]."""
    n, k = len(x), len(sizes)
    if k < 2 or n <= k:
        return 0.0
    means = np.bincount(which, x) / sizes
    between = (sizes * (means - x.mean()) ** 2).sum() / (k - 1)
    within = ((x - means[which]) ** 2).sum() / (n - k)
    typical = (n - (sizes**2).sum() / n) / (k - 1)
    variance = max(float(between - within) / float(typical), 0.0)
    return variance / (variance + float(within)) if variance + within > 0 else 0.0


def predict_share(counts: ArrayLike, sizes: ArrayLike) -> tuple[float, float]:
    """Return the 95 % interval of the share in a new group, from `counts` (k,) of `sizes` (k,) in
    the known ones. Counts need not be whole.
    """
    pairs, times = np.unique(
        np.column_stack([np.asarray(counts, np.float64), np.asarray(sizes, np.float64)]),
        axis=0,
        return_counts=True,
    )
    grid = _grid()
    count, size = pairs[:, :1], pairs[:, 1:]  # (u, 1)
    likelihood = betaln(count + grid.a, size - count + grid.b) - betaln(grid.a, grid.b)  # (u, g)
    weight = times @ likelihood + grid.prior
    weight = np.exp(weight - logsumexp(weight))  # (g,)
    cumulated = weight @ grid.cumulated  # (s,)
    low, high = np.interp([(1 - LEVEL) / 2, (1 + LEVEL) / 2], cumulated, grid.shares)
    return float(low) if low >= LEAST_SHARE else 0.0, float(high)


class _Grid(NamedTuple):
    """Beta distributions (g,), their log prior (g,), and their distribution functions (g, s)."""

    a: Floats
    b: Floats
    prior: Floats
    shares: Floats
    cumulated: Floats


@cache
def _grid() -> _Grid:
    """Return the beta distributions of means and correlations. The prior of the mean is that of
    Jeffreys.
    """
    ends = np.log(LEAST_MEAN / (1 - LEAST_MEAN))
    log_odds = np.linspace(ends, -ends, MEANS)
    mean = expit(log_odds)
    root = (np.arange(CORRELATIONS) + 0.5) / CORRELATIONS
    correlation = root**2  # denser where groups hardly differ
    size = 1 / correlation - 1  # a + b
    a, b = np.outer(mean, size).ravel(), np.outer(1 - mean, size).ravel()
    # Each density is multiplied by the width of its step, in log odds and in roots.
    of_mean = 0.5 * (np.log(mean) + np.log1p(-mean))
    of_correlation = (CORRELATION_PRIOR - 1) * np.log1p(-correlation) + np.log(root)
    prior = np.add.outer(of_mean, of_correlation).ravel()
    shares = np.concatenate([[0.0], expit(np.linspace(-14, 14, SHARES)), [1.0]])
    return _Grid(a, b, prior, shares, betainc(a[:, None], b[:, None], shares[None, :]))
