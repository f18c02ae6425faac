from __future__ import annotations

import hashlib
import json
import math
import pickle
import random
import shutil
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors.numpy import save_file

from api.sources.access import Access
from api.sources.item import Span, UnusableSource
from api.sources.ready import (
    DEVICE_KEY,
    DEVICE_METADATA,
    PRECISION_KEY,
    PRECISION_METADATA,
    SPACE_KEY,
    SPACE_METADATA,
    ReadyRows,
    ReadySource,
    open_ready,
)
from index.jsontext import JSON, canonical_json

SPACE = "ab" * 32
DIMENSION = 4
PDQ = bytes(range(32))
HASHES = np.zeros((9, 32), np.uint8)

Column = list[Any]  # or an array of Arrow, which has no types to name


def vectors(count: int, dtype: str = "float32") -> NDArray[Any]:
    return np.random.default_rng(count).standard_normal((count, DIMENSION)).astype(dtype)


def sha256s(count: int) -> list[str]:
    return [hashlib.sha256(b"%d" % row).hexdigest() for row in range(count)]


def columns(count: int) -> dict[str, Column]:
    return {
        "logit": [row / 4 - 3 for row in range(count)],
        "sha256": sha256s(count),
        "width": [100 + row for row in range(count)],
        "generator": ["sdxl"] * count,
    }


def lists(rows: NDArray[Any], dtype: pa.DataType | None = None, *, fixed: bool = True) -> pa.Array:
    dtype = dtype or pa.float32()
    return pa.array(rows.tolist(), pa.list_(dtype, DIMENSION) if fixed else pa.list_(dtype))


def write_table(
    path: Path, of: Mapping[str, Column], space: str | None = None, row_group_size: int = 10
) -> str:
    table = pa.table(dict(of))
    if space is not None:
        table = table.replace_schema_metadata({SPACE_KEY: space})
    pq.write_table(
        table, path, row_group_size=row_group_size, use_dictionary=False, write_page_checksum=True
    )
    return str(path)


def write_text(path: Path, of: Mapping[str, Column]) -> str:
    rows = [dict(zip(of, row, strict=True)) for row in zip(*of.values(), strict=True)]
    if path.suffix == ".jsonl":
        lines = [json.dumps(row) for row in rows]
    else:
        lines = [
            ",".join(of),
            *(",".join("" if cell is None else str(cell) for cell in row.values()) for row in rows),
        ]
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return str(path)


def write_companion(path: Path, of: Mapping[str, Column]) -> str:
    return write_table(path, of) if path.suffix == ".parquet" else write_text(path, of)


def write_npy(path: Path, rows: NDArray[Any]) -> str:
    np.save(path, rows)
    return str(path)


def opened(location: str) -> ReadySource:
    ready = open_ready(location, Access())
    assert ready is not None
    return ready


def listed(location: str, size: int) -> list[Span]:
    with closing(opened(location)) as ready:
        spans = list(ready.spans(size))
    assert all(1 <= span.count <= size for span in spans)
    return [Span(span.count, json.loads(canonical_json(span.where))) for span in spans]


def by_row(rows: ReadyRows) -> list[tuple[object, ...]]:
    """Rows as values that can be compared, NaN as text."""
    count = len(rows.names)
    assert rows.vectors.dtype == np.float32
    assert rows.logits.dtype == np.float64
    assert (
        rows.vectors.shape[0]
        == len(rows.logits)
        == len(rows.sha256s)
        == len(rows.facts)
        == len(rows.declared)
        == count
    )
    reasons = [
        rows.unreadable[row].reason if row in rows.unreadable else None for row in range(count)
    ]
    facts_and_told: list[JSON] = [*rows.facts, *rows.declared]
    assert canonical_json(facts_and_told)
    vectors_and_logits = [
        (str(vector.tolist()), str(logit))
        for vector, logit in zip(rows.vectors, rows.logits, strict=True)
    ]
    return list(
        zip(
            rows.names,
            vectors_and_logits,
            rows.sha256s,
            rows.facts,
            rows.declared,
            reasons,
            strict=True,
        )
    )


def read(location: str, size: int = 7) -> list[tuple[object, ...]]:
    """Every row, each span by a source of its own, the last one first."""
    found: list[tuple[object, ...]] = []
    for span in reversed(listed(location, size)):
        with closing(opened(location)) as ready:
            rows = by_row(ready.rows(span))
        assert len(rows) == span.count
        found[:0] = rows
    return found


def whole(location: str) -> ReadyRows:
    with closing(opened(location)) as ready:
        (span,) = ready.spans(10_000)
        return ready.rows(span)


def expected(count: int, file_name: str) -> list[tuple[object, ...]]:
    """What `columns` and `vectors` tell."""
    return [
        (f"{file_name}, row {row}", (str(vector.tolist()), str(row / 4 - 3)), sha256,
         {"width": 100 + row}, {"generator": "sdxl"}, None)
        for row, (vector, sha256) in enumerate(zip(vectors(count), sha256s(count), strict=True))
    ]  # fmt: skip


@pytest.mark.parametrize("suffix", [".npy", ".safetensors", ".parquet"])
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"PAR1",
        b"\x93NUMPY\x01\x00\xff\xff{",
        b"\x93NUMPY\x01\x00\x10\x00{'shape': (5, 4\n",
        b"\x08" + bytes(7) + b"no json.",
    ],
)
def test_a_file_that_is_none_of_its_kind_is_refused(
    tmp_path: Path, suffix: str, content: bytes
) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(content)

    with pytest.raises(
        UnusableSource, match=r"not a (readable )?(Parquet|\.npy|safetensors) file|has no tensor"
    ):
        open_ready(str(path), Access())


@pytest.mark.parametrize("suffix", [".npy", ".safetensors", ".parquet"])
def test_a_file_that_is_not_there_is_refused(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(UnusableSource, match="no such file"):
        open_ready(str(tmp_path / f"a{suffix}"), Access())


@pytest.mark.parametrize(
    "array",
    [
        np.array([{"a": 1}], dtype=object),
        np.asfortranarray(vectors(5)),
        np.float32(1),
        vectors(5)[0],
        vectors(5)[None],
        vectors(5).astype(np.int32),
        np.zeros((5, 0), np.float32),
        np.zeros(5, [("a", np.float32)]),
    ],
)
def test_an_array_that_is_no_table_of_vectors_is_refused(
    tmp_path: Path, array: NDArray[Any]
) -> None:
    location = write_npy(tmp_path / "a.npy", array)
    write_text(tmp_path / "a.csv", columns(5))

    with pytest.raises(UnusableSource, match=r"not vectors|not an array of numbers"):
        open_ready(location, Access())


def test_a_pickle_that_is_called_an_array_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.npy").write_bytes(pickle.dumps([1.0]))

    with pytest.raises(UnusableSource, match=r"not a readable \.npy file"):
        open_ready(str(tmp_path / "a.npy"), Access())


@pytest.mark.parametrize("name", ["a.npy", "a.safetensors"])
def test_an_array_that_is_cut_short_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    np.save(tmp_path / "a.npy", vectors(9))
    save_file({"vectors": vectors(9), "logits": np.zeros(9)}, tmp_path / "a.safetensors")
    write_text(tmp_path / "a.csv", columns(9))
    path.write_bytes(path.read_bytes()[:-1])

    with pytest.raises(UnusableSource, match="truncated"):
        open_ready(str(path), Access())


def test_an_array_that_was_cut_short_after_it_was_opened_is_refused(tmp_path: Path) -> None:
    location = write_npy(tmp_path / "a.npy", vectors(9))
    write_text(tmp_path / "a.csv", columns(9))

    with closing(opened(location)) as ready:
        (span,) = ready.spans(9)
        with (tmp_path / "a.npy").open("r+b") as file:
            file.truncate(150)
        with pytest.raises(UnusableSource, match="has changed"):
            ready.rows(span)


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl"])
@pytest.mark.parametrize("count", [8, 10])
def test_a_table_of_another_number_of_rows_is_refused(
    tmp_path: Path, suffix: str, count: int
) -> None:
    location = write_npy(tmp_path / "a.npy", vectors(9))
    write_companion(tmp_path / f"a{suffix}", columns(count))

    with pytest.raises(UnusableSource, match=f"9 vectors, the table beside it {count} rows"):
        listed(location, 4)


def test_an_array_without_a_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnusableSource, match="no table beside it"):
        open_ready(write_npy(tmp_path / "a.npy", vectors(9)), Access())


@pytest.mark.parametrize("missing", ["logit", "sha256"])
@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl"])
def test_an_array_whose_table_lacks_a_column_is_refused(
    tmp_path: Path, missing: str, suffix: str
) -> None:
    location = write_npy(tmp_path / "a.npy", vectors(9))
    write_companion(
        tmp_path / f"a{suffix}",
        {name: values for name, values in columns(9).items() if name != missing},
    )

    with pytest.raises(UnusableSource, match=f"has no column '{missing}'"):
        open_ready(location, Access())


def test_a_table_that_declares_a_space_and_lacks_a_column_is_refused(tmp_path: Path) -> None:
    location = write_table(
        tmp_path / "a.parquet", {"vector": lists(vectors(3)), "logit": [0.0] * 3}, SPACE
    )

    with pytest.raises(UnusableSource, match="has no column 'sha256'; it has logit"):
        open_ready(location, Access())


def test_a_table_without_any_vector_is_refused(tmp_path: Path) -> None:
    nothing = pa.array([None] * 3, pa.list_(pa.float32()))

    with pytest.raises(UnusableSource, match="has no vectors"):
        open_ready(write_table(tmp_path / "a.parquet", {"vector": nothing, **columns(3)}), Access())


@pytest.mark.parametrize(
    ("tensors", "problem"),
    [
        ({"logits": np.zeros(9)}, "has no tensor 'vectors'; it has logits"),
        ({"vectors": vectors(9)}, "has no tensor 'logits'"),
        (
            {"vectors": vectors(9).astype(np.int32), "logits": np.zeros(9)},
            "has no tensor 'vectors'",
        ),
        ({"vectors": vectors(9), "logits": np.zeros(9)}, "has no column 'sha256'"),
        (
            {"vectors": vectors(9), "logits": np.zeros(8), "sha256": HASHES},
            r"'logits' is an array \(8,\)",
        ),
        (
            {"vectors": vectors(9), "logits": np.zeros((9, 1)), "sha256": HASHES},
            r"'logits' is an array \(9, 1\)",
        ),
        (
            {"vectors": vectors(9), "logits": np.zeros(9), "sha256": HASHES[:, 1:]},
            r"'sha256' is an array \(9, 31\)",
        ),
    ],
)
def test_safetensors_that_do_not_fit_together_are_refused(
    tmp_path: Path, tensors: dict[str, NDArray[Any]], problem: str
) -> None:
    save_file({name: tensor.copy() for name, tensor in tensors.items()}, tmp_path / "a.safetensors")

    with pytest.raises(UnusableSource, match=problem):
        open_ready(str(tmp_path / "a.safetensors"), Access())


@pytest.mark.parametrize(
    "entry",
    [
        {"dtype": "F32", "shape": [9, 4], "data_offsets": [0, 143]},
        {"dtype": "F32", "shape": [9, 4], "data_offsets": [144, 288]},
        {"dtype": "F32", "shape": [9, -4], "data_offsets": [0, 144]},
        {"dtype": "F32", "shape": [], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [9, 4], "data_offsets": "0"},
        {"dtype": "F32", "shape": [9, 4]},
        {"dtype": "F32", "shape": [2**40, 2**40], "data_offsets": [0, 144]},
    ],
)
def test_safetensors_whose_header_lies_are_refused(tmp_path: Path, entry: JSON) -> None:
    header = json.dumps({"vectors": entry}).encode()
    (tmp_path / "a.safetensors").write_bytes(
        len(header).to_bytes(8, "little") + header + bytes(144)
    )

    with pytest.raises(UnusableSource, match="not a readable safetensors file"):
        open_ready(str(tmp_path / "a.safetensors"), Access())


def test_a_table_of_another_space_than_the_array_declares_is_refused(tmp_path: Path) -> None:
    tensors = {"vectors": vectors(9), "logits": np.zeros(9)}
    save_file(tensors, tmp_path / "a.safetensors", {SPACE_METADATA: "cd" * 32})
    write_table(tmp_path / "a.parquet", columns(9), SPACE)

    with pytest.raises(UnusableSource, match="another embedding space"):
        open_ready(str(tmp_path / "a.safetensors"), Access())


@pytest.mark.parametrize("name", ["folder", "a.csv", "a.zip", "a.jsonl", "vectors"])
def test_other_kinds_are_not_ready_embeddings(tmp_path: Path, name: str) -> None:
    assert open_ready(str(tmp_path / name), Access()) is None


@pytest.mark.parametrize(
    "of",
    [
        {"image": [b"x"]},
        {"image": [b"x"], "embedding": lists(vectors(1))},
        {"image": [b"x"], "embedding": [[1, 2]], "sha256": sha256s(1), "logit": [0.0]},
        {"image": [b"x"], "vector": ["1 2 3"], "sha256": sha256s(1), "logit": [0.0]},
        {"sha256": sha256s(1), "logit": [0.0]},
    ],
)
def test_a_table_of_images_is_one_whatever_vectors_it_holds(
    tmp_path: Path, of: dict[str, Column]
) -> None:
    assert open_ready(write_table(tmp_path / "a.parquet", of), Access()) is None


def test_a_row_without_a_vector_of_the_right_length_is_malformed(tmp_path: Path) -> None:
    rows = vectors(30).tolist()
    rows[3], rows[17], rows[25] = None, [1.0], []
    of = {"vector": pa.array(rows, pa.list_(pa.float32())), **columns(30)}
    location = write_table(tmp_path / "a.parquet", of)

    found = whole(location)

    assert {row: error.reason for row, error in found.unreadable.items()} == dict.fromkeys(
        (3, 17, 25), "malformed_row"
    )
    assert np.flatnonzero(np.isnan(found.vectors).any(axis=1)).tolist() == [3, 17, 25]
    fit = np.setdiff1d(np.arange(30), [3, 17, 25])
    np.testing.assert_array_equal(found.vectors[fit], vectors(30)[fit])
    assert read(location, 4) == read(location, 11) == by_row(found)


def test_a_fixed_size_vector_that_is_null_is_malformed(tmp_path: Path) -> None:
    rows = vectors(5).tolist()
    rows[1] = None
    of = {"vector": pa.array(rows, pa.list_(pa.float32(), DIMENSION)), **columns(5)}

    found = whole(write_table(tmp_path / "a.parquet", of))

    assert list(found.unreadable) == [1]
    np.testing.assert_array_equal(found.vectors[2:], vectors(5)[2:])


def test_a_number_that_is_null_within_a_vector_is_nan(tmp_path: Path) -> None:
    of = {
        "vector": pa.array([[1.0, None, 2.0, 3.0]], pa.list_(pa.float32(), DIMENSION)),
        **columns(1),
    }

    assert np.isnan(whole(write_table(tmp_path / "a.parquet", of)).vectors).tolist() == [
        [False, True, False, False]
    ]


@pytest.mark.parametrize("column", ["vector", "logit", "sha256"])
def test_a_damaged_row_group_costs_its_own_rows_only(tmp_path: Path, column: str) -> None:
    location = write_table(tmp_path / "a.parquet", {"vector": lists(vectors(30)), **columns(30)})
    metadata = pq.read_metadata(location).row_group(1)
    paths = [
        metadata.column(place).path_in_schema.split(".")[0] for place in range(metadata.num_columns)
    ]
    chunk = metadata.column(paths.index(column))
    content = bytearray(Path(location).read_bytes())
    end = chunk.data_page_offset + chunk.total_compressed_size
    content[end - 12 : end] = b"\xaa" * 12
    Path(location).write_bytes(content)

    found = read(location)

    assert [row[-1] for row in found] == [None] * 10 + ["corrupt_table"] * 10 + [None] * 10
    assert [*found[:10], *found[20:]] == [
        *expected(30, "a.parquet")[:10],
        *expected(30, "a.parquet")[20:],
    ]
    assert whole(location).sha256s[10:20] == [None] * 10
    assert np.isnan(whole(location).vectors[10:20]).all()


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_a_malformed_row_of_a_table_costs_itself_only(tmp_path: Path, suffix: str) -> None:
    location = write_npy(tmp_path / "a.npy", vectors(30))
    table = tmp_path / f"a{suffix}"
    write_text(table, columns(30))
    lines = table.read_text(encoding="utf-8").splitlines()
    lines[12] = lines[12][:-1] if suffix == ".jsonl" else lines[12] + ",more"
    table.write_text("\n".join(lines), encoding="utf-8")
    damaged = 12 if suffix == ".jsonl" else 11

    found = read(location)

    assert [row for row, (*_, reason) in enumerate(found) if reason == "malformed_row"] == [damaged]
    assert found[damaged][2] is None
    assert found[:damaged] + found[damaged + 1 :] == [
        row for place, row in enumerate(expected(30, "a.npy")) if place != damaged
    ]


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl"])
def test_a_row_without_sha256_or_logit_keeps_none_and_nan(tmp_path: Path, suffix: str) -> None:
    location = write_npy(tmp_path / "a.npy", vectors(3))
    of: dict[str, Column] = {
        "logit": [0.5, None, float("nan")],
        "sha256": [None, sha256s(2)[1], "?"],
        "label": ["a", None, "c"],
    }
    write_companion(tmp_path / f"a{suffix}", of)
    if suffix == ".jsonl":  # which has no NaN
        table = tmp_path / "a.jsonl"
        table.write_text(table.read_text().replace("NaN", '"half"'))

    found = whole(location)

    assert found.sha256s == [None, sha256s(2)[1], "?"]
    assert [math.isnan(logit) for logit in found.logits] == [False, True, True]
    assert found.declared == [{"label": "a"}, {}, {"label": "c"}]
    assert found.unreadable == {}


@pytest.mark.parametrize("dtype", [pa.float16(), pa.float32(), pa.float64()])
@pytest.mark.parametrize("fixed", [True, False])
@pytest.mark.parametrize("column", ["vector", "embedding"])
def test_vectors_of_any_float_in_a_table_become_float32(
    tmp_path: Path, dtype: pa.DataType, fixed: bool, column: str
) -> None:
    exact = vectors(25, "float16")
    of = {**columns(25), column: lists(exact, dtype, fixed=fixed)}

    found = whole(write_table(tmp_path / "a.parquet", of))

    np.testing.assert_array_equal(found.vectors, exact.astype(np.float32))


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", ">f4"])
@pytest.mark.parametrize("name", ["a.npy", "a.safetensors"])
def test_vectors_of_any_float_in_an_array_become_float32(
    tmp_path: Path, dtype: str, name: str
) -> None:
    exact = vectors(25, "float16").astype(dtype)
    np.save(tmp_path / "a.npy", exact)
    save_file(
        {"vectors": exact.astype(exact.dtype.newbyteorder("=")), "logits": np.zeros(25)},
        tmp_path / "a.safetensors",
    )
    write_text(tmp_path / "a.csv", columns(25))

    found = whole(str(tmp_path / name))

    np.testing.assert_array_equal(found.vectors, exact.astype(np.float32))


def test_a_number_too_large_for_float32_is_infinite(tmp_path: Path) -> None:
    location = write_npy(tmp_path / "a.npy", np.full((1, DIMENSION), 1e300))
    write_text(tmp_path / "a.csv", columns(1))

    assert np.isinf(whole(location).vectors).all()


def test_hashes_may_be_bytes(tmp_path: Path) -> None:
    raw = [bytes.fromhex(sha256) for sha256 in sha256s(3)]
    of: dict[str, Column] = {
        "vector": lists(vectors(3)),
        "logit": [0.0] * 3,
        "sha256": pa.array(raw, pa.binary(32)),
        "pdq_hash": pa.array([PDQ, None, PDQ]),
        "pdq_quality": [100, None, 0],
    }

    found = whole(write_table(tmp_path / "a.parquet", of))

    assert found.sha256s == sha256s(3)
    assert found.facts == [
        {"pdq_hash": PDQ.hex(), "pdq_quality": 100},
        {},
        {"pdq_hash": PDQ.hex(), "pdq_quality": 0},
    ]


def test_facts_and_what_is_told_are_kept_apart(tmp_path: Path) -> None:
    of: dict[str, Column] = {
        "vector": lists(vectors(2)),
        "embedding": lists(vectors(2)),
        "thumbnail": [b"not", b"words"],
        **columns(2),
        "byte_size": [10, None],
        "format": ["png", "jpeg"],
        "path": ["x/a.png", None],
        "licence": ["cc0", None],
        "acquired_at": pa.array([0, None], pa.timestamp("us", "UTC")),
        "provenance": ['{"case": {"n": 1.5}}', "no object"],
        "prompt": [["a", "cat"], None],
    }

    found = whole(write_table(tmp_path / "a.parquet", of, SPACE))

    assert found.names == ["x/a.png", "a.parquet, row 1"]
    assert found.facts == [
        {"byte_size": 10, "width": 100, "format": "png"},
        {"width": 101, "format": "jpeg"},
    ]
    assert found.declared == [
        {
            "path": "x/a.png",
            "generator": "sdxl",
            "licence": "cc0",
            "acquired_at": "1970-01-01T00:00:00+00:00",
            "provenance": {"case": {"n": 1.5}},
            "prompt": ["a", "cat"],
        },
        {"generator": "sdxl", "provenance": "no object"},
    ]


def test_numbers_of_a_csv_file_are_numbers_where_they_are_facts(tmp_path: Path) -> None:
    location = write_npy(tmp_path / "a.npy", vectors(2))
    of = {
        "logit": ["-1.5e-1", "x"],
        "sha256": sha256s(2),
        "width": ["12", "-12"],
        "seed": ["7", "8"],
        "format": ["png", "7"],
    }
    write_text(tmp_path / "a.csv", of)

    found = whole(location)

    assert found.logits[0] == -0.15
    assert math.isnan(found.logits[1])
    assert found.facts == [{"width": 12, "format": "png"}, {"width": "-12", "format": "7"}]
    assert found.declared == [{"seed": "7"}, {"seed": "8"}]


def test_tensors_hold_where_the_table_says_otherwise(tmp_path: Path) -> None:
    hashes = np.frombuffer(bytes.fromhex("".join(sha256s(3))), np.uint8).reshape(3, 32)
    tensors = {"vectors": vectors(3), "logits": np.array([1, 2, 3], np.float32), "sha256": hashes}
    save_file(tensors, tmp_path / "a.safetensors", {SPACE_METADATA: SPACE})
    write_text(
        tmp_path / "a.jsonl", {"sha256": ["?"] * 3, "logit": [9] * 3, "label": ["x", "y", "z"]}
    )

    found = whole(str(tmp_path / "a.safetensors"))

    assert found.sha256s == sha256s(3)
    assert found.logits.tolist() == [1.0, 2.0, 3.0]
    assert found.declared == [{"label": "x"}, {"label": "y"}, {"label": "z"}]


def test_the_declared_space_is_told_and_the_dimension(tmp_path: Path) -> None:
    undeclared = write_table(tmp_path / "a.parquet", {"vector": lists(vectors(3)), **columns(3)})
    table = write_table(
        tmp_path / "b.parquet", {"vector": lists(vectors(3), fixed=False), **columns(3)}, SPACE
    )
    write_table(tmp_path / "c.parquet", columns(3), SPACE)
    tensors = {"vectors": vectors(3), "logits": np.zeros(3)}
    save_file(tensors, tmp_path / "c.safetensors", {SPACE_METADATA: SPACE})
    array = write_npy(tmp_path / "c.npy", vectors(3))

    found = []
    for location in (undeclared, table, array, str(tmp_path / "c.safetensors")):
        with closing(opened(location)) as ready:
            assert ready.location == location
            found.append((ready.embedding_space, ready.dimension))

    assert found == [(None, DIMENSION), (SPACE, DIMENSION), (SPACE, DIMENSION), (SPACE, DIMENSION)]


def test_a_file_may_declare_what_computed_its_vectors(tmp_path: Path) -> None:
    table = pa.table({"vector": lists(vectors(3)), **columns(3)})
    tensors = {"vectors": vectors(3), "logits": np.zeros(3)}
    write_table(tmp_path / "t.parquet", columns(3))
    declared: dict[str, Any] = {"both": ("cuda", "float16"), "half": ("cuda", None), "none": None}
    for name, stated in declared.items():
        pairs = [pair for pair in zip((0, 1), stated or (), strict=False) if pair[1] is not None]
        keys = {(DEVICE_KEY, PRECISION_KEY)[place]: value for place, value in pairs}
        path = tmp_path / f"{name}.parquet"
        pq.write_table(table.replace_schema_metadata({SPACE_KEY: SPACE} | keys), path)
        keys = {(DEVICE_METADATA, PRECISION_METADATA)[place]: value for place, value in pairs}
        write_table(tmp_path / f"{name}-array.parquet", columns(3))
        save_file(tensors, tmp_path / f"{name}-array.safetensors", keys)

        for location in (path, tmp_path / f"{name}-array.safetensors"):
            with closing(opened(str(location))) as ready:
                assert ready.computed_by == (("cuda", "float16") if name == "both" else None)


FORMS = ("table", "lists", "npy+parquet", "npy+csv", "npy+jsonl", "safetensors", "safetensors+csv")


def write_form(folder: Path, form: str, count: int) -> str:
    """The same rows in each form, as `expected` has them but for what bare tensors cannot tell."""
    kind, _, companion = form.partition("+")
    if companion == "parquet":
        write_table(folder / "a.parquet", columns(count))
    elif companion:
        write_text(folder / f"a.{companion}", columns(count))
    match kind:
        case "table" | "lists":
            of = {"vector": lists(vectors(count), fixed=kind == "table"), **columns(count)}
            return write_table(folder / "a.parquet", of)
        case "npy":
            return write_npy(folder / "a.npy", vectors(count))
    tensors = {"vectors": vectors(count), "logits": np.array(columns(count)["logit"])}
    if not companion:
        tensors["sha256"] = np.frombuffer(bytes.fromhex("".join(sha256s(count))), np.uint8).reshape(
            count, 32
        )
    save_file(tensors, folder / "a.safetensors")
    return str(folder / "a.safetensors")


@pytest.mark.parametrize("form", FORMS)
@given(count=st.integers(1, 45), size=st.integers(1, 50), rng=st.randoms(use_true_random=False))
def test_rows_are_the_same_from_spans_of_any_size_in_any_order(
    tmp_path_factory: pytest.TempPathFactory, form: str, count: int, size: int, rng: random.Random
) -> None:
    folder = tmp_path_factory.mktemp("ready")
    location = write_form(folder, form, count)
    wanted = expected(count, Path(location).name)
    if form == "safetensors":
        wanted = [(*row[:3], {}, {}, None) for row in wanted]

    spans = listed(location, size)
    order = rng.sample(range(len(spans)), len(spans))
    with closing(opened(location)) as ready:
        shuffled = {place: by_row(ready.rows(spans[place])) for place in order}
        last, place = spans[-1], rng.randrange(spans[-1].count)
        narrowed = ready.narrow(last, place, last.count - place)
        assert by_row(ready.rows(narrowed)) == shuffled[len(spans) - 1][place:]

    assert [row for place in range(len(spans)) for row in shuffled[place]] == wanted
    assert read(location, size) == wanted
    shutil.rmtree(folder)


@pytest.mark.parametrize("form", FORMS)
def test_files_on_the_web_are_read_as_those_on_disk(
    tmp_path: Path, memory_files: Callable[[str, bytes], str], form: str
) -> None:
    local = write_form(tmp_path, form, 30)
    for path in tmp_path.iterdir():
        memory_files(f"memory://ready/{path.name}", path.read_bytes())

    assert read(f"memory://ready/{Path(local).name}") == read(local)


def test_rows_that_share_nothing_share_one_empty_object(tmp_path: Path) -> None:
    found = whole(write_form(tmp_path, "safetensors", 30))

    assert {id(each) for each in [*found.facts, *found.declared]} == {id(found.facts[0])}


def test_a_table_without_rows_has_no_spans(tmp_path: Path) -> None:
    of = {"vector": lists(np.zeros((0, DIMENSION))), **columns(0)}
    of["sha256"] = pa.array([], pa.string())

    assert listed(write_table(tmp_path / "a.parquet", of), 5) == []
