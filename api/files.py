"""What a folder holds, as items to ingest. Nothing is chosen by its name: the decoder decides by content.

Hidden files and folders (a leading dot) are the file manager's, not the corpus keeper's, and are not items. Links to
folders are not followed, so that a loop cannot trap the walk; a link to a file is an item, and so is a folder that
cannot be listed: it ends as a failure with its name.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


class UnreadableItem(Exception):
    """The file system would not hand over an item; `reason` is machine-readable."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Item:
    """A file offered to a corpus."""

    name: str  # relative to the source, with forward slashes, printable
    path: Path

    def read(self, max_bytes: int) -> bytes:
        """Its bytes; of a file over `max_bytes` only one byte more than that, enough for the decoder to refuse it.

        Raises `UnreadableItem`.
        """
        if self.path.is_dir():
            raise UnreadableItem("unreadable", "a folder that cannot be listed")
        if not self.path.is_file():  # a pipe or a device would block for ever
            raise UnreadableItem("not_a_file", "not a regular file, or a link to nothing")
        try:
            with self.path.open("rb") as file:
                return file.read(max_bytes + 1)
        except OSError as err:
            raise UnreadableItem("unreadable", err.strerror or str(err)) from err


def printable(name: str) -> str:
    """A file's name as text that JSON and SQL can hold: a byte that is no UTF-8 as backslash, x and two digits."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def walk(source: Path) -> Iterator[Item]:
    """Every item under a folder, in the order of their names, or the one file itself. Raises `UnreadableItem`."""
    if source.is_file():
        yield Item(printable(source.name), source)
        return
    if not source.is_dir():
        raise UnreadableItem("not_found", f"{printable(str(source))}: no such file or folder")
    failures: list[OSError] = []
    for folder, folders, files in os.walk(source, onerror=failures.append):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if not name.startswith("."):
                yield _item(source, Path(folder, name))
    for failure in failures:
        if Path(failure.filename) == source:
            raise UnreadableItem("unreadable", f"{printable(str(source))}: {failure.strerror}") from failure
        yield _item(source, Path(failure.filename))


def _item(source: Path, path: Path) -> Item:
    return Item(printable(path.relative_to(source).as_posix()), path)
