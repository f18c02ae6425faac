from __future__ import annotations

import errno
import os
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from index.errors import BackupUnwritable, DatabaseDamaged, StorageFull
from index.failures import is_storage_full, name_full_disk, probe_writing
from index.truth.databases.database import Database


class SaysFull(Exception):
    """What psycopg raises when PostgreSQL's disk is full."""

    sqlstate = "53100"


@pytest.mark.parametrize(
    "err",
    [
        OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
        OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)),
        OSError(errno.EFBIG, os.strerror(errno.EFBIG)),
        OSError("Not enough free space to write 4000 bytes after offset 128"),
        RuntimeError("could not write /x/codes.faiss: No space left on device"),
        StorageFull("a row", "the disk is full"),
        DBAPIError("INSERT", None, SaysFull("could not extend file")),
    ],
    ids=str,
)
def test_a_full_disk_is_recognised_by_number_or_words(err: Exception) -> None:
    assert is_storage_full(err)
    outer = BackupUnwritable(Path("a.tar"), "it")
    outer.__cause__ = err
    assert is_storage_full(outer)


@pytest.mark.parametrize(
    "err",
    [
        None,
        OSError(errno.EACCES, os.strerror(errno.EACCES)),
        OSError(errno.EIO, os.strerror(errno.EIO)),
        ValueError("No space left on device"),
        sqlite3.OperationalError("database or disk is full"),  # not from SQLite: it has no code
    ],
    ids=str,
)
def test_other_failures_are_no_full_disk(err: Exception | None) -> None:
    assert not is_storage_full(err)


def test_a_ring_of_causes_ends() -> None:
    one, other = ValueError("one"), ValueError("other")
    one.__cause__, other.__cause__ = other, one
    assert not is_storage_full(one)


def test_only_a_full_disk_gets_the_name() -> None:
    with pytest.raises(PermissionError), name_full_disk("a thumbnail"):
        raise PermissionError(errno.EACCES, "denied")
    full = pytest.raises(StorageFull, match="no room to store a thumbnail: No space")
    with full, name_full_disk("a thumbnail"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_probe_leaves_nothing(tmp_path: Path) -> None:
    assert probe_writing(tmp_path) is None
    assert list(tmp_path.iterdir()) == []
    assert isinstance(probe_writing(tmp_path / "missing"), FileNotFoundError)


def test_a_database_that_may_not_grow_says_that_it_is_full(new_sqlite_url: Any) -> None:
    def outgrow(database: Database) -> None:
        with database.write() as conn:
            pages = conn.execute(text("PRAGMA page_count")).scalar_one()
            conn.execute(text(f"PRAGMA max_page_count = {pages}"))
            conn.execute(text("CREATE TABLE large (content BLOB)"))
            conn.execute(text("INSERT INTO large VALUES (zeroblob(1000000))"))

    with Database.open(new_sqlite_url()) as database:
        with pytest.raises(StorageFull, match="rows of the database"):
            outgrow(database)
        with database.read() as conn:
            tables = conn.execute(text("SELECT name FROM sqlite_master")).scalars().all()
    assert "large" not in tables


def test_a_name_that_is_no_text_is_damage(sqlite_template: Path, tmp_path: Path) -> None:
    path = tmp_path / "damaged.db"
    content = sqlite_template.read_bytes()
    path.write_bytes(content.replace(b"CREATE TABLE jobs", b"CREATE T\xffBLE jobs", 1))
    assert path.read_bytes() != content
    with pytest.raises(DatabaseDamaged, match=r"damaged\.db is damaged"):
        Database.open(f"sqlite:///{path}")
