"""The active model: whose embedding space lookups and ingests use where nobody names a model."""

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
    """A model as it was named, the space that it made when it was activated, and when that was."""

    model: str
    space: Space
    activated_at: datetime


def find_active_model(conn: Connection) -> ActiveModel | None:
    """Return the active model, None where none was ever activated."""
    row = conn.execute(
        select(
            active_model.c.model.label("named"), active_model.c.activated_at, embedding_spaces
        ).join(embedding_spaces, embedding_spaces.c.id == active_model.c.space_id)
    ).one_or_none()
    if row is None:
        return None
    return ActiveModel(row.named, space_from_row(row), row.activated_at)


def activate_model(conn: Connection, model: str, space: Space) -> None:
    """Make a model the active one; whoever opens the database afterwards uses it.

    Raises ForeignSpace.
    """
    space_id = ensure_space_id(conn, space)
    conn.execute(delete(active_model))
    row = {"id": THE_ROW, "model": model, "space_id": space_id, "activated_at": datetime.now(UTC)}
    insert_rows(conn, active_model, [row])
