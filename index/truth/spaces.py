"""Embedding spaces: weights and preprocessing. Vectors of two spaces are never compared."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Row, select

from index.errors import ForeignSpace
from index.truth.schema import embedding_spaces
from index.truth.statements import insert_missing


@dataclass(frozen=True, slots=True)
class Space:
    """An embedding space: embeddings are comparable if their spaces have the same fingerprint.

    `fingerprint` is the sha256 of weights and preprocessing, as 64 hex digits.
    """

    fingerprint: str
    model: str
    weights_sha256: str
    preprocessing_fingerprint: str
    dimension: int

    def require(self, fingerprint: str) -> None:
        """Require that an embedding labelled with this fingerprint belongs to this space.

        Raises:
            ForeignSpace: it belongs to another space.

        """
        if fingerprint != self.fingerprint:
            raise ForeignSpace(self.fingerprint, fingerprint)


def space_from_row(row: Row[Any]) -> Space:
    """Return the space in a row that has the columns of `embedding_spaces`."""
    return Space(
        fingerprint=row.fingerprint,
        model=row.model,
        weights_sha256=row.weights_sha256,
        preprocessing_fingerprint=row.preprocessing_fingerprint,
        dimension=row.dimension,
    )


def find_space_id(conn: Connection, space: Space) -> int | None:
    """Return the row id of a space, or None if the space is not registered yet.

    Raises:
        ForeignSpace: the space is registered with other weights, preprocessing or dimension.

    """
    row = conn.execute(
        select(embedding_spaces).where(embedding_spaces.c.fingerprint == space.fingerprint)
    ).one_or_none()
    if row is None:
        return None
    stored = (row.weights_sha256, row.preprocessing_fingerprint, row.dimension)
    if stored != (space.weights_sha256, space.preprocessing_fingerprint, space.dimension):
        raise ForeignSpace(space.fingerprint, f"{row.weights_sha256}:{row.dimension}")
    return int(row.id)


def ensure_space_id(conn: Connection, space: Space) -> int:
    """Return the row id of a space, registering the space if it is new.

    Raises:
        ForeignSpace: the space is registered with other weights, preprocessing or dimension.

    """
    found = find_space_id(conn, space)
    if found is not None:
        return found
    row = {
        "fingerprint": space.fingerprint,
        "model": space.model,
        "weights_sha256": space.weights_sha256,
        "preprocessing_fingerprint": space.preprocessing_fingerprint,
        "dimension": space.dimension,
        "created_at": datetime.now(UTC),
    }
    insert_missing(conn, embedding_spaces, [row])
    space_id = find_space_id(conn, space)
    assert space_id is not None
    return space_id


def lock_space(conn: Connection, space: Space) -> None:
    """Block other callers of this function for the same space until the transaction ends."""
    space_id = ensure_space_id(conn, space)
    query = select(embedding_spaces.c.id).where(embedding_spaces.c.id == space_id)
    conn.execute(query.with_for_update(key_share=True))


def list_spaces(conn: Connection) -> tuple[Space, ...]:
    """Return all registered spaces, oldest first."""
    rows = conn.execute(select(embedding_spaces).order_by(embedding_spaces.c.id))
    return tuple(space_from_row(row) for row in rows)
