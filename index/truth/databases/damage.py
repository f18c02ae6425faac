"""Damage that can be seen in a SQLite file: pages, and values that Lineup cannot have written.

SQLite keeps no checksums, and any column can hold a value of any type. So a changed bit can give a
time that is none, JSON that ends too early, or a word that no release knows. One list of what each
column may hold serves `lineup fsck` and every error that nobody foresaw: where the file is damaged,
that is the reason.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from sqlalchemy import (
    Boolean,
    Column,
    Connection,
    Float,
    Integer,
    LargeBinary,
    String,
    Table,
    text,
)
from sqlalchemy.types import JSON, TypeEngine

from index.truth.calibrations import find_wrong_calibrations
from index.truth.changes import ChangeKind
from index.truth.corpora import CorpusKind, Keep
from index.truth.jobs.items import Outcome
from index.truth.jobs.job import JobKind, JobState
from index.truth.lookups import find_wrong_answers
from index.truth.schema import SHA256_HEX, UtcDateTime, metadata

MOST = 100  # findings of one table
# Answers and calibrations have digests, by which `fsck` finds them.
_JSON_COLUMNS = {
    ("jobs", "request"),
    ("job_chunks", "span"),
    ("lookups", "request"),
    ("calibrations", "request"),
}
_WORDS = {
    ("corpora", "kind"): CorpusKind,
    ("corpora", "keep"): Keep,
    ("jobs", "kind"): JobKind,
    ("jobs", "state"): JobState,
    ("job_items", "outcome"): Outcome,
    ("changes", "kind"): ChangeKind,
}
_BYTES = {("images", "pdq_hash"): 32, ("changes", "digest"): 32}


def find_damage(conn: Connection) -> Iterator[tuple[str, str]]:
    """Yield what is damaged and how, at most some of each table; nothing on PostgreSQL.

    SQLite reads the whole file for it. Raises what SQLite raises where a page cannot be read.
    """
    if conn.dialect.name != "sqlite":
        return
    for (line,) in conn.execute(text("PRAGMA quick_check(10)")).all():
        if line != "ok":
            yield "a page", line
    yield from find_unreadable_values(conn)
    for calibration_id in find_wrong_calibrations(conn):
        yield f"calibration {calibration_id}", "its document is not what was stored"
    for lookup_id, message in find_wrong_answers(conn):
        yield f"look-up {lookup_id}", message


def find_unreadable_values(conn: Connection) -> Iterator[tuple[str, str]]:
    """Yield the rows of SQLite with a value that its column cannot hold, and which value it is."""
    if conn.dialect.name != "sqlite":
        return
    for table in metadata.sorted_tables:
        for row, column in conn.exec_driver_sql(_query(table)).all():
            yield f"row {row} of {table.name}", f"its {column} is not what Lineup writes"
    for row, request, digest in conn.exec_driver_sql(
        "SELECT id, request, request_sha256 FROM jobs"
    ).all():
        if hashlib.sha256(request.encode()).hexdigest() != digest:
            yield f"row {row} of jobs", "its request is not what was stored"


def _query(table: Table) -> str:
    wrong = {column.name: _wrong(table, column) for column in table.columns}
    cases = " ".join(f"WHEN {condition} THEN '{name}'" for name, condition in wrong.items())
    where = " OR ".join(f"({condition})" for condition in wrong.values())
    return f"SELECT rowid, CASE {cases} END FROM {table.name} WHERE {where} LIMIT {MOST}"  # noqa: S608  # nosec B608 # our own tables and columns


def _wrong(table: Table, column: Column[object]) -> str:
    """Return the condition of SQLite under which a value of a column is damaged."""
    name, key = f'"{column.name}"', (table.name, column.name)
    conditions = [f"typeof({name}) NOT IN ({_types(column.type)}, 'null')"]
    if not column.nullable:
        conditions.append(f"{name} IS NULL")
    if isinstance(column.type, UtcDateTime):
        conditions += [
            # Through seconds, because SQLite takes the 30th of February for the 2nd of March.
            f"datetime(strftime('%s', substr({name}, 1, 19)), 'unixepoch') "
            f"IS NOT substr({name}, 1, 19)",
            f"{name} < '0001'",
            f"length({name}) > 19 AND substr({name}, 20) NOT GLOB '.{'[0-9]' * 6}'",
        ]
    if isinstance(column.type, JSON):
        conditions += [f"NOT json_valid({name})", f"json_type({name}) IS NOT 'object'"]
    if key in _JSON_COLUMNS:
        conditions.append(f"NOT json_valid({name})")
    if key in _WORDS:
        words = ", ".join(f"'{word.value}'" for word in _WORDS[key])
        conditions.append(f"{name} NOT IN ({words})")
    if key in _BYTES:
        conditions.append(f"length({name}) <> {_BYTES[key]}")
    if isinstance(column.type, Boolean):
        conditions.append(f"{name} NOT IN (0, 1)")
    if isinstance(column.type, String) and column.type.length == SHA256_HEX and _is_digest(column):
        conditions += [f"length({name}) <> {SHA256_HEX}", f"{name} GLOB '*[^0-9a-f]*'"]
    return (
        f"{name} IS NOT NULL AND ({' OR '.join(conditions)})"
        if column.nullable
        else " OR ".join(f"({condition})" for condition in conditions)
    )


def _is_digest(column: Column[object]) -> bool:
    return column.name.endswith(("sha256", "fingerprint"))


def _types(kind: TypeEngine[object]) -> str:
    """Return the types of SQLite that a value of a column may have."""
    match kind:
        case Boolean() | Integer():
            return "'integer'"
        case Float():
            return "'real', 'integer'"
        case LargeBinary():
            return "'blob'"
        case _:
            return "'text'"
