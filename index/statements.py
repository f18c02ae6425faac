"""The two statements that SQLite and PostgreSQL must spell for themselves or that need splitting.

Owns: insert-unless-there, and slicing of long IN lists. Everything else is plain SQLAlchemy in the topic's module.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

from sqlalchemy import Column, Connection, Row, Table
from sqlalchemy.dialects import postgresql, sqlite

T = TypeVar("T")

# SQLite takes 32,766 variables in a statement (3.32 and later), PostgreSQL 65,535; this many parse fast.
VARIABLES = 1_000


def insert_missing(
    conn: Connection, table: Table, rows: Sequence[Mapping[str, Any]], *returning: Column[Any]
) -> Sequence[Row[Any]]:
    """Insert rows, leaving out each that would break a unique key; return `returning` of those that went in.

    On PostgreSQL a row that another transaction is inserting is waited for: when this returns, every key is there and
    committed, or ours. Give the rows in one order everywhere, or two writers can deadlock.
    """
    if not rows:
        return ()
    dialect = postgresql if conn.dialect.name == "postgresql" else sqlite
    insert = dialect.insert(table).on_conflict_do_nothing()
    if not returning:
        conn.execute(insert, list(rows))
        return ()
    return conn.execute(insert.returning(*returning), list(rows)).all()


def slices(values: Sequence[T], size: int = VARIABLES) -> Iterator[Sequence[T]]:
    """Yield a long sequence in runs that fit one statement."""
    for start in range(0, len(values), size):
        yield values[start : start + size]
