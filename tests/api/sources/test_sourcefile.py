from __future__ import annotations

import io
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from api.sources import sourcefile
from api.sources.item import Source, Span, UnusableSource
from api.sources.manifest import ManifestSource
from api.sources.parquet import ParquetSource
from api.sources.ready import ReadyArrays, ReadySource, open_ready
from api.sources.sourcefile import SourceFile


class Flaky(io.BytesIO):
    """A file on a network that goes away."""

    is_gone = False

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
        if self.is_gone:
            raise RuntimeError("connection lost\nby peer")
        return super().readinto(buffer)


@pytest.fixture
def flaky(monkeypatch: pytest.MonkeyPatch) -> list[Flaky]:
    """Every file that a source opens from now on."""
    opened: list[Flaky] = []

    def open_binary(location: str) -> Flaky:
        opened.append(Flaky(Path(location).read_bytes()))
        return opened[-1]

    monkeypatch.setattr(sourcefile, "open_binary", open_binary)
    return opened


def ready(path: Path) -> ReadySource:
    opened = open_ready(str(path / "a.npy"))
    assert opened is not None
    return opened


@pytest.mark.parametrize(
    "open_source",
    [
        lambda path: ParquetSource(str(path / "a.parquet")),
        lambda path: ManifestSource(str(path / "m.csv")),
        ready,
    ],
)
def test_a_file_that_cannot_be_read_just_now_is_no_damage_of_its_items(
    tmp_path: Path, flaky: list[Flaky], open_source: Callable[[Path], Source | ReadySource]
) -> None:
    columns = {"image": [bytes(1000)] * 500, "logit": [0.0] * 500, "sha256": ["0"] * 500}
    pq.write_table(
        pa.table(columns),
        tmp_path / "a.parquet",
        use_dictionary=False,
        row_group_size=100,
        compression="none",
    )
    np.save(tmp_path / "a.npy", np.zeros((500, 384), np.float32))
    (tmp_path / "m.csv").write_text("path,caption\n" + f"a.png,{'x' * 1000}\n" * 500)

    with closing(open_source(tmp_path)) as source:
        *_, last = source.spans(100)
        expected = read(source, last)
        for _ in range(2):
            for file in flaky:
                file.is_gone = True
            with pytest.raises(UnusableSource, match=r"cannot be read: connection lost$"):
                read(source, last)
            for file in flaky:
                file.is_gone = False
            assert read(source, last) == expected


def read(source: Source | ReadySource, span: Span) -> object:
    if isinstance(source, ReadyArrays):
        rows = source.rows(span)
        return rows.names, rows.sha256s, rows.vectors.tolist(), list(rows.unreadable)
    assert isinstance(source, ParquetSource | ManifestSource)
    return [
        (item.name, item.declared, item.location or item.read(10**4)) for item in source.items(span)
    ]


def test_a_file_gives_what_was_asked_for_whatever_its_library_gives_at_a_time(
    tmp_path: Path, memory_files: Callable[[str, bytes], str]
) -> None:
    content = bytes(range(256)) * 300
    (tmp_path / "a.bin").write_bytes(content)
    locations = [str(tmp_path / "a.bin"), memory_files("memory://set/a.bin", content)]

    for location in locations:
        with closing(SourceFile(location)) as file:
            assert file.read(70_000) == content[:70_000]
            assert (file.tell(), file.size()) == (70_000, len(content))
            assert file.seek(5) == 5
            assert file.readline(3) == bytes([5, 6, 7])
            assert file.readline(1000) == bytes([8, 9, 10])
            assert file.read(10**9) == content[11:]
        assert file.closed
