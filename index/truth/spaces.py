"""Embedding spaces: weights and preprocessing. Vectors of two spaces are never compared.

A forensic space is that of a model that also classifies. A copy space is that of a copy descriptor,
which says which pictures are versions of one another; it has no logits. See
`docs/decisions/0029-copy-spaces-beside-the-forensic-one.md`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import numpy as np
from sqlalchemy import Connection, Row, bindparam, select

from index.errors import ForeignSpace
from index.truth.schema import embedding_spaces
from index.truth.statements import insert_missing
from index.truth.vectors import HALF, STORED


class SpaceKind(StrEnum):
    """What a space is for."""

    FORENSIC = "forensic"
    COPY = "copy"


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
    kind: SpaceKind = SpaceKind.FORENSIC

    @property
    def form(self) -> np.dtype[Any]:
        """The form in which its vectors are stored."""
        return HALF if self.kind is SpaceKind.COPY else STORED

    def require(self, fingerprint: str) -> None:
        """Require that an embedding labelled with this fingerprint belongs to this space.

        Raises:
            ForeignSpace: it belongs to another space.

        """
        if fingerprint != self.fingerprint:
            raise ForeignSpace(self.fingerprint, fingerprint)


# What `space_from_row` reads. Other tables have a `kind` too.
SPACE_COLUMNS = (
    embedding_spaces.c.fingerprint,
    embedding_spaces.c.model,
    embedding_spaces.c.weights_sha256,
    embedding_spaces.c.preprocessing_fingerprint,
    embedding_spaces.c.dimension,
    embedding_spaces.c.kind.label("space_kind"),
)


# Composed once: every look-up asks this.
_BY_FINGERPRINT = select(embedding_spaces).where(
    embedding_spaces.c.fingerprint == bindparam("fingerprint")
)


def space_from_row(row: Row[*tuple[Any, ...]]) -> Space:
    """Return the space in a row that has the `SPACE_COLUMNS`."""
    return Space(
        fingerprint=row.fingerprint,
        model=row.model,
        weights_sha256=row.weights_sha256,
        preprocessing_fingerprint=row.preprocessing_fingerprint,
        dimension=row.dimension,
        kind=SpaceKind(row.space_kind),
    )


def find_space_id(conn: Connection, space: Space) -> int | None:
    """Return the row id of a space, or None if the space is not registered yet.

    Raises:
        ForeignSpace: the space is registered with other weights, preprocessing, dimension or kind.

    """
    row = conn.execute(_BY_FINGERPRINT, {"fingerprint": space.fingerprint}).one_or_none()
    if row is None:
        return None
    stored = (row.weights_sha256, row.preprocessing_fingerprint, row.dimension, row.kind)
    if stored != (
        space.weights_sha256,
        space.preprocessing_fingerprint,
        space.dimension,
        space.kind,
    ):
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
        "kind": space.kind.value,
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


def list_spaces(conn: Connection, kind: SpaceKind | None = None) -> tuple[Space, ...]:
    """Return the registered spaces of a kind, None for every kind, oldest first."""
    query = select(*SPACE_COLUMNS).order_by(embedding_spaces.c.id)
    if kind is not None:
        query = query.where(embedding_spaces.c.kind == kind.value)
    return tuple(space_from_row(row) for row in conn.execute(query))
