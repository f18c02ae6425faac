"""The statements of one file while they are collected, and what bounds them: hostile metadata are
normal.

PostgreSQL stores no NUL, so one is written as the four characters of its escape; no decoding here
leaves half a surrogate pair.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TypeAlias
from xml.parsers.expat import ExpatError

from embedder.errors import ImageError

Statement: TypeAlias = str | Mapping[str, str | int | bool]
FileMetadata: TypeAlias = Mapping[str, Statement]

# Of UTF-8. Parameters of web interfaces are some KiB, most workflows of ComfyUI under 64.
MAX_VALUE_BYTES = 64 * 2**10
MAX_FILE_BYTES = 256 * 2**10
MAX_KEYS = 64
# The place for errors among them: that of the container, and those of EXIF, XMP and IPTC.
_MAX_ERRORS = 4
# What is inflated, decoded and hashed at all, of a value and of a file: 16 MiB take some 50 ms.
# However short, a value counts as 4 KiB, so that no file has more than 4,096 of them.
MAX_READ_BYTES = 4 * 2**20
_MAX_FILE_READ_BYTES = 16 * 2**20
_LEAST_READ_BYTES = 4 * 2**10
_UNREADABLE = (ImageError, ValueError, struct.error, zlib.error, ExpatError)


class Statements:
    """Collects what one file says; whatever is put in, it stays within the bounds."""

    def __init__(self) -> None:
        self._values: dict[str, Statement] = {}
        self._errors: dict[str, str] = {}
        self._seen: set[str] = set()
        self._room = MAX_FILE_BYTES
        self._unread = _MAX_FILE_READ_BYTES

    @property
    def stated(self) -> FileMetadata:
        """Key -> text, or what is left of a text that is too long; errors last."""
        return {**self._values, **self._errors}

    @property
    def readable(self) -> int:
        """How many bytes the next value may have; 0 where nothing more is read."""
        return (
            min(MAX_READ_BYTES, self._unread) if len(self._values) < MAX_KEYS - _MAX_ERRORS else 0
        )

    def first(self, origin: str) -> bool:
        """Whether this is the first block of its kind; decoders heed no second one either."""
        seen = origin in self._seen
        self._seen.add(origin)
        return not seen

    @contextmanager
    def reading(self, origin: str) -> Iterator[None]:
        """What cannot be read in here is told as `origin:error`, the first reason of each
        origin.
        """
        try:
            yield
        except _UNREADABLE as err:
            reason = (
                "an offset points beyond its end" if isinstance(err, struct.error) else str(err)
            )
            if len(self._errors) < _MAX_ERRORS:
                self._errors.setdefault(f"{origin}:error", reason.replace("\x00", r"\x00")[:200])

    def require_room(self) -> None:
        """Raises ValueError where nothing more is read."""
        if not self.readable:
            raise ValueError("there is more of it than is read")

    def require_readable(self, size: int) -> None:
        """Counts what is decoded next. Raises ValueError where it is more than is read at all."""
        readable = self.readable
        self._unread = max(0, self._unread - max(min(size, readable), _LEAST_READ_BYTES))
        if size > readable:
            raise ValueError(f"a value of more than {readable:,} bytes is not read")

    def put(self, key: str, text: str) -> None:
        """Keep a text; one of nothing but spaces and NUL says nothing.

        A second one of the same key gets a number, and so does one that calls itself an error.
        """
        kept = text.rstrip("\x00")
        if not kept.strip("\x00 \t\r\n") or len(self._values) >= MAX_KEYS - _MAX_ERRORS:
            return
        number = 2
        name = key
        while name in self._values or name.endswith(":error"):
            name, number = f"{key} {number}", number + 1
        self._values[name] = self._bounded(kept)

    def _bounded(self, text: str) -> Statement:
        whole = text.replace("\x00", r"\x00").encode()
        room = min(MAX_VALUE_BYTES, self._room)
        self._room -= min(len(whole), room)
        if len(whole) <= room:
            return whole.decode()
        return {
            "text": whole[:room].decode(errors="ignore"),  # not half a character
            "characters": len(text),
            "sha256": hashlib.sha256(text.encode()).hexdigest(),
            "cut": True,
        }


def as_text(raw: bytes) -> str:
    """UTF-8 where it is that, as most programs write it whatever the standard says;

    Latin-1 otherwise.
    """
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")
