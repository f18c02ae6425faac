"""Rows of a Parquet file: damaged groups cost their own rows, and the batches do not matter."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from random import Random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from api.sources.item import Span, UnusableSource
from api.sources.rowgroups import BATCH_BYTES, RowGroups

SIZES = (5, 3, 0, 7, 1)  # rows of each group
TOTAL = sum(SIZES)


def write(path: Path, sizes: Sequence[int] = SIZES, width: int = 0) -> Path:
    """A file of groups of these sizes; the column `n` counts the rows, `text` is of this width."""
    schema = pa.schema([("n", pa.int64()), ("text", pa.string())])
    with pq.ParquetWriter(
        path, schema, compression="none", use_dictionary=False, write_page_checksum=True
    ) as writer:
        first = 0
        for size in sizes:
            numbers = list(range(first, first + size))
            texts = [f"{number:0{width}}" for number in numbers]
            writer.write_table(pa.table({"n": numbers, "text": texts}, schema), row_group_size=1000)
            first += size
    return path


def damage(path: Path, row: int, width: int) -> None:
    """Change one byte of the text of a row."""
    content = bytearray(path.read_bytes())
    content[content.index(f"{row:0{width}}".encode())] ^= 1
    path.write_bytes(content)


def numbers(rows: RowGroups, span: Span) -> list[int | None]:
    """The column `n` of a span, None for each row that cannot be read."""
    found: list[int | None] = []
    for some in rows.batches(span):
        assert some.count >= 1
        if some.batch is None:
            found += [None] * some.count
            continue
        assert some.batch.num_rows == some.count
        values = some.batch.column("n").to_pylist()
        assert some.first == values[0]
        found += values
    return found


@pytest.fixture
def rows(tmp_path: Path) -> Iterator[RowGroups]:
    with closing(RowGroups(str(write(tmp_path / "a.parquet")))) as opened:
        yield opened


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1" + bytes(20) + b"PAR1", b"x" * 100])
def test_what_is_no_parquet_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.parquet").write_bytes(content)
    with pytest.raises(UnusableSource, match="not a readable Parquet file"):
        RowGroups(str(tmp_path / "a.parquet"))


def test_a_file_that_is_missing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnusableSource, match=r"a\.parquet"):
        RowGroups(str(tmp_path / "a.parquet"))


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.95])
def test_a_file_that_is_cut_is_refused(tmp_path: Path, kept: float) -> None:
    path = write(tmp_path / "a.parquet")
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(UnusableSource, match="not a readable Parquet file"):
        RowGroups(str(path))


def test_memory_of_pages_is_given_back(tmp_path: Path) -> None:
    pq.write_table(
        pa.table({"a": [bytes(100 * 2**20)]}), tmp_path / "a.parquet", compression="zstd"
    )
    rows = RowGroups(str(tmp_path / "a.parquet"))
    assert [each.count for span in rows.spans(10) for each in rows.batches(span)] == [1]
    rows.close()
    assert pa.default_memory_pool().bytes_allocated() < 50 * 2**20


def test_two_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    twice = pa.Table.from_arrays([pa.array([1]), pa.array([2]), pa.array([3])], ["a", "b", "a"])
    pq.write_table(twice, tmp_path / "a.parquet")
    with pytest.raises(UnusableSource, match="two of its columns are named 'a'"):
        RowGroups(str(tmp_path / "a.parquet"))


@pytest.mark.parametrize(
    "where",
    [
        [len(SIZES), 0, 1],  # a group behind the last
        [99, 0, 1],
        [0, SIZES[0] + 1, 1],  # a row behind the last of its group
        [len(SIZES) - 1, 0, 2],  # more rows than there are
    ],
)
def test_a_span_of_rows_that_are_not_there_is_refused(rows: RowGroups, where: list[int]) -> None:
    with pytest.raises(UnusableSource, match="has changed since it was listed"):
        list(rows.batches(Span(where[2], where)))


def test_a_damaged_group_costs_its_own_rows(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", width=20)
    damage(path, 6, 20)  # in the second group, of the rows 5, 6 and 7
    with closing(RowGroups(str(path))) as rows:
        found = [number for span in rows.spans(100) for number in numbers(rows, span)]
    assert found == [0, 1, 2, 3, 4, None, None, None, *range(8, TOTAL)]


def test_a_damaged_batch_costs_the_same_rows_whichever_span_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", [40], width=20)
    damage(path, 20, 20)
    with closing(RowGroups(str(path), max_batch_rows=8)) as rows:
        whole = numbers(rows, Span(40, [0, 0, 40]))
    assert None in whole
    for first in range(0, 40, 7):
        count = min(7, 40 - first)
        with closing(RowGroups(str(path), max_batch_rows=8)) as rows:
            found = numbers(rows, Span(count, [0, first, count]))
        assert found == whole[first : first + count]


def test_a_column_that_is_not_selected_costs_nothing(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", width=20)
    damage(path, 6, 20)
    with closing(RowGroups(str(path))) as rows:
        rows.select(["n"])
        (span,) = rows.spans(100)
        assert numbers(rows, span) == list(range(TOTAL))
        assert all(some.batch.schema.names == ["n"] for some in rows.batches(span) if some.batch)


def test_a_selection_holds_for_an_iterator_that_was_begun(rows: RowGroups) -> None:
    span = Span(2, [0, 0, 2])
    assert [some.batch.num_columns for some in rows.batches(span) if some.batch] == [2]
    rows.select(["text"])
    after = Span(2, [0, 2, 2])
    assert [some.batch.schema.names for some in rows.batches(after) if some.batch] == [["text"]]


def test_the_groups_are_joined_while_they_fit_and_cut_where_they_do_not(rows: RowGroups) -> None:
    assert rows.row_count == TOTAL
    assert [span.where for span in rows.spans(8)] == [[0, 0, 8], [3, 0, 8]]
    assert [span.where for span in rows.spans(5)] == [
        [0, 0, 5],
        [1, 0, 3],
        [3, 0, 5],
        [3, 5, 2],
        [4, 0, 1],
    ]
    assert [span.where for span in rows.spans(TOTAL)] == [[0, 0, TOTAL]]


@pytest.mark.parametrize("sizes", [[], [0], [0, 0]])
def test_a_file_without_rows_has_no_spans(tmp_path: Path, sizes: list[int]) -> None:
    with closing(RowGroups(str(write(tmp_path / "a.parquet", sizes)))) as rows:
        assert rows.row_count == 0
        assert list(rows.spans(10)) == []


@given(
    sizes=st.lists(st.integers(0, 9), max_size=6),
    size=st.integers(1, 12),
    most=st.integers(1, 10),
    order=st.randoms(use_true_random=False),
)
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_spans_of_any_size_in_any_order_hold_each_row_once(
    tmp_path: Path, sizes: list[int], size: int, most: int, order: Random
) -> None:
    path = write(tmp_path / "a.parquet", sizes)
    with closing(RowGroups(str(path), max_batch_rows=most)) as rows:
        spans = list(rows.spans(size))
        assert all(1 <= span.count <= size for span in spans)
        places = list(range(len(spans)))
        order.shuffle(places)
        found = {place: numbers(rows, spans[place]) for place in places}
    assert [len(found[place]) for place in range(len(spans))] == [span.count for span in spans]
    assert [each for place in range(len(spans)) for each in found[place]] == list(range(sum(sizes)))


def test_a_batch_has_no_more_rows_than_it_may(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", [50])
    with closing(RowGroups(str(path), max_batch_rows=8)) as rows:
        counts = [some.count for some in rows.batches(Span(50, [0, 0, 50]))]
    assert counts == [8, 8, 8, 8, 8, 8, 2]


def test_wide_rows_make_small_batches(tmp_path: Path) -> None:
    width = BATCH_BYTES // 8
    path = write(tmp_path / "a.parquet", [20], width=width)
    with closing(RowGroups(str(path))) as rows:
        counts = [some.count for some in rows.batches(Span(20, [0, 0, 20]))]
    assert sum(counts) == 20
    assert max(counts) <= 8


def test_two_spans_are_read_by_turns(rows: RowGroups) -> None:
    one, other = rows.batches(Span(5, [0, 0, 5])), rows.batches(Span(7, [3, 0, 7]))
    first, second = next(one), next(other)
    assert (first.first, second.first) == (0, 8)
    assert [some.first for some in one] == []
    assert [some.first for some in other] == []
