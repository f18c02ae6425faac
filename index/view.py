"""A view: the members of one embedding space at one generation, ready to be searched. Immutable."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from index.digest import EMPTY, with_member, without_member
from index.errors import TruthDamaged
from index.segments import BaseIndex, Segment
from index.tail import Tail
from index.vectors import stored_rows, to_bytes

# Rows handled at a time where all of them pass: 6 MB of 384 float32.
CHUNK = 4096


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """A segment and which of its positions are members; None: all of them."""

    segment: Segment
    live: NDArray[np.bool_] | None  # (n,)

    @property
    def count(self) -> int:
        return self.segment.size if self.live is None else int(np.count_nonzero(self.live))

    def selecting(self, ids: NDArray[np.int64]) -> Part:
        """Return this part with only those members that are also among these entry ids (m,)."""
        chosen = np.zeros(self.segment.size, np.bool_)
        chosen[self.segment.find(ids)] = True
        return Part(self.segment, chosen if self.live is None else chosen & self.live)

    def positions(self) -> NDArray[np.int64]:
        """Return the rising positions (m,) of the members."""
        return np.arange(self.segment.size) if self.live is None else np.flatnonzero(self.live)

    def without(self, positions: NDArray[np.int64]) -> NDArray[np.bool_] | None:
        """Return the marks with some positions cleared, leaving these marks as they are."""
        if not len(positions):
            return self.live
        live = np.ones(self.segment.size, np.bool_) if self.live is None else self.live.copy()
        live[positions] = False
        return live

    def holds(self, positions: NDArray[np.int64]) -> bool:
        return self.live is None or bool(self.live[positions].all())


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """`generation` is the number of the last change in it, `digest` the set digest of its members."""

    generation: int
    digest: int
    base: BaseIndex
    base_live: NDArray[np.bool_] | None
    tail: Tail
    tail_live: NDArray[np.bool_] | None

    @classmethod
    def of_base(cls, base: BaseIndex, generation: int, digest: int, dimension: int) -> Self:
        """Return the view that is exactly a base."""
        return cls(generation, digest, base, None, Tail.empty(dimension), None)

    @property
    def parts(self) -> tuple[Part, Part]:
        return Part(self.base, self.base_live), Part(self.tail, self.tail_live)

    @property
    def count(self) -> int:
        """How many members there are."""
        return sum(part.count for part in self.parts)

    @property
    def dimension(self) -> int:
        return int(self.tail.buffer.shape[1])

    @property
    def dead(self) -> int:
        """How many positions hold an entry that was removed."""
        return self.base.size + self.tail.size - self.count

    def adding(self, ids: Sequence[int], stored: Sequence[bytes]) -> View:
        """Return the view with more members; generation and digest are still to be set by `reaching`."""
        if not ids:
            return self
        rows = stored_rows(stored, self.dimension)
        tail = self.tail.appended(np.asarray(ids, np.int64), rows)
        live = self.tail_live
        if live is not None:
            live = np.concatenate([live, np.ones(len(ids), np.bool_)])
        digest = self.digest
        for entry_id, vector in zip(ids, stored, strict=True):
            digest = with_member(digest, entry_id, vector)
        return replace(self, tail=tail, tail_live=live, digest=digest)

    def removing(self, ids: Sequence[int]) -> View:
        """Return the view with tombstones on some members; raises TruthDamaged where one is no member."""
        if not ids:
            return self
        wanted = np.asarray(ids, np.int64)
        digest, found, marks = self.digest, 0, []
        for part in self.parts:
            positions = part.segment.find(wanted)
            if not part.holds(positions):
                raise TruthDamaged("an entry leaves that had left before")
            for entry_id, row in zip(part.segment.ids[positions], part.segment.vectors(positions), strict=True):
                digest = without_member(digest, int(entry_id), to_bytes(row))
            marks.append(part.without(positions))
            found += len(positions)
        if found != len(ids):
            raise TruthDamaged("an entry leaves that had never come")
        return replace(self, base_live=marks[0], tail_live=marks[1], digest=digest)

    def reaching(self, generation: int) -> View:
        return replace(self, generation=generation)

    def member_ids(self) -> NDArray[np.int64]:
        """Return the rising ids (n,) of all members."""
        return self._located()[0]

    def members(self, chunk: int = CHUNK) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        """Yield ids (c,) and vectors (c, d) of all members by rising id, so that memory stays bounded."""
        ids, in_tail, positions = self._located()
        for start in range(0, len(ids), chunk):
            some, tail = positions[start : start + chunk], in_tail[start : start + chunk]
            rows = np.empty((len(some), self.dimension), np.float32)
            rows[~tail] = self.base.vectors(some[~tail])
            rows[tail] = self.tail.vectors(some[tail])
            yield ids[start : start + chunk], rows

    def computed_digest(self) -> int:
        """Return the set digest of the members, computed again from the vectors held."""
        digest = EMPTY
        for ids, rows in self.members():
            for entry_id, row in zip(ids, rows, strict=True):
                digest = with_member(digest, int(entry_id), to_bytes(row))
        return digest

    def _located(self) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.int64]]:
        """Return rising ids (n,), whether each is in the tail, and its position there or in the base."""
        base, tail = (part.positions() for part in self.parts)
        ids = np.concatenate([self.base.ids[base], self.tail.ids[tail]])
        in_tail = np.repeat([False, True], [len(base), len(tail)])
        order = np.argsort(ids, kind="stable")
        return ids[order], in_tail[order], np.concatenate([base, tail])[order]
