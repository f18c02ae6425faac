"""The active model: look-ups and ingests use its embedding space if no model is named."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import Connection, delete, select

from index.truth.schema import active_model, embedding_spaces
from index.truth.spaces import Space, ensure_space_id, space_from_row
from index.truth.statements import insert_rows

THE_ROW = 1


@dataclass(frozen=True, slots=True)
class ActiveModel:
    """The name of the active model, its embedding space, and the time of its activation."""

    model: str
    space: Space
    activated_at: datetime


def find_active_model(conn: Connection) -> ActiveModel | None:
    """Return the active model, or None if no model was ever activated."""
    row = conn.execute(
        select(
            active_model.c.model.label("named"), active_model.c.activated_at, embedding_spaces
        ).join(embedding_spaces, embedding_spaces.c.id == active_model.c.space_id)
    ).one_or_none()
    if row is None:
        return None
    return ActiveModel(row.named, space_from_row(row), row.activated_at)


def activate_model(conn: Connection, model: str, space: Space) -> None:
    """Make a model the active one, for every process that opens the database afterwards.

    Raises:
        ForeignSpace: the space is registered with other weights, preprocessing or dimension.

    """
    space_id = ensure_space_id(conn, space)
    conn.execute(delete(active_model))
    row = {"id": THE_ROW, "model": model, "space_id": space_id, "activated_at": datetime.now(UTC)}
    insert_rows(conn, active_model, [row])
