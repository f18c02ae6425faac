"""Statements that differ between SQLite and PostgreSQL, or that must be split.

Owns inserts of many rows, inserts that skip existing rows, and the slicing of long lists of values.
All other statements are plain SQLAlchemy in the module of their topic.
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
    Dialect,
    LargeBinary,
    Select,
    Table,
    any_,
    bindparam,
    column,
    func,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError

T = TypeVar("T")
Insert = postgresql.Insert | sqlite.Insert
# Rows with the same keys, or the columns of such rows, all of one length.
Rows = Sequence[Mapping[str, Any]] | Mapping[str, Sequence[Any]]

# SQLite accepts 32,766 variables in a statement (since 3.32), PostgreSQL 65,535; 1,000 parse fast.
# PostgreSQL also gets 1,000 rows at once: with 384 float32 they are 1.5 MB and fit its work_mem.
VARIABLES = 1_000
# The number of rows, of at most 11 columns, in one INSERT statement of SQLite. Other threads of
# Python run during the statement. An entry with its image, embedding and change takes 33
# microseconds of CPU in blocks, 39 with the driver's `executemany`, and 64 with SQLAlchemy's
# (2026-11-30, `add_entries` of 20,000 ready embeddings with 384 dimensions). The ingest of a ready
# embedding takes 47 to 64 microseconds in all (docs/benchmarks.md): blocks save a tenth of that.
BLOCK_ROWS = 500

# From this many rows on, SQLite gets a larger cache. Random keys such as a sha256 change nearly one
# page each: 10,000 rows in a table of a million change 60 MB, with their vectors.
MANY_ROWS = 1_000
MANY_ROWS_KIB = 2**16


def insert_rows(conn: Connection, table: Table, rows: Rows, **common: Any) -> None:  # noqa: ANN401 -- any value that a column takes
    """Insert rows; `common` holds the columns whose value is the same in all rows."""
    _insert(conn, table, rows, common, (), skip_existing=False)


def insert_missing(
    conn: Connection,
    table: Table,
    rows: Rows,
    *returning: Column[Any],
    **common: Any,  # noqa: ANN401 -- any value that a column takes
) -> Sequence[tuple[Any, ...]]:
    """Insert the rows that break no unique key; return the columns `returning` of those rows.

    PostgreSQL waits for another transaction that is inserting the same key. When this returns,
    every key is committed or was inserted here. Always give the rows in the same order, or two
    writers can deadlock.
    """
    return _insert(conn, table, rows, common, returning, skip_existing=True)


def fetch_rows(
    conn: Connection, query: str, parameters: Sequence[Any] | Mapping[str, Any] = ()
) -> list[tuple[Any, ...]]:
    """Return the rows of a query in the driver's own SQL and types.

    For the few statements of every search: one row takes 4 microseconds, where `exec_driver_sql`
    takes 22 (2026-11-30).
    """
    driver = conn.dialect.loaded_dbapi
    try:
        cursor = conn.connection.cursor()
        try:
            cursor.execute(query, parameters)
            return list(cursor.fetchall())
        finally:
            cursor.close()
    except driver.Error as err:
        raise DBAPIError.instance(query, None, err, driver.Error, dialect=conn.dialect) from err


class QueryByValues:
    """A query for the rows whose column has one of some values, composed once for a database.

    For the few queries of every search: SQLAlchemy composes a statement, and makes an object for
    each row, in more time than the database needs to find ten rows.
    """

    def __init__(self, dialect: Dialect, query: Select[Any], tested: Column[Any]) -> None:
        composed = query.where(_is_any(dialect, tested, [])).compile(dialect=dialect)
        (self._name,) = composed.params
        self._text = str(composed)
        self._sends_array = dialect.name == "postgresql"
        self._processors = [
            (number, process)
            for number, each in enumerate(query.selected_columns)
            if (process := each.type.dialect_impl(dialect).result_processor(dialect, None))
        ]

    def fetch(self, conn: Connection, values: Sequence[Any]) -> Iterator[tuple[Any, ...]]:
        """Yield the rows for at most `VARIABLES` values. Equal values of a row are one object."""
        given = {self._name: list(values)} if self._sends_array else (json.dumps(list(values)),)
        columns: list[Sequence[Any]] = [*zip(*fetch_rows(conn, self._text, given), strict=True)]
        for number, process in self._processors if columns else ():
            processed = {value: process(value) for value in frozenset(columns[number])}
            columns[number] = [processed[value] for value in columns[number]]
        return zip(*columns, strict=True)


@contextmanager
def enlarge_cache(conn: Connection, count: int) -> Iterator[None]:
    """Give a SQLite connection a cache that holds all pages that `count` new rows change.

    With the usual cache, SQLite writes the same page to the log several times in one transaction.
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
    """Let a SQLite connection read a large file without mapping it, to bound its memory."""
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
    """Return the condition that a column has one of these values, numbers or texts.

    Give at most `VARIABLES` values. They are sent as one array (SQLite: JSON), because composing
    and parsing a list takes longer than finding its rows.
    """
    return _is_any(conn.dialect, tested, values)


def _is_any(dialect: Dialect, tested: Column[T], values: Sequence[T]) -> ColumnElement[bool]:
    if dialect.name == "postgresql":
        return tested == any_(bindparam(None, list(values), type_=ARRAY(tested.type)))
    array = func.json_each(json.dumps(list(values))).table_valued("value")
    return tested.in_(select(array.c.value))


def slices(values: Sequence[T], size: int = VARIABLES) -> Iterator[Sequence[T]]:
    """Yield a long sequence in slices that fit into one statement."""
    for start in range(0, len(values), size):
        yield values[start : start + size]


def _insert(
    conn: Connection,
    table: Table,
    rows: Rows,
    common: Mapping[str, Any],
    returning: Sequence[Column[Any]],
    *,
    skip_existing: bool,
) -> Sequence[tuple[Any, ...]]:
    columns = _columns(rows)
    count = len(next(iter(columns.values()), ()))
    if not count:
        return ()
    if conn.dialect.name == "postgresql":
        insert = postgresql.insert(table)
        if skip_existing:
            insert = insert.on_conflict_do_nothing()
        return _insert_arrays(conn, insert, columns, common, returning)
    if not returning:
        _insert_blocks(conn, table, columns, common, skip_existing=skip_existing)
        return ()
    # RETURNING would double the time. SQLite has one writer, so the new rows are those with larger
    # ids.
    last = _last_id(conn, table)
    if _insert_blocks(conn, table, columns, common, skip_existing=skip_existing) < count:
        return conn.execute(select(*returning).where(table.c.id > last).order_by(table.c.id)).all()
    # Every row was inserted, so AUTOINCREMENT gave them consecutive ids.
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
    returned: list[tuple[Any, ...]] = []
    for start in range(0, count, VARIABLES):
        arrays = {name: values[start : start + VARIABLES] for name, values in columns.items()}
        statement = _from_arrays(insert, arrays, common)
        if returning:
            returned += conn.execute(statement.returning(*returning))
        else:
            conn.execute(statement)
    return returned


def _from_arrays(
    statement: Insert, columns: Mapping[str, Sequence[Any]], common: Mapping[str, Any]
) -> Insert:
    """Return an INSERT that selects from one array for each column.

    The statement has the same few parameters for any number of rows.
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
    skip_existing: bool,
) -> int:
    """Insert each whole block by one statement, the rest row by row; return how many are new.

    The driver looks for an adapter for each None and each `bytes`, but not for a `bytearray`. So
    bytes are passed as bytearrays, and a column that has only None is left out.
    """
    own = {
        name: values for name, values in columns.items() if not _is_null(table.c[name], values)
    } or columns
    converted = [_convert(conn, table.c[name], values) for name, values in own.items()]
    equal = [_convert(conn, table.c[name], [value])[0] for name, value in common.items()]
    names = ", ".join(map(conn.dialect.identifier_preparer.quote, [*common, *own]))
    into = f"INSERT INTO {table.name} ({names})"
    ending = " ON CONFLICT DO NOTHING" if skip_existing else ""
    whole = len(converted[0]) // BLOCK_ROWS * BLOCK_ROWS
    inserted = 0
    for start in range(0, whole, BLOCK_ROWS):
        rows = zip(*(values[start : start + BLOCK_ROWS] for values in converted), strict=True)
        block = into + _block(len(equal), len(own)) + ending
        inserted += conn.exec_driver_sql(block, (*equal, *chain.from_iterable(rows))).rowcount
    if rest := list(
        zip(*map(repeat, equal), *(values[whole:] for values in converted), strict=False)
    ):
        inserted += conn.exec_driver_sql(
            f"{into} VALUES ({_marks(len(rest[0]))}){ending}", rest
        ).rowcount
    return inserted


def _is_null(of: Column[Any], values: Sequence[Any]) -> bool:
    """Return whether the column can be left out, because every value is NULL anyway."""
    return bool(of.nullable) and of.server_default is None and values.count(None) == len(values)


def _convert(conn: Connection, of: Column[Any], values: Sequence[Any]) -> Sequence[Any]:
    """Return the values in the form that the driver takes."""
    if isinstance(of.type, LargeBinary):
        return [None if value is None else bytearray(value) for value in values]
    convert = of.type.dialect_impl(conn.dialect).bind_processor(conn.dialect)
    return values if convert is None else [convert(value) for value in values]


@lru_cache
def _block(equal: int, own: int) -> str:
    """Return the end of an INSERT that selects from a list of rows.

    The values that all rows share come first, and only once.
    """
    chosen = ", ".join(["?"] * equal + [f"column{number}" for number in range(1, own + 1)])
    values = ", ".join([f"({_marks(own)})"] * BLOCK_ROWS)
    return f" SELECT {chosen} FROM (VALUES {values}) WHERE true"  # noqa: S608  # nosec B608 # numbers and marks


def _marks(count: int) -> str:
    return ", ".join("?" * count)
