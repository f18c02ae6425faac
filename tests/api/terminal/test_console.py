"""Text as wide as the terminal, whole where there is none, and JSON that is never wrapped."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable
from operator import attrgetter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.panel import Panel
from rich.text import Text

from api.fields import FailedItem
from api.terminal import console
from api.terminal.console import (
    MIN_WIDTH,
    clean,
    errors,
    joined,
    named,
    output_width,
    print_failure,
    print_json,
    print_json_line,
    styled,
    verdict_name,
    verdict_text,
    write,
    write_line,
)
from api.terminal.progress import progress_bar
from api.visible import show

Capture = pytest.CaptureFixture[str]
SetWidth = Callable[[int], None]
TERMINAL = Path(console.__file__).parent
RICH = {  # the names of rich that a module may import
    "application": {"rich.logging.RichHandler"},
    "console": {
        *("rich.console.Console", "rich.console.ConsoleOptions", "rich.console.RenderableType"),
        *("rich.progress.ProgressColumn", "rich.progress.Task"),
        *("rich.segment.Segment", "rich.text.Text"),
    },
    "progress": {
        f"rich.progress.{name}"
        for name in ("BarColumn", "MofNCompleteColumn", "Progress", "TimeRemainingColumn")
    },
    "tables": {"rich.cells.cell_len", "rich.cells.set_cell_size", "rich.text.Text"},
}
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
    assert capsys.readouterr().out == r"one\ntwo\x1b[31m [red]three[/red] :smile:" "\n"


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
    assert capsys.readouterr().out == "a\\tb.png  truncated: it ends early\n"


def test_a_name_is_bold() -> None:
    assert str(named("x").spans[0].style) == "bold"


HOSTILE = "real.jpg\r\x1b[2K\x1b]0;title\x07\u202egpj.ekaf\n[red]x[/red]"


def test_hostile_text_is_shown_in_labels_tables_and_errors(
    capsys: Capture,
) -> None:
    write(HOSTILE, label=HOSTILE)
    write(joined(styled(HOSTILE, "bold"), HOSTILE))
    write_line(HOSTILE)
    errors.print(HOSTILE, style="red")
    errors.print(Panel(HOSTILE))
    out, err = capsys.readouterr()
    assert out.count(show(HOSTILE)) == 5
    assert err.count(show(HOSTILE)) == 2
    assert not {"\x1b", "\r", "\u202e", "\x07"} & set(out + err)


def test_a_bar_shows_its_description_without_markup(capsys: Capture) -> None:
    with progress_bar(after="{task.fields[reasons]}") as bar:
        bar.disable = False
        bar.add_task("[red]\x1b[2J", reasons="\u202e")
        errors.print(bar.get_renderable())
    assert r"[red]\x1b[2J" in capsys.readouterr().err


def test_json_escapes_what_a_terminal_could_interpret(capsys: Capture) -> None:
    failure = FailedItem(name=HOSTILE, reason="x", detail="\x9b\x7f\U000e0041")
    print_json(failure)
    print_json_line(failure)
    text = capsys.readouterr().out
    assert text.isascii()
    assert FailedItem.model_validate_json(text.splitlines()[-1]) == failure


@pytest.mark.parametrize("module", sorted(TERMINAL.glob("*.py")), ids=attrgetter("stem"))
def test_only_the_console_writes_and_makes_texts(module: Path) -> None:
    """So a new command cannot forget to show what comes from outside."""
    tree = ast.parse(module.read_text("utf-8"))
    imported = {
        f"{node.module}.{name.name}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for name in node.names
    } | {
        name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names
    }
    used = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    rich = {name for name in imported if name.split(".")[0] == "rich"}
    assert rich <= RICH.get(module.stem, set())
    writing = {"print", "typer.echo", "typer.secho", "typer.confirm", "typer.prompt"}
    writing |= {"sys.stdout.write", "sys.stderr.write"}
    assert module.stem == "console" or not used & writing
