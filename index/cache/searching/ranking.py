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
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from index.cache.segments.view import Part

WIDENING = 4
# Similarities are rounded to this many decimals: float64 sums of float32 products are good to some
# 1e-15, float32 ones to 1e-7.
DECIMALS = 12
# NumPy takes an array of one number quicker than a number.
_SCALE, _LEAST, _MOST = np.array(10.0**DECIMALS), np.array(-1.0), np.array(1.0)
# Rows compared at a time in float64. 256 x 384 fit the processor's cache: batches among 200,000
# `clustered` rows are a third faster than with 4,096, and take less memory (2026-12-01).
EXACT_ROWS = 256
# Probes ranked at a time, and the members compared with all of them, so that memory stays bounded:
# an image that is in a corpus 100,000 times is as near as its copies.
PROBES_AT_ONCE = 1024
PLACES_AT_ONCE = 2**20


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
    filled, total = [], 0
    for part in parts:
        if count := part.count:
            filled.append(part)
            total += count
    k = min(k, total)
    if not k:
        nothing = Ranking(np.empty(0, np.int64), np.empty(0, np.float64), exact=True)
        return [nothing] * len(probes)
    return _rank(filled, probes, k, firsts, k, exact=exact)


def _rank(
    parts: Sequence[Part],
    probes: NDArray[np.float32],
    k: int,
    firsts: Sequence[NDArray[np.int64]],
    m: int,
    *,
    exact: bool,
) -> list[Ranking]:
    """See `rank_many`. At least m >= k members of each part are compared with each probe, some
    probes at a time.
    """
    step = min(PROBES_AT_ONCE, max(1, PLACES_AT_ONCE // m))
    if len(probes) > step:
        found: list[Ranking] = []
        for start in range(0, len(probes), step):
            some = slice(start, start + step)
            found += _rank(parts, probes[some], k, firsts[some], m, exact=exact)
        return found
    some_first = any(map(len, firsts))
    each_part = []
    for part in parts:
        positions, floors, is_exact = part.segment.candidates(probes, m, part.live, exact=exact)
        if some_first:
            positions = _add_members(part, positions, firsts)
        similarities = _measure_all(part, positions, probes)
        each_part.append(_Compared(part.segment.ids[positions], similarities, floors, is_exact))
    compared = each_part[0] if len(each_part) == 1 else _join(each_part)
    ids, similarities, floors, is_exact = compared
    behind = _mark_behind(ids, similarities, firsts) if some_first else None
    order = np.lexsort((ids, -similarities) if behind is None else (ids, -similarities, behind))
    places = order[:, :k]
    if len(probes) > 1:
        places = places + np.arange(0, ids.size, ids.shape[1])[:, np.newaxis]
    ids, similarities = ids.take(places), similarities.take(places)  # (p, k)
    rankings = [Ranking(*each) for each in zip(ids, similarities, is_exact.tolist(), strict=True)]
    if floors is None:
        return rankings
    # Something as good may have been left out, unless the last is one of those that come first.
    is_open = (similarities[:, -1] <= floors) & (floors > -np.inf)
    if behind is not None:
        is_open &= behind.take(places[:, -1])
    again = np.flatnonzero(is_open).tolist()
    if again:
        firsts, m = [firsts[row] for row in again], m * WIDENING
        more = _rank(parts, probes[again], k, firsts, m, exact=exact)
        for row, ranking in zip(again, more, strict=True):
            rankings[row] = ranking
    return rankings


def _mark_behind(
    ids: NDArray[np.int64],
    similarities: NDArray[np.float64],
    firsts: Sequence[NDArray[np.int64]],
) -> NDArray[np.bool_]:
    """Return whether each entry id (p, c) is not among those that come first for its probe, or
    stands where there is none.
    """
    others = [np.isin(row, first, invert=True) for row, first in zip(ids, firsts, strict=True)]
    behind: NDArray[np.bool_] = np.array(others) | (similarities == -np.inf)
    return behind


class _Compared(NamedTuple):
    """Entry ids (p, c) that were compared with each probe, and their similarities (p, c), -inf
    where there is none; `floors` (p,) and `exact` (p,) as in `segments.Candidates`.
    """

    ids: NDArray[np.int64]
    similarities: NDArray[np.float64]
    floors: NDArray[np.float64] | None
    exact: NDArray[np.bool_]


def _add_members(
    part: Part, positions: NDArray[np.int64], firsts: Sequence[NDArray[np.int64]]
) -> NDArray[np.int64]:
    """Return positions (p, c) with those of each probe's own entries, where they are members."""
    rows = [
        np.union1d(row[row >= 0], part.members_among(part.segment.find(first)))
        for row, first in zip(positions, firsts, strict=True)
    ]
    joined = np.full((len(rows), max(map(len, rows))), -1, np.int64)
    for row, each in zip(joined, rows, strict=True):
        row[: len(each)] = each
    return joined


def _join(each_part: Sequence[_Compared]) -> _Compared:
    """Return what was compared in several parts as one."""
    floors = [each.floors for each in each_part if each.floors is not None]
    return _Compared(
        np.concatenate([each.ids for each in each_part], axis=1),
        np.concatenate([each.similarities for each in each_part], axis=1),
        np.max(floors, axis=0) if floors else None,
        np.all([each.exact for each in each_part], axis=0),
    )


def cosine_similarities(
    rows: NDArray[np.float32], probes: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Return the cosine similarities (..., n) of rows (..., n, d) with a probe (d,), or each with
    its own of some probes (..., 1, d).

    Equal rows get exactly equal similarities, wherever they are. `np.vecdot` computes one inner
    product for each row; a matrix product rounds a row differently at the end of a block.
    """
    wide, one = rows.astype(np.float64), probes.astype(np.float64)
    norms = np.sqrt(np.vecdot(wide, wide) * np.vecdot(one, one))  # (..., n)
    similarities: NDArray[np.float64] = np.vecdot(wide, one) / norms
    # np.round and np.clip do the same, and take as long as all the rest for some ten rows
    rounded = np.rint(similarities * _SCALE) / _SCALE
    bounded: NDArray[np.float64] = np.maximum(np.minimum(rounded, _MOST), _LEAST)
    return bounded


def measure(
    part: Part, positions: NDArray[np.int64], probe: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Return the cosine similarities (m,) of the entries at some positions, in bounded memory."""
    found = np.empty(len(positions), np.float64)
    for start in range(0, len(positions), EXACT_ROWS):
        some = slice(start, start + EXACT_ROWS)
        found[some] = cosine_similarities(part.segment.vectors(positions[some]), probe)
    return found


def _measure_all(
    part: Part, positions: NDArray[np.int64], probes: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Return the cosine similarities (p, c) of each probe (p, d) with the entries at its own
    positions (p, c), -inf where a position is -1.
    """
    p, c = positions.shape
    if p == 1 and c <= EXACT_ROWS and positions[0, -1] >= 0:
        return cosine_similarities(part.segment.vectors(positions[0]), probes[0])[np.newaxis]
    found = np.empty((p, c), np.float64)
    step = max(1, EXACT_ROWS // c)
    for start in range(0, p, step):
        some = slice(start, start + step)
        rows = part.segment.vectors(positions[some].ravel().clip(0))  # (p c, d)
        found[some] = cosine_similarities(
            rows.reshape(-1, c, probes.shape[1]), probes[some, np.newaxis]
        )
    found[positions < 0] = -np.inf
    return found
