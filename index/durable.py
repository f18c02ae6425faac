"""Files that are whole or not there: temporary name, fsync, rename, fsync of the folder."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from pathlib import Path

from index.failpoints import Failpoint, reached

TEMPORARY_SUFFIX = ".tmp"


def write_durably(path: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a temporary file beside `path`, then put it there in one step that survives a power loss.

    Raises:
        OSError: the disk is full or the folder cannot be written; nothing is left behind.

    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}{TEMPORARY_SUFFIX}")
    try:
        write(temporary)
        reached(Failpoint.FILE_WRITTEN)
        _sync(temporary)
        reached(Failpoint.FILE_SYNCED)
        temporary.replace(path)
        reached(Failpoint.FILE_RENAMED)
    finally:
        temporary.unlink(missing_ok=True)
    sync_directory(path.parent)


def write_bytes_durably(path: Path, content: bytes) -> None:
    """Write bytes like `write_durably`."""
    write_durably(path, lambda temporary: _write_new(temporary, content))


def sync_directory(directory: Path) -> None:
    """Make renames and removals in a folder survive a power loss."""
    _sync(directory)


def _write_new(path: Path, content: bytes) -> None:
    with path.open("xb") as file:
        file.write(content)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
