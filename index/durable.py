"""Files that are complete or absent: temporary name, fsync, rename, fsync of the folder."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from index.failpoints import Failpoint, reach

TEMPORARY_SUFFIX = ".tmp"


def write_durably(path: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a temporary file, then rename it to `path`; this survives a power loss.

    Raises:
        OSError: the disk is full or the folder is not writable; no partial file remains.

    """
    with temporary_beside(path) as temporary:
        write(temporary)
        reach(Failpoint.FILE_WRITTEN)
        publish(temporary, path)


@contextmanager
def temporary_beside(path: Path) -> Iterator[Path]:
    """Yield the path of a temporary file in the folder of `path`; remove the file at the end."""
    temporary = path.with_name(
        f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}{TEMPORARY_SUFFIX}"
    )
    try:
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def publish(temporary: Path, path: Path, *, replace: bool = True) -> None:
    """Sync a finished file and rename it to `path`; this survives a power loss.

    Raises:
        FileExistsError: `path` exists and `replace` is False.
        OSError: the disk is full or the folder is not writable.

    """
    _sync(temporary)
    reach(Failpoint.FILE_SYNCED)
    if replace:
        temporary.replace(path)
    else:
        _rename_unless_there(temporary, path)
    reach(Failpoint.FILE_RENAMED)
    sync_directory(path.parent)


def write_bytes_durably(path: Path, content: bytes) -> None:
    """Write bytes to `path` as `write_durably` does."""
    write_durably(path, lambda temporary: _write_new(temporary, content))


def sync_directory(directory: Path) -> None:
    """Sync a folder, so that renames and removals in it survive a power loss."""
    _sync(directory)


def _rename_unless_there(temporary: Path, path: Path) -> None:
    try:
        os.link(temporary, path)  # a rename would replace a file created in the meantime
    except FileExistsError:
        raise
    except OSError as err:  # the file system has no hard links
        if path.exists():
            raise FileExistsError(str(path)) from err
        temporary.replace(path)


def _write_new(path: Path, content: bytes) -> None:
    with path.open("xb") as file:
        file.write(content)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
