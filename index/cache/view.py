"""A view: the members of one embedding space at one generation, ready to be searched. Immutable."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from index.cache.facts import Facts, facts_of, translated
from index.cache.growing import Tail
from index.cache.marks import Marks
from index.cache.rows import CHUNK
from index.cache.sealed import Base
from index.cache.segments import Segment
from index.errors import TruthDamaged
from index.truth.changes import MemberRow
from index.truth.digest import EMPTY, add_members, remove_member
from index.truth.vectors import rows_from_bytes, to_bytes


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """A segment and which of its positions are members; None: all of them."""

    segment: Segment
    live: Marks | None

    @property
    def count(self) -> int:
        return self.segment.size if self.live is None else self.live.count

    def selecting(self, chosen: Marks) -> Part:
        """Return this part with only those members that are also chosen."""
        return Part(self.segment, chosen if self.live is None else self.live & chosen.marks)

    def positions(self) -> NDArray[np.int64]:
        """Return the rising positions (m,) of the members."""
        return np.arange(self.segment.size) if self.live is None else self.live.positions

    def without(self, positions: NDArray[np.int64]) -> Part:
        """Return this part without the members at some positions."""
        if not len(positions):
            return self
        live = self.live or Marks(np.ones(self.segment.size, np.bool_))
        return Part(self.segment, live.without(positions))

    def lost(self, later: Part) -> NDArray[np.int64]:
        """Return the positions of members that a later state of this part has not."""
        if later.live is None or later.live is self.live:
            return np.empty(0, np.int64)
        marks = later.live.marks[: self.segment.size]
        return np.flatnonzero(~marks if self.live is None else self.live.marks & ~marks)

    def holding(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return those of these positions that are members."""
        return positions if self.live is None else positions[self.live.marks[positions]]


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """`generation` is the number of the last change in it, `digest` the set digest of its
    members.
    """

    generation: int
    digest: int
    base: Base
    base_live: Marks | None
    tail: Tail
    tail_live: Marks | None

    @classmethod
    def of_base(
        cls, base: Base, base_live: Marks | None, generation: int, digest: int, dimension: int
    ) -> Self:
        """Return the view that is exactly a base."""
        return cls(generation, digest, base, base_live, Tail.empty(dimension, base.words), None)

    @property
    def parts(self) -> tuple[Part, Part]:
        return Part(self.base, self.base_live), Part(self.tail, self.tail_live)

    @property
    def count(self) -> int:
        """How many members there are."""
        return sum(part.count for part in self.parts)

    @property
    def dimension(self) -> int:
        return int(self.tail.row_buffer.shape[1])

    @property
    def dead(self) -> int:
        """How many positions hold an entry that was removed."""
        return self.base.size + self.tail.size - self.count

    def adding(self, rows: Sequence[MemberRow]) -> View:
        """Return the view with more members; its generation is still to be set by `reaching`."""
        if not rows:
            return self
        stored = [row.vector for row in rows]
        tail = self.tail.appended(
            facts_of(rows, self.tail.words), rows_from_bytes(stored, self.dimension)
        )
        live = None if self.tail_live is None else self.tail_live.grown(len(rows))
        digest = add_members(self.digest, (row.entry_id for row in rows), stored)
        return replace(self, tail=tail, tail_live=live, digest=digest)

    def removing(self, ids: Sequence[int]) -> View:
        """Return the view with tombstones on some members; raises TruthDamaged where one is no
        member.
        """
        if not ids:
            return self
        wanted = np.asarray(ids, np.int64)
        digest, found, parts = self.digest, 0, []
        for part in self.parts:
            positions = part.segment.find(wanted)
            if len(part.holding(positions)) < len(positions):
                raise TruthDamaged("an entry leaves that had left before")
            for entry_id, row in zip(
                part.segment.ids[positions], part.segment.vectors(positions), strict=True
            ):
                digest = remove_member(digest, int(entry_id), to_bytes(row))
            parts.append(part.without(positions))
            found += len(positions)
        if found != len(ids):
            raise TruthDamaged("an entry leaves that had never come")
        return replace(self, base_live=parts[0].live, tail_live=parts[1].live, digest=digest)

    def standing_on(self, base: Base) -> View:
        """Return the view of the same members over another base: those that it lacks make the tail.

        An entry's vector and facts never change, so the base's own are as good.
        """
        live = np.zeros(base.size, np.bool_)
        tail = Tail.empty(self.dimension, base.words)
        for part, facts in zip(self.parts, (self.base.facts, self.tail.facts), strict=True):
            positions = part.positions()
            there, here = base.find_with(part.segment.ids[positions])
            live[there] = True
            lacking = positions[~here]
            tail = tail.appended(
                translated(facts[lacking], part.segment.words, base.words),
                part.segment.vectors(lacking),
            )
        return View(
            self.generation, self.digest, base, None if live.all() else Marks(live), tail, None
        )

    def gaining(self, before: View, after: View) -> View:
        """Return this view of what `before` holds as one of what `after` holds; both stand on one
        other base.
        """
        came = after.parts[1].holding(np.arange(before.tail.size, after.tail.size))
        facts = translated(after.tail.facts[came], after.tail.words, self.tail.words)
        tail = self.tail.appended(facts, after.tail.vectors(came))
        live = None if self.tail_live is None else self.tail_live.grown(len(came))
        gone = [
            old.segment.ids[old.lost(new)]
            for old, new in zip(before.parts, after.parts, strict=True)
        ]
        base_part, tail_part = Part(self.base, self.base_live), Part(tail, live)
        for ids in gone:
            base_part = base_part.without(self.base.find(ids))
            tail_part = tail_part.without(tail.find(ids))
        return View(after.generation, after.digest, self.base, base_part.live, tail, tail_part.live)

    def reaching(self, generation: int) -> View:
        return replace(self, generation=generation)

    def member_ids(self) -> NDArray[np.int64]:
        """Return the rising ids (n,) of all members."""
        return np.sort(np.concatenate([part.segment.ids[part.positions()] for part in self.parts]))

    def members(self) -> Iterator[tuple[Facts, NDArray[np.float32]]]:
        """Yield facts (c,) and vectors (c, d) of all members by position, so that memory stays
        bounded.
        """
        for part, facts in zip(self.parts, (self.base.facts, self.tail.facts), strict=True):
            positions = part.positions()
            for start in range(0, len(positions), CHUNK):
                some = positions[start : start + CHUNK]
                yield facts[some], part.segment.vectors(some)

    def computed_digest(self) -> int:
        """Return the set digest of the members, computed again from the vectors held."""
        digest = EMPTY
        for facts, rows in self.members():
            digest = add_members(digest, facts["id"].tolist(), map(to_bytes, rows))
        return digest
