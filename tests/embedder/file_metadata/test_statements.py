from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedder.file_metadata.statements import (
    MAX_FILE_BYTES,
    MAX_KEYS,
    MAX_READ_BYTES,
    MAX_VALUE_BYTES,
    Statements,
    as_text,
)


def test_errors_are_recorded_once_for_each_origin_and_come_last() -> None:
    statements = Statements()
    for reason in ("first", "second"):
        with statements.reading("exif"):
            raise ValueError(reason)
    with statements.reading("xmp"):
        raise struct.error("unpack requires more")
    statements.put("png:Software", "a program")
    assert list(statements.collected.items()) == [
        ("png:Software", "a program"),
        ("exif:error", "first"),
        ("xmp:error", "an offset points beyond the end"),
    ]


def test_an_error_of_the_program_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError), Statements().reading("exif"):
        raise ZeroDivisionError


def test_reasons_are_short_and_can_be_stored() -> None:
    statements = Statements()
    with statements.reading("xmp"):
        raise ValueError("\x00" + "x" * 1000)
    reason = statements.collected["xmp:error"]
    assert isinstance(reason, str)
    assert reason.startswith(r"\x00x")
    assert len(reason) == 200


def test_only_the_first_block_of_a_kind_is_the_first() -> None:
    statements = Statements()
    assert [statements.is_first(each) for each in ("exif", "xmp", "exif")] == [True, True, False]


def test_what_is_read_is_counted_and_a_large_value_is_refused() -> None:
    statements = Statements()
    assert statements.readable == MAX_READ_BYTES
    statements.require_readable(MAX_READ_BYTES)
    with pytest.raises(ValueError, match="not read"):
        statements.require_readable(MAX_READ_BYTES + 1)
    for _ in range(2):
        statements.require_readable(MAX_READ_BYTES)
    assert statements.readable == 0
    with pytest.raises(ValueError, match="more metadata"):
        statements.require_room()


def test_short_values_count_as_four_kibibytes() -> None:
    statements = Statements()
    for _ in range(4096):
        statements.require_readable(1)
    assert statements.readable == 0


def test_no_key_is_read_beyond_the_last_one() -> None:
    statements = Statements()
    for number in range(2 * MAX_KEYS):
        statements.put(f"png:key {number}", "text")
    assert len(statements.collected) == MAX_KEYS - 4
    assert statements.readable == 0


@given(st.lists(st.tuples(st.characters(exclude_categories=["Cs"]), st.integers(0, 70_000))))
def test_texts_stay_within_the_limits(texts: list[tuple[str, int]]) -> None:
    statements = Statements()
    for character, count in texts:
        statements.put("png:Comment", character * count)
    whole = 0
    for value in statements.collected.values():
        kept = value if isinstance(value, str) else str(value["text"])
        assert "\x00" not in kept
        assert len(kept.encode()) <= MAX_VALUE_BYTES
        whole += len(kept.encode())
    assert whole <= MAX_FILE_BYTES


@given(st.binary(max_size=100))
def test_every_byte_string_is_text_and_utf_8_is_preferred(raw: bytes) -> None:
    text = as_text(raw)
    assert raw in (text.encode(), text.encode("latin-1", errors="replace"))
