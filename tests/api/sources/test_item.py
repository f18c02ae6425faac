"""Items and their errors: names that can be stored, and errors with a reason and a place."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.errors import ServiceError
from api.sources.item import (
    MAX_REASON_LENGTH,
    Item,
    UnreadableItem,
    UnusableSource,
    make_printable,
)
from index.jsontext import canonical_json


@given(st.binary(max_size=40))
def test_any_name_of_a_file_becomes_text_that_json_and_sql_can_hold(name: bytes) -> None:
    text = make_printable(os.fsdecode(name))
    assert "\x00" not in text
    assert canonical_json(text)


@pytest.mark.parametrize(
    ("name", "text"), [("a ä.png", "a ä.png"), ("a\x00b", "a\\x00b"), ("\udcff.png", "\\xff.png")]
)
def test_only_what_cannot_be_stored_is_escaped(name: str, text: str) -> None:
    assert make_printable(name) == text


def test_errors_say_what_and_where() -> None:
    unreadable = UnreadableItem("not_found", "no such file")
    assert (unreadable.reason, str(unreadable)) == ("not_found", "no such file")
    unusable = UnusableSource("/a\x00b", "is empty")
    assert (unusable.location, unusable.reason) == ("/a\x00b", "is empty")
    assert str(unusable) == "/a\\x00b: is empty"
    assert isinstance(unreadable, ServiceError)
    assert isinstance(unusable, ServiceError)


def test_an_item_declares_nothing_unless_its_source_does() -> None:
    item = Item("a.png", lambda size: b"abc"[: size + 1])
    assert (dict(item.declared), item.location) == ({}, None)
    assert item.read(1) == b"ab"


def test_a_reason_that_lists_what_a_file_contains_is_cut() -> None:
    err = UnusableSource("a.csv", "its columns are " + ", ".join(map(str, range(100_000))))
    assert err.reason.startswith("its columns are 0, 1, 2")
    assert len(str(err)) == len("a.csv: ") + MAX_REASON_LENGTH + 1
