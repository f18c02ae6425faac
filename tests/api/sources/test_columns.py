"""The columns of tables in any format: a damage is that of its row, and None is missing."""

from __future__ import annotations

import json
from contextlib import closing
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from api.sources.columns import (
    Columns,
    ColumnsSource,
    ParquetColumns,
    TextColumns,
    list_declared_columns,
    read_arrow_columns,
    read_declared,
)
from api.sources.item import UnusableSource
from api.sources.rowgroups import RowGroups, Rows

SPACE_KEY = "lineup.embedding_space"


def parquet(path: Path) -> ParquetColumns:
    return ParquetColumns(
        str(path), hashes=["sha256", "pdq_hash"], vectors=["vector"], space_key=SPACE_KEY
    )


def read_whole(source: ColumnsSource, size: int = 1000) -> list[Columns]:
    with closing(source):
        return [source.columns(span) for span in source.spans(size)]


def reasons(columns: Columns) -> dict[int, str]:
    return {row: damage.reason for row, damage in columns.unreadable.items()}


@pytest.mark.parametrize("name", ["a.parquet", "a.csv", "a.tsv", "a.jsonl", "a.ndjson"])
def test_a_table_that_is_missing_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UnusableSource, match=name):
        parquet(tmp_path / name) if name == "a.parquet" else TextColumns(str(tmp_path / name))


def test_a_text_of_another_format_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("label\nreal\n")
    with pytest.raises(UnusableSource, match="not that of a CSV"):
        TextColumns(str(tmp_path / "a.txt"))


def test_a_damaged_batch_makes_its_own_rows_unreadable() -> None:
    batch = pa.record_batch({"label": ["real", "fake"]})
    found = read_arrow_columns([Rows(0, 2, batch), Rows(2, 3, None), Rows(5, 2, batch)], ["label"])
    assert found.count == 7
    assert found.values == {"label": ["real", "fake", None, None, None, "real", "fake"]}
    assert reasons(found) == dict.fromkeys([2, 3, 4], "corrupt_table")
    assert "row group is damaged" in str(found.unreadable[2])


def test_text_that_is_no_utf8_makes_its_own_row_unreadable() -> None:
    broken = pa.array([b"real", b"\xff", b"fake"]).view(pa.string())
    batch = pa.record_batch({"label": broken, "n": [1, 2, 3]})
    found = read_arrow_columns([Rows(0, 3, batch), Rows(3, 3, batch)], ["label", "n"])
    assert found.values == {
        "label": ["real", None, "fake", "real", None, "fake"],
        "n": [1, 2, 3, 1, 2, 3],
    }
    assert reasons(found) == {1: "corrupt_table", 4: "corrupt_table"}
    assert "not valid text" in str(found.unreadable[1])


def test_no_batch_has_no_rows_but_its_columns() -> None:
    found = read_arrow_columns([], ["label"])
    assert (found.count, found.values, found.unreadable) == (0, {"label": []}, {})


def test_rows_without_columns_are_counted() -> None:
    batch = pa.record_batch({"label": ["real", "fake"]})
    found = read_arrow_columns([Rows(0, 2, batch)], [])
    assert (found.count, found.values) == (2, {})


def test_a_malformed_row_of_csv_says_where_it_begins(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("label,n\nreal,1\nfake,2,3\nfake,4\n")
    (found,) = read_whole(TextColumns(str(tmp_path / "a.csv")))
    assert found.count == 3
    assert reasons(found) == {1: "malformed_row"}
    assert str(found.unreadable[1]).endswith("(at byte 15)")
    assert found.values["n"][::2] == ["1", "4"]


def test_a_malformed_row_of_json_lines_is_one_row(tmp_path: Path) -> None:
    lines = ['{"label": "real"}', "[1]", "{", '{"label": "fake"}']
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    (found,) = read_whole(TextColumns(str(tmp_path / "a.jsonl")))
    assert found.values == {"label": ["real", None, None, "fake"]}
    assert reasons(found) == {1: "malformed_row", 2: "malformed_row"}


def test_an_empty_cell_is_missing(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("label,source\nreal,\n,web\n")
    (found,) = read_whole(TextColumns(str(tmp_path / "a.csv")))
    assert found.values == {"label": ["real", None], "source": [None, "web"]}
    assert found.unreadable == {}


def test_a_row_of_json_lines_may_have_a_column_that_the_first_lacks(tmp_path: Path) -> None:
    rows = [{"label": "real"}, {"label": "fake", "generator": "flux"}, {"n": [1, {"a": None}]}]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    source = TextColumns(str(tmp_path / "a.jsonl"))
    assert (source.row_count, source.embedding_space) == (None, None)
    (found,) = read_whole(source)
    assert found.values == {
        "label": ["real", "fake", None],
        "generator": [None, "flux", None],
        "n": [None, None, [1, {"a": None}]],
    }


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_spans_of_text_hold_each_row_once(tmp_path: Path, size: int) -> None:
    (tmp_path / "a.csv").write_text("n\n" + "".join(f"{row}\n" for row in range(7)))
    parts = read_whole(TextColumns(str(tmp_path / "a.csv")), size)
    assert [value for part in parts for value in part.values["n"]] == [*map(str, range(7))]
    assert all(1 <= part.count <= size for part in parts)


def test_a_declared_space_that_is_no_text_is_shown_and_none_is_none(tmp_path: Path) -> None:
    table = pa.table({"label": ["real"]})
    for declared, expected in (
        (None, None),
        ({SPACE_KEY: "1" * 64}, "1" * 64),
        ({SPACE_KEY.encode(): b"\xff\x00"}, "\\xff\x00"),
        ({"another": "x"}, None),
    ):
        pq.write_table(table.replace_schema_metadata(declared), tmp_path / "a.parquet")
        with closing(RowGroups(str(tmp_path / "a.parquet"))) as rows:
            assert read_declared(rows, SPACE_KEY) == expected


def test_vectors_and_bytes_other_than_hashes_are_left_out(tmp_path: Path) -> None:
    table = pa.table(
        {
            "vector": [[1.0, 0.0]],
            "sha256": [b"\x01" * 32],
            "pdq_hash": pa.array([b"\x02" * 32], pa.binary(32)),
            "image": [b"png"],
            "nested": [{"bytes": b"png", "path": "a.png"}],
            "images": [[b"png"]],
            "label": ["real"],
            "numbers": [[1, 2]],
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")
    with closing(RowGroups(str(tmp_path / "a.parquet"))) as rows:
        listed = list_declared_columns(rows, ["sha256", "pdq_hash"], ["vector"])
    assert listed == ["sha256", "pdq_hash", "label", "numbers"]
    source = parquet(tmp_path / "a.parquet")
    assert (source.names, source.row_count) == (listed, 1)
    (found,) = read_whole(source)
    assert found.values == {
        "sha256": ["01" * 32],
        "pdq_hash": ["02" * 32],
        "label": ["real"],
        "numbers": [[1, 2]],
    }


def test_a_damaged_group_of_a_file_costs_its_own_rows(tmp_path: Path) -> None:
    table = pa.table({"label": [f"label number {row:05}" for row in range(30)]})
    pq.write_table(
        table,
        tmp_path / "a.parquet",
        row_group_size=10,
        compression="none",
        use_dictionary=False,
        write_page_checksum=True,
    )
    content = bytearray((tmp_path / "a.parquet").read_bytes())
    content[content.index(b"label number 00015")] ^= 1
    (tmp_path / "a.parquet").write_bytes(content)
    (found,) = read_whole(parquet(tmp_path / "a.parquet"))
    assert found.count == 30
    assert sorted(found.unreadable) == list(range(10, 20))
    assert found.values["label"][9:21] == ["label number 00009", *[None] * 10, "label number 00020"]


def test_the_space_of_a_file_is_declared_and_its_dates_are_text(tmp_path: Path) -> None:
    table = pa.table({"acquired_at": [date(2026, 1, 2), None], "n": [1.5, float("nan")]})
    pq.write_table(table.replace_schema_metadata({SPACE_KEY: "2" * 64}), tmp_path / "a.parquet")
    source = parquet(tmp_path / "a.parquet")
    assert source.embedding_space == "2" * 64
    (found,) = read_whole(source)
    assert found.values == {"acquired_at": ["2026-01-02", None], "n": [1.5, "nan"]}


CELLS = st.none() | st.integers(-(2**60), 2**60)


@given(
    st.lists(st.tuples(CELLS, st.none() | st.text(max_size=6)), min_size=1, max_size=20),
    st.integers(1, 8),
)
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_parquet_and_json_lines_of_the_same_rows_have_the_same_columns(
    tmp_path: Path, rows: list[tuple[Any, Any]], size: int
) -> None:
    storable = [(n, text and text.replace("\x00", "_")) for n, text in rows]
    columns = {"n": [n for n, _ in storable], "text": [text for _, text in storable]}
    table = pa.table(columns, pa.schema([("n", pa.int64()), ("text", pa.string())]))
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=4)
    lines = [json.dumps({"n": n, "text": text}) for n, text in storable]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    for source in (parquet(tmp_path / "a.parquet"), TextColumns(str(tmp_path / "a.jsonl"))):
        parts = read_whole(source, size)
        assert sum(part.count for part in parts) == len(rows)
        for name, expected in columns.items():
            assert [value for part in parts for value in part.values[name]] == expected
