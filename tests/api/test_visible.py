r"""Text is shown and never interpreted; what can be read back is read back exactly."""

from __future__ import annotations

import io
import json
import logging
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from api.visible import (
    VisibleFormatter,
    csv_cell,
    escape_json,
    read_csv_cell,
    show,
    show_lines,
)

ANY_TEXT = st.text(st.characters() | st.sampled_from("\x1b\x9b\u202e\u200d\u200c\ufe0f\u0301\\'=;"))
DIRECTIONS = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
INVISIBLE = "\u00ad\u115f\u180e\u200b\u2060\u2028\u2029\u3164\ufeff\ufff9\uffa0\U000e0041\U0001d173"


@given(ANY_TEXT)
@example("\x1b[2J\x1b[1;1Hsimilar")
@example("\u1b44\u200c\u0301" + "\u0301" * 9)
def test_what_is_shown_has_no_character_that_anything_obeys_and_is_its_own_result(
    text: str,
) -> None:
    shown = show(text)
    assert not any(unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") for letter in shown)
    assert not set(DIRECTIONS + INVISIBLE) & set(shown)
    assert show(shown) == shown


@pytest.mark.parametrize("letter", [*DIRECTIONS, *INVISIBLE, "\x00", "\x7f", "\x85", "\udc80"])
def test_a_hazardous_character_is_written_as_python_writes_it(letter: str) -> None:
    shown = show(f"a{letter}b")
    assert shown == f"a{ascii(letter)[1:-1]}b"


@pytest.mark.parametrize(
    "text",
    [
        "photo (1).jpg",
        "C:\\fakes\\[red] new",
        "Ünïcødé e\u0301",
        "شبكة عصبية",
        "می\u200cخواهم",  # noqa: RUF001 -- Persian spells with the zero-width non-joiner
        "שָׁלוֹם",
        "क्\u200dष নির\u200d্যাস",  # and Indic scripts with both
        "สวัสดีครับ",
        "མཁྱེན་བརྩེ",
        "葛\U000e0100城 ひらがな 한글",
        "👩\u200d👩\u200d👧 🧑🏽\u200d💻 👁️\u200d🗨️ 1️⃣ ❤️ 🏳️\u200d🌈",
        "🏴\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f",  # the flag of Scotland
        "12 °C – 50 % ½ №",  # noqa: RUF001
    ],
)
def test_ordinary_text_of_every_script_stays_as_it_is(text: str) -> None:
    assert show(text) == text


def test_joiners_selectors_tags_and_marks_that_nothing_carries_are_shown() -> None:
    assert show("real\u200d.jpg") == r"real\u200d.jpg"
    assert show("a\ufe0f b\ufe0f\ufe0f") == r"a\ufe0f b\ufe0f\ufe0f"
    assert show("😀\ufe0f\ufe0e\ufe0f") == "😀\ufe0f" + r"\ufe0e\ufe0f"
    assert show("🏴\U000e0068\U000e0069\U000e007f") == r"🏴\U000e0068\U000e0069\U000e007f"
    assert show("\u0338similar") == r"\u0338similar", "it would strike out what stands before"
    assert show("x" + "\u0301" * 10) == "x" + "\u0301" * 8 + r"\u0301\u0301"


def test_lines_that_lineup_lays_out_stay_lines() -> None:
    assert show_lines("one\ntwo\x1b") == "one\ntwo\\x1b"


@given(st.recursive(ANY_TEXT, lambda inner: st.lists(inner) | st.dictionaries(ANY_TEXT, inner)))
def test_escaped_json_is_the_same_document(document: object) -> None:
    text = json.dumps(document, ensure_ascii=False, indent=2)
    escaped = escape_json(text)
    assert json.loads(escaped) == json.loads(text)
    assert not set(DIRECTIONS + INVISIBLE + "\x7f\x9b") & set(escaped)


@given(ANY_TEXT)
@example("\\x1b")
@example("'")
@example(" '\"\uff1dSUM(A1)")
def test_a_cell_of_a_table_is_read_back_exactly(text: str) -> None:
    cell = csv_cell(text)
    assert isinstance(cell, str)
    assert read_csv_cell(cell) == text
    assert show(cell) == cell


@given(
    st.sampled_from(["", " ", "\t", "\r\n", "'", '"', ' " ', "\u00a0", "\ufeff", "\u200b"]),
    ANY_TEXT,
)
def test_no_cell_begins_a_formula(before: str, text: str) -> None:
    for sign in "=+-@\uff1d":
        cell = csv_cell(f"{before}{sign}{text}")
        assert isinstance(cell, str)
        assert cell[0] in "'\\"


def test_numbers_stay_numbers_and_a_second_cell_cannot_be_smuggled_in() -> None:
    assert [csv_cell(each) for each in (7, -0.25, None)] == [7, -0.25, None]
    assert csv_cell("-0.25") == "'-0.25", "text stays text"
    assert csv_cell("x;=cmd|' /C calc'!A0") == r"x;\x3dcmd|' /C calc'!A0"


def test_a_record_of_a_log_is_one_line_and_a_traceback_cannot_look_like_another() -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(VisibleFormatter("%(levelname)s %(message)s"))
    log = logging.Logger("a log of this test")
    log.addHandler(handler)
    log.info("read %s: %r, %d of %.1f", "a\nINFO forged\x1b[2J", ValueError("\u202e"), 3, 0.5)
    log.info("by name %(name)s", {"name": "\x9b"})
    try:
        float("nothing")
    except ValueError as err:
        err.args = ("first\nINFO forged",)
        log.exception("failed")
    lines = stream.getvalue().splitlines()
    assert lines[:3] == [
        r"INFO read a\nINFO forged\x1b[2J: ValueError('\u202e'), 3 of 0.5",
        r"INFO by name \x9b",
        "ERROR failed",
    ]
    assert lines[3] == "  | Traceback (most recent call last):"
    assert lines[-1] == "  | INFO forged"
