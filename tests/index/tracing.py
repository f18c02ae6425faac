"""The messages that a database is sent, in the driver's own words."""

from __future__ import annotations

import sqlite3
from typing import Any

from sqlalchemy import event

from index.truth.databases.database import Database

PING = ";"  # how SQLAlchemy looks whether a connection of psycopg is still there


def trace_messages(database: Database) -> list[str]:
    """Return a list that gets every message but pings, of each connection that is used after this.

    SQLite keeps connections beside the pool: call it before anything else uses the database.
    """
    messages: list[str] = []

    def listen(connection: Any, *_: object) -> None:
        if isinstance(connection, sqlite3.Connection):
            connection.set_trace_callback(messages.append)
        else:
            connection.cursor_factory = _recording(messages)

    event.listen(database._engine, "checkout", listen)
    return messages


def _recording(messages: list[str]) -> Any:
    from psycopg import Cursor  # noqa: PLC0415 -- not needed for SQLite

    class Recording(Cursor[Any]):
        def execute(self, query: Any, *args: Any, **options: Any) -> Any:
            if str(query) != PING:
                messages.append(str(query))
            return super().execute(query, *args, **options)

    return Recording
