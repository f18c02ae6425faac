"""Arrays on disk: damaged ones are refused before a row is read, rows are those of the library."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from api.sources.item import UnusableSource
from api.sources.sourcefile import SourceFile
from api.sources.tensors import (
    MAX_HEADER_BYTES,
    open_npy_array,
    open_safetensors_arrays,
)


@pytest.fixture
def opened(tmp_path: Path) -> Callable[[bytes], SourceFile]:
    """Writes a file, and opens it."""

    def write(content: bytes) -> SourceFile:
        (tmp_path / "file").write_bytes(content)
        return SourceFile(str(tmp_path / "file"))

    return write


def npy(array: np.ndarray, folder: Path) -> bytes:
    np.save(folder / "array.npy", array)
    return (folder / "array.npy").read_bytes()


def tensors(header: Any, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def entry(dtype: Any = "F32", shape: Any = (2, 3), offsets: Any = (0, 24)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x93NUMPY",
        b"\x93NUMPY\x01\x00",
        b"\x93NUMPY\x09\x00\x10\x00{}",  # a version that there is not
        b"\x93NUMPY\x01\x00\x04\x00\xff\xff\xff\xff",
        b"\x93NUMPY\x01\x00\x08\x00{'a': 1}",
        b"\x93NUMPY\x01\x00\xff\xff{'descr': '<f4'",
        b"PK\x03\x04" + bytes(100),
        b"no array at all",
    ],
)
def test_what_is_no_npy_file_is_refused(
    opened: Callable[[bytes], SourceFile], content: bytes
) -> None:
    with closing(opened(content)) as file, pytest.raises(UnusableSource, match="not a readable"):
        open_npy_array(file)


@pytest.mark.parametrize(
    "array",
    [
        np.asfortranarray(np.zeros((3, 4))),
        np.float32(7),
        np.array(["text", None], object),
    ],
    ids=["fortran", "no rows", "objects"],
)
def test_an_array_of_anything_but_rows_of_numbers_is_refused(
    opened: Callable[[bytes], SourceFile], tmp_path: Path, array: Any
) -> None:
    problem = "not an array of numbers in C order"
    with (
        closing(opened(npy(array, tmp_path))) as file,
        pytest.raises(UnusableSource, match=problem),
    ):
        open_npy_array(file)


@pytest.mark.parametrize("missing", [1, 40, 95])
def test_an_npy_file_that_is_cut_is_refused(
    opened: Callable[[bytes], SourceFile], tmp_path: Path, missing: int
) -> None:
    whole = npy(np.ones((8, 3), np.float32), tmp_path)
    with closing(opened(whole[:-missing])) as file, pytest.raises(UnusableSource, match="trunc"):
        open_npy_array(file)


def test_rows_that_are_not_there_are_refused(
    opened: Callable[[bytes], SourceFile], tmp_path: Path
) -> None:
    """Other data may follow the array; they are not its rows."""
    whole = npy(np.ones((8, 3), np.float32), tmp_path) + bytes(1000)
    with closing(opened(whole)) as file:
        array = open_npy_array(file)
        assert array.rows(6, 2).tolist() == [[1, 1, 1], [1, 1, 1]]
        with pytest.raises(UnusableSource, match="has changed"):
            array.rows(6, 3)


def test_a_file_that_is_cut_after_it_was_opened_is_refused(
    opened: Callable[[bytes], SourceFile], tmp_path: Path
) -> None:
    whole = npy(np.ones((20_000, 3), np.float32), tmp_path)
    with closing(opened(whole)) as file:
        array = open_npy_array(file)
        with (tmp_path / "file").open("r+b") as cut:
            cut.truncate(len(whole) // 2)
        assert array.rows(0, 10).shape == (10, 3)
        with pytest.raises(UnusableSource, match="has changed"):
            array.rows(19_000, 10)


@pytest.mark.parametrize("dtype", ["<f2", "<f4", "<f8", ">f4", "|u1", "<i8"])
@pytest.mark.parametrize("shape", [(5,), (5, 3), (5, 2, 2), (0, 3), (5, 0)])
def test_rows_of_any_numbers_and_shape_are_those_of_numpy(
    opened: Callable[[bytes], SourceFile], tmp_path: Path, dtype: str, shape: tuple[int, ...]
) -> None:
    array = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
    with closing(opened(npy(array, tmp_path))) as file:
        stored = open_npy_array(file)
        assert (stored.shape, stored.dtype) == (array.shape, array.dtype)
        assert stored.byte_size == array.nbytes
        half = shape[0] // 2
        assert (stored.rows(0, half) == array[:half]).all()
        assert (stored.rows(half, shape[0] - half) == array[half:]).all()


def test_the_second_version_of_the_format_is_read(
    opened: Callable[[bytes], SourceFile], tmp_path: Path
) -> None:
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    with (tmp_path / "two.npy").open("wb") as file:
        np.lib.format.write_array(file, array, version=(2, 0))
    with closing(opened((tmp_path / "two.npy").read_bytes())) as opened_file:
        assert (open_npy_array(opened_file).rows(0, 2) == array).all()


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "not a readable"),
        (b"\x05", "not a readable"),
        ((MAX_HEADER_BYTES + 1).to_bytes(8, "little"), "not a safetensors file"),
        (b"\xff" * 8 + b"{}", "not a safetensors file"),
        ((100).to_bytes(8, "little") + b"{}", "not a readable"),
        (tensors(b"{"), "not a readable"),
        (tensors(b"[]"), "not a readable"),
        (tensors(b"\xff\xfe"), "not a readable"),
        (tensors(b'{"a": NaN}'), "not a readable"),
    ],
)
def test_what_is_no_safetensors_file_is_refused(
    opened: Callable[[bytes], SourceFile], content: bytes, problem: str
) -> None:
    with closing(opened(content)) as file, pytest.raises(UnusableSource, match=problem):
        open_safetensors_arrays(file)


@pytest.mark.parametrize(
    "lie",
    [
        entry(shape=None),
        entry(shape=[]),
        entry(shape=[2, -3]),
        entry(shape=[2, 1.5]),
        entry(shape=["2", 3]),
        entry(offsets=None),
        entry(offsets=[0]),
        entry(offsets=[0, 24, 48]),
        entry(offsets=[0, 23]),
        entry(offsets=[0, 25]),
        entry(offsets=[24, 0]),
        entry(offsets=[-24, 0]),
        entry(offsets=[1, 25]),  # beyond the end
        entry(shape=[2**62, 2**62]),
        entry(dtype="F64"),
    ],
)
def test_a_header_that_does_not_fit_its_data_is_refused(
    opened: Callable[[bytes], SourceFile], lie: dict[str, Any]
) -> None:
    content = tensors({"vectors": lie}, bytes(24))
    with closing(opened(content)) as file, pytest.raises(UnusableSource, match="not a readable"):
        open_safetensors_arrays(file)


@pytest.mark.parametrize("other", [entry(dtype="BF16"), entry(dtype=None), {}, 7, "text", None])
def test_an_array_of_another_type_is_passed_over(
    opened: Callable[[bytes], SourceFile], other: Any
) -> None:
    content = tensors({"other": other, "vectors": entry()}, bytes(24))
    with closing(opened(content)) as file:
        arrays, metadata = open_safetensors_arrays(file)
    assert list(arrays) == ["vectors"]
    assert metadata == {}


@pytest.mark.parametrize("metadata", [None, 7, "text", ["a"]])
def test_metadata_of_another_kind_are_none(
    opened: Callable[[bytes], SourceFile], metadata: Any
) -> None:
    content = tensors({"__metadata__": metadata, "vectors": entry()}, bytes(24))
    with closing(opened(content)) as file:
        assert open_safetensors_arrays(file)[1] == {}


@given(st.binary(max_size=60))
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_no_content_raises_anything_else(
    opened: Callable[[bytes], SourceFile], content: bytes
) -> None:
    for read, head in (
        (open_npy_array, b"\x93NUMPY\x01\x00"),
        (open_safetensors_arrays, len(content).to_bytes(8, "little")),
    ):
        with closing(opened(head + content)) as file:
            try:
                read(file)
            except UnusableSource:
                continue


def test_arrays_are_those_that_the_library_wrote(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    written = {
        "vectors": random.standard_normal((7, 4)).astype(np.float32),
        "halves": random.standard_normal((7, 2)).astype(np.float16),
        "logits": random.standard_normal(7),
        "hashes": random.integers(0, 256, (7, 32), dtype=np.uint8),
    }
    save_file(written | {"ids": np.arange(7)}, tmp_path / "a.safetensors", {"space": "x"})
    with closing(SourceFile(str(tmp_path / "a.safetensors"))) as file:
        arrays, metadata = open_safetensors_arrays(file)
        assert arrays.keys() == written.keys()  # whole numbers are neither vectors nor hashes
        assert metadata == {"space": "x"}
        for name, expected in written.items():
            found = arrays[name].rows(2, 4)
            assert found.dtype == expected.dtype
            assert (found == expected[2:6]).all()
