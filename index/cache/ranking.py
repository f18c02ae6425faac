"""Ranking: the k members of a view that are nearest to a probe, for one probe and for many.

Owns the exact comparison. Every similarity is computed in float64 from stored float32 vectors. If a
segment compared every live vector, the order is exact too. Segments rank in float32 and state a
floor, the largest similarity that anything they left out can have. More candidates are requested
until the k-th neighbour is above every floor, so that exact values decide ties and near-ties, then
entry ids.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from index.cache.recall import MARGIN
from index.cache.view import Part

WIDENING = 4
# Similarities are rounded to this many decimals: float64 sums of float32 products are good to some
# 1e-15, float32 ones to 1e-7.
DECIMALS = 12
# Rows compared at a time in float64.
EXACT_ROWS = 4096


@dataclass(frozen=True, slots=True, eq=False)
class Ranking:
    """Entry ids (k,) int64 with their cosine similarities (k,) float64, best first.

    `exact`: no better one was left out. A probe without an embedding has no similarities: only the
    entries of its image are ranked.
    """

    ids: NDArray[np.int64]
    similarities: NDArray[np.float64] | None
    exact: bool

    @property
    def best(self) -> list[tuple[int, float | None]]:
        """The entry ids with their similarities, as pairs."""
        if self.similarities is None:
            return [(each, None) for each in self.ids.tolist()]
        return list(zip(self.ids.tolist(), self.similarities.tolist(), strict=True))


def rank(
    parts: Sequence[Part],
    probe: NDArray[np.float32],
    k: int,
    first: NDArray[np.int64],
    *,
    exact: bool,
) -> Ranking:
    """Return the k best members of the parts for a probe (d,); see `rank_many`."""
    (ranking,) = rank_many(parts, probe[np.newaxis], k, [first], exact=exact)
    return ranking


def rank_many(
    parts: Sequence[Part],
    probes: NDArray[np.float32],
    k: int,
    firsts: Sequence[NDArray[np.int64]],
    *,
    exact: bool,
) -> list[Ranking]:
    """Return the k best members of the parts, or all of them if there are fewer, for each of some
    probes (p, d) of norm 1.

    The order: entries listed in the probe's own `firsts` (p of them), then all others; falling
    similarity, then rising id.

    Raises:
        SnapshotCorrupt

    """
    parts = [part for part in parts if part.segment.size]
    k = min(k, sum(part.count for part in parts))
    return [
        _rank_one(parts, probe, k, first, exact=exact)
        for probe, first in zip(probes, firsts, strict=True)
    ]


def _rank_one(
    parts: Sequence[Part],
    probe: NDArray[np.float32],
    k: int,
    first: NDArray[np.int64],
    *,
    exact: bool,
) -> Ranking:
    m = k + MARGIN
    while k:
        floor, compared_all = -np.inf, True
        found = []
        for part in parts:
            proposed = part.segment.candidates(probe, m, part.live, exact=exact)
            floor, compared_all = max(floor, proposed.floor), compared_all and proposed.exact
            positions = proposed.positions
            if len(first):
                positions = np.union1d(positions, part.members_among(part.segment.find(first)))
            found.append((part.segment.ids[positions], measure(part, positions, probe)))
        ids, similarities = (np.concatenate(each) for each in zip(*found, strict=True))
        behind = np.isin(ids, first, invert=True) if len(first) else np.ones(len(ids), np.bool_)
        order = np.lexsort((ids, -similarities, behind))[:k]
        rest = similarities[order[behind[order]]]
        if not len(rest) or rest[-1] > floor or floor == -np.inf:
            return Ranking(ids[order], similarities[order], compared_all)
        m *= WIDENING
    return Ranking(np.empty(0, np.int64), np.empty(0, np.float64), exact=True)


def cosine_similarities(
    rows: NDArray[np.float32], probe: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Return the cosine similarities (n,) of rows (n, d) with a probe (d,).

    Equal rows get exactly equal similarities, wherever they are. `np.vecdot` computes one inner
    product for each row; a matrix product rounds a row differently at the end of a block.
    """
    wide, one = rows.astype(np.float64), probe.astype(np.float64)
    norms = np.sqrt(np.vecdot(wide, wide) * np.vecdot(one, one))  # (n,)
    similarities = np.vecdot(wide, one) / norms
    rounded: NDArray[np.float64] = np.round(similarities, DECIMALS).clip(-1.0, 1.0)
    return rounded


def measure(
    part: Part, positions: NDArray[np.int64], probe: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Return the cosine similarities (m,) of the entries at some positions, in bounded memory."""
    found = np.empty(len(positions), np.float64)
    for start in range(0, len(positions), EXACT_ROWS):
        some = slice(start, start + EXACT_ROWS)
        found[some] = cosine_similarities(part.segment.vectors(positions[some]), probe)
    return found
