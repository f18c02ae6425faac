"""Candidates among the rows that a filter selects, by their codes.

The reach of an index is measured for the neighbours of the whole corpus. Those of a filter are
further away, lie in other lists, and are more alike: among 20,000 of 200,000 `clustered` rows, a
reach that was widened by the share of the filter had a recall of 0.72. So all codes of the selected
rows are compared, and each probe has as many candidates as it needs: all whose code does not say
that they are further away than the k-th nearest of the first. Filters that are used again and again
get codes of their own, which are quicker to compare and propose the same.

See `docs/decisions/0041-filters-compare-all-their-codes.md`.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Self
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from index.cache.segments.segment import pad
from index.cache.vectors.codes import Codes
from index.cache.vectors.marks import Marks
from index.cache.vectors.rows import BLOCK_ROWS, CHUNK, Rows

# Of 1,000 neighbours, 6 have an estimate that is smaller by more than so many standard deviations:
# recall@k is 0.994 or more. Seen: 0.998 to 1.000 for k = 1, 10 and 100, among 20,000 of 200,000
# `clustered` and `hard` rows, and of 120,000 rows of other sources than the probes (2026-12-01).
DEVIATIONS = 2.5
# Estimates are compared with similarities in so many blocks of rows.
MEASURED_BLOCKS = 8
# Candidates that are looked at first, by how much they grow if their estimates do not go down far
# enough, and how many of them state the k-th similarity. For more than one row in `MOST_SHARE`,
# comparing all rows is quicker.
FIRST_STAGE, STAGE_GROWTH, LEADING, MOST_SHARE = 1024, 4, 64, 4
# Candidates of all probes that are looked at together: 12 MB.
PLACES_AT_ONCE = 2**20
# A filter gets codes of its own when it was used so often, and so many filters do: together they
# take as much memory as the codes of all rows at most.
OFTEN, MOST_CODED = 3, 4


@dataclass(frozen=True, slots=True)
class Estimation:
    """What a code says of a similarity: `scale` times that, with a standard deviation."""

    scale: float
    deviation: float

    @classmethod
    def measure(cls, codes: Codes, rows: Rows) -> Self:
        """Compare some rows with each other and with what their codes stand for. Raises
        SnapshotCorrupt.

        A code is shorter than its row, because what it leaves out is at right angles to it. The
        scale is that of a row with itself, and the same for less similar ones: on average they
        differ from it by 0.0002, and those above 0.5 by 0.004 (2026-12-01, data as above).
        """
        starts = np.linspace(0, max(0, rows.size - BLOCK_ROWS), MEASURED_BLOCKS).astype(np.int64)
        positions = np.unique(
            (starts[:, np.newaxis] + np.arange(BLOCK_ROWS)).clip(max=rows.size - 1)
        )
        some = rows.take(positions)
        estimates, similarities = codes.decode(some) @ some.T, some @ some.T  # (n, n)
        scale = float(np.mean(np.diag(estimates)))
        return cls(scale, float(np.std(estimates - scale * similarities)))

    def least(self, similarities: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the estimates that hardly any row with such similarities is below."""
        return np.float32(self.scale) * similarities - np.float32(DEVIATIONS * self.deviation)


def propose_selected(
    codes: Codes,
    estimation: Estimation,
    rows: Rows,
    probes: NDArray[np.float32],
    m: int,
    live: Marks | None,
    count: int,
    stage: int = FIRST_STAGE,
) -> NDArray[np.int64]:
    """Return positions (p, c) among the `count` live ones of codes that may be the m nearest to
    each probe (p, d); -1 at the end of a row that has fewer than c. Nothing but that stands for a
    probe for which comparing all of them is quicker.

    `stage` candidates of each are looked at first.
    """
    stage = max(stage, STAGE_GROWTH * m)
    if stage > count // MOST_SHARE:
        return np.full((len(probes), m), -1, np.int64)
    step = max(1, PLACES_AT_ONCE // stage)
    proposed = []
    for start in range(0, len(probes), step):
        some = probes[start : start + step]
        positions, is_near = _look_at(codes, estimation, rows, some, m, live, stage)
        near = np.count_nonzero(is_near, axis=1)  # estimates fall, so the near ones are first
        found = np.where(is_near, positions, -1)[:, : near.max()]
        cut = np.flatnonzero(near == stage)
        if len(cut):
            further = stage * STAGE_GROWTH
            wider = propose_selected(codes, estimation, rows, some[cut], m, live, count, further)
            found = pad(found, wider.shape[1])
            found[cut] = pad(wider, found.shape[1])
        proposed.append(found)
    width = max(found.shape[1] for found in proposed)
    return np.concatenate([pad(found, width) for found in proposed])


def _look_at(
    codes: Codes,
    estimation: Estimation,
    rows: Rows,
    probes: NDArray[np.float32],
    m: int,
    live: Marks | None,
    stage: int,
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return the candidates (p, stage) with the largest estimates, falling, and which of them may
    be among the m nearest.
    """
    positions, estimates = codes.estimate(probes, stage, codes.nlist, live)
    leading = np.ascontiguousarray(positions[:, : max(LEADING, m)])
    _, similarities = rows.find_best_at(leading, probes, m)
    is_near = estimates >= estimation.least(similarities[:, -1:])
    is_near[:, :m] = True
    return positions, is_near


class Selections:
    """How often filters were used, by what they select, and the codes of some. For any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._uses: WeakKeyDictionary[Marks, int] = WeakKeyDictionary()
        self._coded: WeakKeyDictionary[Marks, Codes] = WeakKeyDictionary()

    def find(self, selected: Marks) -> Codes | None:
        """Return the codes of what a filter selects, if it has its own, and count the use."""
        with self._lock:
            coded = self._coded.get(selected)
            if coded is None:
                self._uses[selected] = self._uses.get(selected, 0) + 1
        return coded

    def find_due(self) -> Marks | None:
        """Return what a filter selects that should have codes of its own."""
        if not self._uses:  # so it is for most searches
            return None
        with self._lock:
            if len(self._coded) >= MOST_CODED:
                return None
            due = (each for each, uses in self._uses.items() if uses >= OFTEN)
            return next(due, None)

    def has(self, selected: Marks) -> bool:
        """Return whether there are codes of what a filter selects."""
        return selected in self._coded

    def code(self, selected: Marks, codes: Codes, rows: Rows) -> None:
        """Make codes of what a filter selects: 1 s for 100,000 rows. Raises SnapshotCorrupt."""
        positions = selected.positions
        some = (positions[start : start + CHUNK] for start in range(0, len(positions), CHUNK))
        coded = codes.select(((each, rows.take(each)) for each in some), threads=1)
        with self._lock:
            self._uses.pop(selected, None)
            self._coded[selected] = coded
