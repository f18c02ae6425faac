"""The statements of one file while they are collected, and their limits: hostile metadata are
common.

PostgreSQL stores no NUL, so NUL is written as the four characters of its escape. No decoding here
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

# Bytes of UTF-8. Parameters of web interfaces have a few KiB, most workflows of ComfyUI under 64.
MAX_VALUE_BYTES = 64 * 2**10
MAX_FILE_BYTES = 256 * 2**10
MAX_KEYS = 64
# Keys that are reserved for errors: one for the container, and those of EXIF, XMP and IPTC.
_MAX_ERRORS = 4
# Limits of what is inflated, decoded and hashed, for a value and for a file: 16 MiB take about 50
# ms. Even a short value counts as 4 KiB, so that no file has more than 4,096 of them.
MAX_READ_BYTES = 4 * 2**20
_MAX_FILE_READ_BYTES = 16 * 2**20
_LEAST_READ_BYTES = 4 * 2**10
_UNREADABLE = (ImageError, ValueError, struct.error, zlib.error, ExpatError)


class Statements:
    """Collects what one file says, within fixed limits."""

    def __init__(self) -> None:
        self._values: dict[str, Statement] = {}
        self._errors: dict[str, str] = {}
        self._seen: set[str] = set()
        self._room = MAX_FILE_BYTES
        self._unread = _MAX_FILE_READ_BYTES

    @property
    def collected(self) -> FileMetadata:
        """Texts by key, or what remains of a text that is too long. Errors come last."""
        return {**self._values, **self._errors}

    @property
    def readable(self) -> int:
        """How many bytes the next value may have; 0 where nothing more is read."""
        return (
            min(MAX_READ_BYTES, self._unread) if len(self._values) < MAX_KEYS - _MAX_ERRORS else 0
        )

    def is_first(self, origin: str) -> bool:
        """Whether this is the first block of its kind. Decoders ignore a second one too."""
        seen = origin in self._seen
        self._seen.add(origin)
        return not seen

    @contextmanager
    def reading(self, origin: str) -> Iterator[None]:
        """Record the first error of each origin, as `origin:error`, instead of raising it."""
        try:
            yield
        except _UNREADABLE as err:
            reason = (
                "an offset points beyond the end" if isinstance(err, struct.error) else str(err)
            )
            if len(self._errors) < _MAX_ERRORS:
                self._errors.setdefault(f"{origin}:error", reason.replace("\x00", r"\x00")[:200])

    def require_room(self) -> None:
        """Raise ValueError where nothing more is read."""
        if not self.readable:
            raise ValueError("the file has more metadata than are read")

    def require_readable(self, size: int) -> None:
        """Count what is decoded next.

        Raises ValueError where it is more than may be read.
        """
        readable = self.readable
        self._unread = max(0, self._unread - max(min(size, readable), _LEAST_READ_BYTES))
        if size > readable:
            raise ValueError(f"a value has more than {readable:,} bytes and is not read")

    def put(self, key: str, text: str) -> None:
        """Keep a text, unless it consists of spaces and NUL only.

        A second text with the same key gets a number, and so does one whose key ends like an
        error's.
        """
        kept = text.rstrip("\x00")
        if not kept.strip("\x00 \t\r\n") or len(self._values) >= MAX_KEYS - _MAX_ERRORS:
            return
        number = 2
        name = key
        while name in self._values or name.endswith(":error"):
            name, number = f"{key} {number}", number + 1
        self._values[name] = self._bound(kept)

    def _bound(self, text: str) -> Statement:
        whole = text.replace("\x00", r"\x00").encode()
        room = min(MAX_VALUE_BYTES, self._room)
        self._room -= min(len(whole), room)
        if len(whole) <= room:
            return whole.decode()
        return {
            "text": whole[:room].decode(errors="ignore"),  # without half a character
            "characters": len(text),
            "sha256": hashlib.sha256(text.encode()).hexdigest(),
            "cut": True,
        }


def as_text(raw: bytes) -> str:
    """Decode UTF-8, or Latin-1 where the bytes are not UTF-8.

    Most programs write UTF-8, whatever the standard says.
    """
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")
