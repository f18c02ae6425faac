from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import Connection, delete, select
from sqlalchemy.exc import IntegrityError

from index.truth.databases.database import Database
from index.truth.schema import corpora, entries, images
from index.truth.statements import (
    BLOCK_ROWS,
    MANY_ROWS,
    MANY_ROWS_KIB,
    VARIABLES,
    disable_mmap,
    enlarge_cache,
    insert_missing,
    insert_rows,
    is_any,
    slices,
)

MANY = 2 * VARIABLES + 1  # three slices
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def rows(numbers: Any) -> Any:
    return [{"sha256": f"{number:064x}", "byte_size": number + 1} for number in numbers]


COMMON = {"width": 1, "height": 1, "format": "png", "created_at": NOW}


def test_a_key_that_is_there_is_an_error_of_plain_inserts(database: Database) -> None:
    with database.write() as conn:
        insert_rows(conn, images, rows([1, 2]), **COMMON)
    with database.write() as conn, pytest.raises(IntegrityError):
        insert_rows(conn, images, rows([2]), **COMMON)


def test_nothing_is_inserted_where_there_are_no_rows(database: Database) -> None:
    with database.write() as conn:
        insert_rows(conn, images, [], **COMMON)
        assert insert_missing(conn, images, [], images.c.id, **COMMON) == ()


def test_only_the_missing_rows_go_in_and_are_returned_in_the_order_given(
    database: Database,
) -> None:
    with database.write() as conn:
        insert_missing(conn, images, rows(range(0, MANY, 2)), **COMMON)
        returned = insert_missing(
            conn, images, rows(range(MANY)), images.c.sha256, images.c.id, **COMMON
        )
        assert [sha256 for sha256, _ in returned] == [
            row["sha256"] for row in rows(range(1, MANY, 2))
        ]
        assert [row_id for _, row_id in returned] == sorted(row_id for _, row_id in returned)
        assert insert_missing(conn, images, rows(range(MANY)), images.c.id, **COMMON) in ((), [])
        stored = conn.execute(select(images).order_by(images.c.sha256)).all()
    assert [row.byte_size for row in stored] == list(range(1, MANY + 1))
    assert {(row.width, row.format, row.created_at) for row in stored} == {(1, "png", NOW)}


def test_a_key_given_twice_goes_in_once(database: Database) -> None:
    with database.write() as conn:
        assert len(insert_missing(conn, images, rows([1, 1, 2]), images.c.id, **COMMON)) == 2


@pytest.mark.parametrize(
    "times", [1, BLOCK_ROWS]
)  # fewer than a block, and blocks with something left over
def test_every_kind_of_value_arrives_as_it_was_given(database: Database, times: int) -> None:
    documents = [{}, {"a": [1, None, {"ä\n\"'\\": 2**70}]}, {"b": 0.1}] * times
    texts = [None, 'a,b{}"\\ \n', "null"] * times
    with database.write() as conn:
        corpus = {"name": "c", "kind": "known_fake", "description": "", "created_at": NOW}
        insert_rows(conn, corpora, [corpus])
        insert_rows(conn, images, rows(range(3 * times)), **COMMON)
        ids = conn.execute(select(images.c.id).order_by(images.c.id)).scalars().all()
        corpus_id = conn.execute(select(corpora.c.id)).scalar_one()
        given = [
            {"image_id": image_id, "provenance": document, "label": text, "acquired_at": instant}
            for image_id, document, text, instant in zip(
                ids, documents, texts, [None, NOW, None] * times, strict=True
            )
        ]
        insert_rows(conn, entries, given, corpus_id=corpus_id, created_at=NOW, source=None)
        stored = conn.execute(select(entries).order_by(entries.c.id)).all()
    assert [row.provenance for row in stored] == documents
    assert [row.label for row in stored] == texts
    assert [row.acquired_at for row in stored] == [None, NOW, None] * times


def test_rows_may_be_given_by_column_and_bytes_and_numbers_arrive(database: Database) -> None:
    numbers = range(BLOCK_ROWS + 3)
    hashes = [number.to_bytes(32, "big") if number % 2 else None for number in numbers]
    columns = {
        "sha256": [f"{number:064x}" for number in numbers],
        "byte_size": numbers,
        "pdq_hash": hashes,
    }
    with database.write() as conn:
        insert_rows(conn, images, columns | {"pdq_quality": [None] * len(numbers)}, **COMMON)
        stored = conn.execute(select(images).order_by(images.c.sha256)).all()
    assert [(row.byte_size, row.pdq_hash, row.pdq_quality) for row in stored] == [
        (number, hashed, None) for number, hashed in zip(numbers, hashes, strict=True)
    ]


def test_a_column_of_nothing_is_refused_where_there_must_be_something(database: Database) -> None:
    with database.write() as conn, pytest.raises(IntegrityError):
        insert_rows(conn, images, {"sha256": [None, None], "byte_size": [1, 2]}, **COMMON)


@pytest.mark.parametrize("there", [0, 1])
def test_the_ids_that_are_returned_are_those_of_the_rows(database: Database, there: int) -> None:
    """Also where ids were given before and their rows are no more."""
    with database.write() as conn:
        insert_rows(conn, images, rows(range(5)), **COMMON)
        conn.execute(delete(images).where(images.c.sha256 != f"{0:064x}"))
        returned = insert_missing(
            conn, images, rows(range(1 - there, MANY)), images.c.id, images.c.sha256, **COMMON
        )
        stored = conn.execute(select(images.c.id, images.c.sha256).order_by(images.c.sha256)).all()
    assert [tuple(row) for row in returned] == [tuple(row) for row in stored[1:]]


def test_a_connection_is_afterwards_as_it_was_before(new_sqlite_url: Callable[[], str]) -> None:
    def settings(conn: Connection) -> list[int]:
        return [
            conn.exec_driver_sql(f"PRAGMA {name}").scalar_one()
            for name in ("cache_size", "mmap_size")
        ]

    with Database.open(new_sqlite_url()) as database, database.write() as conn:
        before = settings(conn)
        with enlarge_cache(conn, MANY_ROWS), disable_mmap(conn):
            assert settings(conn) == [-MANY_ROWS_KIB, 0]
        assert settings(conn) == before
        with enlarge_cache(conn, MANY_ROWS - 1):
            assert settings(conn) == before


@pytest.mark.parametrize("count", [0, 1, MANY])
def test_a_column_is_looked_up_in_any_number_of_values(database: Database, count: int) -> None:
    with database.write() as conn:
        insert_rows(conn, images, rows(range(MANY)), **COMMON)
        wanted = [row["sha256"] for row in rows(range(count))]
        found = conn.execute(
            select(images.c.sha256).where(is_any(conn, images.c.sha256, [*wanted, "no such"]))
        )
        assert sorted(found.scalars()) == wanted
        found = conn.execute(select(images.c.id).where(is_any(conn, images.c.id, [])))
        assert found.all() == []


def test_a_long_sequence_comes_in_slices_that_lose_nothing() -> None:
    assert [list(some) for some in slices([1, 2, 3, 4, 5], 2)] == [[1, 2], [3, 4], [5]]
    assert list(slices([])) == []
