"""The live index of one embedding space: always the newest committed state, whoever committed it.

Owns what is held now (a view and the snapshot that it stands on) and the lock that moves it
forward. Each search begins a read transaction, brings the view to that transaction's state and
answers from both, so an answer is exactly one generation. Views are immutable: searches run side by
side, outside the lock. Snapshots are written beside the searches, by one process at a time; what is
held serves until the new one is opened.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sqlalchemy import Connection

from index.cache.building import Builder
from index.cache.config import DEFAULT_CONFIG, IndexConfig, Plan
from index.cache.folding import DEFAULT_FOLDING, FoldPolicy, codes_due, measuring_due
from index.cache.maintenance import Maintenance
from index.cache.pictures import PictureHashes
from index.cache.replay import Members, catch_up
from index.cache.rows import HeldRows, MappedRows
from index.cache.sealed import Base
from index.cache.searching import Question, SearchResult, TooFarBehind, rank, search
from index.cache.snapshots import (
    Manifest,
    check_files,
    directory_lock,
    open_base,
    plan_of,
    read_manifest,
    set_aside,
)
from index.cache.view import View
from index.errors import IndexDirectoryUnwritable, SnapshotCorrupt, TruthDamaged
from index.failpoints import Failpoint, reach
from index.truth.changes import count_members, digest_at, last_number
from index.truth.database import Database
from index.truth.digest import digest_hex
from index.truth.filters import EVERYTHING, Filter
from index.truth.lookups import recent_probes
from index.truth.membership import live_digest
from index.truth.perceptual import PerceptualHash
from index.truth.spaces import Space, find_space_id
from index.truth.statements import disable_mmap
from index.truth.vectors import STORED, check_vector

logger = logging.getLogger(__name__)

T = TypeVar("T")

# A search applies so many changes itself, in about 1 ms; more are left to the thread that follows
# the log.
CHANGES_IN_SEARCH = 64
# So long a search waits for another thread that is applying changes, before it answers from the
# older view.
PATIENCE_SECONDS = 0.002
# Vectors that are held before they are folded into a snapshot, where very many are added to one.
TAIL_BYTES = 2**27
# Recall is measured again once nothing has changed for so long: it takes a core from searches and
# writers.
QUIET_SECONDS = 1.0
# Stored lookups whose probes recall is measured with, the latest ones.
LOOKUP_PROBES = 64


@dataclass(frozen=True, slots=True)
class Verification:
    """Three digests of one generation, in hex: of the vectors held, as the log states it, of the
    live rows.
    """

    generation: int
    count: int
    held: str
    stated: str
    rows: str

    @property
    def agrees(self) -> bool:
        return self.held == self.stated == self.rows


@dataclass(frozen=True, slots=True, eq=False)
class Held:
    """A view, and the snapshot that its base was opened from; None: its base is in memory only."""

    view: View
    manifest: Manifest | None


class LiveIndex:
    """An opened index. Every method is safe to call from any thread."""

    def __init__(
        self,
        database: Database,
        space: Space,
        directory: Path,
        policy: FoldPolicy,
        config: IndexConfig,
        *,
        background: bool,
    ) -> None:
        self.space = space
        self.directory = directory / space.fingerprint[:16]
        self.config = config
        self._database = database
        self._policy = policy
        threads = config.background_threads if background else config.build_threads
        self._builder = Builder(self.directory, space.fingerprint, space.dimension, config, threads)
        self._lock = threading.Lock()  # moves `_held` forward
        self._healing = threading.Lock()
        self._space_id: int | None = None
        self._held = Held(
            View.of_base(Base.empty(space.dimension), None, 0, 0, space.dimension), None
        )
        self._pictures = PictureHashes()
        self._reached = 0  # the last number seen in the log when the view was brought there
        self._changed_at = -math.inf  # when the view last changed, by the monotonic clock
        self._maintenance = Maintenance(self)

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
    ) -> Self:
        """Open the index of a space: map the snapshot under `directory`, if it is true, and replay
        the rest.

        A snapshot that is damaged, foreign, of another format or not of this database is set aside,
        with a warning in the log, and the view built from SQL. A missing folder is not made, unless
        there is too much for memory. `background` is for processes that stay: a thread follows the
        log and trains codes; others leave both.

        Raises:
            TruthDamaged: SQL contradicts its own change log. ForeignSpace: the database knows this
            fingerprint with other facts. DatabaseUnavailable

        """
        live = cls(database, space, directory, policy, config, background=background)
        live._held = live._opened() or live._built()
        live.refresh()
        live._maintenance.start(follow=background)
        return live

    @property
    def generation(self) -> int:
        """The number of the last change that the current view holds."""
        return self._held.view.generation

    @property
    def count(self) -> int:
        """How many live entries the current view holds."""
        return self._held.view.count

    @property
    def plan(self) -> Plan:
        """How candidates are found in the base."""
        return plan_of(self._held.view.base.tuned)

    @property
    def held(self) -> Held:
        """What searches are answered from now."""
        return self._held

    @property
    def ready(self) -> bool:
        """Whether the last refresh reached the last committed change.

        False means a gap in the change log.
        """
        return self.generation >= self._reached

    def refresh(self) -> int:
        """Bring the view to the newest committed state and return its generation. One small SELECT
        if none is new.

        Raises:
            TruthDamaged, DatabaseUnavailable

        """
        generation = self._ask(lambda _conn, view, _pending: view.generation)
        self._maintenance.looked_up()
        return generation

    def absorb(self) -> None:
        """Bring the view to the newest state; much that was added comes through snapshots, and
        codes are trained then.

        For a process that added it and does not stay: memory is bounded, and whoever searches next
        opens what is ready. Up to `flat_limit` changes, where a thread follows the log, and where
        the folder cannot be written, it is `refresh`.

        Raises:
            TruthDamaged, DatabaseUnavailable

        """
        if self._lacking() > self.config.flat_limit and not self._maintenance.following:
            try:
                self._healed(self._absorb)
                self.settle()
            except IndexDirectoryUnwritable as err:
                logger.warning("the index is held in memory: %s", err)
        self.refresh()

    def follow(self, limit: int) -> bool:
        """Apply up to `limit` changes and say whether there are more.

        What the thread that follows the log calls.
        """
        with self._database.read() as conn, self._lock:
            last = last_number(conn)
            before = self.generation
            self._advance(conn, last, limit)
        return before < self.generation < last

    def read_hashes(self) -> None:
        """Read the perceptual hashes that a search would wait for.

        What the thread that follows the log calls.
        """
        if self._pictures.behind(self.generation):
            with self._database.read() as conn:
                self._pictures.refresh(conn, self.generation)

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
        """Return the k nearest live entries that a filter selects, all of them where there are
        fewer than k.

        The vector is (d,) float32 of norm 1, of this index's space. Entries whose image has the
        sha256 `probe_sha256` come first, then those that show the same picture by `probe_hash`, up
        to k of which are answered beside the k nearest. `exact` compares every vector; otherwise
        the plan decides, and the result says.

        Raises:
            InvalidVector, InvalidFilter, UnknownCorpus TruthDamaged, DatabaseUnavailable

        """
        question = Question(
            check_vector(vector, self.space.dimension), k, filter, probe_sha256, probe_hash, exact
        )
        (answer,) = self.search_all([question])
        return answer

    def search_all(self, questions: Sequence[Question]) -> tuple[SearchResult, ...]:
        """Answer several questions from one state of the index, each as `search` does.

        Raises like it.
        """
        checked = [
            replace(each, probe=check_vector(each.probe, self.space.dimension))
            for each in questions
        ]

        def ask(conn: Connection, view: View, pending: int) -> tuple[SearchResult, ...]:
            return tuple(
                search(conn, view, self._space_id, each, self._pictures, pending=pending)
                for each in checked
            )

        try:
            answers = self._ask(ask, whole=not self._maintenance.following)
        except TooFarBehind:
            answers = self._ask(ask)
        self._maintenance.looked_up()
        return answers

    def nearest(
        self, vector: ArrayLike, k: int, *, exact: bool = False
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return entry ids (k,) and cosine similarities (k,) from what is held now, without asking
        SQL anything.

        Raises:
            InvalidVector, SnapshotCorrupt

        """
        probe = check_vector(vector, self.space.dimension)
        best = rank(self._held.view.parts, probe, k, first=np.empty(0, np.int64), exact=exact).best
        return np.array([i for i, _ in best], np.int64), np.array(
            [similarity for _, similarity in best]
        )

    def snapshot(self) -> Manifest:
        """Write what is current as a snapshot, open it, and return its manifest; waits for other
        writers of it.

        Raises:
            IndexDirectoryUnwritable, TruthDamaged, DatabaseUnavailable

        """
        self.refresh()
        return self._healed(self._snapshot)

    def compact(self) -> Manifest:
        """Write a snapshot without the positions of removed entries. Raises like `snapshot`."""
        self.refresh()
        return self._healed(self._compacted)

    def rebuild(self) -> None:
        """Forget what is held and build it from SQL. Raises TruthDamaged, DatabaseUnavailable."""
        self._heal(self._held.view.base, "a rebuild was asked for")

    def settle(self) -> None:
        """Do all maintenance that is due, codes included, before returning.

        Raises:
            IndexDirectoryUnwritable, TruthDamaged, DatabaseUnavailable

        """
        self.refresh()
        while self.maintain(train=True, wait=True):
            pass

    def maintain(self, *, train: bool, wait: bool) -> bool:
        """Do one piece of maintenance if one is due; say whether there may be more.

        Raises:
            IndexDirectoryUnwritable, TruthDamaged, DatabaseUnavailable

        """
        due = self.maintenance_due(train=train, hurry=wait)
        return due and self._healed(lambda: self._maintain(train=train, wait=wait))

    def maintenance_due(self, *, train: bool, hurry: bool = False) -> bool:
        """Whether a snapshot is to be written, or codes trained.

        `hurry`: even where it would better wait for quiet.
        """
        held = self._held
        if self._policy.due(held.view, held.manifest):
            return True
        return train and (
            codes_due(held.manifest, self.config) or self._measuring_due(held.manifest, hurry=hurry)
        )

    def _measuring_due(self, manifest: Manifest | None, *, hurry: bool) -> bool:
        quiet = time.monotonic() - self._changed_at > QUIET_SECONDS
        return (hurry or quiet) and measuring_due(manifest, self.config)

    def verify(self) -> Verification:
        """Compute the digest of what is held and of the live rows, all of them, and give both
        beside the log's.
        """
        return self._ask(
            lambda conn, view, _pending: Verification(
                generation=view.generation,
                count=view.count,
                held=digest_hex(view.computed_digest()),
                stated=digest_hex(digest_at(conn, self._space_id, view.generation)),
                rows=digest_hex(live_digest(conn, self._space_id)),
            )
        )

    def close(self) -> None:
        """Wait for maintenance that has begun. The database stays open: it is the caller's."""
        self._maintenance.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()

    def _ask(self, ask: Callable[[Connection, View, int], T], *, whole: bool = True) -> T:
        """Ask with a transaction, the view of that state, and how many changes that view lacks.

        `whole`: the view is brought all the way, however much that is.
        """
        return self._healed(lambda: self._asked(ask, whole=whole))

    def _healed(self, work: Callable[[], T]) -> T:
        """Do what reads the view; where that proves damaged, or the log does not continue it, again
        on one from SQL.

        The caller does not hold the folder.
        """
        base = self._held.view.base
        try:
            return work()
        except (SnapshotCorrupt, TruthDamaged) as err:
            self._heal(base, err.reason)
            return work()

    def _asked(self, ask: Callable[[Connection, View, int], T], *, whole: bool) -> T:
        while True:
            with self._database.read() as conn:
                last = last_number(conn)
                if whole or 0 < last - self.generation <= CHANGES_IN_SEARCH:
                    self._advance_soon(conn, last, wait=whole)
                view = self._held.view
                if view.generation <= last:
                    return ask(conn, view, last - view.generation)
            # Another thread went on meanwhile, to what this transaction does not see; or the
            # database went back.
            with self._database.read() as conn:
                if last_number(conn) < view.generation:
                    raise TruthDamaged("the database has gone back behind this index")

    def _advance_soon(self, conn: Connection, last: int, *, wait: bool) -> None:
        """Bring what is held to a transaction's state, unless another thread is at it and there is
        no time to wait.
        """
        if self._lock.acquire(timeout=-1 if wait else PATIENCE_SECONDS):
            try:
                self._advance(conn, last)
            finally:
                self._lock.release()

    def _advance(self, conn: Connection, last: int, limit: int | None = None) -> None:
        """Bring what is held to a transaction's state. The caller holds the lock."""
        held = self._held
        self._reached = last
        if last <= held.view.generation:
            return
        if self._space_id is None:
            self._space_id = find_space_id(conn, self.space)
        self._held = Held(catch_up(conn, held.view, self._space_id, last, limit), held.manifest)
        self._changed_at = time.monotonic()

    def _opened(self, *, locked: bool = False) -> Held | None:
        """Return what the snapshot on disk holds, None where there is none that is true."""
        try:
            # The manifest is read before the transaction begins: it cannot be newer than an honest
            # database.
            manifest = read_manifest(self.directory)
            if manifest is None:
                return None
            with self._database.read() as conn:
                self._refuse_other_truth(conn, manifest)
            return self._based_on(manifest)
        except SnapshotCorrupt as err:
            set_aside(self.directory, err.reason, locked=locked)
            return None

    def _based_on(self, manifest: Manifest) -> Held:
        contents, tuned = open_base(
            self.directory, manifest, self.space.fingerprint, self.space.dimension
        )
        base = Base(contents.rows, contents.facts, contents.words, tuned)
        view = View.of_base(
            base, contents.live, contents.generation, contents.digest, self.space.dimension
        )
        return Held(view, manifest)

    def _refuse_other_truth(self, conn: Connection, manifest: Manifest) -> None:
        self._space_id = find_space_id(conn, self.space)
        if manifest.generation > last_number(conn):
            raise SnapshotCorrupt(
                self.directory, "it is newer than the database, which was restored or replaced"
            )
        if manifest.digest != digest_hex(digest_at(conn, self._space_id, manifest.generation)):
            raise SnapshotCorrupt(
                self.directory, "its digest is not the one that the change log states"
            )

    def _built(self) -> Held:
        """Build from SQL: on disk where there is too much for memory, by one process while others
        wait for it.
        """
        with self._database.read() as conn:
            self._space_id = find_space_id(conn, self.space)
            large = count_members(conn, self._space_id) > self.config.flat_limit
        if large:
            try:
                with directory_lock(self.directory, wait=True):
                    return self._opened(locked=True) or self._built_on_disk()
            except IndexDirectoryUnwritable as err:
                logger.warning("the index is held in memory: %s", err)
        with self._database.read() as conn:
            members = Members(conn, self._space_id, self.space.dimension)
            rows = np.concatenate(
                [np.empty((0, self.space.dimension), np.float32), *members.chunks()]
            )
            base = Base(HeldRows(rows), members.facts, members.words)
            view = View.of_base(
                base, None, members.generation, members.digest, self.space.dimension
            )
        return Held(view, None)

    def _built_on_disk(self) -> Held:
        return self._based_on(self._written_from_sql())

    def _written_from_sql(self) -> Manifest:
        with self._database.read() as conn, disable_mmap(conn):
            self._space_id = find_space_id(conn, self.space)
            return self._builder.write_from_sql(conn, self._space_id)

    def _lacking(self) -> int:
        """Return how many changes there are behind what is held."""
        with self._database.read() as conn:
            return last_number(conn) - self.generation

    def _absorb(self) -> None:
        with directory_lock(self.directory, wait=True):  # whoever waits here finds it done
            self._adopt()
            if (
                self._lacking() > self.count
            ):  # SQL is read for most of it anyway, and codes are trained anew
                self._stand_on(self._written_from_sql())
        most = TAIL_BYTES // (STORED.itemsize * self.space.dimension)
        while self.follow(most):
            if self._held.view.tail.size >= most:
                self._snapshot()

    def _heal(self, base: Base, reason: str) -> None:
        """Build from SQL what stood on a base, unless another thread did so meanwhile."""
        with self._healing:
            if self._held.view.base is not base:
                return
            logger.warning(
                "index of %s is rebuilt from SQL: %s", self.space.fingerprint[:16], reason
            )
            set_aside(self.directory, reason)
            built = self._built()
            with self._lock:
                self._held, self._pictures = built, PictureHashes()

    def _adopt(self) -> bool:
        """Stand on the snapshot on disk where it is newer than what is held; the caller holds the
        folder.
        """
        held = self._held
        try:
            manifest = read_manifest(self.directory)
            if manifest is None:
                return self._detach()
            if (
                held.manifest is not None
                and manifest.vectors == held.manifest.vectors
                and manifest == held.manifest
            ):
                return False
            with self._database.read() as conn:
                self._refuse_other_truth(conn, manifest)
            self._stand_on(manifest)
        except SnapshotCorrupt as err:
            set_aside(self.directory, err.reason, locked=True)
            return self._detach()
        return True

    def _detach(self) -> bool:
        """Note that the snapshot that is stood on is no longer on disk."""
        with self._lock:
            self._held = Held(self._held.view, None)
        return False

    def _stand_on(self, manifest: Manifest) -> Manifest:
        """Open a snapshot and hold it, with all that is held already.

        The caller holds the folder.
        """
        found = self._based_on(manifest)
        found.view.base.warm()
        view, moved = self._held.view, found.view
        if isinstance(view.base.rows, MappedRows) and isinstance(moved.base.rows, MappedRows):
            moved.base.rows.trust(view.base.rows)
        reach(Failpoint.SNAPSHOT_OPENED)
        if (
            view.generation > moved.generation
        ):  # what came meanwhile is in memory: SQL need not be read again for it
            moved = view.standing_on(moved.base)
        with self._lock:  # searches may be waiting
            now = self._held.view
            if (
                now.base is not view.base
            ):  # it was healed from SQL meanwhile; `_adopt` asks whether this is true still
                return manifest
            if moved.generation == view.generation:
                moved = moved.gaining(view, now)
            elif now.generation > moved.generation:
                moved = now.standing_on(moved.base)
            self._held = Held(moved, manifest)
        reach(Failpoint.SNAPSHOT_HELD)
        return manifest

    def _snapshot(self) -> Manifest:
        with directory_lock(self.directory, wait=True):
            self._adopt()
            held = self._held
            written = held.manifest
            if written and (written.generation, written.digest) == (
                held.view.generation,
                digest_hex(held.view.digest),
            ):
                check_files(self.directory, written)
                return written
            return self._stand_on(self._folded(held, compact=False))

    def _compacted(self) -> Manifest:
        with directory_lock(self.directory, wait=True):
            self._adopt()
            return self._stand_on(self._folded(self._held, compact=True))

    def _maintain(self, *, train: bool, wait: bool) -> bool:
        with directory_lock(self.directory, wait=wait) as locked:
            if not locked:
                return False
            if self._adopt():
                return True
            held = self._held
            if self._policy.due(held.view, held.manifest):
                self._stand_on(
                    self._folded(held, compact=self._policy.compaction_due(held.view, self.config))
                )
            elif train and held.manifest is not None and codes_due(held.manifest, self.config):
                self._stand_on(self._trained(held.manifest))
            elif (
                train
                and held.manifest is not None
                and self._measuring_due(held.manifest, hurry=wait)
            ):
                self._stand_on(self._measured(held.manifest))
        return True

    def _folded(self, held: Held, *, compact: bool) -> Manifest:
        manifest = held.manifest
        if manifest is None or compact:
            return self._builder.write(
                held.view, manifest.trained_rows if manifest else 0, self._lookups()
            )
        return self._builder.append(held.view, manifest)

    def _trained(self, manifest: Manifest) -> Manifest:
        contents, _ = open_base(
            self.directory, manifest, self.space.fingerprint, self.space.dimension
        )
        return self._builder.train(contents, self._lookups())

    def _measured(self, manifest: Manifest) -> Manifest:
        contents, tuned = open_base(
            self.directory, manifest, self.space.fingerprint, self.space.dimension
        )
        assert tuned is not None
        return self._builder.measure(contents, tuned.codes, manifest.trained_rows, self._lookups())

    def _lookups(self) -> NDArray[np.float32]:
        with self._database.read() as conn:
            return recent_probes(conn, self._space_id, self.space.dimension, LOOKUP_PROBES)
