"""Near duplicates of an image among stored perceptual hashes: in one corpus for ingests, in all
corpora for look-ups.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, func, select

from index.near_hashes import NearHashes
from index.truth.changes import ChangeKind, read_head
from index.truth.perceptual import (
    HASH_BYTES,
    MAX_HAMMING_DISTANCE,
    MIN_QUALITY,
    PerceptualHash,
)
from index.truth.schema import changes, entries, images
from index.truth.statements import is_any, slices
from index.view_hashes import (
    MAX_CANDIDATE_DISTANCE,
    NO_HASHES,
    HashRows,
    ViewedHashes,
    Views,
)

# Rows read at a time. With larger pages the garbage collector takes longer than the database (2.5 s
# for a million rows in pages of 100,000).
PAGE = 2_000


class NearImages(NamedTuple):
    """Images (m,) near a probe by the hash of a view, nearest first, equally near ones by rising
    id; and how many bits (m,) differ.
    """

    ids: NDArray[np.int64]
    bits: NDArray[np.int64]

    @property
    def same(self) -> NearImages:
        """Those that show the same picture."""
        return NearImages(*(each[self.bits <= MAX_HAMMING_DISTANCE] for each in self))

    @property
    def further(self) -> NearImages:
        """The others."""
        return NearImages(*(each[self.bits > MAX_HAMMING_DISTANCE] for each in self))


NOTHING_NEAR = NearImages(np.empty(0, np.int64), np.empty(0, np.int64))


class NearDuplicates:
    """The reliable hashes of the entries of one corpus; `refresh` follows SQL. For one thread."""

    def __init__(self, corpus_id: int) -> None:
        self._corpus_id = corpus_id
        self._near = NearHashes()
        self._last_id = 0

    def refresh(self, conn: Connection) -> None:
        """Read the entries added since the last call.

        The caller holds the lock of the corpus, so that no entry is added unseen.
        """
        size = PAGE
        while size == PAGE:
            query = (
                select(entries.c.id, images.c.pdq_hash)
                .join(images, images.c.id == entries.c.image_id)
                .where(
                    entries.c.corpus_id == self._corpus_id,
                    entries.c.removed_at.is_(None),
                    *_RELIABLE,
                )
                .where(entries.c.id > self._last_id)
                .order_by(entries.c.id)
                .limit(PAGE)
            )
            rows = conn.execute(query).all()
            ids, hashes = zip(*rows, strict=True) if rows else ((), ())
            self._near.add(ids, hashes)
            self._last_id, size = (ids[-1] if ids else self._last_id), len(ids)

    def find(self, conn: Connection, hashes: Sequence[PerceptualHash | None]) -> list[int | None]:
        """Return, for each hash, the id of the oldest live entry that shows the same picture, or
        None.
        """
        near = self._near.find(hashes)
        live: set[int] = set()
        for some in slices(np.unique(np.concatenate([*near, np.empty(0, np.int64)])).tolist()):
            query = select(entries.c.id).where(
                is_any(conn, entries.c.id, some), entries.c.removed_at.is_(None)
            )
            live.update(conn.execute(query).scalars())
        return [min((i for i in ids.tolist() if i in live), default=None) for ids in near]


@dataclass(frozen=True, slots=True, eq=False)
class ReadHashes:
    """Hashes that were read, none of which came with a change after number `generation`. `saved` of
    them are beside the snapshot.
    """

    held: ViewedHashes
    generation: int
    saved: int


@dataclass(frozen=True, slots=True, eq=False)
class _Latest:
    """What was found last, and for which probes among which hashes."""

    probes: Sequence[Views]
    held: ViewedHashes
    furthest: int
    found: list[NearImages]

    def answers(self, probes: Sequence[Views], held: ViewedHashes, furthest: int) -> bool:
        """Return whether the same would be found."""
        return self.probes is probes and self.held is held and self.furthest == furthest


class PictureHashes:
    """The reliable hashes of all images, for look-ups; they follow the change log. For any thread.

    They come from the snapshot, and from an index of the database that holds nothing else. They
    only propose entries; SQL decides which are live. An image can get its hash later than its first
    entry. It is found as soon as a change of one of its entries is read. If no entry changes,
    because ready embeddings brought the hash of an image that the corpus already had, it is found
    after `read_late`, or by the next process.

    Only reading takes a lock: searches run side by side, each over an immutable set.
    """

    def __init__(
        self, open_saved: Callable[[Connection], HashRows | None] = lambda _: None
    ) -> None:
        """`open_saved` returns the rows of a snapshot that belongs to the database."""
        self._lock = threading.Lock()  # held by the thread that replaces `_read`
        self._open_saved = open_saved
        self._read = ReadHashes(ViewedHashes(), 0, 0)
        self._latest: _Latest | None = None
        self._reached: int | None = None  # the last change read; None before the first reading
        self._amendments: int | None = None  # those of the head that no hash was missed at

    @property
    def read(self) -> ReadHashes:
        """What was read so far."""
        return self._read

    def move_to(self, rows: HashRows, generation: int) -> None:
        """Hold the rows of a snapshot, whose memory processes share, and beside them only what they
        lack. None of them came with a change after number `generation`. Does nothing before the
        first reading.
        """
        with self._lock:
            if self._reached is not None:
                moved = self._read.held.move_to(rows)
                latest = max(self._read.generation, generation)
                self._read = ReadHashes(moved, latest, len(rows))
                self._latest = None  # it would keep the hashes that were held before

    def find(
        self,
        conn: Connection,
        views: Views,
        generation: int,
        furthest: int = MAX_CANDIDATE_DISTANCE,
    ) -> NearImages:
        """Return what `find_many` does for one probe."""
        return self.find_many(conn, [views], generation, furthest)[0]

    def find_many(
        self,
        conn: Connection,
        probes: Sequence[Views],
        generation: int,
        furthest: int = MAX_CANDIDATE_DISTANCE,
    ) -> list[NearImages]:
        """Return, for each probe, the images that a view of it is near, within `furthest` bits.

        No image of an entry added up to the generation is missed.
        """
        if any(map(len, probes)):
            self.refresh(conn, generation)
        return self._find(probes, furthest)

    def is_near(self, probes: Sequence[Views], generation: int) -> bool | None:
        """Return whether an image is near any of some probes, None if changes up to the generation
        have to be read first. `find_many` need not look again for the same object of `probes`.
        """
        if any(map(len, probes)) and self.is_behind(generation):
            return None
        return any(len(near.ids) for near in self._find(probes, MAX_CANDIDATE_DISTANCE))

    def _find(self, probes: Sequence[Views], furthest: int) -> list[NearImages]:
        if not any(map(len, probes)):
            return [NOTHING_NEAR] * len(probes)
        held, latest = self._read.held, self._latest
        if latest is not None and latest.answers(probes, held, furthest):
            return latest.found
        each_once = {id(views): views for views in probes}
        near = map(NearImages._make, held.find_many([*each_once.values()], furthest))
        by_views = dict(zip(each_once, near, strict=True))
        found = [by_views[id(views)] for views in probes]
        self._latest = _Latest(probes, held, furthest, found)
        return found

    def is_behind(self, generation: int) -> bool:
        """Return whether a question about this generation has to read changes first."""
        return self._reached is None or self._reached < generation

    def refresh(self, conn: Connection, generation: int) -> None:
        """Read the changes up to a generation, so that no question waits for them."""
        if self.is_behind(generation):
            with self._lock:
                self._catch_up(conn, generation)

    def may_lack(self, amendments: int) -> bool:
        """Return whether an image may have got its hash since, by the number of amendments now."""
        return self._amendments is not None and self._amendments != amendments

    def read_late(self, conn: Connection) -> None:
        """Find the hashes that images got without a change in the log: the sums of their ids say
        whether there are any, then all are read. Searches do not wait for it.
        """
        head = read_head(conn)
        self.refresh(conn, head.last)
        late = _sum_up(self._read.held.ids) != _read_sums(conn)
        rows = _read_hashes(conn) if late else NO_HASHES
        with self._lock:
            held = self._read.held.add(rows.ids, rows.bits)
            latest = max(self._read.generation, head.last)
            self._read = ReadHashes(held, latest, self._read.saved)
            self._amendments = head.amendments

    def _catch_up(self, conn: Connection, generation: int) -> None:
        if self._reached is None:
            # The images of every change up to the generation are visible in this transaction.
            head = read_head(conn)
            held, saved = self._open(conn) or (ViewedHashes(_read_hashes(conn)), 0)
            self._read = ReadHashes(held, max(generation, head.last), saved)
            self._reached, self._amendments = generation, head.amendments
        size = PAGE
        while self._reached < generation and size == PAGE:
            self._reached, size = self._follow(conn, self._reached)

    def _open(self, conn: Connection) -> tuple[ViewedHashes, int] | None:
        """Return the hashes of the snapshot with those of later images, and the number of the
        former; None if an image that is older than the snapshot got its hash since, or lost it.
        """
        saved = self._open_saved(conn)
        if saved is None:
            return None
        later = _read_hashes(conn, after=int(saved.ids[-1]))
        held = ViewedHashes(saved).add(later.ids, later.bits)
        return (held, len(saved)) if _sum_up(held.ids) == _read_sums(conn) else None

    def _follow(self, conn: Connection, after: int) -> tuple[int, int]:
        """Add the images of the next changes, up to the first gap. Return the number of the last
        change read, and how many were read.
        """
        query = (
            select(
                changes.c.number,
                changes.c.kind,
                images.c.id,
                images.c.pdq_hash,
                images.c.pdq_quality,
            )
            .join(entries, entries.c.id == changes.c.entry_id, isouter=True)
            .join(images, images.c.id == entries.c.image_id, isouter=True)
            .where(changes.c.number > after)
            .order_by(changes.c.number)
            .limit(PAGE)
        )
        rows = conn.execute(query).all()
        before_gap = [row for number, row in enumerate(rows, after + 1) if row.number == number]
        hashed = [
            row
            for row in before_gap
            if row.kind == ChangeKind.ADD and (row.pdq_quality or 0) >= MIN_QUALITY
        ]
        reached = after + len(before_gap)
        held = self._read.held.add(*_columns([(row.id, row.pdq_hash) for row in hashed]))
        self._read = ReadHashes(held, max(self._read.generation, reached), self._read.saved)
        return reached, len(before_gap)


_RELIABLE = (images.c.pdq_hash.is_not(None), images.c.pdq_quality >= MIN_QUALITY)


def read_hash_pages(
    conn: Connection, after: int = 0
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.uint8]]]:
    """Yield ids (n,) and reliable hashes (n, 32) of the images with larger ids, by rising id.

    The driver's rows are read: SQLAlchemy's own would take twice the time of the database.
    """
    size = PAGE
    while size == PAGE:
        query = select(images.c.id, images.c.pdq_hash).where(images.c.id > after, *_RELIABLE)
        with conn.execute(query.order_by(images.c.id).limit(PAGE)) as result:
            assert result.cursor is not None
            rows = result.cursor.fetchall()
        if rows:
            yield _columns(rows)
            after = rows[-1][0]
        size = len(rows)


def _read_hashes(conn: Connection, after: int = 0) -> HashRows:
    pages = [_columns(()), *read_hash_pages(conn, after)]
    return HashRows.of(*(np.concatenate(each) for each in zip(*pages, strict=True)))


class _Sums(NamedTuple):
    """The number of images with a reliable hash, and a sum over their ids.

    Whatever images replace others, one or many, the sum is another one by all odds: its terms are
    products of two remainders, so that ids of equal sum have different ones. A term is below 2^26,
    so the sum of as many images as fit on a disk is below 2^63.
    """

    number: int
    of_ids: int


_MODULI = 65_521, 1_021  # primes


def _sum_up(ids: NDArray[np.int64]) -> _Sums:
    first, second = _MODULI
    return _Sums(len(ids), int(((ids % first) * (ids % second)).sum()))


def _read_sums(conn: Connection) -> _Sums:
    """Return the sums by the rows of images: 80 ms for a million on SQLite."""
    first, second = _MODULI
    terms = (images.c.id % first) * (images.c.id % second)
    row = conn.execute(select(func.count(), func.sum(terms)).where(*_RELIABLE)).one()
    return _Sums(row[0], int(row[1] or 0))


def _columns(rows: Sequence[Any]) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """Return the ids (n,) and hashes (n, 32) of rows of both."""
    ids, hashes = zip(*rows, strict=True) if rows else ((), ())
    bits = np.frombuffer(b"".join(hashes), np.uint8).reshape(-1, HASH_BYTES)
    return np.array(ids, np.int64), bits
