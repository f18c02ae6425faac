"""Resampling by source image, and folds by source image: images made of one photograph are never
taken for independent.

Both depend on the set of sources and the seed alone, not on the order of the images.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

# enough for the 2.5 % point to rest on 10 resamples (Davison & Hinkley 1997 want more for tails
# only)
RESAMPLES = 400
FOLDS = 5
LEVEL = 0.95


def resampled_weights(sources: ArrayLike, resamples: int, seed: int) -> NDArray[np.float64]:
    """Return weights (1 + resamples, n) of the n images, each row summing to 1; the first row
    weighs all alike.

    A Bayesian bootstrap (Rubin 1981) over sources: exponential weights instead of counts, so that
    no resample loses a class, an exceedance or a generator altogether.
    """
    distinct, which = np.unique(np.asarray(sources), return_inverse=True)
    drawn = np.random.default_rng(seed).standard_exponential((resamples, len(distinct)))
    weights = np.vstack([np.ones(len(distinct)), drawn])[:, which]  # (1 + r, n)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), np.float64)


def folds_by_source(sources: ArrayLike, seed: int, folds: int = FOLDS) -> NDArray[np.int64]:
    """Return the fold of each image (n,), 0 to folds - 1: sources are dealt out in a shuffled
    order.
    """
    distinct, which = np.unique(np.asarray(sources), return_inverse=True)
    dealt = np.random.default_rng(seed).permutation(len(distinct)) % folds
    return np.asarray(dealt[which], np.int64)
