"""Searching a view: candidates from each part, similarities from the stored vectors, entries from SQL.

Exactness. Every returned cosine similarity is computed in float64 from stored float32 vectors. Segments rank in
float32 and state a floor: the largest similarity that anything they left out could have. While the k-th neighbour is
not above every floor, more candidates are taken, so ties and near-ties are decided by the exact values and then by
entry id, never by the order in which FAISS met them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection

from index.digest import digest_hex
from index.entries import Entry, find_entries
from index.errors import InvalidFilter
from index.filters import Filter, identical_ids, selected_ids
from index.view import CHUNK, Part, View

# Taken beyond k at first, so that near-ties at the k-th place rarely need a second round.
MARGIN = 16
WIDENING = 4
# Fewer selected vectors than one in this many are gathered and compared exactly, without asking the segment: gathering
# reads each selected row once, the segment reads them all.
SELECTIVE = 8
# Equal beyond this many decimals is equal: float64 sums of float32 products are good to some 1e-15, float32 to 1e-7.
DECIMALS = 12


@dataclass(frozen=True, slots=True)
class Neighbour:
    """An entry near the probe. `cosine_similarity` is in [-1, 1], up is nearer; `identical` means equal bytes."""

    entry: Entry
    cosine_similarity: float
    identical: bool


@dataclass(frozen=True, slots=True)
class SearchResult:
    """Neighbours, nearest first, and what they were chosen from.

    `generation` and `digest` name the state of the index, `searched` counts the live entries that the filter selected,
    `exact` says that no nearer entry was among them.
    """

    neighbours: tuple[Neighbour, ...]
    generation: int
    digest: str
    exact: bool
    searched: int


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """A checked probe (d,) float32 of norm 1 and what is asked about it."""

    probe: NDArray[np.float32]
    k: int
    chosen: Filter
    probe_sha256: str | None

    def __post_init__(self) -> None:
        if self.k < 1:
            raise InvalidFilter("k must be at least 1")
        self.chosen.check()


def search(conn: Connection, view: View, space_id: int | None, question: Question, *, lagging: bool) -> SearchResult:
    """Answer a question about a view, with the transaction in which the view is current.

    `lagging`: changes beyond a gap are committed already. Then SQL says which members are still live.
    """
    parts: Sequence[Part] = view.parts
    identical = np.empty(0, np.int64)
    if space_id is None:
        parts = ()
    else:
        if lagging or not question.chosen.selects_all:
            ids = selected_ids(conn, space_id, question.chosen)
            parts = [part.selecting(ids) for part in parts]
        if question.probe_sha256 is not None:
            identical = identical_ids(conn, space_id, question.chosen, question.probe_sha256)
    ranked = rank(parts, question.probe, question.k, first=identical)
    found = find_entries(conn, [entry_id for entry_id, _ in ranked])
    same = frozenset(identical.tolist())
    return SearchResult(
        neighbours=tuple(Neighbour(found[i], similarity, i in same) for i, similarity in ranked),
        generation=view.generation,
        digest=digest_hex(view.digest),
        exact=view.base.exact,
        searched=sum(part.count for part in parts),
    )


def rank(
    parts: Sequence[Part], probe: NDArray[np.float32], k: int, first: NDArray[np.int64]
) -> list[tuple[int, float]]:
    """Return the k best (entry id, cosine similarity) among the live positions of the parts.

    Order: entries named in `first` before all others, then falling similarity, then rising id.
    """
    counts = [part.count for part in parts]
    k = min(k, sum(counts))
    m = k + MARGIN
    while True:
        floors = [-np.inf]
        found: dict[int, float] = {}
        for part, count in zip(parts, counts, strict=True):
            positions, floor = _candidates(part, count, probe, m)
            floors.append(floor)
            found |= _exact(part, positions, probe)
        for part in parts:
            forced = part.segment.find(first)
            found |= _exact(part, forced if part.live is None else forced[part.live[forced]], probe)
        ahead = frozenset(first.tolist())
        order = sorted(found, key=lambda i: (i not in ahead, -found[i], i))[:k]
        rest = [found[i] for i in order if i not in ahead]
        if not rest or rest[-1] > max(floors) or max(floors) == -np.inf:
            return [(i, found[i]) for i in order]
        m *= WIDENING


def cosine_similarities(rows: NDArray[np.float32], probe: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the cosine similarities (n,) of rows (n, d) with a probe (d,), each the same wherever its row stands.

    A BLAS product would be faster and is not used: it rounds a row differently at the end of a block, and two equal
    vectors must be tied exactly.
    """
    wide, one = rows.astype(np.float64), probe.astype(np.float64)
    norms = np.sqrt((wide * wide).sum(axis=1) * (one * one).sum())  # (n,)
    similarities = (wide * one).sum(axis=1) / norms
    rounded: NDArray[np.float64] = np.round(similarities, DECIMALS).clip(-1.0, 1.0)
    return rounded


def _candidates(part: Part, count: int, probe: NDArray[np.float32], m: int) -> tuple[NDArray[np.int64], float]:
    if count <= m or count * SELECTIVE < part.segment.size:
        return part.positions(), -np.inf
    proposed = part.segment.candidates(probe, m, part.live)
    return proposed.positions, proposed.floor


def _exact(part: Part, positions: NDArray[np.int64], probe: NDArray[np.float32]) -> dict[int, float]:
    found: dict[int, float] = {}
    for start in range(0, len(positions), CHUNK):
        some = positions[start : start + CHUNK]
        similarities = cosine_similarities(part.segment.vectors(some), probe)
        found |= dict(zip(part.segment.ids[some].tolist(), similarities.tolist(), strict=True))
    return found
