"""The statements that SQLite and PostgreSQL must spell for themselves or that need splitting.

Owns: inserts of many rows, insert-unless-there, and slicing of long IN lists. Everything else is plain SQLAlchemy in
the topic's module.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import repeat
from typing import Any, TypeVar

from sqlalchemy import ARRAY, Column, ColumnElement, Connection, Row, Table, any_, bindparam, column, func, select
from sqlalchemy.dialects import postgresql, sqlite

T = TypeVar("T")
Insert = postgresql.Insert | sqlite.Insert

# SQLite takes 32,766 variables in a statement (3.32 and later), PostgreSQL 65,535; this many parse fast. It is also how
# many rows go to PostgreSQL at once: 1.5 MB of 384 float32, which stay in its work_mem.
VARIABLES = 1_000


def insert_rows(conn: Connection, table: Table, rows: Sequence[Mapping[str, Any]], **common: Any) -> None:  # noqa: ANN401 -- whatever the columns take
    """Insert rows with the same keys; `common` holds the columns that are equal in all of them."""
    _insert(conn, _of_dialect(conn, table), rows, common, ())


def insert_missing(
    conn: Connection,
    table: Table,
    rows: Sequence[Mapping[str, Any]],
    *returning: Column[Any],
    **common: Any,  # noqa: ANN401 -- whatever the columns take
) -> Sequence[Row[Any]]:
    """Insert rows, leaving out each that would break a unique key; return `returning` of those that went in.

    On PostgreSQL a row that another transaction is inserting is waited for: when this returns, every key is there and
    committed, or ours. Give the rows in one order everywhere, or two writers can deadlock.
    """
    return _insert(conn, _of_dialect(conn, table).on_conflict_do_nothing(), rows, common, returning)


def is_any(conn: Connection, tested: Column[T], values: Sequence[T]) -> ColumnElement[bool]:
    """Return whether a column is one of at most `VARIABLES` numbers or texts.

    They go as one array, JSON to SQLite: to spell and parse a list takes longer than to look its rows up.
    """
    if conn.dialect.name == "postgresql":
        return tested == any_(bindparam(None, list(values), type_=ARRAY(tested.type)))
    given = func.json_each(json.dumps(list(values))).table_valued("value")
    return tested.in_(select(given.c.value))


def slices(values: Sequence[T], size: int = VARIABLES) -> Iterator[Sequence[T]]:
    """Yield a long sequence in runs that fit one statement."""
    for start in range(0, len(values), size):
        yield values[start : start + size]


def _of_dialect(conn: Connection, table: Table) -> Insert:
    return postgresql.insert(table) if conn.dialect.name == "postgresql" else sqlite.insert(table)


def _insert(
    conn: Connection,
    statement: Insert,
    rows: Sequence[Mapping[str, Any]],
    common: Mapping[str, Any],
    returning: Sequence[Column[Any]],
) -> Sequence[Row[Any]]:
    if not rows:
        return ()
    if conn.dialect.name == "postgresql":
        inserts = [_from_arrays(statement, some, common) for some in slices(rows)]
        if returning:
            return [row for insert in inserts for row in conn.execute(insert.returning(*returning))]
        for insert in inserts:
            conn.execute(insert)
        return ()
    if not returning:
        _execute_many(conn, statement, rows, common)
        return ()
    # RETURNING would have to be asked row by row. The one writer of a SQLite file knows its new rows by their ids.
    table_id = statement.table.c.id
    last = conn.execute(select(func.max(table_id))).scalar_one() or 0
    _execute_many(conn, statement, rows, common)
    return conn.execute(select(*returning).where(table_id > last).order_by(table_id)).all()


def _from_arrays(statement: Insert, rows: Sequence[Mapping[str, Any]], common: Mapping[str, Any]) -> Insert:
    """INSERT ... SELECT from one array a column: a statement of the same few parameters however many the rows are."""
    types = {each.name: each.type for each in statement.table.c}
    names = list(rows[0])
    arrays = [bindparam(None, [row[name] for row in rows], type_=ARRAY(types[name])) for name in names]
    new = func.unnest(*arrays).table_valued(*(column(name, types[name]) for name in names), name="new")
    values = [bindparam(None, value, type_=types[name]) for name, value in common.items()]
    return statement.from_select([*names, *common], select(*new.render_derived().c, *values))


def _execute_many(
    conn: Connection, statement: Insert, rows: Sequence[Mapping[str, Any]], common: Mapping[str, Any]
) -> None:
    """What `conn.execute(statement, rows)` does, with each column converted in one pass: half the time."""
    compiled = statement.compile(dialect=conn.dialect, column_keys=[*rows[0], *common])
    columns: list[Any] = []
    for name in compiled.positiontup or ():
        convert = statement.table.c[name].type.dialect_impl(conn.dialect).bind_processor(conn.dialect) or _as_it_is
        columns.append(repeat(convert(common[name])) if name in common else [convert(row[name]) for row in rows])
    conn.exec_driver_sql(str(compiled), list(zip(*columns, strict=False)))


def _as_it_is(value: Any) -> Any:  # noqa: ANN401 -- whatever the driver takes
    return value
