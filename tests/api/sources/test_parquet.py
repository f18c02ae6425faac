from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.sources.item import Item, Span, UnreadableItem, UnusableSource
from api.sources.parquet import MAX_BATCH_ROWS, ParquetSource
from index.jsontext import JSON, canonical_json

MAX_BYTES = 1000
HF_IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


class Seen(NamedTuple):
    name: str
    content: bytes | str
    declared: JSON
    location: str | None


def written(
    path: Path, columns: dict[str, pa.Array], row_group_size: int = 10, **options: Any
) -> str:
    pq.write_table(pa.table(columns), path, row_group_size=row_group_size, **options)
    return str(path)


def images(*values: object) -> pa.Array:
    return pa.array(values, HF_IMAGE)


def seen(item: Item) -> Seen:
    content: bytes | str
    try:
        content = item.read(MAX_BYTES)
    except UnreadableItem as err:
        content = err.reason
    assert canonical_json(item.declared)
    return Seen(item.name, content, item.declared, item.location)


def spans_of(location: str, size: int) -> list[Span]:
    with closing(ParquetSource(location)) as source:
        return [
            Span(span.count, json.loads(canonical_json(span.where))) for span in source.spans(size)
        ]


def read_span(source: ParquetSource, span: Span) -> list[Seen]:
    found = [seen(item) for item in source.items(span)]
    assert len(found) == span.count
    return found


def read(location: str, size: int = 3) -> list[Seen]:
    """Every item, each span by a source of its own, the last one first."""
    found: list[Seen] = []
    for span in reversed(spans_of(location, size)):
        assert 1 <= span.count <= size
        with closing(ParquetSource(location)) as source:
            found[:0] = read_span(source, span)
    return found


def damage(location: str, row_group: int, column: int = 0) -> None:
    """Destroy the data pages of a column."""
    chunk = pq.read_metadata(location).row_group(row_group).column(column)
    path = Path(location)
    content = bytearray(path.read_bytes())
    end = chunk.data_page_offset + chunk.total_compressed_size
    content[end - 20 : end - 10] = b"\xaa" * 10
    path.write_bytes(content)


@pytest.mark.parametrize(
    "content", [b"", b"PAR1", b"no table at all", b"PAR1" + b"\xff" * 100 + b"PAR1"]
)
def test_a_file_that_is_no_table_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.parquet").write_bytes(content)

    with pytest.raises(UnusableSource, match="not a readable Parquet file"):
        ParquetSource(str(tmp_path / "a.parquet"))


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnusableSource, match="no such file"):
        ParquetSource(str(tmp_path / "a.parquet"))


@pytest.mark.parametrize(
    ("columns", "named", "problem"),
    [
        (
            {"text": ["a"], "n": [1]},
            None,
            r"no column of images; its columns are text \(string\), n \(int64\)",
        ),
        ({"one": [b"a"], "two": [b"b"]}, None, "several columns may hold its images: one, two"),
        ({"one": images(None), "two": images(None), "x": [b"a"]}, None, "images: one, two;"),
        ({"image": [b"a"]}, "bild", "no column 'bild';"),
        ({"image": [b"a"], "text": ["a"]}, "text", "no images in column 'text'"),
        ({"image": [{"path": "a.png"}]}, None, "no column of images"),
    ],
)
def test_a_table_without_a_clear_image_column_is_refused(
    tmp_path: Path, columns: dict[str, pa.Array], named: str | None, problem: str
) -> None:
    location = written(tmp_path / "a.parquet", columns)

    with pytest.raises(UnusableSource, match=problem):
        ParquetSource(location, named)


def test_two_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    table = pa.Table.from_arrays(
        [pa.array([b"a"]), pa.array([1]), pa.array([2])], ["image", "n", "n"]
    )
    pq.write_table(table, tmp_path / "a.parquet")

    with pytest.raises(UnusableSource, match="two of its columns are named 'n'"):
        ParquetSource(str(tmp_path / "a.parquet"))


def test_a_table_that_has_become_shorter_is_refused(tmp_path: Path) -> None:
    location = written(tmp_path / "a.parquet", {"image": [b"a"] * 25})
    spans = spans_of(location, 7)
    written(tmp_path / "a.parquet", {"image": [b"a"] * 2})

    with (
        closing(ParquetSource(location)) as source,
        pytest.raises(UnusableSource, match="has changed"),
    ):
        list(source.items(spans[-1]))


@pytest.mark.parametrize(
    "options", [{"compression": "zstd"}, {"compression": "none", "write_page_checksum": True}]
)
def test_a_damaged_row_group_costs_its_own_items_only(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    contents = [bytes([row]) * 100 for row in range(40)]
    columns = {"image": contents, "n": range(40)}
    location = written(tmp_path / "a.parquet", columns, use_dictionary=False, **options)
    damage(location, row_group=1)

    found = read(location)

    assert [item.content for item in found] == contents[:10] + ["corrupt_table"] * 10 + contents[
        20:
    ]
    assert [item.name for item in found] == [f"a.parquet, row {row}" for row in range(40)]
    assert found == read(location, 7) == read(location, 100)


def test_within_a_damaged_row_group_what_is_before_the_damage_is_read(tmp_path: Path) -> None:
    count = 8 * MAX_BATCH_ROWS
    location = written(
        tmp_path / "a.parquet",
        {"image": [random.Random(row).randbytes(900) for row in range(count)]}, count,
        use_dictionary=False, data_page_size=1000, write_batch_size=1, write_page_checksum=True,
    )  # fmt: skip
    damage(location, row_group=0)

    found = [item.content == "corrupt_table" for item in read(location, 50)]

    assert found == [False] * (count - MAX_BATCH_ROWS) + [True] * MAX_BATCH_ROWS


def test_text_that_is_no_utf8_costs_its_own_item_only(tmp_path: Path) -> None:
    text = pa.array([b"a", b"\xff", b"c"]).view(pa.string())
    location = written(tmp_path / "a.parquet", {"image": [b"1", b"2", b"3"], "text": text})

    assert [item.content for item in read(location)] == [b"1", "corrupt_table", b"3"]


def test_rows_without_an_image_are_items_that_say_so(tmp_path: Path) -> None:
    struct = images(
        None,
        {"bytes": None, "path": None},
        {"bytes": b"", "path": "b.png"},
        {"bytes": None, "path": ""},
    )
    location = written(tmp_path / "a.parquet", {"image": struct, "n": [1, 2, 3, 4]})
    binary = written(tmp_path / "b.parquet", {"image": pa.array([None, b""], pa.binary())})

    assert [item.content for item in read(location) + read(binary)] == ["no_image"] * 6
    assert read(location)[2] == ("a.parquet, row 2: b.png", "no_image", {"n": 3}, None)


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "../a.png", "memory://a.png", "C:\\a.png", "x\\..\\..\\a.png"]
)
def test_a_path_that_leads_out_of_the_folder_is_not_read(tmp_path: Path, path: str) -> None:
    location = written(tmp_path / "a.parquet", {"image": images({"bytes": None, "path": path})})

    assert read(location) == [(f"a.parquet, row 0: {path}", "outside_source", {}, None)]


def test_an_image_that_is_only_named_is_read_beside_the_table(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "a.png").write_bytes(b"abc")
    paths = images({"bytes": None, "path": "x/a.png"}, {"bytes": None, "path": "x/b.png"})
    location = written(tmp_path / "t.parquet", {"image": paths, "label": ["cat", None]})

    assert read(location) == [
        ("t.parquet, row 0: x/a.png", b"abc", {"label": "cat"}, str(tmp_path / "x" / "a.png")),
        ("t.parquet, row 1: x/b.png", "not_found", {}, str(tmp_path / "x" / "b.png")),
    ]


def test_of_an_image_over_the_limit_one_byte_more_is_given(tmp_path: Path) -> None:
    location = written(tmp_path / "a.parquet", {"image": [b"x" * (MAX_BYTES + 5)]})

    assert read(location)[0].content == b"x" * (MAX_BYTES + 1)


@pytest.mark.parametrize(
    ("columns", "image_column"),
    [
        ({"img": [b"no"], "photo": images({"bytes": b"yes", "path": None})}, "photo"),
        (
            {
                "mask": images({"bytes": b"no", "path": None}),
                "image": images({"bytes": b"yes", "path": None}),
            },
            "image",
        ),
        ({"content": [b"no"], "jpg": [b"yes"]}, "jpg"),
        ({"anything": pa.array([b"yes"], pa.large_binary())}, "anything"),
        ({"anything": pa.array([b"yes"], pa.binary_view())}, "anything"),
        ({"anything": pa.array([b"yes"], pa.binary(3)), "text": ["no"]}, "anything"),
        ({"a.b": pa.array([b"yes"]), "a": [1]}, "a.b"),
    ],
)
def test_the_image_column_is_found(
    tmp_path: Path, columns: dict[str, pa.Array], image_column: str
) -> None:
    location = written(tmp_path / "a.parquet", columns)

    with closing(ParquetSource(location)) as source:
        assert source.image_column == image_column
    assert [item.content for item in read(location)] == [b"yes"]


def test_a_named_image_column_goes_before_the_others_and_those_of_bytes_are_left_out(
    tmp_path: Path,
) -> None:
    columns = {"image": [b"no"], "thumb": [b"yes"], "deep": [[{"x": b"no"}]], "n": [7]}
    location = written(tmp_path / "a.parquet", columns)

    with closing(ParquetSource(location, "thumb")) as source:
        (item,) = (item for span in source.spans(10) for item in source.items(span))
        assert source.left_out == ("image", "deep")
        assert (item.read(10), item.declared) == (b"yes", {"n": 7})


def test_every_other_value_that_is_not_null_is_told(tmp_path: Path) -> None:
    columns = {
        "image": images({"bytes": b"1", "path": "cat.png"}, {"bytes": b"2", "path": None}),
        "label": ["cat", None],
        "x.y": [0.5, float("nan")],
        "boxes": [[{"x": 1, "of": [None, "a"]}], []],
        "at": pa.array([1_714_566_615_123_456_789, None], pa.timestamp("ns", "UTC")),
    }
    location = written(tmp_path / "s.parquet", columns)

    assert read(location) == [
        (
            "s.parquet, row 0: cat.png",
            b"1",
            {
                "label": "cat",
                "x.y": 0.5,
                "boxes": [{"x": 1, "of": [None, "a"]}],
                "at": "2024-05-01T12:30:15.123456+00:00",
            },
            None,
        ),
        ("s.parquet, row 1", b"2", {"x.y": "nan", "boxes": []}, None),
    ]


def test_a_table_without_rows_has_no_items(tmp_path: Path) -> None:
    assert spans_of(written(tmp_path / "a.parquet", {"image": pa.array([], pa.binary())}), 5) == []


def test_a_table_on_the_web_is_read_as_one_on_disk(
    tmp_path: Path, memory_files: Callable[[str, bytes], str]
) -> None:
    local = written(
        tmp_path / "a.parquet", {"image": [bytes([row]) * 9 for row in range(50)], "n": range(50)}
    )
    location = memory_files("memory://set/a.parquet", Path(local).read_bytes())

    assert read(location, 7) == read(local, 7)


def test_spans_are_whole_row_groups_or_parts_of_one(tmp_path: Path) -> None:
    location = written(tmp_path / "a.parquet", {"image": [b"x"] * 25})

    assert [span.where for span in spans_of(location, 20)] == [[0, 0, 20], [2, 0, 5]]
    assert [span.where for span in spans_of(location, 6)] == [
        [0, 0, 6],
        [0, 6, 4],
        [1, 0, 6],
        [1, 6, 4],
        [2, 0, 5],
    ]


@given(
    st.lists(st.integers(0, 90), min_size=1, max_size=5),
    st.integers(1, 100),
    st.randoms(use_true_random=False),
)
def test_items_are_the_same_from_spans_of_any_size_in_any_order(
    tmp_path_factory: pytest.TempPathFactory, groups: Sequence[int], size: int, rng: random.Random
) -> None:
    path = tmp_path_factory.mktemp("table") / "a.parquet"
    schema = pa.schema([("image", pa.binary()), ("n", pa.int64())])
    with pq.ParquetWriter(path, schema) as writer:
        for number, count in enumerate(groups):
            contents = [f"{number} {row}".encode() for row in range(count)]
            writer.write_table(
                pa.table({"image": contents, "n": range(count)}, schema),
                row_group_size=max(count, 1),
            )
    expected = [
        Seen("", f"{number} {row}".encode(), {"n": row}, None)
        for number, count in enumerate(groups)
        for row in range(count)
    ]
    expected = [item._replace(name=f"a.parquet, row {row}") for row, item in enumerate(expected)]

    spans = spans_of(str(path), size)
    order = rng.sample(range(len(spans)), len(spans))
    with closing(ParquetSource(str(path))) as source:
        shuffled = {place: read_span(source, spans[place]) for place in order}

    assert read(str(path), size) == expected
    assert [item for place in range(len(spans)) for item in shuffled[place]] == expected


def test_reading_two_spans_by_turns_gives_the_items_of_each(tmp_path: Path) -> None:
    location = written(
        tmp_path / "a.parquet", {"image": [bytes([row]) for row in range(200)]}, row_group_size=200
    )
    first, second = spans_of(location, 100)

    with closing(ParquetSource(location)) as source:
        pairs = [
            (one.read(9), other.read(9))
            for one, other in zip(source.items(first), source.items(second), strict=True)
        ]

    assert pairs == [(bytes([row]), bytes([row + 100])) for row in range(100)]
