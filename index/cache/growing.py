"""The tail of a view: entries added since the base was written, exact, in memory, append-only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from index.cache.facts import FACTS, Facts, Words
from index.cache.marks import Marks
from index.cache.rows import HeldRows
from index.cache.segments import Candidates, Criteria, scan, scan_at

FIRST_CAPACITY = 256


@dataclass(frozen=True, slots=True, eq=False)
class Tail:
    """The first `size` rows of two buffers. Implements `segments.Segment`.

    Appending writes behind `size` and gives a new tail over the same buffers, so that older tails
    never change. Only the newest tail of a buffer may be appended to; the lock of the live index
    sees to that.
    """

    row_buffer: NDArray[np.float32]  # (capacity, d)
    fact_buffer: Facts  # (capacity,)
    size: int
    words: Words

    @classmethod
    def empty(cls, dimension: int, words: Words) -> Tail:
        return cls(np.empty((0, dimension), np.float32), np.empty(0, FACTS), 0, words)

    def appended(self, facts: Facts, vectors: NDArray[np.float32]) -> Tail:
        """Return a tail with more entries (m,) and vectors (m, d).

        Amortised constant time for each.
        """
        size = self.size + len(facts)
        tail = self if size <= len(self.fact_buffer) else self._grown(size)
        tail.row_buffer[self.size : size] = vectors
        tail.fact_buffer[self.size : size] = facts
        return Tail(tail.row_buffer, tail.fact_buffer, size, self.words)

    def _grown(self, size: int) -> Tail:
        capacity = max(size, 2 * len(self.fact_buffer), FIRST_CAPACITY)
        row_buffer = np.empty((capacity, self.row_buffer.shape[1]), np.float32)
        fact_buffer = np.empty(capacity, FACTS)
        row_buffer[: self.size] = self.row_buffer[: self.size]
        fact_buffer[: self.size] = self.fact_buffer[: self.size]
        return Tail(row_buffer, fact_buffer, self.size, self.words)

    @property
    def rows(self) -> HeldRows:
        return HeldRows(self.row_buffer[: self.size])

    @property
    def facts(self) -> Facts:
        return self.fact_buffer[: self.size]

    @property
    def ids(self) -> NDArray[np.int64]:
        return self.column("id")

    def column(self, name: str) -> NDArray[np.int64]:
        column: NDArray[np.int64] = self.facts[name]
        return column

    def marks(self, criteria: Criteria) -> Marks:
        return Marks(criteria(self))

    def find(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.flatnonzero(np.isin(self.ids, ids))

    def vectors(self, positions: NDArray[np.int64]) -> NDArray[np.float32]:
        return self.rows.take(positions)

    def candidates(
        self,
        probe: NDArray[np.float32],
        m: int,
        live: Marks | None,
        *,
        exact: bool,  # noqa: ARG002 -- a tail is always exact
    ) -> Candidates:
        if live is not None and live.count * 2 < self.size:
            return scan_at(self.rows, live.positions, probe, m, exact=True)
        return scan(self.rows, probe, m, live)
