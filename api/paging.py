"""Opaque cursors: a page starts after the last item of the previous page, whatever was added or
removed since.
"""

from __future__ import annotations

import base64

from api.errors import InvalidRequest


def cursor_of(key: str) -> str:
    """Return the cursor of the page that starts after `key`."""
    return base64.urlsafe_b64encode(key.encode()).decode().rstrip("=")


def key_of(cursor: str | None) -> str | None:
    """Return the key that a page starts after; None for the first page.

    Raises `InvalidRequest` for a cursor that this service did not make.
    """
    if cursor is None:
        return None
    try:
        return base64.b64decode(
            cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True
        ).decode()
    except ValueError as err:  # also of binascii and of UTF-8
        raise InvalidRequest("cursor: this service did not make it") from err


def number_of(cursor: str | None) -> int | None:
    """Return the row id that a cursor holds; None for the first page.

    Raises `InvalidRequest` for a cursor that this service did not make.
    """
    key = key_of(cursor)
    if key is not None and not key.isdecimal():
        raise InvalidRequest("cursor: this service did not make it")
    return None if key is None else int(key)
