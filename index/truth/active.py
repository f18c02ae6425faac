"""The active model: look-ups and ingests use its embedding space if no model is named. Beside it,
the active copy space: look-ups search it for edited versions of a picture, and ingests fill it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import Connection, delete, select

from index.truth.databases.database import Database
from index.truth.schema import active_copy_space, active_model, embedding_spaces
from index.truth.spaces import SPACE_COLUMNS, Space, ensure_space_id, space_from_row
from index.truth.statements import insert_missing, insert_rows

THE_ROW = 1
_ACTIVE_COPY_SPACE = (
    select(active_copy_space.c.descriptor, active_copy_space.c.activated_at, *SPACE_COLUMNS)
    .select_from(active_copy_space)
    .join(embedding_spaces, embedding_spaces.c.id == active_copy_space.c.space_id)
)
# Every look-up of a process that does not watch it asks this. It has always one row, which
# `Database.read_row` asks for.
_ACTIVE_COPY_NAMES = (
    "SELECT (SELECT descriptor FROM active_copy_space), (SELECT fingerprint FROM embedding_spaces"
    " WHERE id = (SELECT space_id FROM active_copy_space))"
)


@dataclass(frozen=True, slots=True)
class ActiveModel:
    """The name of the active model, its embedding space, and the time of its activation."""

    model: str
    space: Space
    activated_at: datetime


@dataclass(frozen=True, slots=True)
class ActiveCopySpace:
    """The active copy space, the name of its descriptor or the path of the file, and the time of
    its activation.
    """

    descriptor: str
    space: Space
    activated_at: datetime


def find_active_model(conn: Connection) -> ActiveModel | None:
    """Return the active model, or None if no model was ever activated."""
    row = conn.execute(
        select(
            active_model.c.model.label("named"), active_model.c.activated_at, *SPACE_COLUMNS
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


def find_active_copy_space(conn: Connection) -> ActiveCopySpace | None:
    """Return the active copy space, or None if none was ever activated."""
    row = conn.execute(_ACTIVE_COPY_SPACE).one_or_none()
    if row is None:
        return None
    return ActiveCopySpace(row.descriptor, space_from_row(row), row.activated_at)


def read_active_copy_names(database: Database) -> tuple[str, str] | None:
    """Return the name of the active descriptor and the fingerprint of its space, or None.

    For every look-up: in a tenth of the time that `find_active_copy_space` takes.
    """
    descriptor, fingerprint = database.read_row(_ACTIVE_COPY_NAMES)
    return None if descriptor is None else (descriptor, fingerprint)


def activate_copy_space(conn: Connection, descriptor: str, space: Space) -> None:
    """Make a copy space the active one, for every process that looks afterwards.

    Raises:
        ForeignSpace: the space is registered with other facts.

    """
    conn.execute(delete(active_copy_space))
    insert_rows(conn, active_copy_space, [_copy_row(conn, descriptor, space)])


def activate_first_copy_space(conn: Connection, descriptor: str, space: Space) -> ActiveCopySpace:
    """Make a copy space the active one unless there is one, and return the one that is active.

    Raises like `activate_copy_space`.
    """
    insert_missing(conn, active_copy_space, [_copy_row(conn, descriptor, space)])
    active = find_active_copy_space(conn)
    assert active is not None
    return active


def deactivate_copy_space(conn: Connection) -> None:
    """Search and fill no copy space from now on; vectors that are stored stay."""
    conn.execute(delete(active_copy_space))


def _copy_row(conn: Connection, descriptor: str, space: Space) -> dict[str, object]:
    return {
        "id": THE_ROW,
        "descriptor": descriptor,
        "space_id": ensure_space_id(conn, space),
        "activated_at": datetime.now(UTC),
    }
