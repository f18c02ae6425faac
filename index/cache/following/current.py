"""The current view of an index, and the lock under which it moves forward.

A search begins a read transaction, brings the view to the state of that transaction and uses both,
so that its answer belongs to exactly one generation. Views are immutable: searches run side by
side, outside the lock.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Collection
from dataclasses import replace
from typing import TypeVar

from sqlalchemy import Connection

from index.cache.searching.answering import Held
from index.cache.searching.pictures import PictureHashes
from index.cache.segments.replay import catch_up
from index.cache.segments.view import View
from index.cache.snapshots.folder import Current, IndexFolder
from index.cache.snapshots.manifest import Manifest
from index.cache.vectors.rows import MappedRows
from index.errors import TruthDamaged
from index.failpoints import Failpoint, reach
from index.truth.changes import Head, continues, last_number, read_head
from index.truth.databases.database import Database
from index.truth.entries import read_head_unless_live

T = TypeVar("T")

# A search applies up to this many changes itself, in about 1 ms. More are left to the thread that
# follows the log.
CHANGES_IN_SEARCH = 64
# A search waits this long for another thread that is applying changes, and then answers from the
# older view.
PATIENCE_SECONDS = 0.002


class CurrentView:
    """The view that searches use now. Every method is safe to call from any thread."""

    def __init__(self, database: Database, folder: IndexFolder, current: Current) -> None:
        self._database = database
        self._folder = folder
        self._lock = threading.Lock()  # held by the thread that replaces `_current`
        self._current = current
        self._pictures = PictureHashes(folder.open_hashes)
        self._held = Held()
        self._reached: Head | None = None  # a head that the view has come to, of the same database
        self._last_seen = 0  # the last number in the log when the view was last brought forward
        self._amendments = 0  # those of the log's head when it was last followed
        self._changed_at = -math.inf  # when the view last changed, by the monotonic clock

    @property
    def current(self) -> Current:
        return self._current

    @property
    def view(self) -> View:
        return self._current.view

    @property
    def generation(self) -> int:
        return self._current.view.generation

    @property
    def pictures(self) -> PictureHashes:
        """The perceptual hashes of all images."""
        return self._pictures

    @property
    def held(self) -> Held:
        """What is held in memory of SQL."""
        return self._held

    @property
    def amendments(self) -> int:
        """The number of amendments when the log was last followed."""
        return self._amendments

    @property
    def has_reached_last_change(self) -> bool:
        """False means that the change log had a gap when the view was last brought forward."""
        return self.generation >= self._last_seen

    def seconds_without_change(self) -> float:
        return time.monotonic() - self._changed_at

    def count_pending(self) -> int:
        """Return how many changes the view lacks."""
        with self._database.read() as conn:
            return last_number(conn) - self.generation

    def follow(self, limit: int) -> bool:
        """Apply up to `limit` changes. Return whether there are more."""
        with self._database.read() as conn, self._lock:
            head = read_head(conn)
            before = self.generation
            self._require_same_history(conn, head)
            self._advance(conn, head, limit)
            self._amendments = head.amendments
        return before < self.generation < head.last

    def peek(self, sha256s: Collection[str] = ()) -> tuple[View, Head] | None:
        """Return the view and the head of the log if the view lacks no change and has come to its
        last one before, and none of these images has a live entry; one small SELECT.
        """
        head = read_head_unless_live(self._database, sha256s)
        view = self.view  # before `_has_reached`: that is forgotten before a view is replaced
        if head is None or view.generation != head.last or not self._has_reached(head):
            return None
        return view, head

    def read(self, ask: Callable[[Connection, View, Head], T], *, complete: bool) -> T:
        """Call `ask` with a transaction, a view, and the head of the log, which the view may lack
        some changes of.

        `complete`: the view is brought to the state of the transaction, whatever that takes.

        Raises:
            TruthDamaged: the database is not the one that the view is of.

        """
        while True:
            with self._database.read() as conn:
                head = read_head(conn)
                last = head.last
                self._require_same_history(conn, head)
                is_near = 0 <= last - self.generation <= CHANGES_IN_SEARCH
                if complete or (is_near and not self._has_reached(head)):
                    self._advance_soon(conn, head, wait=complete)
                view = self.view
                if view.generation <= last:
                    return ask(conn, view, head)
            # Either another thread has moved the view beyond this transaction, or the database
            # was replaced by an older one.
            with self._database.read() as conn:
                if last_number(conn) < view.generation:
                    raise TruthDamaged(
                        "the database is older than this index; it was restored or replaced"
                    )

    def _has_reached(self, head: Head) -> bool:
        """Return whether the view has come to the last change of a head: to that number, and time
        of it.
        """
        reached = self._reached
        return reached is not None and reached[:2] == head[:2]

    def _require_same_history(self, conn: Connection, head: Head) -> None:
        """Raise TruthDamaged if another database was put in place of the one that the view is of,
        such as an earlier backup of it that went on. `head` is what the transaction sees.
        """
        reached = self._reached
        if reached is None or self._has_reached(head) or head.last < reached.last:
            return  # an older head is of a transaction that began before, or `read` notices
        if not continues(conn, reached):
            raise TruthDamaged("the database has another history; it was restored or replaced")

    def _advance_soon(self, conn: Connection, head: Head, *, wait: bool) -> None:
        """Bring the view to the state of a transaction, unless another thread holds the lock and
        there is no time to wait.
        """
        if self._lock.acquire(timeout=-1 if wait else PATIENCE_SECONDS):
            try:
                self._advance(conn, head)
            finally:
                self._lock.release()

    def _advance(self, conn: Connection, head: Head, limit: int | None = None) -> None:
        """Bring the view to the state of a transaction. The caller holds the lock."""
        current, last = self._current, head.last
        self._last_seen = last
        if last <= current.view.generation:
            if last == current.view.generation:
                self._reached = head
            return
        space_id = self._folder.space_id
        if space_id is None:
            space_id = self._folder.find_space(conn)
        view = catch_up(conn, current.view, space_id, last, limit)
        self._current = Current(view, current.manifest)
        self._changed_at = time.monotonic()
        if view.generation == last:
            self._reached = head

    def replace(self, current: Current) -> None:
        """Forget the current view and use another one."""
        with self._lock:
            # First: no view may be used with rows of an earlier database, or as if it were of it.
            self._reached = None
            self._held = Held()
            self._pictures = PictureHashes(self._folder.open_hashes)
            self._current = current

    def detach(self) -> None:
        """Note that the current snapshot is no longer on disk."""
        with self._lock:
            self._current = Current(self._current.view, None)

    def adopt(self, manifest: Manifest) -> bool:
        """Use a manifest that differs from the current one in its hashes alone. Return whether it
        does.
        """
        with self._lock:
            current = self._current
            if current.manifest is None:
                return False
            if replace(current.manifest, hashes=manifest.hashes) != manifest:
                return False
            self._current = Current(current.view, manifest)
            return True

    def move_to(self, opened: Current) -> None:
        """Move the view onto the sealed segment of an opened snapshot, keeping every member.

        The caller holds the folder's lock. Does nothing if the view was rebuilt from SQL meanwhile.
        """
        view, moved = self.view, opened.view
        moved.sealed.warm(view.sealed)
        if isinstance(view.sealed.rows, MappedRows) and isinstance(moved.sealed.rows, MappedRows):
            moved.sealed.rows.trust(view.sealed.rows)
        reach(Failpoint.SNAPSHOT_OPENED)
        if view.generation > moved.generation:
            # Later changes are in memory: SQL need not be read for them.
            moved = view.move_to(moved.sealed)
        with self._lock:  # searches may be waiting: what follows is quick
            now = self.view
            if now.sealed is not view.sealed:
                return
            if moved.generation == view.generation:
                moved = moved.apply_difference(view, now)
            elif now.generation > moved.generation:
                moved = now.move_to(moved.sealed)
            self._current = Current(moved, opened.manifest)
        reach(Failpoint.SNAPSHOT_HELD)
