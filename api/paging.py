"""Opaque cursors: a page starts behind the last item of the one before, whatever was added or
removed since.
"""

from __future__ import annotations

import base64

from api.errors import InvalidRequest


def cursor_of(key: str) -> str:
    """The cursor that continues behind `key`."""
    return base64.urlsafe_b64encode(key.encode()).decode().rstrip("=")


def key_of(cursor: str | None) -> str | None:
    """The key behind which a page starts; None for the first page. Raises `InvalidRequest`."""
    if cursor is None:
        return None
    try:
        return base64.b64decode(
            cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True
        ).decode()
    except ValueError as err:  # also of binascii and of UTF-8
        raise InvalidRequest("cursor: not one that this service made") from err


def number_of(cursor: str | None) -> int | None:
    """The row id that a cursor holds.

    Raises `InvalidRequest` for a cursor that this service did not make.
    """
    key = key_of(cursor)
    if key is not None and not key.isdecimal():
        raise InvalidRequest("cursor: not one that this service made")
    return None if key is None else int(key)
