"""The state of a database: one digest for each embedding space, to compare two databases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, select

from index.truth.changes import digest_at, last_number
from index.truth.digest import digest_hex
from index.truth.membership import live_digest
from index.truth.schema import embedding_spaces
from index.truth.spaces import SpaceKind


@dataclass(frozen=True, slots=True)
class SpaceState:
    """An embedding space at a generation; `digest` is its logged set digest in hex. Archives of
    before schema 0011 state no `kind`: theirs are forensic.
    """

    fingerprint: str
    model: str
    dimension: int
    digest: str
    kind: str = SpaceKind.FORENSIC.value


def space_states(conn: Connection) -> tuple[SpaceState, ...]:
    """Return the current state of each space, oldest space first."""
    last = last_number(conn)
    spaces = conn.execute(select(embedding_spaces).order_by(embedding_spaces.c.id)).all()
    return tuple(
        SpaceState(
            each.fingerprint,
            each.model,
            each.dimension,
            digest_hex(digest_at(conn, each.id, last)),
            each.kind,
        )
        for each in spaces
    )


def find_difference(conn: Connection, generation: int, states: Sequence[SpaceState]) -> str | None:
    """Return how the log or the rows of a database differ from this state, or None."""
    if last_number(conn) != generation:
        return f"its last change has the number {last_number(conn)} instead of {generation}"
    if set(space_states(conn)) != set(states):
        return "its embedding spaces or their digests differ"
    for state in states:
        query = select(embedding_spaces.c.id).where(
            embedding_spaces.c.fingerprint == state.fingerprint
        )
        rows = digest_hex(live_digest(conn, conn.execute(query).scalar_one()))
        if rows != state.digest:
            name = state.fingerprint[:16]
            return (
                f"its live rows in the space {name} have the digest {rows[:16]} instead of "
                f"{state.digest[:16]}"
            )
    return None
