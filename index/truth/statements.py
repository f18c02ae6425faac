"""The statements that SQLite and PostgreSQL must spell for themselves or that need splitting.

Owns: inserts of many rows, insert-unless-there, and slicing of long IN lists. Everything else is
plain SQLAlchemy in the topic's module.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from itertools import chain, repeat
from typing import Any, TypeVar

from sqlalchemy import (
    ARRAY,
    Column,
    ColumnElement,
    Connection,
    LargeBinary,
    Table,
    any_,
    bindparam,
    column,
    func,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite

T = TypeVar("T")
Insert = postgresql.Insert | sqlite.Insert
# Rows of the same keys, or the columns of such rows, which are of one length.
Rows = Sequence[Mapping[str, Any]] | Mapping[str, Sequence[Any]]

# SQLite takes 32,766 variables in a statement (3.32 and later), PostgreSQL 65,535; this many parse
# fast. It is also how many rows go to PostgreSQL at once: 1.5 MB of 384 float32, which stay in its
# work_mem.
VARIABLES = 1_000
# So many rows of at most 11 columns are one statement of SQLite. In the statement Python's threads
# go on, and a row of the four tables of an entry takes 7 microseconds in place of 12 (2026-11-25,
# `executemany`; 100 rows: 9, 1,000: 7.5).
BLOCK_ROWS = 500

# So many rows are written with a larger cache. Keys in no order, as a sha256 is, change nearly a
# page each: 10,000 rows in a table of a million change 60 MB with their vectors.
MANY_ROWS = 1_000
MANY_ROWS_KIB = 2**16


def insert_rows(conn: Connection, table: Table, rows: Rows, **common: Any) -> None:  # noqa: ANN401 -- whatever the columns take
    """Insert rows; `common` holds the columns that are equal in all of them."""
    _insert(conn, table, rows, common, (), leave_out=False)


def insert_missing(
    conn: Connection,
    table: Table,
    rows: Rows,
    *returning: Column[Any],
    **common: Any,  # noqa: ANN401 -- whatever the columns take
) -> Sequence[tuple[Any, ...]]:
    """Insert rows, leaving out each that would break a unique key; return `returning` of those that
    went in.

    On PostgreSQL a row that another transaction is inserting is waited for: when this returns,
    every key is there and committed, or ours. Give the rows in one order everywhere, or two writers
    can deadlock.
    """
    return _insert(conn, table, rows, common, returning, leave_out=True)


@contextmanager
def enlarge_cache(conn: Connection, count: int) -> Iterator[None]:
    """Let a connection to SQLite keep in memory what so many rows change.

    With the usual cache a page that is full of new keys goes to the log several times in one
    transaction.
    """
    if conn.dialect.name != "sqlite" or count < MANY_ROWS:
        yield
        return
    usual = conn.exec_driver_sql("PRAGMA cache_size").scalar_one()
    conn.exec_driver_sql(f"PRAGMA cache_size = -{MANY_ROWS_KIB}")
    try:
        yield
    finally:
        conn.exec_driver_sql(f"PRAGMA cache_size = {usual}")


@contextmanager
def disable_mmap(conn: Connection) -> Iterator[None]:
    """Let a connection to SQLite read a whole file without mapping it, so that memory stays
    bounded.
    """
    if conn.dialect.name != "sqlite":
        yield
        return
    usual = conn.exec_driver_sql("PRAGMA mmap_size").scalar_one()
    conn.exec_driver_sql("PRAGMA mmap_size = 0")
    try:
        yield
    finally:
        conn.exec_driver_sql(f"PRAGMA mmap_size = {usual}")


def is_any(conn: Connection, tested: Column[T], values: Sequence[T]) -> ColumnElement[bool]:
    """Return whether a column is one of at most `VARIABLES` numbers or texts.

    They go as one array, JSON to SQLite: to spell and parse a list takes longer than to look its
    rows up.
    """
    if conn.dialect.name == "postgresql":
        return tested == any_(bindparam(None, list(values), type_=ARRAY(tested.type)))
    given = func.json_each(json.dumps(list(values))).table_valued("value")
    return tested.in_(select(given.c.value))


def slices(values: Sequence[T], size: int = VARIABLES) -> Iterator[Sequence[T]]:
    """Yield a long sequence in runs that fit one statement."""
    for start in range(0, len(values), size):
        yield values[start : start + size]


def _insert(
    conn: Connection,
    table: Table,
    rows: Rows,
    common: Mapping[str, Any],
    returning: Sequence[Column[Any]],
    *,
    leave_out: bool,
) -> Sequence[tuple[Any, ...]]:
    columns = _columns(rows)
    count = len(next(iter(columns.values()), ()))
    if not count:
        return ()
    if conn.dialect.name == "postgresql":
        insert = postgresql.insert(table)
        if leave_out:
            insert = insert.on_conflict_do_nothing()
        return _insert_arrays(conn, insert, columns, common, returning)
    if not returning:
        _insert_blocks(conn, table, columns, common, leave_out=leave_out)
        return ()
    # RETURNING takes as long as all the rest. The one writer of a SQLite file knows its new rows by
    # their ids.
    last = _last_id(conn, table)
    if _insert_blocks(conn, table, columns, common, leave_out=leave_out) < count:
        return conn.execute(select(*returning).where(table.c.id > last).order_by(table.c.id)).all()
    # All went in: AUTOINCREMENT has given each the number after that of the one before.
    last = _last_id(conn, table)
    known = {**columns, "id": range(last - count + 1, last + 1)}
    return list(zip(*(known[each.name] for each in returning), strict=True))


def _last_id(conn: Connection, table: Table) -> int:
    return conn.execute(select(func.max(table.c.id))).scalar_one() or 0


def _columns(rows: Rows) -> Mapping[str, Sequence[Any]]:
    if isinstance(rows, Mapping):
        return rows
    return {name: [row[name] for row in rows] for name in rows[0]} if rows else {}


def _insert_arrays(
    conn: Connection,
    insert: Insert,
    columns: Mapping[str, Sequence[Any]],
    common: Mapping[str, Any],
    returning: Sequence[Column[Any]],
) -> Sequence[tuple[Any, ...]]:
    count = len(next(iter(columns.values())))
    found: list[tuple[Any, ...]] = []
    for start in range(0, count, VARIABLES):
        some = {name: values[start : start + VARIABLES] for name, values in columns.items()}
        statement = _from_arrays(insert, some, common)
        if returning:
            found += conn.execute(statement.returning(*returning))
        else:
            conn.execute(statement)
    return found


def _from_arrays(
    statement: Insert, columns: Mapping[str, Sequence[Any]], common: Mapping[str, Any]
) -> Insert:
    """INSERT ...

    SELECT from one array a column: a statement of the same few parameters however many the rows
    are.
    """
    types = {each.name: each.type for each in statement.table.c}
    arrays = [
        bindparam(None, list(values), type_=ARRAY(types[name])) for name, values in columns.items()
    ]
    new = func.unnest(*arrays).table_valued(
        *(column(name, types[name]) for name in columns), name="new"
    )
    values = [bindparam(None, value, type_=types[name]) for name, value in common.items()]
    return statement.from_select([*columns, *common], select(*new.render_derived().c, *values))


def _insert_blocks(
    conn: Connection,
    table: Table,
    columns: Mapping[str, Sequence[Any]],
    common: Mapping[str, Any],
    *,
    leave_out: bool,
) -> int:
    """Insert and return how many rows went in: a block by one statement, the rest row by row.

    The driver looks for an adapter of each None and of all bytes but a bytearray. So bytes go as
    bytearrays, and a column in which nothing is told is left out.
    """
    own = {
        name: values for name, values in columns.items() if not _is_null(table.c[name], values)
    } or columns
    converted = [_converted(conn, table.c[name], values) for name, values in own.items()]
    equal = [_converted(conn, table.c[name], [value])[0] for name, value in common.items()]
    names = ", ".join(map(conn.dialect.identifier_preparer.quote, [*common, *own]))
    into = f"INSERT INTO {table.name} ({names})"
    ending = " ON CONFLICT DO NOTHING" if leave_out else ""
    whole = len(converted[0]) // BLOCK_ROWS * BLOCK_ROWS
    came = 0
    for start in range(0, whole, BLOCK_ROWS):
        rows = zip(*(values[start : start + BLOCK_ROWS] for values in converted), strict=True)
        block = into + _block(len(equal), len(own)) + ending
        came += conn.exec_driver_sql(block, (*equal, *chain.from_iterable(rows))).rowcount
    if rest := list(
        zip(*map(repeat, equal), *(values[whole:] for values in converted), strict=False)
    ):
        came += conn.exec_driver_sql(
            f"{into} VALUES ({_marks(len(rest[0]))}){ending}", rest
        ).rowcount
    return came


def _is_null(of: Column[Any], values: Sequence[Any]) -> bool:
    """Whether leaving the column out says the same."""
    return bool(of.nullable) and of.server_default is None and values.count(None) == len(values)


def _converted(conn: Connection, of: Column[Any], values: Sequence[Any]) -> Sequence[Any]:
    """The values as the driver takes them."""
    if isinstance(of.type, LargeBinary):
        return [None if value is None else bytearray(value) for value in values]
    convert = of.type.dialect_impl(conn.dialect).bind_processor(conn.dialect)
    return values if convert is None else [convert(value) for value in values]


@lru_cache
def _block(equal: int, own: int) -> str:
    """The end of INSERT ...

    SELECT from a table of values; what is equal in all rows comes first, and once.
    """
    chosen = ", ".join(["?"] * equal + [f"column{number}" for number in range(1, own + 1)])
    values = ", ".join([f"({_marks(own)})"] * BLOCK_ROWS)
    return f" SELECT {chosen} FROM (VALUES {values}) WHERE true"  # noqa: S608 -- numbers and marks


def _marks(count: int) -> str:
    return ", ".join("?" * count)
