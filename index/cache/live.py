"""The live index of one embedding space: always at the newest committed state, whichever process
committed it.

Joins the current view, the maintenance beside it and the rebuild from SQL when something proves
damaged.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sqlalchemy import Connection

from index.cache.following.current import CurrentView
from index.cache.following.folding import DEFAULT_FOLDING, FoldPolicy
from index.cache.following.maintenance import DEFAULT_PACE, Maintenance, Pace
from index.cache.following.upkeep import Upkeep
from index.cache.plans.config import DEFAULT_CONFIG, IndexConfig, Plan
from index.cache.searching.answering import (
    Probes,
    TooFarBehind,
    answer_questions,
    find_views,
    list_sha256s,
    rank_nearest,
    write_results,
)
from index.cache.searching.questions import Question, SearchResult
from index.cache.searching.ranking import rank_many
from index.cache.segments.sealed import SealedSegment, plan_of
from index.cache.segments.view import View
from index.cache.snapshots.folder import Current, IndexFolder
from index.cache.snapshots.manifest import Manifest
from index.cache.snapshots.snapshot import set_aside
from index.errors import IndexDirectoryUnwritable, SnapshotCorrupt, TruthDamaged
from index.truth.changes import Head, digest_at, read_head
from index.truth.databases.database import Database
from index.truth.digest import digest_hex
from index.truth.filters import EVERYTHING, Filter
from index.truth.membership import live_digest
from index.truth.perceptual import PerceptualHash
from index.truth.spaces import Space, SpaceKind
from index.truth.vectors import check_vector, check_vectors
from index.view_hashes import Views

logger = logging.getLogger(__name__)

T = TypeVar("T")
NO_ENTRIES = np.empty(0, np.int64)


@dataclass(frozen=True, slots=True)
class Verification:
    """Three set digests of one generation, in hex: of the vectors in the index, as the change log
    states it, and of the live rows.
    """

    generation: int
    count: int
    held: str
    stated: str
    rows: str

    @property
    def agrees(self) -> bool:
        return self.held == self.stated == self.rows


class LiveIndex:
    """An opened index. Every method is safe to call from any thread."""

    def __init__(
        self,
        database: Database,
        space: Space,
        folder: IndexFolder,
        current: Current,
        policy: FoldPolicy,
        config: IndexConfig,
        pace: Pace,
    ) -> None:
        """For `open`."""
        self.space = space
        self.config = config
        self._database = database
        self._folder = folder
        self._current = CurrentView(database, folder, current)
        self._upkeep = Upkeep(database, folder, self._current, policy, config)
        self._maintenance = Maintenance(self, pace)
        self._healing = threading.Lock()

    @classmethod
    def open(
        cls,
        database: Database,
        space: Space,
        directory: Path,
        *,
        policy: FoldPolicy = DEFAULT_FOLDING,
        config: IndexConfig = DEFAULT_CONFIG,
        background: bool = False,
        pace: Pace = DEFAULT_PACE,
    ) -> Self:
        """Open the index of a space: map the snapshot under `directory` and replay later changes.

        A snapshot is set aside, with a warning in the log, if it is damaged, has an unknown format,
        or belongs to another space or database; the view is then built from SQL. A missing folder
        is not created, unless the index is too large for memory. `background` is for long-running
        processes: a thread follows the log at a `pace`, and codes are trained beside the searches.

        Raises:
            TruthDamaged: SQL contradicts its own change log.
            ForeignSpace: the database knows this fingerprint with other facts.
            DatabaseUnavailable

        """
        threads = config.background_threads if background else config.build_threads
        folder = IndexFolder(database, space, directory, config, threads=threads)
        current = folder.open() or folder.build()
        live = cls(database, space, folder, current, policy, config, pace)
        live.refresh()
        live._maintenance.start(follow=background)
        return live

    @property
    def directory(self) -> Path:
        """The folder of the snapshots of this space."""
        return self._folder.path

    @property
    def space_id(self) -> int | None:
        """The row id of the space; None if the database did not know it when it was last read."""
        return self._folder.space_id

    @property
    def generation(self) -> int:
        """The number of the last change in the current view."""
        return self._current.generation

    @property
    def count(self) -> int:
        """The number of live entries in the current view."""
        return self._current.view.count

    @property
    def plan(self) -> Plan:
        """How candidates are found in the sealed segment."""
        return plan_of(self._current.view.sealed.tuned)

    @property
    def current(self) -> Current:
        """The view that searches use now, and its snapshot."""
        return self._current.current

    @property
    def ready(self) -> bool:
        """Whether the last refresh reached the last committed change.

        False means that the change log has a gap.
        """
        return self._current.has_reached_last_change

    def refresh(self) -> int:
        """Bring the view to the newest committed state and return its generation.

        One small SELECT if nothing changed.

        Raises:
            TruthDamaged, DatabaseUnavailable

        """
        peeked = self._current.peek()
        if peeked is None:
            generation = self._read(lambda _conn, view, _head: view.generation)
        else:
            generation = peeked[0].generation
        self._maintenance.after_search()
        return generation

    def absorb(self) -> None:
        """Bring the view to the newest state after many additions, and train codes if they are due.

        For a process that added the entries and is about to end: memory stays bounded, and the next
        process finds a finished snapshot. It is the same as `refresh` for up to `flat_limit`
        changes, in a process that follows the log, and if the folder is not writable.

        Raises:
            TruthDamaged, DatabaseUnavailable

        """
        is_much = self._current.count_pending() > self.config.flat_limit
        if is_much and not self._maintenance.is_following:
            try:
                self._repeat_after_healing(self._upkeep.absorb)
                self.settle()
            except IndexDirectoryUnwritable as err:
                logger.warning("the index is held in memory: %s", err)
        self.refresh()

    def follow(self, limit: int) -> bool:
        """Apply up to `limit` changes. Return whether there are more.

        For the thread that follows the log.
        """
        return self._repeat_after_healing(lambda: self._current.follow(limit))

    def prepare_for_filters(self) -> None:
        """Measure what the first filter would otherwise wait for. Does nothing if it was measured.

        For the thread that follows the log.

        Raises:
            TruthDamaged, DatabaseUnavailable

        """

        def prepare() -> None:
            self._current.view.sealed.prepare_for_filters()

        self._repeat_after_healing(prepare)

    def read_hashes(self) -> None:
        """Read the perceptual hashes that a search would otherwise wait for.

        For the thread that follows the log.
        """
        if self.space.kind is SpaceKind.COPY:
            return  # hashes are compared beside the forensic index
        pictures, generation = self._current.pictures, self.generation
        if pictures.is_behind(generation):
            with self._database.read() as conn:
                pictures.refresh(conn, generation)

    def read_late_hashes(self) -> bool:
        """Read the perceptual hashes that images got without a change in the log. Return False if
        no amendment came that may have brought one.

        For the thread that follows the log.
        """
        pictures = self._current.pictures
        if not pictures.may_lack(self._current.amendments):
            return False
        with self._database.read(unlimited=True) as conn:
            pictures.read_late(conn)
        return True

    def search(
        self,
        vector: ArrayLike,
        k: int,
        filter: Filter = EVERYTHING,
        *,
        exact: bool = False,
        probe_sha256: str | None = None,
        probe_hash: PerceptualHash | None = None,
    ) -> SearchResult:
        """Return the k nearest live entries that a filter selects, or all of them if there are
        fewer.

        The vector is (d,) float32 of norm 1, of this index's space. Entries whose image has the
        sha256 `probe_sha256` come first, then entries that show the same picture by `probe_hash`;
        up to k of the latter are returned in addition to the k nearest. `exact` compares every
        vector; otherwise the plan decides, and the result states whether it was exact.

        Raises:
            InvalidVector, InvalidFilter, UnknownCorpus, TruthDamaged, DatabaseUnavailable

        """
        probe = check_vector(vector, self.space.dimension)
        question = Question(probe, k, filter, probe_sha256, probe_hash, exact)
        _, (answer,) = self._search([question], [probe], newest=False)
        return answer

    def search_all(
        self, questions: Sequence[Question], *, newest: bool = False
    ) -> tuple[SearchResult, ...]:
        """Answer several questions from one state of the index, each as `search` does.

        `newest`: the last committed change is in that state, even if a thread follows the log and
        has not come so far. Raises like `search`.
        """
        return self.search_at_head(questions, newest=newest)[1]

    def search_at_head(
        self, questions: Sequence[Question], *, newest: bool = False
    ) -> tuple[Head, tuple[SearchResult, ...]]:
        """Return the head of the log too, which the answers are from, or some changes behind.

        For who remembers something else of that state of the database. Raises like `search`.
        """
        given = [each.probe for each in questions if each.probe is not None]
        checked = iter(check_vectors(given, self.space.dimension))
        probes = [None if each.probe is None else next(checked) for each in questions]
        return self._search(questions, probes, newest=newest)

    def _search(
        self, questions: Sequence[Question], probes: Probes, *, newest: bool
    ) -> tuple[Head, tuple[SearchResult, ...]]:
        views = find_views(questions)
        answered = self._repeat_after_healing(
            lambda: self._answer_nearest(questions, probes, views)
        )
        if answered is None:
            answered = self._answer(questions, probes, views, newest=newest)
        self._maintenance.after_search()
        return answered

    def _answer_nearest(
        self, questions: Sequence[Question], probes: Probes, views: Sequence[Views]
    ) -> tuple[Head, tuple[SearchResult, ...]] | None:
        """Answer questions for the nearest members from memory, reading only rows that are not
        held; None if more has to be read, or the view is behind.
        """
        peeked = self._current.peek(list_sha256s(questions))
        if peeked is None:
            return None
        (view, head), held = peeked, self._current.held
        searches = rank_nearest(view, head, questions, probes, views, self._current.pictures, held)
        if searches is None:
            return None
        wanted = dict.fromkeys([i for search in searches for i, _ in search.listed])
        entries = held.rows.held(wanted, head.amendments)
        if len(entries) < len(wanted):
            with self._database.read() as conn:
                if read_head(conn) != head:
                    return None
                entries = held.rows.find(conn, wanted, head.amendments)
            if len(entries) < len(wanted):
                return None
        return head, write_results(searches, entries, view)

    def _answer(
        self,
        questions: Sequence[Question],
        probes: Probes,
        views: Sequence[Views],
        *,
        newest: bool,
    ) -> tuple[Head, tuple[SearchResult, ...]]:
        def ask(conn: Connection, view: View, head: Head) -> tuple[Head, tuple[SearchResult, ...]]:
            current, space_id = self._current, self._folder.space_id
            results = answer_questions(
                conn, head, view, space_id, questions, probes, views, current.pictures, current.held
            )
            return head, results

        try:
            return self._read(ask, complete=newest or not self._maintenance.is_following)
        except TooFarBehind:
            return self._read(ask)

    def nearest(
        self, vector: ArrayLike, k: int, *, exact: bool = False
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return entry ids (k,) and cosine similarities (k,) from the current view, without any
        SQL.

        Raises:
            InvalidVector, SnapshotCorrupt

        """
        probe = check_vector(vector, self.space.dimension)
        (best,) = rank_many(
            self._current.view.parts, probe[np.newaxis], k, [NO_ENTRIES], exact=exact
        )
        assert best.similarities is not None
        return best.ids, best.similarities

    def nearest_many(
        self, vectors: NDArray[np.float32], k: int, *, exact: bool = False
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return entry ids (p, k) and cosine similarities (p, k) for vectors (p, d), as `nearest`
        does for one; all come from one view.

        k is the number of live entries, if that is smaller. Raises like `nearest`.
        """
        probes = check_vectors(list(vectors), self.space.dimension)
        view = self._current.view
        found = rank_many(view.parts, probes, k, [NO_ENTRIES] * len(probes), exact=exact)
        shape = (len(probes), min(k, view.count))
        ids, similarities = np.empty(shape, np.int64), np.empty(shape, np.float64)
        for row, ranking in enumerate(found):
            ids[row], similarities[row] = ranking.ids, ranking.similarities
        return ids, similarities

    def snapshot(self) -> Manifest:
        """Write the newest state as a snapshot, open it, and return its manifest.

        Waits for other processes that write in the folder.

        Raises:
            IndexDirectoryUnwritable, TruthDamaged, DatabaseUnavailable

        """
        self.refresh()
        return self._repeat_after_healing(self._upkeep.write_snapshot)

    def compact(self) -> Manifest:
        """Write a snapshot without the positions of removed entries. Raises like `snapshot`."""
        self.refresh()
        return self._repeat_after_healing(self._upkeep.compact)

    def rebuild(self) -> None:
        """Replace the view by one that is built from SQL. Raises TruthDamaged,
        DatabaseUnavailable.
        """
        self._heal(self._current.view.sealed, "a rebuild was requested")

    def settle(self) -> None:
        """Do all maintenance that is due, codes and hashes included, before returning.

        Raises:
            IndexDirectoryUnwritable, TruthDamaged, DatabaseUnavailable

        """
        self.refresh()
        self.read_hashes()
        while self.maintain(train=True, wait=True):
            pass

    def maintain(self, *, train: bool, wait: bool) -> bool:
        """Do one piece of maintenance if one is due. Return whether there may be more.

        Raises:
            IndexDirectoryUnwritable, TruthDamaged, DatabaseUnavailable

        """
        if self._repeat_after_healing(self._code_selection):
            return True
        return self._upkeep.is_due(train=train, hurry=wait) and self._repeat_after_healing(
            lambda: self._upkeep.do_one(train=train, wait=wait)
        )

    def is_maintenance_due(self, *, train: bool, hurry: bool = False) -> bool:
        """Return whether a snapshot should be written, codes trained or measured, or a filter get
        codes of its own.

        `hurry`: measuring need not wait until nothing changes.
        """
        sealed = self._current.view.sealed
        return sealed.is_coding_due or self._upkeep.is_due(train=train, hurry=hurry)

    def _code_selection(self) -> bool:
        return self._current.view.sealed.code_selection()

    def verify(self) -> Verification:
        """Compute the set digests of all vectors in the index and of all live rows, and return them
        beside the log's.
        """

        def compare(conn: Connection, view: View, _head: Head) -> Verification:
            space_id = self._folder.space_id
            return Verification(
                generation=view.generation,
                count=view.count,
                held=digest_hex(view.compute_digest()),
                stated=digest_hex(digest_at(conn, space_id, view.generation)),
                rows=digest_hex(live_digest(conn, space_id)),
            )

        return self._read(compare)

    def close(self) -> None:
        """Wait for maintenance that has begun. The database stays open; the caller owns it."""
        self._maintenance.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()

    def _read(self, ask: Callable[[Connection, View, Head], T], *, complete: bool = True) -> T:
        return self._repeat_after_healing(lambda: self._current.read(ask, complete=complete))

    def _repeat_after_healing(self, work: Callable[[], T]) -> T:
        """Do some work. If the view proves damaged, or the log does not continue it, rebuild the
        view from SQL and repeat the work.

        The caller does not hold the folder's lock.
        """
        sealed = self._current.view.sealed
        try:
            return work()
        except (SnapshotCorrupt, TruthDamaged) as err:
            self._heal(sealed, err.reason)
            return work()

    def _heal(self, damaged: SealedSegment, reason: str) -> None:
        """Rebuild from SQL a view over this segment, unless another thread did so meanwhile."""
        with self._healing:
            if self._current.view.sealed is not damaged:
                return
            logger.warning(
                "index of %s is rebuilt from SQL: %s", self.space.fingerprint[:16], reason
            )
            set_aside(self._folder.path, reason)
            self._current.replace(self._folder.build())
