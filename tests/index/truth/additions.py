"""Entries added in a transaction of their own."""

from __future__ import annotations

from index.truth.adding import AddResult, NewEntry, add_entries
from index.truth.databases.database import Database
from index.truth.spaces import Space


def add(database: Database, corpus: str, space: Space, *new: NewEntry) -> tuple[AddResult, ...]:
    with database.write() as conn:
        return add_entries(conn, corpus, space, new)
