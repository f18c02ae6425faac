"""The one file that a table, a manifest or a matrix is read from."""

from __future__ import annotations

import io
import os
from typing import cast

from api.sources.item import UnusableSource
from api.sources.locations import open_binary


class SourceFile:
    """A file to read and to seek in, from a disk or from the web.

    Whatever reading it raises is an `UnusableSource`: a file that is there but cannot be read just
    now says nothing of the items in it. `failure` keeps the last one, for a library in between may
    hide it behind an error of its own.
    """

    closed = False  # pyarrow asks

    def __init__(self, location: str) -> None:
        self.location = location
        self.failure: UnusableSource | None = None
        opened = open_binary(location)
        # What fsspec opens has a `readline` without a limit; it has what a raw file must have.
        buffered = isinstance(opened, io.BufferedReader)
        self._file = opened if buffered else io.BufferedReader(cast("io.RawIOBase", opened))

    def read(self, size: int) -> bytes:
        """`size` bytes, fewer only at the end of the file."""
        try:
            return self._file.read(size)
        except Exception as err:  # every protocol's package has errors of its own
            raise self._failed(err) from err

    def readline(self, max_bytes: int) -> bytes:
        """What is there up to and with the next line feed, of a longer line its first
        `max_bytes`.
        """
        try:
            return self._file.readline(max_bytes)
        except Exception as err:  # as above
            raise self._failed(err) from err

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        try:
            return self._file.seek(offset, whence)
        except Exception as err:  # as above
            raise self._failed(err) from err

    def tell(self) -> int:
        return self._file.tell()

    def size(self) -> int:
        """The file's length in bytes; leaves the file at its end."""
        return self.seek(0, os.SEEK_END)

    def flush(self) -> None:
        """Nothing; pyarrow calls it."""

    def close(self) -> None:
        self.closed = True
        self._file.close()

    def _failed(self, err: Exception) -> UnusableSource:
        self.failure = UnusableSource(self.location, f"cannot be read: {first_line(err)}")
        return self.failure


def first_line(err: BaseException) -> str:
    """An error's words, which some libraries spread over many lines, as one line for a person."""
    words = (isinstance(err, OSError) and err.strerror) or str(err) or type(err).__name__
    return words.splitlines()[0]
