"""Failures of disks and of database files, named: a full disk, a damaged file.

The system and the databases report both in many ways. This module owns the list of them. Errors
that carry their cause keep their class; `is_storage_full` looks at the cause too.
"""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy.exc import DBAPIError

from index.errors import StorageFull

# EFBIG: the limit on the size of one file, RLIMIT_FSIZE, is a kind of quota.
FULL_ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
# NumPy, FAISS and Arrow drop the number of the error and keep its words.
FULL_WORDS = (
    *(os.strerror(number) for number in sorted(FULL_ERRNOS)),
    "Not enough free space",  # NumPy, which reserves the room first
)
# SQLite reports EDQUOT and EFBIG as one of these, and so a full disk when it extends the index of
# its write-ahead log.
SQLITE_WRITE_FAILURES = frozenset(
    {
        sqlite3.SQLITE_IOERR_WRITE,
        sqlite3.SQLITE_IOERR_TRUNCATE,
        sqlite3.SQLITE_IOERR_FSYNC,
        sqlite3.SQLITE_IOERR_SHMSIZE,
        sqlite3.SQLITE_IOERR_SHMMAP,
    }
)
PRIMARY = 0xFF  # the part of an extended result code of SQLite that is the primary one
SQLITE_DAMAGE = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT})
POSTGRES_FULL = "53100"  # disk_full
POSTGRES_DAMAGE = frozenset({"XX001", "XX002"})  # data_corrupted, index_corrupted
# The driver of SQLite cannot decode a text: its bytes are not UTF-8.
NOT_UTF8 = "Could not decode to UTF-8"
PROBE_BYTES = 64 * 1024  # a file system may give its last few kilobytes to small files


def is_storage_full(err: BaseException | None) -> bool:
    """Return whether an error, or a cause of it, says that a disk or a quota has no room."""
    seen = set[int]()
    while err is not None and id(err) not in seen:
        seen.add(id(err))
        if isinstance(err, StorageFull) or _says_full(err):
            return True
        err = err.__cause__
    return False


def is_damage(err: DBAPIError) -> bool:
    """Return whether a database says that its file is damaged or is no database."""
    orig = err.orig
    if isinstance(orig, sqlite3.Error):
        code = getattr(orig, "sqlite_errorcode", None)
        return (code is not None and code & PRIMARY in SQLITE_DAMAGE) or NOT_UTF8 in str(orig)
    return getattr(orig, "sqlstate", None) in POSTGRES_DAMAGE


def may_be_full(err: DBAPIError) -> bool:
    """Return whether SQLite failed to write, which `probe_writing` can tell from a full disk."""
    return getattr(err.orig, "sqlite_errorcode", None) in SQLITE_WRITE_FAILURES


@contextmanager
def name_full_disk(what: str) -> Iterator[None]:
    """Raise `StorageFull` for a full disk; other errors stay as they are.

    `what` says what cannot be stored, for people.
    """
    try:
        yield
    except OSError as err:
        if is_storage_full(err):
            raise StorageFull(what, err.strerror or str(err)) from err
        raise


def probe_writing(folder: Path) -> OSError | None:
    """Try to write a small file into a folder; return the error of the system, None without one.

    The file is removed. A quota shows only when something is written.
    """
    probe = folder / f".probe-{os.getpid()}-{os.urandom(4).hex()}.tmp"
    try:
        try:
            probe.write_bytes(bytes(PROBE_BYTES))
        finally:
            probe.unlink(missing_ok=True)
    except OSError as err:
        return err
    return None


def _says_full(err: BaseException) -> bool:
    if isinstance(err, DBAPIError):
        orig = err.orig
        if isinstance(orig, sqlite3.Error):
            return getattr(orig, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
        return getattr(orig, "sqlstate", None) == POSTGRES_FULL
    if isinstance(err, sqlite3.Error):
        return getattr(err, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
    if isinstance(err, OSError) and err.errno is not None:
        return err.errno in FULL_ERRNOS
    if isinstance(err, (OSError, RuntimeError)):
        return any(words in str(err) for words in FULL_WORDS)
    return False
