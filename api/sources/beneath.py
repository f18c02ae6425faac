"""Opening local files beneath a folder, so that no link leads out of it, whenever it is planted.

A path is resolved once, and what it resolves to is compared with the folder. Then the file is
opened step by step from the folder down, and no step follows a link: a link that replaces a folder
or a file between the check and the opening is an error, never another file. Windows cannot open
relative to a folder; there the opened file is compared with the resolved path again.

A hard link is the file itself, so no program can tell where it belongs: who may make one in a
folder may already read the file. The same holds of a mounted folder.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path

CAN_OPEN_RELATIVE = {os.open, os.stat} <= os.supports_dir_fd and os.scandir in os.supports_fd

_CLOSED_ON_EXEC = getattr(os, "O_CLOEXEC", 0)
# O_PATH (Linux) needs only the right to search a folder, as opening by the whole path does
_STEP = getattr(os, "O_PATH", os.O_RDONLY) | getattr(os, "O_DIRECTORY", 0) | _CLOSED_ON_EXEC
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)
# a pipe that replaces a file must not block the opening
_READ = os.O_RDONLY | _NO_LINK | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


class OutsideFolder(Exception):
    """A path leads out of every folder that may be read."""


def find_folder(path: Path, folders: Sequence[Path]) -> tuple[str, str]:
    """Return the real path of the folder that holds a path after following links, and the rest of
    the real path (empty for the folder itself).

    Raises `OutsideFolder`, and ValueError for a path with a NUL.
    """
    real = os.path.realpath(path)
    for folder in folders:
        real_folder = os.path.realpath(folder)
        if os.path.normcase(real) == os.path.normcase(real_folder):
            return real_folder, ""
        start = os.path.join(real_folder, "")  # noqa: PTH118 -- with the separator at its end
        if os.path.normcase(real).startswith(os.path.normcase(start)):
            return real_folder, real[len(start) :]
    raise OutsideFolder


def stat_beneath(path: Path, folders: Sequence[Path]) -> os.stat_result:
    """Return the status of a file or folder. Raises `OutsideFolder`, OSError, ValueError."""
    with _step_down(path, folders) as (parent, name):
        return os.stat(name, dir_fd=parent, follow_symlinks=False)


def open_beneath(path: Path, folders: Sequence[Path]) -> BufferedReader:
    """Open a regular file to read. Raises `OutsideFolder`, OSError, ValueError.

    Raises IsADirectoryError for a folder, and OSError with EINVAL for anything else that is not a
    regular file.
    """
    with _step_down(path, folders) as (parent, name):
        require_regular(os.stat(name, dir_fd=parent, follow_symlinks=False))
        opened = os.open(name, _READ | _CLOSED_ON_EXEC, dir_fd=parent)
    try:
        require_regular(os.fstat(opened))
        if not CAN_OPEN_RELATIVE:
            _require_unmoved(opened, path, folders)
        return os.fdopen(opened, "rb")
    except BaseException:
        os.close(opened)
        raise


def list_beneath(folder: Path, folders: Sequence[Path]) -> Iterator[os.DirEntry[str]]:
    """List a folder. Raises `OutsideFolder`, OSError, ValueError."""
    if not CAN_OPEN_RELATIVE:
        real_folder, rest = find_folder(folder, folders)
        with os.scandir(os.path.join(real_folder, rest)) as entries:  # noqa: PTH118 -- as above
            yield from entries
        return
    with _step_down(folder, folders) as (parent, name):
        flags = os.O_RDONLY | os.O_DIRECTORY | _NO_LINK | _CLOSED_ON_EXEC
        opened = os.open(name, flags, dir_fd=parent)
    try:
        with os.scandir(opened) as entries:
            yield from entries
    finally:
        os.close(opened)


def require_regular(status: os.stat_result) -> None:
    """Raise OSError for what is no regular file: reading a pipe or a device could block."""
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, "a folder, not a file")
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "not a regular file")


@contextmanager
def _step_down(path: Path, folders: Sequence[Path]) -> Iterator[tuple[int | None, str]]:
    """Yield the opened folder that holds a path, and the path's name in it; without `dir_fd`, None
    and the whole real path.
    """
    folder, rest = find_folder(path, folders)
    if not CAN_OPEN_RELATIVE:
        yield None, os.path.join(folder, rest)  # noqa: PTH118 -- text, as realpath gives it
        return
    *names, last = Path(rest).parts or (os.curdir,)
    if not rest and not stat.S_ISDIR(os.stat(folder).st_mode):  # noqa: PTH116 -- text
        folder, last = os.path.split(folder)  # the folder that was named is one single file
    parent = os.open(folder, _STEP)
    try:
        for name in names:
            deeper = os.open(name, _STEP | _NO_LINK, dir_fd=parent)
            os.close(parent)
            parent = deeper
        yield parent, last
    finally:
        os.close(parent)


def _require_unmoved(opened: int, path: Path, folders: Sequence[Path]) -> None:
    folder, rest = find_folder(path, folders)
    now = os.stat(os.path.join(folder, rest), follow_symlinks=False)  # noqa: PTH116, PTH118 -- text
    if not os.path.samestat(os.fstat(opened), now):
        raise OutsideFolder
