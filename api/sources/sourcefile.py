"""The file that a table, a manifest or a matrix is read from."""

from __future__ import annotations

import io
import os
from typing import cast

from api.sources.access import Access
from api.sources.item import UnusableSource
from api.sources.locations import describe_error


class SourceFile:
    """A file to read and to seek in, from a disk or from the web.

    Every error while reading becomes `UnusableSource`: that the file cannot be read now is no fault
    of its items. `failure` holds the last one, because a library in between may replace it by an
    error of its own.
    """

    closed = False  # pyarrow reads it

    def __init__(self, location: str, access: Access | None = None) -> None:
        self.location = location
        self.failure: UnusableSource | None = None
        self._access = access or Access()
        opened = self._access.open_binary(location)
        # The `readline` of fsspec has no limit; a BufferedReader around its file has one.
        buffered = isinstance(opened, io.BufferedReader)
        self._file = opened if buffered else io.BufferedReader(cast("io.RawIOBase", opened))

    def read(self, size: int) -> bytes:
        """Read `size` bytes, fewer only at the end of the file."""
        try:
            return self._file.read(size)
        except Exception as err:  # each protocol's package has its own errors
            raise self._fail(err) from err

    def readline(self, max_bytes: int) -> bytes:
        """Read up to and including the next line feed, but at most `max_bytes`."""
        try:
            return self._file.readline(max_bytes)
        except Exception as err:  # as above
            raise self._fail(err) from err

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        try:
            return self._file.seek(offset, whence)
        except Exception as err:  # as above
            raise self._fail(err) from err

    def tell(self) -> int:
        return self._file.tell()

    def size(self) -> int:
        """Return the file's length in bytes. Moves to the end of the file."""
        return self.seek(0, os.SEEK_END)

    def flush(self) -> None:
        """Do nothing; pyarrow calls it."""

    def close(self) -> None:
        self.closed = True
        self._file.close()

    def _fail(self, err: Exception) -> UnusableSource:
        self.failure = UnusableSource(self.location, f"cannot be read: {describe_error(err)}")
        return self.failure
