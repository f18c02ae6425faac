"""The tail of a view: entries added since the base was written, exact, in memory, append-only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from index.segments import Candidates, rounding_slack

FIRST_CAPACITY = 256


@dataclass(frozen=True, slots=True, eq=False)
class Tail:
    """The first `size` rows of two buffers. Implements `segments.Segment`.

    Appending writes behind `size` and gives a new tail over the same buffers, so that older tails never change. Only
    the newest tail of a buffer may be appended to; the lock of the live index sees to that.
    """

    buffer: NDArray[np.float32]  # (capacity, d)
    id_buffer: NDArray[np.int64]  # (capacity,)
    size: int

    @classmethod
    def empty(cls, dimension: int) -> Self:
        return cls(np.empty((0, dimension), np.float32), np.empty(0, np.int64), 0)

    def appended(self, ids: NDArray[np.int64], vectors: NDArray[np.float32]) -> Tail:
        """Return a tail with more entries (m,) and vectors (m, d). Amortised constant time for each."""
        size = self.size + len(ids)
        tail = self if size <= len(self.id_buffer) else self._grown(size)
        tail.buffer[self.size : size] = vectors
        tail.id_buffer[self.size : size] = ids
        return Tail(tail.buffer, tail.id_buffer, size)

    def since(self, position: int) -> Tail:
        """Return a copy of what was appended from a position on, with buffers of its own."""
        ids, vectors = self.ids[position:], self.buffer[position : self.size]
        return Tail.empty(self.buffer.shape[1]).appended(ids, vectors)

    def _grown(self, size: int) -> Tail:
        capacity = max(size, 2 * len(self.id_buffer), FIRST_CAPACITY)
        buffer = np.empty((capacity, self.buffer.shape[1]), np.float32)
        id_buffer = np.empty(capacity, np.int64)
        buffer[: self.size] = self.buffer[: self.size]
        id_buffer[: self.size] = self.id_buffer[: self.size]
        return Tail(buffer, id_buffer, self.size)

    @property
    def ids(self) -> NDArray[np.int64]:
        return self.id_buffer[: self.size]

    def find(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.flatnonzero(np.isin(self.ids, ids))

    def candidates(self, probe: NDArray[np.float32], m: int, live: NDArray[np.bool_] | None) -> Candidates:
        positions = np.arange(self.size) if live is None else np.flatnonzero(live)
        if len(positions) <= m:
            return Candidates(positions, -np.inf)
        similarities = self.buffer[: self.size] @ probe  # (n, d) @ (d,) -> (n,)
        similarities = similarities[positions]
        best = np.argpartition(-similarities, m)[: m + 1]
        order = best[np.argsort(-similarities[best], kind="stable")]
        floor = float(similarities[order[m]]) + rounding_slack(len(probe))
        return Candidates(positions[order[:m]], floor)

    def vectors(self, positions: NDArray[np.int64]) -> NDArray[np.float32]:
        return self.buffer[positions]
