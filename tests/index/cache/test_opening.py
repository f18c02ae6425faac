"""Opening an index with a snapshot reads the end of the change log, and of images only hashes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, NullPool, create_engine, event, make_url, text

from index.cache.live import LiveIndex
from index.truth.databases.database import Database


@contextmanager
def recorded(statements: list[tuple[str, Any]]) -> Iterator[None]:
    """Keep every statement that any database executes."""

    def keep(_conn: Connection, _cursor: object, words: str, given: object, *_: object) -> None:
        statements.append((words, given))

    event.listen(Engine, "before_cursor_execute", keep)
    try:
        yield
    finally:
        event.remove(Engine, "before_cursor_execute", keep)


def vacuum(database_url: str) -> None:
    """Do on PostgreSQL what autovacuum does after some time: only then is it known which rows an
    index answers for alone.
    """
    url = make_url(database_url)
    if url.get_backend_name() == "postgresql":
        url = url.set(drivername="postgresql+psycopg")
        engine = create_engine(url, isolation_level="AUTOCOMMIT", poolclass=NullPool)
        with engine.connect() as conn:
            conn.execute(text("VACUUM (ANALYZE) images, changes, entries, embeddings"))


def explain(database: Database, words: str, given: Any) -> list[str]:
    """The steps of a plan. A small table is read whole unless that is forbidden."""
    with database.read() as conn:
        if database.dialect == "postgresql":
            conn.execute(text("SET LOCAL enable_seqscan = off"))
            conn.execute(text("SET LOCAL enable_bitmapscan = off"))
            rows = conn.exec_driver_sql(f"EXPLAIN {words}", given)
            return [row[0] for row in rows]
        return [row[3] for row in conn.exec_driver_sql(f"EXPLAIN QUERY PLAN {words}", given)]


def find_whole_scans(database: Database, words: str, given: Any) -> list[str]:
    """The steps that read all changes, or the rows of images."""
    steps = explain(database, words, given)
    if database.dialect == "sqlite":
        return [
            step
            for step in steps
            if re.match(r"SCAN changes", step)
            or re.match(r"(SCAN|SEARCH) images USING (?!COVERING)", step)
            or step == "SCAN images"
        ]
    found = []
    for number, step in enumerate(steps):
        conditions = " ".join(steps[number + 1 : number + 3])
        if re.search(r"Scan.* on changes", step) and "Index Cond" not in conditions:
            found.append(step)
        if re.search(r"(?<!Only )Scan.* on images|Seq Scan on images", step):
            found.append(step)
    return found


def test_opening_reads_the_end_of_the_log_and_hashes(
    database: Database, database_url: str, material: Any, tmp_path: Path
) -> None:
    material.fill(database, "fakes", range(400))
    with LiveIndex.open(database, material.space, tmp_path) as live:
        live.snapshot()
    material.fill(database, "fakes", range(400, 405))
    statements: list[tuple[str, Any]] = []
    with recorded(statements), LiveIndex.open(database, material.space, tmp_path) as live:
        live.read_hashes()
        assert live.count == 405
    reads = [each for each in statements if each[0].lstrip().upper().startswith("SELECT")]
    assert any("pdq_hash" in words for words, _ in reads)
    assert any("FROM changes" in words for words, _ in reads)
    vacuum(database_url)
    for words, given in reads:
        assert find_whole_scans(database, words, given) == [], words


def test_the_test_sees_what_reads_everything(database: Database) -> None:
    count = "SELECT count(*) FROM changes"
    assert find_whole_scans(database, count, ()) != []
    assert find_whole_scans(database, "SELECT width FROM images", ()) != []
