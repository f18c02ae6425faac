"""Cursors and pages: any walk over pages sees every item once, and foreign cursors are refused."""

from __future__ import annotations

import base64
from bisect import bisect_right

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.errors import InvalidRequest
from api.paging import make_cursor, page, read_cursor, read_number
from index.truth.schema import LARGEST_ID

FOREIGN = ["bad!", "_w", "é", "a", "=", "a b", "\x00"]


@given(st.text())
def test_a_cursor_holds_its_key(key: str) -> None:
    try:
        key.encode()
    except UnicodeEncodeError:  # half a surrogate pair is no key
        return
    cursor = make_cursor(key)
    assert read_cursor(cursor) == key
    assert cursor.isascii()
    assert not set(cursor) & set("+/=& ?#")


@pytest.mark.parametrize("cursor", FOREIGN)
def test_what_is_no_cursor_is_refused(cursor: str) -> None:
    with pytest.raises(InvalidRequest, match="cursor"):
        read_cursor(cursor)
    with pytest.raises(InvalidRequest, match="cursor"):
        read_number(cursor)


@pytest.mark.parametrize(
    "key", ["", "x", "-1", "1.0", " 1", "٣", "²", str(LARGEST_ID + 1), "9" * 99]
)
def test_a_key_that_is_no_row_id_is_refused(key: str) -> None:
    with pytest.raises(InvalidRequest, match="cursor"):
        read_number(make_cursor(key))


@given(st.integers(0, LARGEST_ID))
def test_a_cursor_holds_its_number(number: int) -> None:
    assert read_number(make_cursor(str(number))) == number


def test_the_first_page_has_no_cursor() -> None:
    assert read_cursor(None) is None
    assert read_number(None) is None


def test_padding_is_accepted_as_clients_may_add_it() -> None:
    padded = base64.urlsafe_b64encode(b"key").decode()
    assert read_cursor(padded) == read_cursor(padded.rstrip("=")) == "key"


@given(st.lists(st.integers(0, 10**6), unique=True, max_size=40), st.integers(1, 12))
def test_a_walk_over_pages_sees_every_item_once(keys: list[int], limit: int) -> None:
    rows = sorted(keys)
    seen: list[int] = []
    cursor, pages = None, 0
    while True:
        after = read_number(cursor)
        start = 0 if after is None else bisect_right(rows, after)
        items, cursor = page(rows[start : start + limit + 1], limit, lambda row: row)
        assert len(items) <= limit
        seen += items
        pages += 1
        if cursor is None:
            break
        rows = [row for row in rows if row != items[-1]]  # removed meanwhile: nothing is skipped
    assert seen == sorted(keys)
    assert pages == max(1, -(-len(keys) // limit))
