"""Comparing a probe's views with stored hashes, and a set of hashes in which they are searched for.

Whether the probe as it is seen is a near duplicate is asked of every hash, as `near_hashes` does.
There are dozens of other views, so each of them is compared only with hashes that agree with it in
enough of 64 bits: the coefficients of even frequencies in both directions. Mirroring does not
change their signs, so the four views that mirroring makes of one another have one key between them,
and the four that a diagonal makes have another.

A key is part of the definition of nearness, not a short cut that may miss something: whoever
compares every stored hash (`Views.measure`) finds the same as who searches
(`ViewedHashes.find_many`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
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
# Distances computed at a time, of 4 bytes: half of a core's own cache. A million hashes take 5 ms
# for 30 keys, and 7 ms with eight times as many at a time (2026-11-30).
_DISTANCES_AT_ONCE = 2**17
# Pairs of a group and a hash that agrees with its key, compared at a time: some 10 MB.
_PAIRS_AT_ONCE = 2**16
FIRST_CAPACITY = 256
_DIAGONAL = frozenset(
    {Symmetry.TRANSPOSED, Symmetry.TRANSVERSED, Symmetry.TURNED_90, Symmetry.TURNED_270}
)

Bits = NDArray[np.uint8]  # (n, 32)
Numbers = NDArray[np.int64]
_GroupName = tuple[Box | None, Box | None, bool]
_Found = tuple[Numbers, Numbers, Numbers]  # whose they are, which they are, and their distances
NO_NUMBERS: Numbers = np.empty(0, np.int64)
_NOTHING_FOUND: _Found = (NO_NUMBERS, NO_NUMBERS, NO_NUMBERS)


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
        self.groups = self._group()
        # The views in the order of their groups, with the place of the group of each.
        numbers = [each.numbers for each in self.groups]
        self._order = np.concatenate([NO_NUMBERS, *numbers])  # (v,)
        self._group_of = np.repeat(np.arange(len(numbers)), [len(each) for each in numbers])
        self._words = self._bits.view(np.uint64)[self._order]  # (v, 4)
        self._keys = np.array([each.key for each in self.groups], np.uint8).view(np.uint64).ravel()

    def __len__(self) -> int:
        return len(self.views)

    def measure(self, bits: Bits) -> Nearest:
        """Compare the views with stored hashes (n, 32)."""
        nearest = Nearest(np.full(len(bits), _FURTHEST, np.int64), np.zeros(len(bits), np.int64))
        if not self.views:
            return nearest
        words, keys = bits.view(np.uint64), key_of(bits).view(np.uint64)  # (n, 4), (n, 1)
        agrees = np.bitwise_count(keys ^ self._keys) <= MAX_KEY_DISTANCE  # (n, g)
        seen = np.full(len(bits), _FURTHEST, np.int64)
        if self.seen is not None:
            seen = _count_bits(words, self.seen.view(np.uint64)[0])
        rows = np.flatnonzero(agrees.any(axis=1) | (seen <= MAX_HAMMING_DISTANCE))
        distances = _count_bits(words[rows, np.newaxis], self._words)  # (m, v)
        distances[~agrees[rows][:, self._group_of]] = _FURTHEST
        is_same = seen[rows] <= MAX_HAMMING_DISTANCE
        distances[is_same, 0] = seen[rows][is_same]
        # Of equally near views, the one that stands first: it changes the probe least.
        first = distances.argmin(axis=1)
        nearest.distances[rows] = distances[np.arange(len(rows)), first]
        nearest.numbers[rows] = self._order[first]
        return nearest

    def find_nearest(self, hashes: Sequence[PerceptualHash | None]) -> list[NearestView | None]:
        """Return the view that is nearest to each stored hash, None where none is near."""
        found: list[NearestView | None] = [None] * len(hashes)
        reliable = [place for place, each in enumerate(hashes) if each and each.reliable]
        bits = b"".join(each.bits for each in hashes if each and each.reliable)
        nearest = self.measure(np.frombuffer(bits, np.uint8).reshape(-1, HASH_BYTES))
        measured = zip(nearest.distances.tolist(), nearest.numbers.tolist(), strict=True)
        for place, (distance, number) in zip(reliable, measured, strict=True):
            if distance <= MAX_CANDIDATE_DISTANCE:
                found[place] = NearestView(distance, self.views[number])
        return found

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


def key_of(bits: Bits) -> NDArray[np.uint8]:
    """Return the 64 bits (n, 8) of hashes (n, 32) that mirroring leaves as they are.

    A hash has the coefficients row by row, highest frequency first: the first bit is that of the
    16th, an even one.
    """
    even = bits.reshape(-1, _KEY_BYTES, 4)  # of four bytes, two are a row of an even frequency
    one, other = even[:, :, 0] & _EVERY_SECOND, even[:, :, 1] & _EVERY_SECOND
    return one | other >> np.uint8(1)


@dataclass(frozen=True, slots=True, eq=False)
class HashRows:
    """Reliable hashes (n, 32) with their ids (n,) and keys (n, 8). Immutable."""

    ids: Numbers
    bits: Bits
    keys: NDArray[np.uint8]

    @classmethod
    def of(cls, ids: Numbers, bits: Bits) -> HashRows:
        """Return rows whose keys are computed: 7 ms for a million."""
        return cls(ids, bits, key_of(bits))

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, chosen: slice) -> HashRows:
        return HashRows(self.ids[chosen], self.bits[chosen], self.keys[chosen])


NO_HASHES = HashRows.of(NO_NUMBERS, np.empty((0, HASH_BYTES), np.uint8))


class ViewedHashes:
    """A set of reliable hashes, 48 bytes each, in which views are searched for. Every id has one
    hash.

    It has a sealed part, whose ids rise, and a growing one. Immutable: `add` writes behind the
    growing part and returns another set, so a search needs no lock. Only the newest set may be
    added to.
    """

    def __init__(
        self, sealed: HashRows = NO_HASHES, room: HashRows = NO_HASHES, growing: int = 0
    ) -> None:
        """`growing` is how many rows of `room` are in the set."""
        self._sealed = sealed
        self._room = room
        self._growing = room[:growing]

    def __len__(self) -> int:
        return len(self._sealed) + len(self._growing)

    @property
    def ids(self) -> Numbers:
        """The ids (n,), in no order."""
        return np.concatenate([self._sealed.ids, self._growing.ids])

    def add(self, ids: Numbers, bits: Bits) -> ViewedHashes:
        """Return the set with reliable hashes (m, 32) of ids (m,) that are not in it yet."""
        new, first = np.unique(ids, return_index=True)
        lacking = ~(self._are_sealed(new) | np.isin(new, self._growing.ids))
        rows = HashRows.of(new[lacking], bits[first[lacking]])
        if not len(rows):
            return self
        start = len(self._growing)
        room = self._room
        if start + len(rows) > len(room):
            room = _reserve(self._growing, max(start + len(rows), 2 * len(room), FIRST_CAPACITY))
        for column, values in zip(_columns(room), _columns(rows), strict=True):
            column[start : start + len(rows)] = values
        return ViewedHashes(self._sealed, room, start + len(rows))

    def move_to(self, sealed: HashRows) -> ViewedHashes:
        """Return this set over another sealed part; the hashes that it lacks are the growing
        part.
        """
        moved = ViewedHashes(sealed)
        for rows in (self._sealed, self._growing):
            moved = moved.add(rows.ids, rows.bits)
        return moved

    def sort(self) -> HashRows:
        """Return all rows by rising id."""
        parts = (_columns(self._sealed), _columns(self._growing))
        ids, bits, keys = (np.concatenate(each) for each in zip(*parts, strict=True))
        order = np.argsort(ids, kind="stable")
        return HashRows(ids[order], bits[order], keys[order])

    def find_many(self, probes: Sequence[Views], furthest: int) -> list[tuple[Numbers, Numbers]]:
        """Return, for each probe, the ids (m,) of hashes that a view is near, each once and nearest
        first, equally near ones by rising id; and the distances (m,), in bits.

        All hashes are compared in one pass for all probes.
        """
        groups = _GroupTable(probes)
        found = [_NOTHING_FOUND]
        for rows in (self._sealed, self._growing):
            found += _find_as_seen(rows, probes)
            found += _find_by_keys(rows, groups, furthest)
        of_probe, ids, distances = (np.concatenate(each) for each in zip(*found, strict=True))
        return [_nearest_first(ids[own], distances[own]) for own in _split(of_probe, len(probes))]

    def _are_sealed(self, ids: Numbers) -> NDArray[np.bool_]:
        if not len(self._sealed):
            return np.zeros(len(ids), np.bool_)
        places = np.searchsorted(self._sealed.ids, ids).clip(max=len(self._sealed) - 1)
        here: NDArray[np.bool_] = self._sealed.ids[places] == ids
        return here


class _GroupTable:
    """The groups of views of several probes: whose they are (g,), their keys (g, 8) and the hashes
    of their views (g, v, 4), of which the first stands for those that a group does not have.
    """

    def __init__(self, probes: Sequence[Views]) -> None:
        groups = [(number, each) for number, own in enumerate(probes) for each in own.groups]
        self.of_probe = np.array([number for number, _ in groups], np.int64)
        self.keys = np.array([each.key for _, each in groups], np.uint8).reshape(-1, _KEY_BYTES)
        most = max((len(each.words) for _, each in groups), default=0)
        self.words = np.empty((len(groups), most, HASH_BYTES // 8), np.uint64)
        for place, (_, each) in enumerate(groups):
            self.words[place] = each.words[0]
            self.words[place, : len(each.words)] = each.words

    def measure(self, numbers: Numbers, bits: Bits) -> Numbers:
        """Return the distances (m,) of hashes (m, 32) from the nearest views of groups (m,)."""
        words = bits.view(np.uint64)[:, np.newaxis]  # (m, 1, 4)
        nearest: Numbers = _count_bits(words, self.words[numbers]).min(axis=1)  # (m, v) -> (m,)
        return nearest


def _find_as_seen(rows: HashRows, probes: Sequence[Views]) -> list[_Found]:
    """Compare the probes as they are seen."""
    own = [(number, each.seen) for number, each in enumerate(probes) if each.seen is not None]
    wanted = np.concatenate([NO_HASHES.bits, *(seen for _, seen in own)])  # (p, 32)
    of_probe = np.array([number for number, _ in own], np.int64)
    return [
        (of_probe[numbers], rows.ids[places], distances)
        for numbers, places, distances in _find_within(rows.bits, wanted, MAX_HAMMING_DISTANCE)
    ]


def _find_by_keys(rows: HashRows, groups: _GroupTable, furthest: int) -> list[_Found]:
    """Compare the views of groups with the hashes that agree with their keys."""
    found: list[_Found] = []
    for numbers, places, _ in _find_within(rows.keys, groups.keys, MAX_KEY_DISTANCE):
        for start in range(0, len(places), _PAIRS_AT_ONCE):
            some = slice(start, start + _PAIRS_AT_ONCE)
            distances = groups.measure(numbers[some], rows.bits[places[some]])
            near = distances <= furthest
            of_probe = groups.of_probe[numbers[some][near]]
            found.append((of_probe, rows.ids[places[some][near]], distances[near]))
    return found


def _find_within(stored: Bits, wanted: Bits, most: int) -> Iterator[_Found]:
    """Yield, block by block, the numbers (m,) in `wanted` (g, b) and the places (m,) in `stored`
    (n, b) of those whose Hamming distance (m,) is at most `most`.
    """
    if not len(wanted):
        return
    size = _DISTANCES_AT_ONCE // len(wanted) + 1
    is_near = np.empty(len(stored), np.bool_)
    for start in range(0, len(stored), size):
        some = slice(start, start + size)
        distances = _measure(wanted, stored[some])
        nearest = distances[0] if len(wanted) == 1 else distances.min(axis=0)
        np.less_equal(nearest, most, out=is_near[some])
    near = np.flatnonzero(is_near)  # few: only they are looked at one by one
    for start in range(0, len(near), size):
        places = near[start : start + size]
        distances = _measure(wanted, stored[places])
        numbers, columns = np.nonzero(distances <= most)
        yield numbers, places[columns], distances[numbers, columns].astype(np.int64)


def _measure(wanted: Bits, stored: Bits) -> NDArray[np.int32]:
    """Return the Hamming distances (g, n) of rows (g, b) and (n, b)."""
    distances = np.empty((len(wanted), len(stored)), np.int32)
    library: Any = faiss  # the stubs of FAISS lack `hammings`
    ours, theirs, filled = (library.swig_ptr(each) for each in (wanted, stored, distances))
    library.hammings(ours, theirs, len(wanted), len(stored), wanted.shape[1], filled)
    return distances


def _split(of_probe: Numbers, count: int) -> list[Numbers]:
    """Return, for each of `count` probes, at which places (m,) its number stands."""
    order = np.argsort(of_probe, kind="stable")
    return np.split(order, np.searchsorted(of_probe[order], np.arange(1, count)))


def _nearest_first(ids: Numbers, distances: Numbers) -> tuple[Numbers, Numbers]:
    """Return each id once with its smallest distance, nearest first, then by rising id."""
    order = np.lexsort((distances, ids))
    ids, distances = ids[order], distances[order]
    first = np.ones(len(ids), np.bool_)
    first[1:] = ids[1:] != ids[:-1]
    ids, distances = ids[first], distances[first]
    order = np.lexsort((ids, distances))
    return ids[order], distances[order]


def _reserve(rows: HashRows, capacity: int) -> HashRows:
    """Return a copy of rows with room for more."""
    room = HashRows(
        np.empty(capacity, np.int64),
        np.empty((capacity, HASH_BYTES), np.uint8),
        np.empty((capacity, _KEY_BYTES), np.uint8),
    )
    for column, values in zip(_columns(room), _columns(rows), strict=True):
        column[: len(rows)] = values
    return room


def _columns(rows: HashRows) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    return rows.ids, rows.bits, rows.keys


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


def _count_bits(words: NDArray[np.uint64], other: NDArray[np.uint64]) -> Numbers:
    """Return how many bits of rows (..., w) differ from those of others (..., w)."""
    counts = np.bitwise_count(words ^ other)
    total: Numbers = counts[..., 0].astype(np.int64)
    for number in range(1, counts.shape[-1]):  # ten times as fast as `sum` over so short an axis
        total += counts[..., number]
    return total
