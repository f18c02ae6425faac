"""Cursors: every item is on exactly one page, and a cursor of somebody else is refused."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.errors import InvalidRequest
from api.paging import make_cursor, page, read_cursor, read_number
from index.truth.schema import LARGEST_ID


def encoded(key: str) -> str:
    return base64.urlsafe_b64encode(key.encode()).decode().rstrip("=")


@pytest.mark.parametrize("cursor", ["!", "e", "\xff", "gA", " ", "e A"])
def test_what_is_no_cursor_is_refused(cursor: str) -> None:
    with pytest.raises(InvalidRequest, match="cursor"):
        read_cursor(cursor)


@pytest.mark.parametrize("key", ["", "x", "-1", "1.5", "1e3", "²", "٣", str(LARGEST_ID + 1), " 1"])
def test_a_cursor_without_an_id_is_refused(key: str) -> None:
    with pytest.raises(InvalidRequest, match="cursor"):
        read_number(encoded(key))


def test_the_first_page_needs_no_cursor() -> None:
    assert read_cursor(None) is None
    assert read_number(None) is None


@given(st.text())
def test_a_key_survives_its_cursor(key: str) -> None:
    try:
        key.encode()
    except UnicodeEncodeError:
        return
    assert read_cursor(make_cursor(key)) == key


@given(st.integers(0, LARGEST_ID))
def test_an_id_survives_its_cursor(number: int) -> None:
    assert read_number(make_cursor(str(number))) == number


@given(count=st.integers(0, 30), limit=st.integers(1, 12))
def test_the_pages_together_are_the_whole(count: int, limit: int) -> None:
    seen: list[int] = []
    cursor: str | None = None
    while True:
        after = read_number(cursor)
        rest = [n for n in range(count) if after is None or n > after]
        items, cursor = page(rest[: limit + 1], limit, lambda n: n)
        assert len(items) <= limit
        seen += items
        if cursor is None:
            break
        assert len(items) == limit

    assert seen == [*range(count)]


def test_a_page_that_is_exactly_full_is_the_last() -> None:
    assert page([1, 2], 2, lambda n: n) == ([1, 2], None)
    items, cursor = page([1, 2, 3], 2, lambda n: n * 10)
    assert (items, read_number(cursor)) == ([1, 2], 20)
