"""What commands print: results on standard output, problems on standard error.

In a terminal, text is wrapped between words at the terminal's width. Where output goes to a file or
another program nothing is wrapped, shortened or left out. The variable COLUMNS sets a width in
either case.
"""

from __future__ import annotations

import os
import shutil
import sys
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.text import Text

from api.lookups.names import VERDICT_NAMES

if TYPE_CHECKING:
    from pydantic import BaseModel

    from api.fields import FailedItem

MIN_WIDTH = 40
UNLIMITED = 100_000  # rich needs a number of columns also where nothing is wrapped

VERDICT_STYLES = {
    "synthetic": "bold red",
    "similar_to_known_fakes": "bold red",
    # No colour of relief: fakes that are missed look like this too.
    "no_traces": "bold",
    "not_similar": "bold",
    "inconclusive": "bold yellow",
}

errors = Console(stderr=True, highlight=False, markup=False, emoji=False, soft_wrap=True)


def output_width() -> int | None:
    """Return the width of standard output; None if it is no terminal and COLUMNS is not set."""
    if not sys.stdout.isatty() and not os.environ.get("COLUMNS", "").isdigit():
        return None
    return max(MIN_WIDTH, shutil.get_terminal_size().columns)


def write(text: str | Text = "", *, label: str | Text = "", style: str = "") -> None:
    """Print text behind a label; further lines are indented by the label's length."""
    label, text = clean(label), clean(text)
    text.stylize(style)
    width, console = output_width(), _console()
    if width is None:
        console.print(Text.assemble(label, text), soft_wrap=True)
        return
    indent = label.cell_len
    lines = text.wrap(console, max(MIN_WIDTH // 2, width - indent), overflow="fold")
    for number, line in enumerate(lines or [Text()]):
        line.rstrip()
        before = label if number == 0 else " " * indent
        console.print(Text.assemble(before, line), soft_wrap=True)


def write_line(line: Text) -> None:
    """Print one line exactly as it is."""
    _console().print(line, soft_wrap=True)


def clean(text: str | Text) -> Text:
    """Return text without control characters, which could move the cursor or break a table."""
    if isinstance(text, Text):
        return text.copy()
    return Text("".join(letter if letter.isprintable() else " " for letter in text))


def verdict_text(verdict: str) -> Text:
    """Return a verdict in its colour, as JSON has it: for a cell of a table."""
    return Text(verdict, style=VERDICT_STYLES.get(verdict, ""))


def verdict_name(verdict: str) -> Text:
    """Return the name of a verdict in its colour, as the page shows it."""
    return Text(VERDICT_NAMES.get(verdict, verdict), style=VERDICT_STYLES.get(verdict, ""))


def print_json(answer: BaseModel) -> None:
    """Print one JSON document on standard output."""
    typer.echo(answer.model_dump_json(indent=2))


def print_json_line(answer: BaseModel) -> None:
    """Print one JSON document on one line and flush, for a program that follows along."""
    typer.echo(answer.model_dump_json())
    sys.stdout.flush()


def print_failure(failure: FailedItem) -> None:
    """Print the name of an item that failed and the reason."""
    write(f"{failure.reason}: {failure.detail}", label=named(failure.name))


def named(name: str) -> Text:
    """Return a name in bold with the space behind it, as a label."""
    return Text.assemble((clean(name).plain, "bold"), "  ")


def _console() -> Console:
    return Console(highlight=False, markup=False, emoji=False, width=output_width() or UNLIMITED)
