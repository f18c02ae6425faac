"""What answers show of entries, held in memory for as long as it is true.

An entry that is a member of a view was read from SQL once. Its row never changes, but the setting
of its corpus and the facts of its image can; each such commit has a number, the amendments of the
log's head. Rows are held for one number of amendments only, so an entry that is held is exactly
what SQL has. Which entries are live is not decided here: the caller asks for members of a view that
no change follows. See `docs/decisions/0035-rows-of-entries-in-memory.md`.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from itertools import islice

from sqlalchemy import Connection

from index.truth.entries import Entry, find_entries

# A third of it are those that a thousand answers with ten neighbours each show.
ENTRIES_HELD = 2**15


@dataclass(frozen=True, slots=True)
class _Held:
    """Entries by id. Those that were used before `recent` was begun are in `earlier`; they are
    dropped when `recent` is full, unless they are used again.
    """

    amendments: int
    recent: dict[int, Entry]
    earlier: dict[int, Entry]


class EntryRows:
    """Entries by id, at most `limit` of them. For any thread."""

    def __init__(self, limit: int = ENTRIES_HELD) -> None:
        """Hold nothing yet. The limit is at least 3."""
        # `recent` has fewer before it gets at most as many, and then becomes `earlier`.
        self._part = limit // 3
        self._lock = threading.Lock()  # held by the thread that adds entries
        self._held = _Held(-1, {}, {})

    def held(self, entry_ids: Collection[int], amendments: int) -> dict[int, Entry]:
        """Return those of these entries that are held for a number of amendments, by id."""
        held = self._held
        if held.amendments != amendments:
            return {}
        recent = held.recent
        found = {i: recent[i] for i in entry_ids if i in recent}
        if held.earlier and len(found) < len(entry_ids):
            earlier = held.earlier
            again = {i: earlier[i] for i in entry_ids if i not in found and i in earlier}
            self._hold(again, amendments)
            found |= again
        return found

    def find(
        self, conn: Connection, entry_ids: Collection[int], amendments: int
    ) -> dict[int, Entry]:
        """Return those of these entries that are live, by id.

        They are members of a space at the last change that the transaction sees, and `amendments`
        is the number that it sees.
        """
        found = self.held(entry_ids, amendments)
        if missing := [entry_id for entry_id in entry_ids if entry_id not in found]:
            read = find_entries(conn, missing)
            self._hold(read, amendments)
            found |= read
        return found

    def _hold(self, found: Mapping[int, Entry], amendments: int) -> None:
        with self._lock:
            held = self._held
            # A smaller number comes from a transaction that began before the last amendment, or
            # from a database that was restored, which may come to the same number another way.
            if amendments != held.amendments:
                held = self._held = _Held(amendments, {}, {})
            held.recent.update(islice(found.items(), self._part))
            if len(held.recent) >= self._part:
                self._held = _Held(amendments, {}, held.recent)
