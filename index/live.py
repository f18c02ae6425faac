"""The live index of one embedding space: always the newest committed state, whoever committed it.

Owns the current view and its lock. Each search begins a read transaction, brings the view to that transaction's state
and answers from both, so an answer is exactly one generation. Views are immutable: searches run side by side, outside
the lock. The snapshot is written by whoever has time, never inside a search.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from numpy.typing import ArrayLike
from sqlalchemy import Connection

from index.changes import digest_at, last_number
from index.database import Database
from index.digest import digest_hex
from index.errors import CorpusError, SnapshotCorrupt, TruthDamaged
from index.filters import EVERYTHING, Filter
from index.flat import FlatIndex
from index.folding import DEFAULT_FOLDING, FoldPolicy, rebased
from index.membership import live_digest
from index.replay import catch_up, rebuild
from index.searching import Question, SearchResult, search
from index.snapshots import Manifest, check_files, directory_lock, open_base, read_manifest, set_aside, write_snapshot
from index.spaces import Space, find_space_id
from index.vectors import check_vector
from index.view import View

logger = logging.getLogger(__name__)

# After a snapshot that could not be written, or that another process was writing, wait before trying again.
FOLD_PAUSE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Verification:
    """Three digests of one generation, in hex: of the vectors held, as the log states it, of the live rows."""

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

    def __init__(self, database: Database, space: Space, directory: Path, policy: FoldPolicy) -> None:
        self.space = space
        self.directory = directory / space.fingerprint[:16]
        self._database = database
        self._policy = policy
        self._lock = threading.Lock()
        self._space_id: int | None = None
        self._view = View.of_base(FlatIndex.build(space.dimension, ()), 0, 0, space.dimension)
        self._saved = True  # whether the base is what a snapshot holds
        self._lagging = False
        self._folder: threading.Thread | None = None
        self._no_fold_before = 0.0

    @classmethod
    def open(cls, database: Database, space: Space, directory: Path, *, policy: FoldPolicy = DEFAULT_FOLDING) -> Self:
        """Open the index of a space: map the snapshot under `directory`, if it is true, and replay the rest.

        A snapshot that is damaged, foreign, of another format or not of this database is set aside, with a warning
        in the log, and the view built from SQL. A missing folder is not made.

        Raises:
            TruthDamaged: SQL contradicts its own change log.
            ForeignSpace: the database knows this fingerprint with other facts.
            DatabaseUnavailable

        """
        live = cls(database, space, directory, policy)
        # The manifest is read before the transaction begins: its generation cannot be newer than an honest database.
        try:
            manifest = read_manifest(live.directory)
        except SnapshotCorrupt as err:
            set_aside(live.directory, err.reason)
            manifest = None
        with live._lock, database.read() as conn:
            live._load(conn, manifest)
            live._catch_up(conn)
        live._fold_if_due()
        return live

    @property
    def generation(self) -> int:
        """The number of the last change that the current view holds."""
        return self._view.generation

    @property
    def count(self) -> int:
        """How many live entries the current view holds."""
        return self._view.count

    @property
    def plan(self) -> str:
        """How candidates are found in the base."""
        return self._view.base.plan

    @property
    def ready(self) -> bool:
        """Whether the last refresh reached the last committed change. False means a gap in the change log."""
        return not self._lagging

    def refresh(self) -> int:
        """Bring the view to the newest committed state and return its generation. One small SELECT if none is new.

        Raises:
            TruthDamaged, DatabaseUnavailable

        """
        with self._current():
            return self._view.generation

    def search(
        self,
        vector: ArrayLike,
        k: int,
        filter: Filter = EVERYTHING,
        *,
        exact: bool = True,
        probe_sha256: str | None = None,
    ) -> SearchResult:
        """Return the k nearest live entries that a filter selects, all of them where there are fewer than k.

        The vector is (d,) float32 of norm 1, of this index's space. Entries whose image has the sha256
        `probe_sha256` come first. `exact` may be False from callers who accept less; this plan is always exact.

        Raises:
            InvalidVector, InvalidFilter, UnknownCorpus
            TruthDamaged, DatabaseUnavailable

        """
        del exact  # the one plan there is, an exhaustive scan, has nothing to give up
        question = Question(check_vector(vector, self.space.dimension), k, filter, probe_sha256)
        with self._current() as (conn, view, lagging):
            return search(conn, view, self._space_id, question, lagging=lagging)

    def snapshot(self) -> Manifest:
        """Write what is current as the base on disk, map it, and return its manifest; waits for other writers of it.

        Raises:
            IndexDirectoryUnwritable, TruthDamaged, DatabaseUnavailable

        """
        with directory_lock(self.directory, wait=True):
            with self._current() as (_, view, _):
                pass
            return self._fold(view)

    def verify(self) -> Verification:
        """Compute the digest of what is held and of the live rows, all of them, and give both beside the log's."""
        with self._current() as (conn, view, _):
            return Verification(
                generation=view.generation,
                count=view.count,
                held=digest_hex(view.computed_digest()),
                stated=digest_hex(digest_at(conn, self._space_id, view.generation)),
                rows=digest_hex(live_digest(conn, self._space_id)),
            )

    def close(self) -> None:
        """Wait for a snapshot that is being written. The database stays open: it is the caller's."""
        if self._folder is not None:
            self._folder.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, err: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    @contextmanager
    def _current(self) -> Iterator[tuple[Connection, View, bool]]:
        """Give a read transaction, the view of exactly that state, and whether a gap keeps it behind."""
        with ExitStack() as stack:
            # The transaction begins behind the lock, so that it cannot be older than a view that another thread made.
            with self._lock:
                conn = stack.enter_context(self._database.read())
                self._catch_up(conn)
                view, lagging = self._view, self._lagging
            yield conn, view, lagging
        self._fold_if_due()

    def _catch_up(self, conn: Connection) -> None:
        last = last_number(conn)
        if last != self._view.generation:
            if self._space_id is None:
                self._space_id = find_space_id(conn, self.space)
            try:
                self._view = catch_up(conn, self._view, self._space_id, last)
            except TruthDamaged as err:
                logger.warning("index of %s is rebuilt from SQL: %s", self.space.fingerprint[:16], err.reason)
                self._rebuild(conn)
        self._lagging = last != self._view.generation

    def _load(self, conn: Connection, manifest: Manifest | None) -> None:
        self._space_id = find_space_id(conn, self.space)
        if manifest is None:
            self._rebuild(conn)
            return
        try:
            self._refuse_other_truth(conn, manifest)
            base = open_base(self.directory, manifest, self.space.fingerprint, self.space.dimension)
        except SnapshotCorrupt as err:
            set_aside(self.directory, err.reason)
            self._rebuild(conn)
            return
        digest = int(manifest.digest, 16)
        self._view = View.of_base(base, manifest.generation, digest, self.space.dimension)

    def _refuse_other_truth(self, conn: Connection, manifest: Manifest) -> None:
        if manifest.generation > last_number(conn):
            raise SnapshotCorrupt(self.directory, "it is newer than the database, which was restored or replaced")
        if manifest.digest != digest_hex(digest_at(conn, self._space_id, manifest.generation)):
            raise SnapshotCorrupt(self.directory, "its digest is not the one that the change log states")

    def _rebuild(self, conn: Connection) -> None:
        self._space_id = find_space_id(conn, self.space)
        self._view = rebuild(conn, self._space_id, self.space.dimension)
        self._saved = False

    def _fold_if_due(self) -> None:
        """Start writing a snapshot beside the searches when the tail has grown long."""
        if not self._policy.due(self._view, saved=self._saved) or time.monotonic() < self._no_fold_before:
            return
        with self._lock:
            if self._folder is None or not self._folder.is_alive():
                self._no_fold_before = time.monotonic() + FOLD_PAUSE_SECONDS
                self._folder = threading.Thread(target=self._fold_aside, name="lineup-snapshot")
                self._folder.start()

    def _fold_aside(self) -> None:
        try:
            with directory_lock(self.directory, wait=False) as held:
                if held:
                    self._fold(self._view)
                    self._no_fold_before = 0.0
        except CorpusError as err:
            logger.warning("no snapshot was written: %s", err)

    def _fold(self, view: View) -> Manifest:
        """Write a view as the new base and put it under the current view. The caller holds the folder's lock."""
        manifest = self._published(view)
        if manifest is None:
            built = FlatIndex.build(view.dimension, view.members())
            manifest = write_snapshot(self.directory, view, built, self.space.fingerprint)
        elif self._saved and not view.tail.size and not view.dead:
            return manifest
        base = open_base(self.directory, manifest, self.space.fingerprint, self.space.dimension)
        with self._lock:
            current = rebased(self._view, folded=view, base=base)
            if current is not None:
                self._view, self._saved = current, True
        return manifest

    def _published(self, view: View) -> Manifest | None:
        """Return the manifest on disk if it is of exactly this view and its files are whole."""
        wanted = (view.generation, digest_hex(view.digest), self.space.fingerprint)
        try:
            manifest = read_manifest(self.directory)
            if manifest and (manifest.generation, manifest.digest, manifest.space_fingerprint) == wanted:
                check_files(self.directory, manifest)
                return manifest
        except SnapshotCorrupt as err:
            logger.warning("snapshot in %s is written anew: %s", self.directory, err.reason)
        return None
