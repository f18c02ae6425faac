"""Text as wide as the terminal, whole where there is none, and JSON that is never wrapped."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.text import Text

from api.fields import FailedItem
from api.terminal.console import (
    MIN_WIDTH,
    clean,
    named,
    output_width,
    print_failure,
    print_json,
    print_json_line,
    verdict_name,
    verdict_text,
    write,
    write_line,
)

Capture = pytest.CaptureFixture[str]
SetWidth = Callable[[int], None]
LONG = "the same picture as a known fake and as a known-real image, by its bytes or its hash"


def test_output_that_is_no_terminal_has_no_width() -> None:
    assert output_width() is None


def test_the_variable_columns_sets_the_width(set_width: SetWidth) -> None:
    set_width(93)
    assert output_width() == 93


def test_a_tiny_terminal_counts_as_the_smallest(set_width: SetWidth) -> None:
    set_width(7)
    assert output_width() == MIN_WIDTH


def test_text_is_whole_where_there_is_no_width(capsys: Capture) -> None:
    write(LONG, label="  similarity  ")
    assert capsys.readouterr().out == f"  similarity  {LONG}\n"


def test_text_is_wrapped_between_words_and_indented_like_its_label(
    capsys: Capture, set_width: SetWidth
) -> None:
    set_width(50)
    write(LONG, label="  similarity  ")
    lines = capsys.readouterr().out.splitlines()

    assert lines[0].startswith("  similarity  the same")
    assert all(line.startswith(" " * 14) and line[14] != " " for line in lines[1:])
    assert " ".join(line[14:] for line in lines) == LONG
    assert max(map(len, lines)) <= 50


@given(
    words=st.lists(st.text("abcdefgh", min_size=1, max_size=20), min_size=1, max_size=40),
    width=st.integers(MIN_WIDTH, 160),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
def test_no_line_is_wider_than_the_terminal_and_no_word_is_cut(
    words: list[str], width: int, capsys: Capture, set_width: SetWidth
) -> None:
    set_width(width)
    capsys.readouterr()
    write(" ".join(words), label="- ")
    lines = capsys.readouterr().out.splitlines()

    assert max(map(len, lines)) <= width
    assert [word for line in lines for word in line[2:].split()] == words


def test_a_word_that_is_wider_than_the_terminal_is_folded(
    capsys: Capture, set_width: SetWidth
) -> None:
    set_width(60)
    write("x" * 100)
    assert capsys.readouterr().out == f"{'x' * 60}\n{'x' * 40}\n"


def test_an_empty_text_is_an_empty_line(capsys: Capture, set_width: SetWidth) -> None:
    write()
    set_width(80)
    write()
    assert capsys.readouterr().out == "\n\n"


def test_a_line_is_printed_exactly_as_it_is(capsys: Capture, set_width: SetWidth) -> None:
    set_width(40)
    write_line(Text("a" * 70))
    assert capsys.readouterr().out == "a" * 70 + "\n"


def test_control_characters_and_markup_are_only_text(capsys: Capture) -> None:
    write("one\ntwo\x1b[31m [red]three[/red] :smile:")
    assert capsys.readouterr().out == "one two [31m [red]three[/red] :smile:\n"


def test_cleaning_leaves_styled_text_alone() -> None:
    text = Text("verdict", style="red")
    cleaned = clean(text)
    assert (cleaned.plain, cleaned.style) == ("verdict", "red")
    cleaned.append("!")
    assert text.plain == "verdict"


@pytest.mark.parametrize(
    ("verdict", "colour"),
    [("synthetic", "red"), ("no_traces", "bold"), ("inconclusive", "yellow"), ("other", "")],
)
def test_a_verdict_is_its_word_in_its_colour(verdict: str, colour: str) -> None:
    text = verdict_text(verdict)
    assert text.plain == verdict
    assert str(text.style).endswith(colour)
    assert bool(text.style) == bool(colour)


@pytest.mark.parametrize("verdict", ["no_traces", "not_similar"])
def test_a_verdict_that_finds_nothing_has_no_colour_of_relief(verdict: str) -> None:
    assert verdict_text(verdict).style == verdict_name(verdict).style == "bold"


def test_the_name_of_a_verdict_is_that_of_the_page() -> None:
    assert verdict_name("no_traces").plain == "no synthetic traces found"
    assert verdict_name("similar_to_known_fakes").plain == "similar to known fakes"
    assert verdict_name("other").plain == "other"


def test_json_is_one_document_that_no_width_wraps(capsys: Capture, set_width: SetWidth) -> None:
    set_width(40)
    failure = FailedItem(name="n" * 100, reason="truncated", detail="cut [red]off[/red]")
    print_json(failure)
    document = capsys.readouterr().out
    print_json_line(failure)
    line = capsys.readouterr().out

    assert json.loads(document) == json.loads(line) == failure.model_dump()
    assert document.startswith("{\n")
    assert line.count("\n") == 1


def test_a_failure_has_name_reason_and_detail(capsys: Capture) -> None:
    print_failure(FailedItem(name="a\tb.png", reason="truncated", detail="it ends early"))
    assert capsys.readouterr().out == "a b.png  truncated: it ends early\n"


def test_a_name_is_bold() -> None:
    assert str(named("x").spans[0].style) == "bold"
