"""What commands print: results on standard output, problems on standard error.

The only module that writes to them: a test finds the others. Text from outside is shown and never
interpreted (`api.visible`), here and not by the commands, and no text is markup.

In a terminal, text is wrapped between words at the terminal's width. Where output goes to a file or
another program nothing is wrapped, shortened or left out. The variable COLUMNS sets a width in
either case.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TextIO

import typer
from rich.console import Console, ConsoleOptions, RenderableType
from rich.progress import ProgressColumn, Task
from rich.segment import Segment
from rich.text import Text

from api.lookups.answers.names import VERDICT_NAMES
from api.visible import escape_json, show, show_lines

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


class ShownConsole(Console):
    """A console on which no text can move the cursor, change colours or hide: also text in tables,
    logs and bars of other libraries. Only what rich itself emits to control the terminal stays.
    """

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Yield the segments of a renderable, their text shown."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=show_lines(segment.text))

    def render_str(self, text: str, **style: Any) -> Text:  # noqa: ANN401 -- rich's own
        """Return a string as text of one line: shown first, since rich drops some characters."""
        return super().render_str(show(text), **style)


errors = ShownConsole(stderr=True, highlight=False, markup=False, emoji=False, soft_wrap=True)


class ShownColumn(ProgressColumn):
    """A column of a bar: a format over the task, as `TextColumn` has it, but without markup."""

    def __init__(self, text_format: str) -> None:
        super().__init__()
        self._text_format = text_format

    def render(self, task: Task) -> Text:
        """Return the text for a task."""
        return Text(show(self._text_format.format(task=task)))


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


def write_line(line: str | Text) -> None:
    """Print one line, however long it is."""
    _console().print(clean(line), soft_wrap=True)


def clean(text: str | Text) -> Text:
    """Return text for one line: it is shown, so that it cannot move the cursor or break a table.

    A `Text` comes from this module, and was shown when it was made.
    """
    return Text(show(text)) if isinstance(text, str) else text.copy()


def styled(text: str, style: str) -> Text:
    """Return text in a style. It is shown, since rich drops some control characters silently."""
    return Text(show(text), style)


def joined(*parts: str | Text) -> Text:
    """Return one text of several parts, each in its own style."""
    return Text.assemble(*map(clean, parts))


def verdict_text(verdict: str) -> Text:
    """Return a verdict in its colour, as JSON has it: for a cell of a table."""
    return styled(verdict, VERDICT_STYLES.get(verdict, ""))


def verdict_name(verdict: str) -> Text:
    """Return the name of a verdict in its colour, as the page shows it."""
    return styled(VERDICT_NAMES.get(verdict, verdict), VERDICT_STYLES.get(verdict, ""))


def print_json(answer: BaseModel) -> None:
    """Print one JSON document on standard output. What a terminal could interpret is escaped."""
    typer.echo(escape_json(answer.model_dump_json(indent=2)))


def print_json_line(answer: BaseModel) -> None:
    """Print one JSON document on one line and flush, for a program that follows along."""
    typer.echo(escape_json(answer.model_dump_json()))
    sys.stdout.flush()


def csv_output() -> TextIO:
    """Return standard output for CSV, whose lines end as the writer ends them."""
    sys.stdout.reconfigure(newline="")  # type: ignore[union-attr]  # it is a text file
    return sys.stdout


def confirm(question: str) -> None:
    """Ask a question; an answer other than yes ends the command."""
    typer.confirm(show(question), abort=True)


def print_failure(failure: FailedItem) -> None:
    """Print the name of an item that failed and the reason."""
    write(f"{failure.reason}: {failure.detail}", label=named(failure.name))


def named(name: str) -> Text:
    """Return a name in bold with the space behind it, as a label."""
    return Text.assemble(styled(name, "bold"), "  ")


def _console() -> Console:
    return ShownConsole(
        highlight=False, markup=False, emoji=False, width=output_width() or UNLIMITED
    )
