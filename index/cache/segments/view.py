"""A view: the members of one embedding space at one generation, ready to be searched. Immutable."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from index.cache.segments.facts import Facts, facts_of, translate
from index.cache.segments.growing import GrowingSegment
from index.cache.segments.sealed import SealedSegment
from index.cache.segments.segment import Segment
from index.cache.vectors.marks import Marks
from index.cache.vectors.rows import CHUNK
from index.errors import TruthDamaged
from index.truth.changes import MemberRow
from index.truth.digest import EMPTY, add_members, remove_member
from index.truth.vectors import rows_from_bytes, to_bytes


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """A segment, and which of its positions are members; None stands for all of them."""

    segment: Segment
    live: Marks | None

    @property
    def count(self) -> int:
        return self.segment.size if self.live is None else self.live.count

    def select(self, chosen: Marks) -> Part:
        """Return this part with only those members that are also marked in `chosen`."""
        return Part(self.segment, chosen if self.live is None else chosen.among(self.live))

    def positions(self) -> NDArray[np.int64]:
        """Return the positions (m,) of the members, rising."""
        return np.arange(self.segment.size) if self.live is None else self.live.positions

    def without(self, positions: NDArray[np.int64]) -> Part:
        """Return this part without the members at some positions."""
        if not len(positions):
            return self
        live = self.live or Marks.all_of(self.segment.size)
        return Part(self.segment, live.without(positions))

    def members_among(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return those of these positions that are members."""
        return positions if self.live is None else positions[self.live.marks[positions]]

    def missing_in(self, later: Part) -> NDArray[np.int64]:
        """Return the positions of members that a later state of this part does not have."""
        if later.live is None or later.live is self.live:
            return np.empty(0, np.int64)
        marks = later.live.marks[: self.segment.size]
        return np.flatnonzero(~marks if self.live is None else self.live.marks & ~marks)


@dataclass(frozen=True, eq=False)
class View:
    """`generation` is the number of the last change in it, `digest` the set digest of its
    members.
    """

    generation: int
    digest: int
    sealed: SealedSegment
    sealed_live: Marks | None
    growing: GrowingSegment
    growing_live: Marks | None

    @classmethod
    def of_sealed(
        cls,
        sealed: SealedSegment,
        live: Marks | None,
        generation: int,
        digest: int,
        dimension: int,
    ) -> Self:
        """Return the view whose members are all in a sealed segment."""
        growing = GrowingSegment.empty(dimension, sealed.words, sealed.rows.form)
        return cls(generation, digest, sealed, live, growing, None)

    @cached_property
    def parts(self) -> tuple[Part, Part]:
        return Part(self.sealed, self.sealed_live), Part(self.growing, self.growing_live)

    @property
    def count(self) -> int:
        """The number of members."""
        return sum(part.count for part in self.parts)

    @property
    def dimension(self) -> int:
        return self.growing.dimension

    @property
    def form(self) -> np.dtype[Any]:
        """The form in which the vectors are stored."""
        return self.growing.form

    @property
    def dead(self) -> int:
        """The number of positions whose entry was removed."""
        return self.sealed.size + self.growing.size - self.count

    def add(self, rows: Sequence[MemberRow]) -> View:
        """Return the view with more members, at the same generation."""
        if not rows:
            return self
        stored = [row.vector for row in rows]
        growing = self.growing.append(
            facts_of(rows, self.growing.words), rows_from_bytes(stored, self.dimension, self.form)
        )
        live = None if self.growing_live is None else self.growing_live.extend(len(rows))
        digest = add_members(self.digest, (row.entry_id for row in rows), stored)
        return replace(self, growing=growing, growing_live=live, digest=digest)

    def remove(self, ids: Sequence[int]) -> View:
        """Return the view with tombstones on some members, at the same generation.

        Raises:
            TruthDamaged: one of them is not a member.

        """
        if not ids:
            return self
        wanted = np.asarray(ids, np.int64)
        digest, found, parts = self.digest, 0, []
        for part in self.parts:
            positions = part.segment.find(wanted)
            if len(part.members_among(positions)) < len(positions):
                raise TruthDamaged("the change log removes an entry twice")
            for entry_id, row in zip(
                part.segment.ids[positions], part.segment.vectors(positions), strict=True
            ):
                digest = remove_member(digest, int(entry_id), to_bytes(row, self.form))
            parts.append(part.without(positions))
            found += len(positions)
        if found != len(ids):
            raise TruthDamaged("the change log removes an entry that it never added")
        return replace(self, sealed_live=parts[0].live, growing_live=parts[1].live, digest=digest)

    def move_to(self, sealed: SealedSegment) -> View:
        """Return the view of the same members over another sealed segment; the members that it
        lacks go into the growing segment.

        An entry's vector and facts never change, so the segment's own can be used.
        """
        live = np.zeros(sealed.size, np.bool_)
        growing = GrowingSegment.empty(self.dimension, sealed.words, self.form)
        for part, facts in zip(self.parts, (self.sealed.facts, self.growing.facts), strict=True):
            positions = part.positions()
            there, is_there = sealed.locate(part.segment.ids[positions])
            live[there] = True
            lacking = positions[~is_there]
            growing = growing.append(
                translate(facts[lacking], part.segment.words, sealed.words),
                part.segment.vectors(lacking),
            )
        sealed_live = None if live.all() else Marks(live)
        return View(self.generation, self.digest, sealed, sealed_live, growing, None)

    def apply_difference(self, before: View, after: View) -> View:
        """Return the view of the members of `after`, given that this one has those of `before`.

        `before` and `after` share a sealed segment, which is not this view's.
        """
        new = np.arange(before.growing.size, after.growing.size)
        new = after.parts[1].members_among(new)
        facts = translate(after.growing.facts[new], after.growing.words, self.growing.words)
        growing = self.growing.append(facts, after.growing.vectors(new))
        live = None if self.growing_live is None else self.growing_live.extend(len(new))
        removed = [
            old.segment.ids[old.missing_in(new_part)]
            for old, new_part in zip(before.parts, after.parts, strict=True)
        ]
        sealed_part, growing_part = Part(self.sealed, self.sealed_live), Part(growing, live)
        for ids in removed:
            sealed_part = sealed_part.without(self.sealed.find(ids))
            growing_part = growing_part.without(growing.find(ids))
        return View(
            after.generation,
            after.digest,
            self.sealed,
            sealed_part.live,
            growing,
            growing_part.live,
        )

    def at_generation(self, generation: int) -> View:
        return replace(self, generation=generation)

    def member_ids(self) -> NDArray[np.int64]:
        """Return the ids (n,) of all members, rising."""
        return np.sort(np.concatenate([part.segment.ids[part.positions()] for part in self.parts]))

    def members(self) -> Iterator[tuple[Facts, NDArray[np.float32]]]:
        """Yield facts (c,) and vectors (c, d) of all members by position, in bounded memory."""
        for part, facts in zip(self.parts, (self.sealed.facts, self.growing.facts), strict=True):
            positions = part.positions()
            for start in range(0, len(positions), CHUNK):
                some = positions[start : start + CHUNK]
                yield facts[some], part.segment.vectors(some)

    def compute_digest(self) -> int:
        """Return the set digest of the members, computed again from the stored vectors."""
        digest = EMPTY
        for facts, rows in self.members():
            stored = (to_bytes(row, self.form) for row in rows)
            digest = add_members(digest, facts["id"].tolist(), stored)
        return digest
