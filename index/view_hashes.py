"""Comparing a probe's views with stored hashes, and a set of hashes in which they are searched for.

Whether the probe as it is seen is a near duplicate is asked of every hash, as `near_hashes` does.
There are dozens of other views, so each of them is compared only with hashes that agree with it in
enough of 64 bits: the coefficients of even frequencies in both directions. Mirroring does not
change their signs, so the four views that mirroring makes of one another have one key between them,
and the four that a diagonal makes have another.

A key is part of the definition of nearness, not a short cut that may miss something: whoever
compares every stored hash (`Views.measure`) finds the same as who searches (`ViewedHashes.find`).
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import faiss
import numpy as np
from numpy.typing import NDArray

from index.copies import AS_SEEN, Box, CopyEvidence, Symmetry, View, ViewHash
from index.truth.perceptual import HASH_BYTES, MAX_HAMMING_DISTANCE, PerceptualHash

# Candidates for geometry, whose leads `index.leads` limits further. Of 60 pictures cropped by 20 %
# at each side, 65 % have a view within 75 bits of the original, and 93 % within 90. Of 32 million
# pairs of views and other pictures, some ten are within 75, and 400 within 90 (2026-11-30).
MAX_CANDIDATE_DISTANCE = 90
# Of 237 views within 31 bits of their original, none differs from it by more than 14 of the 64; of
# those within 60 bits, 2.5 % differ by more than this, of those within 75, 40 %. Of pairs of
# different pictures, one in 600 agrees as much (2026-11-30).
MAX_KEY_DISTANCE = 18

_KEY_BYTES = 8
_EVERY_SECOND = np.uint8(0b10101010)
_FURTHEST = 8 * HASH_BYTES + 1  # no distance
# FAISS lists what it finds, 12 bytes each: of a million equal hashes, these are 96 MB.
_KEYS_AT_ONCE = 8
_DIAGONAL = frozenset(
    {Symmetry.TRANSPOSED, Symmetry.TRANSVERSED, Symmetry.TURNED_90, Symmetry.TURNED_270}
)

Bits = NDArray[np.uint8]  # (n, 32)
Numbers = NDArray[np.int64]
_GroupName = tuple[Box | None, Box | None, bool]


class NearestView(NamedTuple):
    """The view of a probe whose hash is nearest to a stored one, and how many bits differ."""

    bits: int
    view: View


class Nearest(NamedTuple):
    """For each of n hashes, the distance of the nearest view (n,), and its number (n,) in
    `Views.views`. The distance is over 256 where no view is near.
    """

    distances: Numbers
    numbers: Numbers


@dataclass(frozen=True, slots=True, eq=False)
class _Group:
    """Views that have one key (8,) between them: their numbers, and their hashes (v, 4)."""

    key: NDArray[np.uint8]
    numbers: Numbers
    words: NDArray[np.uint64]


class Views:
    """The reliable views of a probe: of each, what it is, and its hash. The first one is the probe
    as it is seen, if its hash is reliable.
    """

    def __init__(self, seen: PerceptualHash | None, others: Sequence[ViewHash]) -> None:
        first = [] if seen is None else [ViewHash(AS_SEEN, seen)]
        rest = [each for each in others if each.view != AS_SEEN]
        reliable = [each for each in (*first, *rest) if each.hash.reliable]
        self.views: tuple[View, ...] = tuple(each.view for each in reliable)
        bits = np.frombuffer(b"".join(each.hash.bits for each in reliable), np.uint8)
        self._bits: Bits = bits.reshape(-1, HASH_BYTES)  # (v, 32)
        self.seen: Bits | None = self._bits[:1] if AS_SEEN in self.views else None
        self._groups = self._group()

    def __len__(self) -> int:
        return len(self.views)

    @property
    def keys(self) -> NDArray[np.uint8]:
        """The keys (g, 8) of the groups of views."""
        return np.array([each.key for each in self._groups], np.uint8).reshape(-1, _KEY_BYTES)

    def measure(self, bits: Bits) -> Nearest:
        """Compare the views with stored hashes (n, 32)."""
        nearest = self._start(len(bits))
        words, keys = bits.view(np.uint64), key_of(bits).view(np.uint64)  # (n, 4), (n, 1)
        if self.seen is not None:
            distances = _count_bits(words, self.seen.view(np.uint64)[0])
            same = distances <= MAX_HAMMING_DISTANCE
            nearest.distances[same] = distances[same]
        for group in self._groups:
            apart = _count_bits(keys, group.key.view(np.uint64))
            rows = np.flatnonzero(apart <= MAX_KEY_DISTANCE)
            self._improve(nearest, group, rows, words[rows])
        return nearest

    def measure_one(self, hashed: PerceptualHash | None) -> NearestView | None:
        """Return the view that is nearest to a stored hash; None if none is near."""
        if hashed is None or not hashed.reliable or not self.views:
            return None
        found = self.measure(np.frombuffer(hashed.bits, np.uint8).reshape(1, HASH_BYTES))
        distance, number = int(found.distances[0]), int(found.numbers[0])
        if distance > MAX_CANDIDATE_DISTANCE:
            return None
        return NearestView(distance, self.views[number])

    def measure_rows(self, group: int, bits: Bits) -> Nearest:
        """Compare the views of one group with hashes (n, 32) that agree with its key."""
        nearest = self._start(len(bits))
        rows = np.arange(len(bits))
        self._improve(nearest, self._groups[group], rows, bits.view(np.uint64))
        return nearest

    def _start(self, count: int) -> Nearest:
        return Nearest(np.full(count, _FURTHEST, np.int64), np.zeros(count, np.int64))

    def _improve(
        self, nearest: Nearest, group: _Group, rows: Numbers, words: NDArray[np.uint64]
    ) -> None:
        for number, own in zip(group.numbers.tolist(), group.words, strict=True):
            distances = _count_bits(words, own)
            # Of equally near views, the one that stands first: it changes the probe least.
            nearer = distances < nearest.distances[rows]
            nearest.distances[rows[nearer]] = distances[nearer]
            nearest.numbers[rows[nearer]] = number

    def _group(self) -> list[_Group]:
        members: dict[_GroupName, list[int]] = {}
        for number, view in enumerate(self.views):
            members.setdefault(_name_group(view), []).append(number)
        return [
            _Group(
                key_of(self._bits[own[:1]])[0],
                np.array(own, np.int64),
                self._bits[own].view(np.uint64),
            )
            for own in members.values()
        ]


class ViewedHashes:
    """A growing set of reliable hashes with ids, 48 bytes each, in which views are searched for."""

    def __init__(self) -> None:
        self._hashes = faiss.IndexBinaryFlat(8 * HASH_BYTES)
        self._keys = faiss.IndexBinaryFlat(8 * _KEY_BYTES)
        self._ids = array("q")

    def __len__(self) -> int:
        return len(self._ids)

    def add(self, ids: Sequence[int], hashes: Sequence[bytes]) -> None:
        """Add reliable hashes with their ids. An id may have several hashes."""
        if ids:
            bits = np.frombuffer(b"".join(hashes), np.uint8).reshape(-1, HASH_BYTES)  # (n, 32)
            self._hashes.add(bits)
            self._keys.add(key_of(bits))
            self._ids.extend(ids)

    def find(self, views: Views, furthest: int) -> tuple[Numbers, Numbers]:
        """Return the ids (m,) of hashes that a view is near, each once and nearest first, equally
        near ones by rising id; and the distances (m,), in bits.
        """
        found = [*self._find_as_seen(views), *self._find_by_keys(views, furthest)]
        if not found:
            return np.empty(0, np.int64), np.empty(0, np.int64)
        rows, distances = (np.concatenate(each) for each in zip(*found, strict=True))
        ids = np.frombuffer(self._ids, np.int64)[rows]
        order = np.lexsort((distances, ids))
        ids, distances = ids[order], distances[order]
        first = np.ones(len(ids), np.bool_)
        first[1:] = ids[1:] != ids[:-1]
        ids, distances = ids[first], distances[first]
        order = np.lexsort((ids, distances))
        return ids[order], distances[order]

    def _find_as_seen(self, views: Views) -> list[tuple[Numbers, Numbers]]:
        if views.seen is None:
            return []
        # FAISS returns hashes nearer than the radius, without those exactly at it.
        _, distances, rows = self._hashes.range_search(views.seen, MAX_HAMMING_DISTANCE + 1)
        return [(rows, distances.astype(np.int64))]

    def _find_by_keys(self, views: Views, furthest: int) -> list[tuple[Numbers, Numbers]]:
        found: list[tuple[Numbers, Numbers]] = []
        if not len(self):
            return found
        keys, stored = views.keys, self._view_bits()
        for start in range(0, len(keys), _KEYS_AT_ONCE):
            some = keys[start : start + _KEYS_AT_ONCE]
            limits, _, rows = self._keys.range_search(some, MAX_KEY_DISTANCE + 1)
            for group, (first, last) in enumerate(pairwise(limits.tolist()), start):
                own = rows[first:last]
                nearest = views.measure_rows(group, stored[own])
                near = nearest.distances <= furthest
                found.append((own[near], nearest.distances[near]))
        return found

    def _view_bits(self) -> Bits:
        """Return the hashes (n, 32) where FAISS holds them, until the next one is added."""
        count = self._hashes.ntotal
        hashes: Any = self._hashes  # the stubs of FAISS lack its vector
        held: Bits = faiss.rev_swig_ptr(hashes.xb.data(), count * HASH_BYTES)
        return held.reshape(count, HASH_BYTES)


def select_views(hashed: Sequence[ViewHash], near: Iterable[View]) -> tuple[ViewHash, ...]:
    """Return the hashes that find the same again if only the views `near` were near to anything:
    that of the probe as it is seen, and whole groups, since the first of a group is its key.
    """
    groups = {_name_group(view) for view in near}
    return tuple(
        each for each in hashed if each.view == AS_SEEN or _name_group(each.view) in groups
    )


def _name_group(view: View) -> _GroupName:
    return view.part, view.kept, view.symmetry in _DIAGONAL


def find_evidence(nearest: NearestView | None, described: float | None) -> CopyEvidence | None:
    """Return what a near view, and the similarity of a copy descriptor, say about an entry; None if
    that is nothing, or that it is a near duplicate as it is.
    """
    is_plain = nearest is not None and nearest.view == AS_SEEN
    if nearest is None or (is_plain and nearest.bits <= MAX_HAMMING_DISTANCE):
        return None if described is None else CopyEvidence(descriptor_similarity=described)
    return CopyEvidence(nearest.view, nearest.bits, described)


def key_of(bits: Bits) -> NDArray[np.uint8]:
    """Return the 64 bits (n, 8) of hashes (n, 32) that mirroring leaves as they are.

    A hash has the coefficients row by row, highest frequency first: the first bit is that of the
    16th, an even one.
    """
    even = bits.reshape(-1, _KEY_BYTES, 4)  # of four bytes, two are a row of an even frequency
    one, other = even[:, :, 0] & _EVERY_SECOND, even[:, :, 1] & _EVERY_SECOND
    return one | other >> np.uint8(1)


def _count_bits(words: NDArray[np.uint64], other: NDArray[np.uint64]) -> Numbers:
    """Return how many bits of rows (n, w) differ from those of a row (w,)."""
    counted: Numbers = np.bitwise_count(words ^ other).sum(axis=1, dtype=np.int64)
    return counted
