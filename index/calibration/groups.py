"""Images by group, where a group is a generator, or a collection of known-real images.

Images of one group resemble each other, so two hundred of one generator say less about the next
generator than ten each of twenty. An image therefore counts by what it adds (`weights_by_group`),
by the design effect of Kish 1965 with the intraclass correlation of Fisher 1925. What the next
group may be like is in `across_collections`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from index.calibration.population import Population

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


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
