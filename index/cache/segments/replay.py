"""From SQL to a view: replaying the change log onto an older view, or reading all members.

Each step ends by comparing the digest of the result with the digest in the log, so that a view is
never handed out unless it is exactly its generation.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection

from index.cache.segments.facts import FACTS, Facts, Words, facts_of
from index.cache.segments.view import View
from index.errors import TruthDamaged
from index.truth.changes import (
    Change,
    ChangeKind,
    digest_at,
    last_before_gap,
    members_at,
    read_changes,
)
from index.truth.digest import EMPTY, add_members, digest_hex
from index.truth.vectors import STORED, rows_from_bytes

# Changes read, and members built, at a time: some 6 MB of 384 float32.
CHUNK = 4096


def catch_up(
    conn: Connection, view: View, space_id: int | None, last: int, limit: int | None = None
) -> View:
    """Return the view after the changes up to number `last`, or after the first `limit` of them.

    It stops before a gap in the log.

    Raises:
        TruthDamaged: the log does not lead from this view to the state that it states.

    """
    if last < view.generation:
        raise TruthDamaged("the database is older than this index; it was restored or replaced")
    chunk = min(CHUNK, limit or CHUNK)
    while view.generation < last and (
        changes := read_changes(conn, space_id, view.generation, chunk)
    ):
        view = _apply(view, changes, space_id)
        if len(changes) < chunk or limit is not None:
            break
    return view


def _apply(view: View, changes: tuple[Change, ...], space_id: int | None) -> View:
    own = [change for change in changes if change.space_id == space_id]
    additions = [change for change in own if change.kind is ChangeKind.ADD]
    rows = [change.row for change in additions if change.row is not None]
    if len(rows) < len(additions):
        raise TruthDamaged("the change log adds an entry whose embedding is missing")
    view = view.add(rows)
    view = view.remove([change.entry_id for change in own if change.kind is ChangeKind.REMOVE])
    if own and view.digest != own[-1].digest:
        raise TruthDamaged(
            f"the members at change {own[-1].number} have the digest "
            f"{digest_hex(view.digest)[:16]}, "
            f"the log states {digest_hex(own[-1].digest)[:16]}"
        )
    return view.at_generation(changes[-1].number)


class Members:
    """The members of a space at the newest generation, read from SQL once.

    The caller takes the vectors chunk by chunk, into memory or into a file, so that memory stays
    bounded. `facts` and `digest` are complete after the last chunk.
    """

    def __init__(
        self,
        conn: Connection,
        space_id: int | None,
        dimension: int,
        form: np.dtype[Any] = STORED,
    ) -> None:
        self.generation = last_before_gap(conn)
        self.digest = EMPTY
        self.words = Words()
        self._facts = [np.empty(0, FACTS)]
        self._conn = conn
        self._space_id = space_id
        self._dimension = dimension
        self._form = form

    def chunks(self) -> Iterator[NDArray[np.float32]]:
        """Yield the vectors (c, d) in the order in which the entries were added.

        Raises:
            TruthDamaged: after the last chunk, if the rows are not the members that the log
            states.

        """
        for rows in members_at(self._conn, self._space_id, self.generation, CHUNK):
            vectors = [row.vector for row in rows]
            self.digest = add_members(self.digest, (row.entry_id for row in rows), vectors)
            self._facts.append(facts_of(rows, self.words))
            yield rows_from_bytes(vectors, self._dimension, self._form)
        stated = digest_at(self._conn, self._space_id, self.generation)
        if self.digest != stated:
            raise TruthDamaged(
                f"the rows at generation {self.generation} have the digest "
                f"{digest_hex(self.digest)[:16]}, "
                f"the log states {digest_hex(stated)[:16]}"
            )

    @property
    def facts(self) -> Facts:
        """Facts (n,) of the members read so far."""
        return np.concatenate(self._facts)
