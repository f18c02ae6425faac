"""How a database is used: its connections, how long they wait, and whether anything is written."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DatabaseOptions:
    """What an operator can choose. All but `read_only` are about PostgreSQL.

    A process opens up to `pool_size + pool_overflow` connections and keeps `pool_size` of them.
    A time-out is in seconds, and 0 waits for ever. `prepared_statements` None uses them unless a
    pooler such as PgBouncer stands between. `application` names the process in
    `pg_stat_activity`.
    """

    read_only: bool = False
    # A server answers from some dozens of threads, of which each holds a connection while it
    # searches. Three servers with 32 connections fit under PostgreSQL's default of 100.
    pool_size: int = 8
    pool_overflow: int = 24
    pool_timeout_seconds: float = 10.0
    connect_timeout_seconds: float = 10.0
    # A batch of an ingest holds its locks for milliseconds, so a wait of ten seconds means that
    # something hangs, or that somebody locks a table by hand.
    lock_timeout_seconds: float = 10.0
    # Statements of a look-up take milliseconds. What reads a whole corpus has no limit.
    statement_timeout_seconds: float = 60.0
    prepared_statements: bool | None = None
    application: str = "lineup"


DEFAULT_OPTIONS = DatabaseOptions()
