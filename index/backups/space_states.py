"""The state of a database in one number for each embedding space, to compare two databases by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, select

from index.truth.changes import digest_at, last_number
from index.truth.digest import digest_hex
from index.truth.membership import live_digest
from index.truth.schema import embedding_spaces


@dataclass(frozen=True, slots=True)
class SpaceState:
    """An embedding space at a generation;

    `digest` is its set digest, in hex, as the change log states it.
    """

    fingerprint: str
    model: str
    dimension: int
    digest: str


def space_states(conn: Connection) -> tuple[SpaceState, ...]:
    """Return the newest state of each space, oldest space first."""
    last = last_number(conn)
    spaces = conn.execute(select(embedding_spaces).order_by(embedding_spaces.c.id)).all()
    return tuple(
        SpaceState(
            each.fingerprint, each.model, each.dimension, digest_hex(digest_at(conn, each.id, last))
        )
        for each in spaces
    )


def find_difference(conn: Connection, generation: int, states: Sequence[SpaceState]) -> str | None:
    """Say how a database is not in this state, None where it is: in its log, and in the rows that
    it really has.
    """
    if last_number(conn) != generation:
        return f"the last change has the number {last_number(conn)} instead of {generation}"
    if set(space_states(conn)) != set(states):
        return "its embedding spaces are not those stated, or have other digests"
    for state in states:
        query = select(embedding_spaces.c.id).where(
            embedding_spaces.c.fingerprint == state.fingerprint
        )
        rows = digest_hex(live_digest(conn, conn.execute(query).scalar_one()))
        if rows != state.digest:
            name = state.fingerprint[:16]
            return (
                f"the live rows of the space {name} have the digest {rows[:16]}, stated is "
                f"{state.digest[:16]}"
            )
    return None
