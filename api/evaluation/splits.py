"""Images grouped by source: resampled together, and put into the same half.

Pure functions of arrays.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

# With fewer sources a bootstrap would repeat a handful of collections (five have 126 different
# resamples). Then images are resampled instead; the figure says which.
MIN_SOURCES = 5
# the 2.5 % point is the fifth smallest of them: enough for an interval with two digits
RESAMPLES = 200


def has_enough_sources(sources: NDArray[np.int64]) -> bool:
    """Whether there are enough sources (n,) to resample them instead of images."""
    return len(np.unique(sources)) >= MIN_SOURCES


def draw_resamples(
    synthetic: NDArray[np.bool_], sources: NDArray[np.int64], seed: int, resamples: int = RESAMPLES
) -> Iterator[NDArray[np.int64]]:
    """Yield rows drawn with replacement: as many sources of each kind as there are, with all their
    images.

    `synthetic` (n,), `sources` (n,). If a kind has fewer than MIN_SOURCES sources, its images are
    drawn instead.
    """
    random = np.random.default_rng(seed)
    kinds = [np.flatnonzero(synthetic == kind) for kind in (False, True)]
    groups = [
        np.unique(sources[rows], return_inverse=True)[1]
        if has_enough_sources(sources[rows])
        else np.arange(len(rows))
        for rows in kinds
    ]
    for _ in range(resamples):
        yield np.concatenate([_draw(random, *kind) for kind in zip(kinds, groups, strict=True)])


def split_in_halves(sources: NDArray[np.int64], seed: int) -> NDArray[np.bool_]:
    """Return which images (n,) are in the first half. Sources stay whole, and the halves hold about
    as many images.

    The largest sources are assigned first, each to the smaller half; equally large ones in random
    order.
    """
    distinct, which, sizes = np.unique(sources, return_inverse=True, return_counts=True)
    shuffled = np.random.default_rng(seed).permutation(len(distinct))
    first = np.zeros(len(distinct), np.bool_)
    balance = 0
    for place in shuffled[np.argsort(-sizes[shuffled], kind="stable")]:
        first[place] = balance <= 0
        balance += int(sizes[place]) if first[place] else -int(sizes[place])
    chosen: NDArray[np.bool_] = first[which]
    return chosen


def deal_into_folds(sources: NDArray[np.int64], folds: int, seed: int) -> NDArray[np.int64]:
    """Return the fold of each image (n,). Sources stay whole, and folds hold about as many images.

    The largest sources are dealt first, each to the smallest fold; equally large ones in random
    order.
    """
    distinct, which, sizes = np.unique(sources, return_inverse=True, return_counts=True)
    shuffled = np.random.default_rng(seed).permutation(len(distinct))
    dealt, counts = np.zeros(len(distinct), np.int64), np.zeros(folds, np.int64)
    for place in shuffled[np.argsort(-sizes[shuffled], kind="stable")]:
        dealt[place] = int(np.argmin(counts))
        counts[dealt[place]] += sizes[place]
    return dealt[which.reshape(-1)]


def split_kinds_in_halves(
    synthetic: NDArray[np.bool_], sources: NDArray[np.int64], seed: int
) -> NDArray[np.bool_]:
    """Return which images (n,) are in the first half. Each kind is halved separately."""
    first = np.zeros(len(sources), np.bool_)
    for kind in (synthetic, ~synthetic):
        first[kind] = split_in_halves(sources[kind], seed)
    return first


def _draw(
    random: np.random.Generator, rows: NDArray[np.int64], groups: NDArray[np.int64]
) -> NDArray[np.int64]:
    count = int(groups.max(initial=-1)) + 1
    times = (
        np.bincount(random.integers(count, size=count), minlength=count)
        if count
        else np.empty(0, np.int64)
    )
    drawn: NDArray[np.int64] = np.repeat(rows, times[groups])
    return drawn
