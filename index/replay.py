"""From SQL to a view: replaying the change log onto an older view, or building one from nothing.

Each step ends by comparing the digest of what is held with the digest that the log states, so that a view which is
not exactly its generation is never handed out.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection

from index.changes import Change, ChangeKind, digest_at, last_before_gap, members_at, read_changes
from index.digest import EMPTY, digest_hex, with_member
from index.errors import TruthDamaged
from index.flat import FlatIndex
from index.vectors import stored_rows
from index.view import View

# Changes read and members built at a time: some 6 MB of 384 float32.
CHUNK = 4096


def catch_up(conn: Connection, view: View, space_id: int | None, last: int) -> View:
    """Return the view at the newest generation that can be reached; `last` is the number of the last change.

    Raises:
        TruthDamaged: the log does not lead from this view to where it says.

    """
    if last < view.generation:
        raise TruthDamaged("the database has gone back behind this index")
    while changes := read_changes(conn, space_id, view.generation, CHUNK):
        view = _applied(view, changes, space_id)
        if len(changes) < CHUNK:
            break
    return view


def _applied(view: View, changes: tuple[Change, ...], space_id: int | None) -> View:
    own = [change for change in changes if change.space_id == space_id]
    added = [change for change in own if change.kind is ChangeKind.ADD]
    vectors = [change.vector for change in added if change.vector is not None]
    if len(vectors) < len(added):
        raise TruthDamaged("an entry came whose embedding is missing")
    view = view.adding([change.entry_id for change in added], vectors)
    view = view.removing([change.entry_id for change in own if change.kind is ChangeKind.REMOVE])
    if own and view.digest != own[-1].digest:
        raise TruthDamaged(
            f"the members at change {own[-1].number} have the digest {digest_hex(view.digest)[:16]}, "
            f"the log states {digest_hex(own[-1].digest)[:16]}"
        )
    return view.reaching(changes[-1].number)


def rebuild(conn: Connection, space_id: int | None, dimension: int) -> View:
    """Return the newest view, built from SQL alone, in chunks.

    Raises:
        TruthDamaged: the rows are not the members that the log states.

    """
    generation = last_before_gap(conn)
    digest = EMPTY

    def chunks() -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        nonlocal digest
        for members in members_at(conn, space_id, generation, CHUNK):
            for member in members:
                digest = with_member(digest, member.entry_id, member.vector)
            ids = np.array([member.entry_id for member in members], np.int64)
            yield ids, stored_rows([member.vector for member in members], dimension)

    base = FlatIndex.build(dimension, chunks())
    stated = digest_at(conn, space_id, generation)
    if digest != stated:
        raise TruthDamaged(
            f"the rows at generation {generation} have the digest {digest_hex(digest)[:16]}, "
            f"the log states {digest_hex(stated)[:16]}"
        )
    return View.of_base(base, generation, digest, dimension)
