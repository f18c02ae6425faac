"""A list of paths or URLs, as `find -print0` and `ls` write it: one a line, or ended by NUL
bytes.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import chain, islice
from typing import BinaryIO, TypedDict, cast

from api.sources.item import Item, Span, printable
from api.sources.locations import as_text, from_text, joined, read_bytes, resolved

PIECE_BYTES = 2**16
MAX_PATH_BYTES = 2**16  # above what any system takes (Windows: 32,767 characters of two bytes)


class Where(TypedDict):
    """Paths as they were given, and the folder that the relative ones are relative to; as `as_text`
    writes them.
    """

    folder: str
    paths: list[str]


class PathsSource:
    """Paths from somebody's list. The spans hold them, so a job goes on without the list."""

    location = "-"

    def __init__(self, lines: BinaryIO | Iterable[bytes] = (), folder: str | None = None) -> None:
        """Take the list, which is read once: a file, which `close` closes, or its lines with or
        without their ends.

        Relative paths are relative to `folder`, or to the current one at the time of the listing.
        """
        self._lines = lines
        self._folder = folder

    def spans(self, size: int) -> Iterator[Span]:
        paths = self._paths()
        folder = as_text(resolved(self._folder or "."))
        while given := list(islice(paths, size)):
            yield Span(len(given), {"folder": folder, "paths": given})

    def items(self, span: Span) -> Iterator[Item]:
        where = cast("Where", span.where)
        folder = from_text(where["folder"])
        for given in map(from_text, where["paths"]):
            location = joined(folder, given)
            yield Item(printable(given), partial(read_bytes, location), location=location)

    def close(self) -> None:
        if isinstance(self._lines, io.IOBase):
            self._lines.close()

    def _paths(self) -> Iterator[str]:
        for path in _separated(_pieces(self._lines)):
            if path.strip():
                yield as_text(os.fsdecode(path))


def _pieces(lines: BinaryIO | Iterable[bytes]) -> Iterator[bytes]:
    """The list in pieces of any length.

    A file is not asked for lines: a list with NUL bytes would be a single one.
    """
    if isinstance(lines, io.BufferedIOBase):
        return iter(partial(lines.read1, PIECE_BYTES), b"")
    return (line if line.endswith((b"\n", b"\x00")) else line + b"\n" for line in lines)


def _separated(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The paths of a list.

    NUL bytes end them if one comes before the first path must have ended; else newlines.
    """
    beginning = b""
    for piece in pieces:
        beginning += piece
        if b"\x00" in beginning:
            return _ended_by(b"\x00", chain([beginning], pieces))
        if len(beginning) > MAX_PATH_BYTES:
            break
    paths = _ended_by(b"\n", chain([beginning], pieces))
    return (path.removesuffix(b"\r") for path in paths)


def _ended_by(end: bytes, pieces: Iterable[bytes]) -> Iterator[bytes]:
    rest = b""
    for piece in pieces:
        *ended, rest = (rest + piece).split(end)
        yield from ended
        rest = rest[
            :MAX_PATH_BYTES
        ]  # what is no list at all is not gathered in memory; no file has such a name
    yield rest.removesuffix(b"\n")
