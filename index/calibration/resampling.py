"""Bootstrap weights and cross-validation folds by source image, because images made from one
photograph are not independent.

Both depend only on the set of sources and on the seed, not on the order of the images.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

# The 2.5 % point then rests on 10 resamples. Davison & Hinkley 1997 recommend more only for points
# further out.
RESAMPLES = 400
FOLDS = 5
LEVEL = 0.95


def draw_weights(sources: ArrayLike, resamples: int, seed: int) -> NDArray[np.float64]:
    """Return weights (1 + resamples, n) of the n images; each row sums to 1, and the first row is
    uniform.

    This is a Bayesian bootstrap (Rubin 1981) over sources. Its weights are exponential instead of
    counts, so that no resample loses a class, an exceedance or a generator completely.
    """
    distinct, which = np.unique(np.asarray(sources), return_inverse=True)
    drawn = np.random.default_rng(seed).standard_exponential((resamples, len(distinct)))
    weights = np.vstack([np.ones(len(distinct)), drawn])[:, which]  # (1 + r, n)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), np.float64)


def folds_by_source(sources: ArrayLike, seed: int, folds: int = FOLDS) -> NDArray[np.int64]:
    """Return the fold of each image (n,), from 0 to folds - 1. All images of a source are in one
    fold, and folds have equal numbers of sources, to within one.
    """
    distinct, which = np.unique(np.asarray(sources), return_inverse=True)
    dealt = np.random.default_rng(seed).permutation(len(distinct)) % folds
    return np.asarray(dealt[which], np.int64)
