from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.sources.item import Span, UnusableSource
from api.sources.records import MAX_ROW_BYTES, Record, Records, parse_json_object


def written(folder: Path, name: str, content: str | bytes) -> str:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(path)


def listed(location: str, size: int) -> list[Span]:
    records = Records(location)
    spans = list(records.spans(size))
    records.close()
    return spans


def read(location: str, size: int = 1000) -> list[Record]:
    """Every row, each span by a new reader that knows only the span's JSON, the last span first."""
    found: dict[int, list[Record]] = {}
    for number, span in reversed(list(enumerate(listed(location, size)))):
        records = Records(location)
        found[number] = list(records.rows(Span(span.count, json.loads(json.dumps(span.where)))))
        records.close()
    return [record for number in sorted(found) for record in found[number]]


def values(location: str) -> list[object]:
    return [record.values if record.fault is None else None for record in read(location)]


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.txt", "path\nx\n", "not that of a CSV, TSV or JSON Lines file"),
        ("a.csv", "", "is empty"),
        ("a.csv", "\n\r\n", "is empty"),
        ("a.csv", "path,b,b\n", "two of its columns are named 'b'"),
        ("a.csv", b"p\xff\n", "its header cannot be read"),
        ("a.csv", 'path,"b\n', "its header cannot be read"),
        ("a.csv", "p" * (MAX_ROW_BYTES + 1), "its header cannot be read"),
        ("a.jsonl", "", "no JSON object"),
        ("a.jsonl", "[1]\n" * 200, "no JSON object"),
    ],
)
def test_a_file_without_columns_is_refused(
    tmp_path: Path, name: str, content: str | bytes, reason: str
) -> None:
    location = written(tmp_path, name, content)

    with pytest.raises(UnusableSource, match=reason):
        Records(location)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnusableSource, match="no such file"):
        Records(str(tmp_path / "a.csv"))


def test_a_file_that_has_become_shorter_is_refused(tmp_path: Path) -> None:
    location = written(tmp_path, "a.csv", "path\na\nb\n")
    records = Records(location)
    (span,) = records.spans(10)
    written(tmp_path, "a.csv", "path\na\n")

    with pytest.raises(UnusableSource, match="has changed"):
        list(records.rows(span))
    records.close()


@pytest.mark.parametrize(
    "row",
    [
        b"a",
        b"a,b,c",
        b"a,\xff",
        b'a,"b"c',
        b"a," + b"b" * MAX_ROW_BYTES,
        b"a," + b"b" * 3 * MAX_ROW_BYTES,
        b"a,b\rc,d",
    ],
)
def test_a_malformed_row_of_csv_is_one_row_and_the_others_are_read(
    tmp_path: Path, row: bytes
) -> None:
    location = written(tmp_path, "a.csv", b"path,b\n1,1\n" + row + b"\n2,2\n")

    assert values(location) == [{"path": "1", "b": "1"}, None, {"path": "2", "b": "2"}]


@pytest.mark.parametrize(
    "ending", [b"", b"4,4\n", b"x" * 1000 + b"\n", (b"x" * 1000 + b"\n") * 1100]
)
def test_a_quote_that_is_not_closed_does_not_swallow_the_rows_behind_it(
    tmp_path: Path, ending: bytes
) -> None:
    location = written(tmp_path, "a.csv", b'path,b\n1,1\n0,"oh\n2,2\n3,3\n' + ending)

    assert values(location)[:4] == [
        {"path": "1", "b": "1"},
        None,
        {"path": "2", "b": "2"},
        {"path": "3", "b": "3"},
    ]


def test_quotes_that_reopen_in_every_line_are_read_in_time_that_grows_with_the_file(
    tmp_path: Path,
) -> None:
    # Each line would begin a row of 1 MiB: without reading line by line afterwards this takes many
    # minutes.
    location = written(tmp_path, "a.csv", "path,b\n1,1\n\n" + 'a","x\n' * 100_000 + "2,2\n")

    rows = values(location)

    assert len(rows) == 100_002
    assert rows[-1] == {"path": "2", "b": "2"}


@pytest.mark.parametrize(
    "row",
    [
        b"{",
        b"[1]",
        b"null",
        b'{"a": NaN}',
        b'{"a": 1e999}',
        b'{"a": -Infinity}',
        b'{"a": "\xff"}',
        b'{"a": "\\ud800"}',
        b'{"a": ' + b"[" * 200 + b"]" * 200 + b"}",
        b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"a": ' + b"1" * 5000 + b"}",
        b'{"a": "' + b"x" * MAX_ROW_BYTES + b'"}',
    ],
)
def test_a_malformed_row_of_json_lines_is_one_row_and_the_others_are_read(
    tmp_path: Path, row: bytes
) -> None:
    location = written(tmp_path, "a.jsonl", b'{"a": 1}\n' + row + b'\n{"a": 2}')

    assert values(location) == [{"a": 1}, None, {"a": 2}]


def test_json_that_can_be_stored_is_an_object_as_it_is() -> None:
    assert parse_json_object(
        '{"a": [{"b": [1.5, 1e3, null, true]}], "\\u00e9": "\\ud83d\\ude00"}'
    ) == {
        "a": [{"b": [1.5, 1000.0, None, True]}],
        "é": "😀",
    }


def test_rows_say_where_they_begin(tmp_path: Path) -> None:
    location = written(tmp_path, "a.csv", b'\xef\xbb\xbfp,q\r\n\r\n1,"two\r\nlines"\r\n2\r\n3,\r\n')

    rows = read(location)

    assert [(row.number, row.offset, bool(row.fault)) for row in rows] == [
        (0, 10, False), (1, 26, True), (2, 29, False)
    ]  # fmt: skip
    assert [row.values for row in rows] == [{"p": "1", "q": "two\r\nlines"}, {}, {"p": "3"}]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", "a;b,c;d\n1;2;3\n"),
        ("a.csv", '\n"a";"b,c";d\n1;2;3\n'),
        ("a.csv", '\ufeffa,"b,c","d"\r\n\r\n1,2,3'),
        ("a.tsv", "a\tb,c\td\n1\t2\t3\n"),
        ("A.TSV", "\ufeffa\tb,c\td\n1\t2\t3"),
        ("a.ndjson", '\ufeff{"a": "1", "b,c": "2", "d": "3"}\n\n'),
    ],
)
def test_separators_and_byte_order_marks_are_seen(tmp_path: Path, name: str, content: str) -> None:
    assert values(written(tmp_path, name, content)) == [{"a": "1", "b,c": "2", "d": "3"}]


def test_columns_without_a_name_are_called_by_their_place(tmp_path: Path) -> None:
    assert values(written(tmp_path, "a.csv", ",path,\n0,x,y\n")) == [
        {"column 1": "0", "path": "x", "column 3": "y"}
    ]


CELLS = st.text(st.characters(codec="utf-8", exclude_characters="\r\x00"), max_size=8)
FRAGMENTS = st.sampled_from(
    ["a", ",", '"', "\n", "\r\n", "é", "b,c\n", '"x\ny",z\n', "\n\n", 'q","r\n']
)


@given(st.lists(st.tuples(CELLS, CELLS), max_size=12), st.integers(1, 5))
def test_whatever_csv_writes_is_read_from_spans_of_any_size(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]], size: int
) -> None:
    quoted = [['"' + cell.replace('"', '""') + '"' for cell in row] for row in rows]
    lines = [",".join(row) + "\n" for row in quoted]
    location = written(tmp_path_factory.mktemp("rows"), "a.csv", "a,b\n" + "".join(lines))

    declared = [record.values for record in read(location, size)]

    assert declared == [
        {name: cell for name, cell in zip("ab", row, strict=True) if cell} for row in rows
    ]


@given(
    st.lists(FRAGMENTS, max_size=30),
    st.integers(1, 4),
    st.sampled_from(["a.csv", "a.tsv", "a.jsonl"]),
)
def test_any_damage_is_read_alike_from_spans_of_any_size(
    tmp_path_factory: pytest.TempPathFactory, fragments: list[str], size: int, name: str
) -> None:
    first = '{"p": "1", "q": "2"}\n' if name.endswith("jsonl") else "p,q\n"
    location = written(tmp_path_factory.mktemp("rows"), name, first + "".join(fragments))

    assert read(location, size) == read(location, 10_000)


def test_one_reader_gives_the_same_rows_in_any_order_and_while_it_lists(tmp_path: Path) -> None:
    location = written(
        tmp_path,
        "a.csv",
        "p,q\n" + "".join(f'{i},"x\n{i}"\n' if i % 3 else "0\n" for i in range(50)),
    )
    records = Records(location)
    in_turn = [list(records.rows(span)) for span in records.spans(4)]
    spans = listed(location, 4)
    order = random.Random(0).sample(range(len(spans)), len(spans))
    shuffled = {number: list(records.rows(spans[number])) for number in order}
    records.close()

    assert in_turn == [shuffled[number] for number in range(len(spans))]
    assert [row for rows in in_turn for row in rows] == read(location)
    assert [row.number for rows in in_turn for row in rows] == list(range(50))
