"""All tables as rows, in either database: read in one state, written as they were, with the ids
that were given out.

The tables are those of `index.truth.schema`, so a table of a later migration is copied without a
word here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from sqlalchemy import (
    Connection,
    Select,
    Table,
    delete,
    exists,
    func,
    insert,
    literal_column,
    select,
    text,
)

from index.truth.changes import last_number
from index.truth.schema import change_counter, metadata

# Rows held at a time: with vectors of 384 float32 some 6 MB.
CHUNK = 4096
Rows = list[dict[str, Any]]


def read_tables(conn: Connection) -> Iterator[tuple[Table, Rows]]:
    """Yield every row of every table in chunks: parents before children, each table by its primary
    key.
    """
    for table in metadata.sorted_tables:
        found = conn.execute(
            select(table).order_by(*table.primary_key.columns),
            execution_options={"yield_per": CHUNK},
        )
        for chunk in found.mappings().partitions():
            yield table, [dict(row) for row in chunk]


def insert_rows(conn: Connection, table: Table, rows: Rows) -> None:
    """Write rows as `read_tables` gave them; those of the counter take the place of what the
    migrations put there.
    """
    if table is change_counter:
        conn.execute(delete(change_counter))
    conn.execute(insert(table), rows)


def lock_tables(conn: Connection) -> None:
    """Let nobody else write until the transaction ends.

    SQLite: a write transaction is alone already.
    """
    if conn.dialect.name == "postgresql":
        names = ", ".join(table.name for table in metadata.sorted_tables)
        conn.execute(text(f"LOCK TABLE {names} IN SHARE ROW EXCLUSIVE MODE"))


def find_rows(conn: Connection) -> str | None:
    """Return the name of a table that has rows, None in a database as the migrations make it."""
    for table in metadata.sorted_tables:
        row: Select[Any] = select(literal_column("1")).select_from(table)
        if table is not change_counter and conn.execute(select(exists(row))).scalar_one():
            return table.name
    return change_counter.name if last_number(conn) else None


def last_ids(conn: Connection) -> dict[str, int]:
    """Return the highest id that each table gave out, also to rows that are gone; 0 before the
    first.

    A sequence of PostgreSQL is outside of transactions: what it says may be newer than the rows,
    never older.
    """
    return {
        table.name: _last_id(conn, table) for table in metadata.sorted_tables if _gives_ids(table)
    }


def set_last_ids(conn: Connection, ids: Mapping[str, int]) -> None:
    """Let the next id of each table be the one after these. Call it after the rows are written."""
    for table in metadata.sorted_tables:
        if not _gives_ids(table) or not ids.get(table.name):
            continue
        values = {"name": table.name, "last": ids[table.name]}
        if conn.dialect.name == "postgresql":
            conn.execute(text("SELECT setval(pg_get_serial_sequence(:name, 'id'), :last)"), values)
        elif _is_autoincrement(table):
            conn.execute(text("DELETE FROM sqlite_sequence WHERE name = :name"), values)
            conn.execute(
                text("INSERT INTO sqlite_sequence (name, seq) VALUES (:name, :last)"), values
            )


def _gives_ids(table: Table) -> bool:
    return table.autoincrement_column is not None


def _is_autoincrement(table: Table) -> bool:
    """Whether SQLite remembers ids of rows that are gone; where it does not, no row ever goes."""
    return bool(table.dialect_options["sqlite"]["autoincrement"])


def _last_id(conn: Connection, table: Table) -> int:
    highest = conn.execute(select(func.max(table.c.id))).scalar_one() or 0
    if conn.dialect.name == "postgresql":
        name = conn.execute(
            text("SELECT pg_get_serial_sequence(:name, 'id')"), {"name": table.name}
        ).scalar_one()
        last, is_called = conn.execute(text(f"SELECT last_value, is_called FROM {name}")).one()  # noqa: S608 - its own
        return max(int(last) if is_called else 0, int(highest))
    if not _is_autoincrement(table):
        return int(highest)
    query = text("SELECT max(seq) FROM sqlite_sequence WHERE name = :name")
    return max(conn.execute(query, {"name": table.name}).scalar_one() or 0, int(highest))
