"""All tables as rows, for SQLite and PostgreSQL: reading, writing, and the last assigned ids.

The tables are those of `index.truth.schema`, so a later table is copied without a change here.
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

# Rows in memory at a time: about 6 MB with vectors of 384 float32.
CHUNK = 4096
Rows = list[dict[str, Any]]


def read_tables(conn: Connection) -> Iterator[tuple[Table, Rows]]:
    """Yield all rows of all tables in chunks, parents before children, by primary key."""
    for table in metadata.sorted_tables:
        result = conn.execute(
            select(table).order_by(*table.primary_key.columns),
            execution_options={"yield_per": CHUNK},
        )
        for chunk in result.mappings().partitions():
            yield table, [dict(row) for row in chunk]


def insert_rows(conn: Connection, table: Table, rows: Rows) -> None:
    """Insert rows from `read_tables`; the row of the counter replaces that of the migrations."""
    if table is change_counter:
        conn.execute(delete(change_counter))
    conn.execute(insert(table), rows)


def lock_tables(conn: Connection) -> None:
    """Block all other writers until the transaction ends.

    On SQLite a write transaction is the only writer already.
    """
    if conn.dialect.name == "postgresql":
        names = ", ".join(table.name for table in metadata.sorted_tables)
        conn.execute(text(f"LOCK TABLE {names} IN SHARE ROW EXCLUSIVE MODE"))


def find_rows(conn: Connection) -> str | None:
    """Return the name of a table with rows, or None in a freshly migrated database."""
    for table in metadata.sorted_tables:
        row: Select[Any] = select(literal_column("1")).select_from(table)
        if table is not change_counter and conn.execute(select(exists(row))).scalar_one():
            return table.name
    return change_counter.name if last_number(conn) else None


def last_ids(conn: Connection) -> dict[str, int]:
    """Return the highest id that each table has assigned, also to deleted rows; 0 if none.

    PostgreSQL's sequences are outside of transactions: the id can be newer than the rows, but never
    older.
    """
    return {
        table.name: _last_id(conn, table) for table in metadata.sorted_tables if _has_ids(table)
    }


def set_last_ids(conn: Connection, ids: Mapping[str, int]) -> None:
    """Make each table continue after these ids. Call it after the rows are written."""
    for table in metadata.sorted_tables:
        if not _has_ids(table) or not ids.get(table.name):
            continue
        values = {"name": table.name, "last": ids[table.name]}
        if conn.dialect.name == "postgresql":
            conn.execute(text("SELECT setval(pg_get_serial_sequence(:name, 'id'), :last)"), values)
        elif _is_autoincrement(table):
            conn.execute(text("DELETE FROM sqlite_sequence WHERE name = :name"), values)
            conn.execute(
                text("INSERT INTO sqlite_sequence (name, seq) VALUES (:name, :last)"), values
            )


def _has_ids(table: Table) -> bool:
    return table.autoincrement_column is not None


def _is_autoincrement(table: Table) -> bool:
    """Return whether SQLite remembers the ids of deleted rows; other tables never delete rows."""
    return bool(table.dialect_options["sqlite"]["autoincrement"])


def _last_id(conn: Connection, table: Table) -> int:
    highest = conn.execute(select(func.max(table.c.id))).scalar_one() or 0
    if conn.dialect.name == "postgresql":
        name = conn.execute(
            text("SELECT pg_get_serial_sequence(:name, 'id')"), {"name": table.name}
        ).scalar_one()
        last, is_called = conn.execute(text(f"SELECT last_value, is_called FROM {name}")).one()  # noqa: S608  # nosec B608 # a name from PostgreSQL
        return max(int(last) if is_called else 0, int(highest))
    if not _is_autoincrement(table):
        return int(highest)
    query = text("SELECT max(seq) FROM sqlite_sequence WHERE name = :name")
    return max(conn.execute(query, {"name": table.name}).scalar_one() or 0, int(highest))
