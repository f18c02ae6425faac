"""Commits that several threads share, on both databases."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from api.storing import LookupStore
from index.errors import DatabaseReadOnly, UnknownLookup
from index.truth.databases.database import Database
from index.truth.databases.options import DatabaseOptions
from index.truth.lookups import NewLookup, get_lookup
from index.truth.spaces import Space

SPACE = Space("5" * 64, "storing", "6" * 64, "7" * 64, 4)
THREADS = 8


@pytest.fixture
def store(database: Database) -> LookupStore:
    return LookupStore(database, SPACE)


def make(number: int, **values: Any) -> NewLookup:
    return NewLookup(7, {"k": number}, {"number": number}, **values)


@contextmanager
def nobody_commits(database: Database) -> Iterator[None]:
    """Hold what a commit of look-ups needs."""
    with database.write() as conn:
        if database.dialect == "postgresql":
            conn.execute(text("LOCK TABLE lookups"))
        yield


def save_together(
    store: LookupStore, database: Database, rows: Sequence[Sequence[NewLookup]]
) -> list[Future[None]]:
    """Save from a thread each. The first begins a commit, which waits until the others wait."""
    with ThreadPoolExecutor(len(rows)) as threads:
        with nobody_commits(database):
            saved = [threads.submit(store.save, rows[0])]
            wait_until(lambda: store.is_committing)
            saved += [threads.submit(store.save, each) for each in rows[1:]]
            wait_until(lambda: store.waiting == len(rows) - 1)
        return saved


def wait_until(condition: object) -> None:
    until = time.monotonic() + 20
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < until
        time.sleep(0.001)


def is_stored(database: Database, row: NewLookup) -> bool:
    with database.read() as conn:
        try:
            return get_lookup(conn, row.id).answer == row.answer
        except UnknownLookup:
            return False


def test_one_refused_row_fails_its_own_call_and_no_other(
    store: LookupStore, database: Database
) -> None:
    before = make(0)
    store.save([before])
    rows = [[make(number)] for number in range(THREADS)]
    rows[3] = [make(3), make(33, id=before.id)]
    saved = save_together(store, database, rows)
    for number, (each, future) in enumerate(zip(rows, saved, strict=True)):
        assert isinstance(future.exception(), IntegrityError if number == 3 else type(None))
        assert is_stored(database, each[0]) is (number != 3)


def test_a_row_that_is_refused_alone_leaves_the_store_as_it_was(
    store: LookupStore, database: Database
) -> None:
    before, after = make(1), make(2)
    store.save([before])
    with pytest.raises(IntegrityError):
        store.save([before])
    store.save([after])
    assert is_stored(database, after)


def test_an_error_of_the_database_reaches_every_call_without_a_second_try(
    new_sqlite_url: object,
) -> None:
    url = new_sqlite_url()  # type: ignore[operator]
    with Database.open(url, options=DatabaseOptions(read_only=True)) as database:
        store = LookupStore(database, SPACE)
        with pytest.raises(DatabaseReadOnly):
            store.save([make(1)])
        assert (store.commits, store.waiting) == (0, 0)


def test_calls_that_wait_share_one_commit(store: LookupStore, database: Database) -> None:
    rows = [[make(number)] for number in range(THREADS)]
    for future in save_together(store, database, rows):
        future.result()
    assert store.commits == 2  # the first, and the others
    assert all(is_stored(database, row) for (row,) in rows)


def test_a_single_call_commits_at_once(store: LookupStore, database: Database) -> None:
    for number in range(3):
        row = make(number)
        store.save([row])
        assert is_stored(database, row)
    assert store.commits == 3
