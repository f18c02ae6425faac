"""Tables that fit the terminal: one line a row, whole words, the least important columns left out.

A column that is too wide is shortened with an ellipsis if it allows that. Where standard output has
no width (`api.terminal.console.output_width`) every column is printed whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from api.terminal.console import clean, output_width, write, write_line

GAP = 2  # spaces between two columns
LONG_TITLE = 16  # cells; a longer title takes two lines even where there is room
SHORTEST = 12  # columns that a shortened column keeps before another one is left out
ELLIPSIS = "…"
Cell = str | Text


@dataclass(frozen=True, slots=True)
class Column:
    """How a column is printed.

    `importance` decides what is left out where the table is too wide: the smallest number first,
    None never. `shorten` says where a long cell may be cut: a path keeps its end. `least` cells are
    kept of it as long as another column can be cut or left out instead.
    """

    title: str
    align: Literal["left", "right"] = "left"
    importance: int | None = None
    shorten: Literal["never", "start", "end"] = "never"
    least: int = SHORTEST


@dataclass(frozen=True, slots=True)
class Layout:
    """Which columns are printed, by number, and how wide each is; `width` None prints all whole."""

    columns: Sequence[Column]
    widths: dict[int, int]
    width: int | None

    @classmethod
    def fit(cls, columns: Sequence[Column], widths: Sequence[int], width: int | None) -> Layout:
        """Choose columns and widths. `widths` are those of the widest cells."""
        wanted = {
            number: max(cells, _title_width(column.title, LONG_TITLE))
            for number, (column, cells) in enumerate(zip(columns, widths, strict=True))
        }
        if width is None or _total(wanted) <= width:
            return cls(columns, wanted, width)
        wanted = {
            number: max(cells, _title_width(column.title, 0))
            for number, (column, cells) in enumerate(zip(columns, widths, strict=True))
        }
        while _total(_narrowest(columns, wanted)) > width:
            optional = [number for number in wanted if columns[number].importance is not None]
            if not optional:
                break
            del wanted[min(optional, key=lambda number: (columns[number].importance, -number))]
        return cls(columns, _narrowed(columns, wanted, width), width)

    @property
    def left_out(self) -> list[str]:
        """The titles of the columns that are not printed."""
        return [each.title for number, each in enumerate(self.columns) if number not in self.widths]

    def print_header(self) -> None:
        """Print the titles, on two lines where one does not fit its column."""
        titles = [_split(self.columns[number].title, size) for number, size in self.widths.items()]
        height = max(map(len, titles), default=0)
        for line in range(-height, 0):
            cells = [title[line] if -line <= len(title) else "" for title in titles]
            self._print([Text(cell, style="dim") for cell in cells])

    def print_row(self, cells: Sequence[Cell]) -> None:
        """Print one row; `cells` has one cell for each column, those left out included."""
        assert len(cells) == len(self.columns)
        self._print([self._shortened(number, clean(cells[number])) for number in self.widths])

    def _shortened(self, number: int, cell: Text) -> Text:
        size = self.widths[number]
        if self.width is None or cell.cell_len <= size:
            return cell
        plain = cell.plain
        if self.columns[number].shorten == "start":
            kept = Text(ELLIPSIS + _last_cells(plain, size - 1), style=cell.style)
        else:
            kept = Text(set_cell_size(plain, size - 1).rstrip() + ELLIPSIS, style=cell.style)
        return kept

    def _print(self, cells: Sequence[Text]) -> None:
        line = Text()
        for (number, size), cell in zip(self.widths.items(), cells, strict=True):
            space = " " * max(0, size - cell.cell_len)
            right = self.columns[number].align == "right"
            line.append_text(Text.assemble(space, cell) if right else Text.assemble(cell, space))
            line.append(" " * GAP)
        line.rstrip()
        write_line(line)


def print_table(
    columns: Sequence[Column], rows: Iterable[Sequence[Cell]], *, empty: str = ""
) -> None:
    """Print a table, or the sentence `empty` where there is no row."""
    texts = [[clean(cell) for cell in row] for row in rows]
    if not texts:
        write(empty)
        return
    widths = [max(row[number].cell_len for row in texts) for number in range(len(columns))]
    layout = Layout.fit(columns, widths, output_width())
    layout.print_header()
    for row in texts:
        layout.print_row(row)
    print_left_out(layout)


def print_left_out(layout: Layout) -> None:
    """Say which columns the table has no room for."""
    if layout.left_out:
        write(f"not shown at this width: {', '.join(layout.left_out)}", style="dim")


def _title_width(title: str, longest: int) -> int:
    """The width that a title needs, on two lines if it is longer than `longest`."""
    if cell_len(title) <= longest:
        return cell_len(title)
    words = title.split()
    return min(
        (
            max(cell_len(" ".join(words[:place])), cell_len(" ".join(words[place:])))
            for place in range(1, len(words) + 1)
        ),
        default=0,
    )


def _split(title: str, size: int) -> list[str]:
    """A title as one line, or as two where one is longer than `size`."""
    if cell_len(title) <= size:
        return [title]
    words = title.split()
    places = [
        place
        for place in range(1, len(words))
        if max(cell_len(" ".join(words[:place])), cell_len(" ".join(words[place:]))) <= size
    ]
    if not places:
        return [set_cell_size(title, size - 1).rstrip() + ELLIPSIS]
    return [" ".join(words[: places[-1]]), " ".join(words[places[-1] :])]


def _total(widths: dict[int, int]) -> int:
    return sum(widths.values()) + GAP * max(0, len(widths) - 1)


def _narrowest(columns: Sequence[Column], widths: dict[int, int]) -> dict[int, int]:
    """The widths when every column that allows it is shortened as far as it should be."""
    return {
        number: size if columns[number].shorten == "never" else min(size, columns[number].least)
        for number, size in widths.items()
    }


def _narrowed(columns: Sequence[Column], widths: dict[int, int], width: int) -> dict[int, int]:
    """The widths with the widest columns shortened, one by one, until the table fits."""
    widths = dict(widths)
    while (excess := _total(widths) - width) > 0:
        flexible = [number for number in widths if columns[number].shorten != "never"]
        spare = [number for number in flexible if widths[number] > columns[number].least]
        candidates = spare or [*widths]
        widest, *others = sorted(candidates, key=lambda number: -widths[number])
        if widths[widest] <= 1:
            break
        following = max((widths[number] for number in others), default=0)
        least = following if following < widths[widest] else widths[widest] - 1
        least = max(1, least, columns[widest].least if spare else 1)
        widths[widest] = max(least, widths[widest] - excess)
    return widths


def _last_cells(text: str, size: int) -> str:
    """The end of a text that fills at most `size` cells."""
    while cell_len(text) > size:
        text = text[1:]
    return text
