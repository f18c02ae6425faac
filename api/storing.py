"""Look-ups that end at the same time are stored by one commit.

A commit waits for the disk or for the server, and takes as long for many rows as for one. While one
is made, the rows of other threads wait; then one of these threads commits them all. It never waits
for more: a single look-up is committed at once. Nothing is acknowledged before it is durable.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from index.errors import DatabaseError, StorageFull
from index.truth.databases.database import Database
from index.truth.lookups import NewLookup, save_lookups
from index.truth.spaces import Space

# They are about the database and not about a row: no row would do better alone.
OF_THE_DATABASE = (DatabaseError, StorageFull)


@dataclass(slots=True, eq=False)
class _Waiting:
    rows: Sequence[NewLookup]
    is_done: bool = False
    error: BaseException | None = None


class LookupStore:
    """Stores look-ups of one embedding space; `save` may be called from any number of threads."""

    def __init__(
        self,
        database: Database,
        space: Space,
        find_space_id: Callable[[], int | None] = lambda: None,
    ) -> None:
        """`find_space_id` returns the row id of the space where it is known; the index knows it,
        and notices that the database was restored.
        """
        self._database = database
        self._space = space
        self._find_space_id = find_space_id
        self._changed = threading.Condition()  # guards what follows, and tells of its changes
        self._waiting: list[_Waiting] = []
        self.is_committing = False
        self.commits = 0

    @property
    def waiting(self) -> int:
        """The calls of `save` whose commit has not begun."""
        return len(self._waiting)

    def save(self, rows: Sequence[NewLookup]) -> None:
        """Store rows; return when they are durable.

        All of them are stored, or none: rows of other threads change nothing about that. Without
        rows, nothing is committed.

        Raises `ForeignSpace`, `InvalidVector`, `DatabaseUnavailable`, `DatabaseReadOnly`,
        `StorageFull`.
        """
        if not rows:
            return
        own = _Waiting(rows)
        with self._changed:
            self._waiting.append(own)
            self._changed.wait_for(lambda: own.is_done or not self.is_committing)
            group = [] if own.is_done else self._waiting
            if group:
                self._waiting, self.is_committing = [], True
        if group:
            self._commit_and_tell(group)
        if own.error is not None:
            raise own.error

    def _commit_and_tell(self, group: Sequence[_Waiting]) -> None:
        try:
            self._commit(group)
        finally:
            with self._changed:
                for each in group:
                    each.is_done = True
                self.is_committing = False
                self._changed.notify_all()

    def _commit(self, group: Sequence[_Waiting]) -> None:
        """Commit a group. Where a row is refused, each of the group is committed alone."""
        try:
            self._write([row for each in group for row in each.rows])
        except BaseException as err:  # a boundary: each thread of the group raises its own error
            if isinstance(err, Exception) and not isinstance(err, OF_THE_DATABASE) and group[1:]:
                for each in group:
                    self._commit([each])
                return
            for each in group:
                each.error = err

    def _write(self, rows: Sequence[NewLookup]) -> None:
        with self._database.write() as conn:
            save_lookups(conn, self._space, rows, self._find_space_id())
        self.commits += 1
