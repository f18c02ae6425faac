"""Clusters, hubs and known fakes that look real: what deserves a look in a corpus, from arrays.

Pure functions; `index.proof.inspection` applies them to a corpus.

Source: M. Radovanovic, A. Nanopoulos, M. Ivanovic, "Hubs in Space: Popular Nearest Neighbors in
High-Dimensional Data", JMLR 11 (2010), for k-occurrences and their skewness. The limit from which
an entry is called a hub is our own choice.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from index.calibration.others import NOTHING, Pairs

# Two standard deviations are a common limit for outliers. In a corpus whose counts are skewed as a
# whole it names few entries.
HUB_DEVIATIONS = 2.0
# If every picture found its nearest entry at random, one corpus in a hundred would have a hub.
HUB_CHANCE = 0.01


@dataclass(frozen=True, slots=True, eq=False)
class Hubs:
    """The entries, among n, that are the nearest of more pictures than chance explains.

    `counts` (n,) is the 1-occurrence of each entry and `expected` their mean; `rows` are the
    entries with at least `limit`, the largest count first.
    """

    counts: NDArray[np.int64]
    rows: NDArray[np.int64]
    expected: float
    skewness: float
    limit: int


class Clusters:
    """The connected components of rows that show the same picture; pairs come in any order."""

    def __init__(self, count: int) -> None:
        self._labels = np.arange(count, dtype=np.int64)

    def join(self, pairs: Pairs) -> None:
        """Put the rows of each pair into one cluster."""
        apart = pairs.rows != pairs.columns
        if not apart.any():
            return
        from scipy.sparse import coo_array  # noqa: PLC0415 -- takes a quarter of a second to load
        from scipy.sparse.csgraph import connected_components  # noqa: PLC0415 -- likewise

        ends = self._labels[pairs.rows[apart]], self._labels[pairs.columns[apart]]
        count = len(self._labels)
        graph = coo_array((np.ones(len(ends[0]), np.bool_), ends), shape=(count, count))
        _, joined = connected_components(graph, directed=False)
        self._labels = joined.astype(np.int64)[self._labels]

    def members(self) -> list[NDArray[np.int64]]:
        """Return the rising rows of each cluster of two or more: the largest cluster first, equal
        ones by their first row.
        """
        order = np.argsort(self._labels, kind="stable")
        starts = np.flatnonzero(np.diff(self._labels[order], prepend=-1))
        groups = np.split(order, starts[1:]) if len(order) else []
        return sorted(
            (group for group in groups if len(group) > 1), key=lambda group: (-len(group), group[0])
        )


def find_hubs(nearest: NDArray[np.int64], count: int) -> Hubs:
    """Return the hubs among `count` entries.

    `nearest` (m,) is the entry nearest to each of m pictures, -1 for none. A hub satisfies two
    rules. Its count is more than two standard deviations above the mean. And the Poisson
    probability of such a count, times the number of entries, is at most `HUB_CHANCE`.
    """
    counts = np.bincount(nearest[nearest >= 0], minlength=count).astype(np.int64)  # (n,)
    if not count or not counts.any():
        return Hubs(counts, np.empty(0, np.int64), 0.0, 0.0, 0)
    from scipy.special import pdtrc  # noqa: PLC0415 -- as above

    mean, deviation = float(counts.mean()), float(counts.std())
    limit = math.floor(mean + HUB_DEVIATIONS * deviation) + 1
    while count * pdtrc(limit - 1, mean) > HUB_CHANCE:  # expected entries with `limit` or more
        limit += 1
    rows = np.flatnonzero(counts >= limit)
    order = np.argsort(-counts[rows], kind="stable")
    skewness = float((((counts - mean) / deviation) ** 3).mean()) if deviation else 0.0
    return Hubs(counts, rows[order], mean, skewness, limit)


def find_fakes_that_look_real(
    logits: NDArray[np.float64],
    no_traces_logit: float,
    to_real: NDArray[np.float32],
    to_fake: NDArray[np.float32],
) -> NDArray[np.int64]:
    """Return the rows of known fakes that both kinds of evidence call real, the clearest by
    similarity first.

    The classifier's verdict is no_traces: its logit (n,) is at most `no_traces_logit`. And the
    nearest known-real image is nearer (n,) than the nearest known fake (n,), both of other
    pictures. A side without anything to compare with, `NOTHING`, gives no evidence.
    """
    margins = np.where(np.isfinite(to_real) & np.isfinite(to_fake), 0.0, NOTHING)  # (n,)
    both = np.isfinite(margins)
    margins[both] = to_real[both].astype(np.float64) - to_fake[both]
    rows = np.flatnonzero((logits <= no_traces_logit) & (margins > 0.0))
    return rows[np.argsort(-margins[rows], kind="stable")]
