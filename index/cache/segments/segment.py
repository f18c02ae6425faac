"""The interface of the two segments of a view, and the comparison in float32 that both use.

A view has a sealed segment, which is written once and opened by mmap, and a growing segment in
memory. A scan compares the probes in float32 and keeps the best of each; it states floors, and
nothing that it left out has a similarity above its probe's floor. The comparison is FAISS's
(`index.cache.vectors.products`), so that many probes are compared at once and other threads go on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from index.cache.segments.facts import Words
from index.cache.vectors.marks import Marks
from index.cache.vectors.products import find_best, pack
from index.cache.vectors.rows import CHUNK, Rows
from index.truth.vectors import HALF, HALF_ROUNDING, STORED

# Positions beyond those wanted that a comparison in float32 keeps.
SPARE = 2
# Up to so many probes are compared with selected rows where these are; for more, the rows are
# copied side by side first. 10,000 of 200,000 x 384: 0.6 ms a probe, or 1.6 ms for the copy and the
# first probe, and 0.1 for each further one (2026-12-01).
FEW_PROBES = 4


class Candidates(NamedTuple):
    """Positions (p, c) int64 in a segment for each of p probes; -1 stands at the end of a row that
    has fewer than c.

    `floors` (p,) bound what was compared and left out: none of it has a larger cosine similarity.
    None: nothing was left out that could be among those wanted. `exact` (p,): every live position
    was compared.
    """

    positions: NDArray[np.int64]
    floors: NDArray[np.float64] | None
    exact: NDArray[np.bool_]

    def replaced_for(self, probes: NDArray[np.int64], others: Candidates) -> Candidates:
        """Return these candidates with those of some probes (q,) replaced by others."""
        positions = pad(self.positions, others.positions.shape[1])
        positions[probes] = pad(others.positions, positions.shape[1])
        floors, exact = floors_of(self), self.exact.copy()
        floors[probes], exact[probes] = floors_of(others), others.exact
        return Candidates(positions, floors, exact)


def floors_of(candidates: Candidates) -> NDArray[np.float64]:
    """Return the floors (p,) of candidates, -inf where nothing better was left out."""
    if candidates.floors is not None:
        return candidates.floors.copy()
    return np.full(len(candidates.positions), -np.inf)


# Returns, for each position (n,) of a segment, whether it is selected. Equal criteria select the
# same positions.
Criteria = Callable[["Segment"], NDArray[np.bool_]]


class Segment(Protocol):
    """Vectors at positions 0 to size - 1, each of one entry.

    Immutable, safe for any number of threads.
    """

    @property
    def size(self) -> int: ...

    @property
    def ids(self) -> NDArray[np.int64]:
        """Entry ids (n,) by position."""
        ...

    @property
    def words(self) -> Words:
        """The texts behind the numbers in the columns."""
        ...

    def column(self, name: str) -> NDArray[np.int64] | NDArray[np.int32]:
        """Return one fact (n,) of every entry, by its name in `facts.FACTS`."""
        ...

    def marks(self, criteria: Criteria) -> Marks:
        """Return marks on the positions that criteria select, members or not."""
        ...

    def find(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the positions of those entry ids (m,) that are in this segment."""
        ...

    def candidates(
        self, probes: NDArray[np.float32], m: int, live: Marks | None, *, exact: bool
    ) -> Candidates:
        """Propose at least min(m, live) positions for each of some probes (p, d), and a few more,
        so that near-ties at the m-th place rarely need a second round.

        Only positions marked in `live` are proposed; None stands for all of them.

        Raises:
            SnapshotCorrupt

        """
        ...

    def vectors(self, positions: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the stored vectors (m, d) at positions (m,). Raises SnapshotCorrupt."""
        ...


def scan(rows: Rows, probes: NDArray[np.float32], m: int, live: Marks | None) -> Candidates:
    """Compare probes (p, d) with all live rows; return the m best of each and a floor for the
    others.
    """
    best = _Best(len(probes), m + 1)
    for start in range(0, rows.size, CHUNK):
        stop = min(start + CHUNK, rows.size)
        if live is not None and not live.marks[start:stop].any():
            continue
        positions, similarities = find_best(
            rows.chunk(start, stop), probes, min(m + 1, stop - start), pack(live, start, stop)
        )
        positions[positions >= 0] += start
        best.add(positions, similarities)
    return best.candidates(rounding_slack(probes.shape[1], rows.form))


def scan_at(
    rows: Rows, positions: NDArray[np.int64], probes: NDArray[np.float32], m: int
) -> Candidates:
    """Compare probes (p, d) with the rows at some positions (n,); return the m best of each and a
    floor for the others.
    """
    best = _Best(len(probes), m + 1)
    if len(probes) <= FEW_PROBES and rows.form == STORED:
        repeated = np.ascontiguousarray(np.broadcast_to(positions, (len(probes), len(positions))))
        best.add(*rows.find_best_at(repeated, probes, min(m + 1, len(positions))))
        return best.candidates(rounding_slack(probes.shape[1]))
    for start in range(0, len(positions), CHUNK):
        some = positions[start : start + CHUNK]
        places, similarities = find_best(rows.take(some), probes, min(m + 1, len(some)), None)
        best.add(some[places], similarities)
    return best.candidates(rounding_slack(probes.shape[1], rows.form))


def choose_best(
    rows: Rows, proposed: NDArray[np.int64], probes: NDArray[np.float32], m: int
) -> NDArray[np.int64]:
    """Return those of the proposed positions (p, c) that may be among the m best of each probe
    (p, d), compared in float32.

    They are m + SPARE, or all of them where rounding could have put a better one behind these.
    """
    keep = m + SPARE
    if proposed.shape[1] <= keep:
        return proposed
    positions, similarities = rows.find_best_at(proposed, probes, keep)
    slack = 2 * rounding_slack(probes.shape[1], rows.form)
    is_tied = similarities[:, m - 1] - similarities[:, -1] <= slack
    if not np.count_nonzero(is_tied):  # a third of the time of `any`
        return positions
    tied = np.flatnonzero(is_tied & (positions[:, m - 1] >= 0))
    if not len(tied):
        return positions
    positions = pad(positions, proposed.shape[1])
    positions[tied] = proposed[tied]
    return positions


def pad(positions: NDArray[np.int64], width: int) -> NDArray[np.int64]:
    """Return positions (p, c) with -1 behind them, up to a width, in new memory."""
    width = max(width, positions.shape[1])
    padded = np.full((len(positions), width), -1, np.int64)
    padded[:, : positions.shape[1]] = positions
    return padded


class _Best:
    """The largest similarities of each probe so far: `count` of them, the last one for the
    floor.
    """

    def __init__(self, probes: int, count: int) -> None:
        self._count = count
        self._positions = np.empty((probes, 0), np.int64)
        self._similarities = np.empty((probes, 0), np.float32)

    def add(self, positions: NDArray[np.int64], similarities: NDArray[np.float32]) -> None:
        """Add positions (p, c) with falling similarities; -1 and -inf where there is none."""
        if self._positions.shape[1]:
            positions = np.concatenate([self._positions, positions], axis=1)
            similarities = np.concatenate([self._similarities, similarities], axis=1)
            order = np.argsort(-similarities, axis=1, kind="stable")[:, : self._count]
            positions = np.take_along_axis(positions, order, axis=1)
            similarities = np.take_along_axis(similarities, order, axis=1)
        self._positions, self._similarities = positions, similarities

    def candidates(self, slack: float) -> Candidates:
        is_exact = np.ones(len(self._positions), np.bool_)
        if self._positions.shape[1] < self._count:
            return Candidates(self._positions, None, is_exact)
        floors = self._similarities[:, -1].astype(np.float64) + slack
        return Candidates(self._positions[:, :-1], floors, is_exact)


def rounding_slack(dimension: int, form: np.dtype[Any] = STORED) -> float:
    """Return the largest difference between a float32 inner product of a probe with a vector that
    is stored in a form, and their cosine similarity.

    d * 2**-24 bounds the rounding of a sum in any order (Higham, Accuracy and Stability, section
    3.1). 4e-6 covers two norms that are 1 to within `STORED_NORM_TOLERANCE` each, twice over; the
    norm of a vector that was rounded to float16 is off by up to `HALF_ROUNDING` more.
    """
    return dimension * 2.0**-24 + 4e-6 + (HALF_ROUNDING if form == HALF else 0.0)
