"""The interface of the two segments of a view, and the exact comparison that both use.

A view has a sealed segment, which is written once and opened by mmap, and a growing segment in
memory. A scan compares the probe in float32 and keeps the best; it states a floor, and nothing that
it left out has a similarity above that floor.

The scan uses `np.vecdot` and not `@`. A matrix-vector product is spread over BLAS threads that wait
for each other, which on a busy machine turned 1 ms into 30 (2 cores, 10,000 x 384 beside a writer).
One thread alone reads memory nearly as fast.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from index.cache.facts import Words
from index.cache.marks import Marks
from index.cache.rows import CHUNK, Rows
from index.truth.vectors import HALF, HALF_ROUNDING, STORED


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """Positions (m,) int64 in a segment.

    `floor` bounds what was compared and left out: none of it has a larger cosine similarity.
    `exact`: every live position was compared.
    """

    positions: NDArray[np.int64]
    floor: float
    exact: bool


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
        self, probe: NDArray[np.float32], m: int, live: Marks | None, *, exact: bool
    ) -> Candidates:
        """Propose at least min(m, live) positions for a probe (d,).

        Only positions marked in `live` are proposed; None stands for all of them.
        """
        ...

    def vectors(self, positions: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the stored vectors (m, d) at positions (m,). Raises SnapshotCorrupt."""
        ...


def scan(rows: Rows, probe: NDArray[np.float32], m: int, live: Marks | None) -> Candidates:
    """Compare a probe (d,) with all live rows; return the m best and a floor for the others."""
    best = _Best(m, rows.form)
    for start in range(0, rows.size, CHUNK):
        stop = min(start + CHUNK, rows.size)
        positions = (
            np.arange(start, stop)
            if live is None
            else start + np.flatnonzero(live.marks[start:stop])
        )
        if len(positions):
            similarities = np.vecdot(rows.chunk(start, stop), probe)  # (c, d) . (d,) -> (c,)
            best.add(positions, similarities[positions - start])
    return best.candidates(len(probe), exact=True)


def scan_at(
    rows: Rows, positions: NDArray[np.int64], probe: NDArray[np.float32], m: int, *, exact: bool
) -> Candidates:
    """Compare a probe (d,) with the rows at some positions; return the m best and a floor for the
    others.
    """
    best = _Best(m, rows.form)
    for start in range(0, len(positions), CHUNK):
        some = positions[start : start + CHUNK]
        best.add(some, np.vecdot(rows.take(some), probe))  # (c, d) . (d,) -> (c,)
    return best.candidates(len(probe), exact=exact)


class _Best:
    """The m + 1 largest similarities so far: m to return, one for the floor."""

    def __init__(self, m: int, form: np.dtype[Any]) -> None:
        self._m = m
        self._form = form
        self._positions = np.empty(0, np.int64)
        self._similarities = np.empty(0, np.float32)

    def add(self, positions: NDArray[np.int64], similarities: NDArray[np.float32]) -> None:
        if len(self._positions):
            positions = np.concatenate([self._positions, positions])
            similarities = np.concatenate([self._similarities, similarities])
        if len(positions) > self._m + 1:
            best = np.argpartition(-similarities, self._m)[: self._m + 1]
            positions, similarities = positions[best], similarities[best]
        self._positions, self._similarities = positions, similarities

    def candidates(self, dimension: int, *, exact: bool) -> Candidates:
        if len(self._positions) <= self._m:
            return Candidates(self._positions, -np.inf, exact)
        order = np.argsort(-self._similarities, kind="stable")
        floor = float(self._similarities[order[-1]]) + rounding_slack(dimension, self._form)
        return Candidates(self._positions[order[:-1]], floor, exact)


def rounding_slack(dimension: int, form: np.dtype[Any] = STORED) -> float:
    """Return the largest difference between a float32 inner product of a probe with a vector that
    is stored in a form, and their cosine similarity.

    d * 2**-24 bounds the rounding of a sum in any order (Higham, Accuracy and Stability, section
    3.1). 4e-6 covers two norms that are 1 to within `STORED_NORM_TOLERANCE` each, twice over; the
    norm of a vector that was rounded to float16 is off by up to `HALF_ROUNDING` more.
    """
    return dimension * 2.0**-24 + 4e-6 + (HALF_ROUNDING if form == HALF else 0.0)
