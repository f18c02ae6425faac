"""Tables that fit: whole words, one line a row, the least important columns left out."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.text import Text

from api.terminal.tables import ELLIPSIS, GAP, SHORTEST, Column, Layout, print_table

Capture = pytest.CaptureFixture[str]
SetWidth = Callable[[int], None]
COLUMNS = (
    Column("", align="right"),
    Column("cosine similarity", align="right"),
    Column("relation"),
    Column("generator", shorten="end"),
    Column("corpus", importance=2, shorten="end"),
    Column("entry", align="right", importance=3),
    Column("path or source", importance=1, shorten="start"),
)
GENERATOR = "stable-diffusion-xl-base-1.0-refiner-with-lora-watercolour-v2"
PATH = "/srv/evidence/2026/case-0815/seized-phone/DCIM/Camera/IMG_20260101_123456_edited.png"
ROWS = [
    ("1", "0.9987", "near_duplicate", GENERATOR, "known-fakes-2026", "1234567", PATH),
    ("2", "0.1200", "below_threshold", "gan", "known-fakes-2026", "8", "short.png"),
]


def printed(capsys: Capture) -> list[str]:
    return capsys.readouterr().out.splitlines()


def test_without_a_width_every_cell_is_whole(capsys: Capture) -> None:
    print_table(COLUMNS, ROWS)
    top, titles, first, second = printed(capsys)

    assert top.split() == ["cosine"]
    assert titles.endswith("path or source")
    assert titles.split()[:3] == ["similarity", "relation", "generator"]
    assert GENERATOR in first
    assert first.endswith(PATH)
    assert second.endswith("short.png")


@pytest.mark.parametrize("width", [80, 100, 160])
def test_a_row_is_one_line_that_fits_and_what_is_cut_shows_it(
    capsys: Capture, set_width: SetWidth, width: int
) -> None:
    set_width(width)
    print_table(COLUMNS, ROWS)
    lines = printed(capsys)
    rows = [line for line in lines if line[:1].isdigit()]

    assert max(map(len, lines)) <= width
    assert len(rows) == len(ROWS)
    assert "near_duplicate" in rows[0]
    assert GENERATOR in rows[0] or f"{ELLIPSIS}  " in rows[0]
    for row, cells in zip(rows, ROWS, strict=True):
        words = {word.strip(ELLIPSIS) for word in row.split()}
        assert all(any(word in cell for cell in cells) for word in words)


def test_the_least_important_columns_are_left_out_first_and_named(
    capsys: Capture, set_width: SetWidth
) -> None:
    named = []
    for width in (160, 95, 80, 65, 52):
        set_width(width)
        print_table(COLUMNS, ROWS)
        text = " ".join(printed(capsys))
        named.append(text.partition("not shown at this width: ")[2])

    assert named == [
        "",
        "",
        "path or source",
        "corpus, path or source",
        "corpus, entry, path or source",
    ]


def test_a_path_keeps_its_end_and_a_name_its_beginning(
    capsys: Capture, set_width: SetWidth
) -> None:
    set_width(60)
    columns = (Column("name", shorten="end"), Column("path", shorten="start"))
    print_table(columns, [(GENERATOR, PATH)])
    (_, row) = printed(capsys)

    name, path = row.split()
    assert name == GENERATOR[: len(name) - 1] + ELLIPSIS
    assert path == ELLIPSIS + PATH[-(len(path) - 1) :]
    assert abs(len(name) - len(path)) <= 1


def test_a_long_title_takes_two_lines_and_no_third(capsys: Capture) -> None:
    print_table([Column("nearest known fake was made by"), Column("n")], [("demo", "1")])

    assert printed(capsys) == [
        "nearest known",
        "fake was made by  n",
        "demo              1",
    ]


def test_numbers_are_aligned_right(capsys: Capture) -> None:
    print_table([Column("n", align="right"), Column("x")], [("1", "a"), ("1,000", "b")])
    assert printed(capsys) == ["    n  x", "    1  a", "1,000  b"]


def test_a_table_without_rows_is_a_sentence(capsys: Capture) -> None:
    print_table(COLUMNS, [], empty="there is no entry yet")
    assert printed(capsys) == ["there is no entry yet"]


def test_a_cell_with_line_breaks_stays_on_its_line(capsys: Capture) -> None:
    print_table([Column("a"), Column("b")], [("one\ntwo\x1b[0m", Text("x", style="red"))])
    assert printed(capsys)[1:] == [r"one\ntwo\x1b[0m  x"]


def test_wide_letters_count_two_cells(capsys: Capture, set_width: SetWidth) -> None:
    set_width(40)
    print_table([Column("name", shorten="end"), Column("n")], [("写真" * 30, "1")])
    row = printed(capsys)[1]

    assert row.endswith((f"{ELLIPSIS}  1", f"{ELLIPSIS}   1"))
    assert Text(row).cell_len <= 40


def test_an_essential_column_is_cut_only_where_nothing_else_helps() -> None:
    layout = Layout.fit([Column("a"), Column("b", importance=1)], [60, 10], 50)

    assert layout.widths == {0: 50}
    assert layout.left_out == ["b"]


def test_a_column_with_a_least_width_is_cut_after_others() -> None:
    columns = [Column("image", shorten="start", least=24), Column("name", shorten="end")]

    assert Layout.fit(columns, [18, 17], 34).widths == {0: 18, 1: 14}
    assert Layout.fit(columns, [60, 40], 50).widths == {0: 24, 1: 24}
    assert Layout.fit(columns, [60, 40], 38).widths == {0: 24, 1: 12}
    assert sum(Layout.fit(columns, [60, 40], 30).widths.values()) == 28


@given(
    widths=st.lists(st.integers(0, 90), min_size=1, max_size=8),
    flags=st.lists(
        st.tuples(
            st.one_of(st.none(), st.integers(0, 5)), st.sampled_from(["never", "start", "end"])
        ),
        min_size=8,
        max_size=8,
    ),
    width=st.integers(40, 200),
)
@settings(max_examples=300)
def test_a_layout_fits_and_leaves_nothing_out_without_need(
    widths: list[int], flags: list[tuple[int | None, str]], width: int
) -> None:
    columns = [
        Column(f"c{number}", importance=importance, shorten=shorten)  # type: ignore[arg-type]
        for number, ((importance, shorten), _) in enumerate(zip(flags, widths, strict=False))
    ]
    layout = Layout.fit(columns, widths, width)
    total = sum(layout.widths.values()) + GAP * (len(layout.widths) - 1)
    kept = set(layout.widths)

    assert total <= width
    assert all(columns[number].importance is not None for number in set(range(len(widths))) - kept)
    assert all(layout.widths[number] <= max(widths[number], 2) for number in kept)
    dropped = [columns[number].importance for number in range(len(widths)) if number not in kept]
    left = [columns[number].importance for number in kept]
    assert all(
        other is None or other >= each for each in dropped if each is not None for other in left
    )
    if sum(max(size, 2) for size in widths) + GAP * (len(widths) - 1) <= width:
        assert layout.widths == {number: max(size, 2) for number, size in enumerate(widths)}


def test_the_header_fits_beside_long_cells_of_a_narrow_terminal(
    capsys: Capture, set_width: SetWidth
) -> None:
    set_width(40)
    columns = [Column("a very long title of a column", shorten="end"), Column("b" * 10)]
    print_table(columns, [("x" * 90, "y" * 10)])

    assert max(map(len, printed(capsys))) <= 40
    assert SHORTEST < 40
