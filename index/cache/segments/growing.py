"""The growing segment of a view: entries added since the sealed segment was written, in memory.

It is append-only, and every search compares all of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from index.cache.plans.recall import MARGIN
from index.cache.segments.facts import FACTS, Facts, Words
from index.cache.segments.segment import Candidates, Criteria, scan, scan_at
from index.cache.vectors.marks import Marks
from index.cache.vectors.rows import HeldRows
from index.truth.vectors import STORED

FIRST_CAPACITY = 256


@dataclass(frozen=True, slots=True, eq=False)
class GrowingSegment:
    """The first `size` rows of two buffers. Implements `segments.Segment`.

    Appending writes behind `size` and returns a new segment over the same buffers, so that older
    segments never change. Only the newest segment of a buffer may be appended to; the lock of the
    live index guarantees this.
    """

    row_buffer: NDArray[Any]  # (capacity, d), in the form of the space
    fact_buffer: Facts  # (capacity,)
    size: int
    words: Words

    @classmethod
    def empty(cls, dimension: int, words: Words, form: np.dtype[Any] = STORED) -> GrowingSegment:
        return cls(np.empty((0, dimension), form), np.empty(0, FACTS), 0, words)

    def append(self, facts: Facts, vectors: NDArray[np.float32]) -> GrowingSegment:
        """Return a segment with more entries (m,) and vectors (m, d).

        Takes amortised constant time for each entry.
        """
        size = self.size + len(facts)
        room = self if size <= len(self.fact_buffer) else self._reserve(size)
        room.row_buffer[self.size : size] = vectors
        room.fact_buffer[self.size : size] = facts
        return GrowingSegment(room.row_buffer, room.fact_buffer, size, self.words)

    def _reserve(self, size: int) -> GrowingSegment:
        """Return this segment over buffers with room for `size` rows."""
        capacity = max(size, 2 * len(self.fact_buffer), FIRST_CAPACITY)
        row_buffer = np.empty((capacity, self.row_buffer.shape[1]), self.form)
        fact_buffer = np.empty(capacity, FACTS)
        row_buffer[: self.size] = self.row_buffer[: self.size]
        fact_buffer[: self.size] = self.fact_buffer[: self.size]
        return GrowingSegment(row_buffer, fact_buffer, self.size, self.words)

    @property
    def dimension(self) -> int:
        return int(self.row_buffer.shape[1])

    @property
    def form(self) -> np.dtype[Any]:
        """The form in which its vectors are held."""
        return self.row_buffer.dtype

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
        probes: NDArray[np.float32],
        m: int,
        live: Marks | None,
        *,
        exact: bool,  # noqa: ARG002 -- a growing segment is always compared exactly
    ) -> Candidates:
        if live is not None and live.count * 2 < self.size:
            return scan_at(self.rows, live.positions, probes, m + MARGIN)
        return scan(self.rows, probes, m + MARGIN, live)
