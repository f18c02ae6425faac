"""Archives: plain tar files with plain members. This module does not know what members contain.

A member is one header of 512 bytes in GNU format (so that a member can exceed 8 GiB), its bytes,
and zeros up to a multiple of 512. The reader accepts only this: no links, no folders, no sparse
files, no long names, and no unexplained byte. It returns bytes and extracts nothing by itself.
"""

from __future__ import annotations

import hashlib
import os
import tarfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from index.errors import BackupCorrupt, BackupUnreadable, NotABackup

BLOCK = 512
END = bytes(2 * BLOCK)  # the end of a tar file
COPY_BYTES = 1 << 20
MAX_MEMBERS = (
    1 << 20
)  # a manifest of a million lines; the archive of 10 million thumbnails has some 10,000 members


@dataclass(frozen=True, slots=True)
class Member:
    """Name, size and digest of a member."""

    name: str
    byte_size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class _Place:
    offset: int
    byte_size: int


class ArchiveWriter:
    """Writes members to a file, one after the other; `finish` ends the archive."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._mtime = int(time.time())

    def add_bytes(self, name: str, content: bytes) -> Member:
        """Add a member with these bytes."""
        return self._add(name, len(content), BytesIO(content))

    def add_file(self, name: str, path: Path) -> Member:
        """Add a copy of a file, which must not change meanwhile.

        Raises:
            OSError: the file cannot be read, or became shorter.

        """
        with path.open("rb") as source:
            return self._add(name, os.fstat(source.fileno()).st_size, source)

    def finish(self) -> None:
        self._file.write(END)

    def _add(self, name: str, byte_size: int, source: BinaryIO) -> Member:
        info = tarfile.TarInfo(name)
        info.size, info.mtime, info.mode = byte_size, self._mtime, 0o600
        header = info.tobuf(tarfile.GNU_FORMAT)
        assert len(header) == BLOCK, "a name of at most 100 bytes has one header"
        self._file.write(header)
        digest = hashlib.sha256()
        for chunk in _chunks(source, byte_size):
            digest.update(chunk)
            self._file.write(chunk)
        self._file.write(bytes(-byte_size % BLOCK))
        return Member(name, byte_size, digest.hexdigest())


class ArchiveReader:
    """Reads the headers of an archive at once, and the bytes of a member on request.

    Errors name `label`, the path of the archive, and `within`, the member that holds this archive.

    Raises:
        NotABackup: the file does not begin like a tar file.
        BackupCorrupt: the archive is truncated, or has a part that `ArchiveWriter` does not write.

    """

    def __init__(self, file: BinaryIO, label: Path, within: str = "") -> None:
        self._file = file
        self._label = label
        self._within = within
        self._places: dict[str, _Place] = {}
        self._walk()

    @property
    def sizes(self) -> dict[str, int]:
        """The size of each member in bytes, in the order of the archive."""
        return {name: place.byte_size for name, place in self._places.items()}

    def read(self, name: str) -> bytes:
        """Return all bytes of a member; check its size first."""
        target = BytesIO()
        self.copy(name, target)
        return target.getvalue()

    def copy(self, name: str, target: BinaryIO | None) -> Member:
        """Copy a member to `target`, or only read it if `target` is None; return what was read.

        Raises:
            BackupUnreadable: the archive cannot be read.

        """
        digest = hashlib.sha256()
        for chunk in self._bytes_of(name):
            digest.update(chunk)
            if target is not None:
                target.write(chunk)
        return Member(name, self._places[name].byte_size, digest.hexdigest())

    def _bytes_of(self, name: str) -> Iterator[bytes]:
        """Yield a member in chunks; only errors of reading the archive become BackupUnreadable."""
        place = self._places[name]
        try:
            self._file.seek(place.offset)
            yield from _chunks(self._file, place.byte_size)
        except OSError as err:
            raise BackupUnreadable(self._label, f"{name!r}: {err.strerror or err}") from err

    def _walk(self) -> None:
        end = self._file.seek(0, os.SEEK_END)
        position, last = 0, "its beginning"
        while True:
            self._file.seek(position)
            block = self._file.read(BLOCK)
            if block == END[:BLOCK]:
                break
            info = self._header(block, position, last)
            padded = info.size + -info.size % BLOCK
            if position + BLOCK + padded > end:
                raise self._corrupt(info.name, "the archive ends within it")
            self._file.seek(position + BLOCK + info.size)
            if self._file.read(padded - info.size).strip(b"\0"):
                raise self._corrupt(info.name, "there are extra bytes after its end")
            self._places[info.name] = _Place(position + BLOCK, info.size)
            position, last = position + BLOCK + padded, info.name
        if self._file.read(len(END)) != END[BLOCK:]:
            raise self._corrupt(last, "the end of the archive does not follow it")

    def _header(self, block: bytes, position: int, last: str) -> tarfile.TarInfo:
        if position and len(block) < BLOCK:
            raise self._corrupt(last, "the archive ends too early after it")
        try:
            info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
            same = info.tobuf(tarfile.GNU_FORMAT) == block
        except (tarfile.HeaderError, ValueError, OverflowError) as err:
            if not position and not self._within:
                raise NotABackup(self._label, "it does not begin like a tar file") from err
            raise self._corrupt(last, "no header follows it") from err
        if not same or info.type != tarfile.REGTYPE or info.size < 0:
            raise self._corrupt(info.name, "it is not a plain file, or its header is damaged")
        if info.name in self._places or len(self._places) >= MAX_MEMBERS:
            raise self._corrupt(info.name, "it occurs twice, or there are too many members")
        return info

    def _corrupt(self, member: str, reason: str) -> BackupCorrupt:
        return BackupCorrupt(self._label, self._within + member, reason)


@contextmanager
def open_archive(path: Path) -> Iterator[ArchiveReader]:
    """Open an archive for reading.

    Raises:
        BackupUnreadable: the file is missing, is not a file on a disk, or this user may not read
            it.
        NotABackup: the file does not begin like a tar file.
        BackupCorrupt: the archive is truncated, or has a part that `ArchiveWriter` does not write.

    """
    try:
        file = path.open("rb")
    except OSError as err:
        raise BackupUnreadable(path, err.strerror or str(err)) from err
    with file:
        if not file.seekable():
            raise BackupUnreadable(path, "it is not a file on a disk")
        yield ArchiveReader(file, path)


def _chunks(source: BinaryIO, byte_size: int) -> Iterator[bytes]:
    """Yield the next `byte_size` bytes of the source in chunks.

    Raises:
        OSError: the source cannot be read, or ends too early.

    """
    left = byte_size
    while left:
        chunk = source.read(min(left, COPY_BYTES))
        if not chunk:
            raise OSError("it became shorter while it was read")
        left -= len(chunk)
        yield chunk
