"""A list of paths or URLs, as `find -print0` and `ls` write it: with NUL bytes or line by line."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import chain, islice
from typing import BinaryIO, TypedDict, cast

from api.sources.access import Access
from api.sources.item import Item, Span, make_printable
from api.sources.locations import decode_path, encode_path, join_location, make_absolute

PIECE_BYTES = 2**16
MAX_PATH_BYTES = 2**16  # more than any system accepts (Windows: 32,767 characters)


class Where(TypedDict):
    """Paths as they were given, and the folder of the relative ones, written by `encode_path`."""

    folder: str
    paths: list[str]


class PathsSource:
    """Paths from a list. The spans hold the paths, so a job continues without the list."""

    location = "-"

    def __init__(
        self,
        lines: BinaryIO | Iterable[bytes] = (),
        folder: str | None = None,
        access: Access | None = None,
    ) -> None:
        """Take the list, which is read once: a file, which `close` closes, or lines with or without
        line ends.

        Relative paths start from `folder`, or from the current folder at the time of the listing.
        """
        self._lines = lines
        self._folder = folder
        self._access = access or Access()

    def spans(self, size: int) -> Iterator[Span]:
        paths = self._list_paths()
        folder = encode_path(make_absolute(self._folder or "."))
        while given := list(islice(paths, size)):
            yield Span(len(given), {"folder": folder, "paths": given})

    def items(self, span: Span) -> Iterator[Item]:
        where = cast("Where", span.where)
        folder = decode_path(where["folder"])
        for given in map(decode_path, where["paths"]):
            location = join_location(folder, given)
            read = partial(self._access.read_bytes, location)
            yield Item(make_printable(given), read, location=location)

    def narrow(self, span: Span, first: int, count: int) -> Span:
        where = cast("Where", span.where)
        paths = where["paths"][first : first + count]
        return Span(count, {"folder": where["folder"], "paths": paths})

    def close(self) -> None:
        if isinstance(self._lines, io.IOBase):
            self._lines.close()
        self._access.close()

    def _list_paths(self) -> Iterator[str]:
        for path in _split_paths(_read_pieces(self._lines)):
            if path.strip():
                yield encode_path(os.fsdecode(path))


def _read_pieces(lines: BinaryIO | Iterable[bytes]) -> Iterator[bytes]:
    """Read the list in pieces of any length.

    Not line by line: a list with NUL bytes would be one single line.
    """
    if isinstance(lines, io.BufferedIOBase):
        return iter(partial(lines.read1, PIECE_BYTES), b"")
    return (line if line.endswith((b"\n", b"\x00")) else line + b"\n" for line in lines)


def _split_paths(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Split the list into paths.

    NUL bytes separate them if one comes before the first path must have ended; otherwise newlines.
    """
    beginning = b""
    for piece in pieces:
        beginning += piece
        if b"\x00" in beginning:
            return _split_at(b"\x00", chain([beginning], pieces))
        if len(beginning) > MAX_PATH_BYTES:
            break
    paths = _split_at(b"\n", chain([beginning], pieces))
    return (path.removesuffix(b"\r") for path in paths)


def _split_at(end: bytes, pieces: Iterable[bytes]) -> Iterator[bytes]:
    rest = b""
    for piece in pieces:
        *ended, rest = (rest + piece).split(end)
        yield from ended
        rest = rest[
            :MAX_PATH_BYTES
        ]  # bounds memory if the input is no list at all; no path is that long
    yield rest.removesuffix(b"\n")
