"""Opaque cursors: a page starts after the last item of the previous page, whatever was added or
removed since.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from typing import TypeVar

from api.errors import InvalidRequest
from index.truth.schema import LARGEST_ID

T = TypeVar("T")


def page(
    found: Sequence[T], limit: int, key: Callable[[T], object]
) -> tuple[Sequence[T], str | None]:
    """Return the first `limit` items, and the cursor of the next page; None on the last page.

    `found` must hold more than `limit` items if there are more. The next page starts after the
    `key` of the last item of this one.
    """
    if len(found) <= limit:
        return found, None
    items = found[:limit]
    return items, make_cursor(str(key(items[-1])))


def make_cursor(key: str) -> str:
    """Return the cursor of the page that starts after `key`."""
    return base64.urlsafe_b64encode(key.encode()).decode().rstrip("=")


def read_cursor(cursor: str | None) -> str | None:
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


def read_number(cursor: str | None) -> int | None:
    """Return the row id or position that a cursor holds; None for the first page.

    Raises `InvalidRequest` for a cursor that this service did not make.
    """
    key = read_cursor(cursor)
    if key is None:
        return None
    if not (key.isascii() and key.isdecimal() and int(key) <= LARGEST_ID):
        raise InvalidRequest("cursor: this service did not make it")
    return int(key)
