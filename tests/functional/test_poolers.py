"""Behind PgBouncer, where a transaction may get another session than the one before it."""

from __future__ import annotations

import threading

import pytest
from sqlalchemy import func, select, text

from index.errors import CorpusError
from index.truth.corpora import CorpusKind, create_corpus, list_corpora
from index.truth.databases.database import Database
from index.truth.databases.options import DatabaseOptions
from index.truth.schema import corpora
from tests.functional.poolers import PROGRAM, open_pooler

pytestmark = [
    pytest.mark.postgres,
    pytest.mark.skipif(not PROGRAM.exists(), reason=f"no {PROGRAM} (apt install pgbouncer)"),
]
THREADS = 8


@pytest.fixture
def dialect() -> str:
    return "postgresql"


def write_from_many_threads(database: Database, each: int) -> list[Exception]:
    """Create corpora and read them in turn; return what was raised."""
    raised: list[Exception] = []

    def write_some(name: int) -> None:
        for number in range(each):
            try:
                with database.write() as conn:
                    create_corpus(conn, f"c{name}-{number}", CorpusKind.KNOWN_FAKE)
                with database.read() as conn:
                    conn.execute(select(func.count()).select_from(corpora)).scalar_one()
            except Exception as err:
                raised.append(err)

    threads = [threading.Thread(target=write_some, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return raised


@pytest.mark.parametrize(
    ("mode", "each"),
    [
        ("session", 20),
        ("transaction", 20),
        pytest.param("transaction", 188, marks=pytest.mark.prove),  # 1,504 writes
    ],
)
def test_no_write_fails_and_none_is_lost(database_url: str, mode: str, each: int) -> None:
    with open_pooler(database_url, mode) as url, Database.open(url) as database:
        assert write_from_many_threads(database, each) == []
        with database.read() as conn:
            assert len(list_corpora(conn)) == THREADS * each
        assert database.examine().refuses_writes is None


def test_statements_that_stay_prepared_are_what_fails(database_url: str) -> None:
    """Without this the setting, and what notices a pooler, could be left out."""
    options = DatabaseOptions(prepared_statements=True)
    with (
        open_pooler(database_url, "transaction") as url,
        pytest.raises(Exception, match="prepared statement"),
        Database.open(url, options=options) as database,
    ):
        raise write_from_many_threads(database, 20)[0]


def test_time_outs_hold_for_the_transaction_that_set_them_and_no_other(database_url: str) -> None:
    query = text("SELECT current_setting('statement_timeout')")
    short = DatabaseOptions(statement_timeout_seconds=3, pool_size=1)
    with (
        open_pooler(database_url, "transaction") as url,
        Database.open(url, options=short) as one,
        Database.open(url) as two,
    ):
        for _ in range(10):
            for database, expected in ((one, "3s"), (two, "1min")):
                with database.read() as conn:
                    assert conn.execute(query).scalar_one() == expected


def test_a_pooler_that_is_gone_is_an_error_of_its_kind(database_url: str) -> None:
    with open_pooler(database_url, "transaction") as url:
        database = Database.open(url)
    with database, pytest.raises(CorpusError), database.read():
        pass
