"""A file system whose files can become unreadable, for `failing://` URLs."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import fsspec


class FailingStorage(fsspec.AbstractFileSystem):
    """Files in memory. While `error` is set, every read of an open file raises it."""

    protocol = "failing"
    cachable = False
    files: dict[str, bytes] = {}  # noqa: RUF012 - one storage for all that opens it
    error: Callable[[], Exception] | None = None
    is_seekable = True
    opened: list[FailingFile] = []  # noqa: RUF012 - as above

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        name = self._strip_protocol(path)
        if name in self.files:
            return {"name": name, "size": len(self.files[name]), "type": "file"}
        if any(each.startswith(f"{name}/") for each in self.files):
            return {"name": name, "size": 0, "type": "directory"}
        raise FileNotFoundError(path)

    def open(self, path: str, mode: str = "rb", **_: Any) -> FailingFile:
        assert mode == "rb"
        file = FailingFile(self.files[self._strip_protocol(path)])
        self.opened.append(file)
        return file


class FailingFile(io.BytesIO):
    """An open file of the storage."""

    def read(self, size: int | None = -1) -> bytes:
        self._fail()
        return super().read(size)

    def readinto(self, buffer: Any) -> int:
        self._fail()
        return super().readinto(buffer)

    def readline(self, size: int | None = -1) -> bytes:
        self._fail()
        return super().readline(size)

    def seek(self, offset: int, whence: int = 0) -> int:
        if not FailingStorage.is_seekable:
            raise ValueError("Cannot seek streaming HTTP file")
        return super().seek(offset, whence)

    def _fail(self) -> None:
        if FailingStorage.error is not None:
            raise FailingStorage.error()


def disk_error() -> OSError:
    return OSError(5, "Input/output error")


def lost_connection() -> RuntimeError:
    return RuntimeError("connection lost\nby peer")
