from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from api.sources.access import Access
from api.sources.item import Source, Span, UnusableSource
from api.sources.manifest import ManifestSource
from api.sources.parquet import ParquetSource
from api.sources.ready import ReadyArrays, ReadySource, open_ready
from api.sources.sourcefile import SourceFile
from tests.api.sources.storage import FailingStorage, lost_connection


def ready(folder: str) -> ReadySource:
    opened = open_ready(f"{folder}/a.npy", Access())
    assert opened is not None
    return opened


@pytest.mark.parametrize(
    "open_source",
    [
        lambda folder: ParquetSource(f"{folder}/a.parquet"),
        lambda folder: ManifestSource(f"{folder}/m.csv"),
        ready,
    ],
)
def test_a_file_that_cannot_be_read_just_now_is_no_damage_of_its_items(
    tmp_path: Path,
    failing_storage: type[FailingStorage],
    open_source: Callable[[str], Source | ReadySource],
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

    for file in tmp_path.iterdir():
        failing_storage.files[f"set/{file.name}"] = file.read_bytes()

    with closing(open_source("failing://set")) as source:
        *_, last = source.spans(100)
        expected = read(source, last)
        for _ in range(2):
            failing_storage.error = lost_connection
            with pytest.raises(UnusableSource, match=r"cannot be read: connection lost$"):
                read(source, last)
            failing_storage.error = None
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
