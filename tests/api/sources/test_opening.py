"""Which source a location becomes."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
import zipfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from api.sources.access import Access
from api.sources.folder import FolderSource
from api.sources.item import Source, UnusableSource
from api.sources.manifest import ManifestSource
from api.sources.opening import open_source
from api.sources.parquet import ParquetSource
from api.sources.paths import PathsSource
from api.sources.tar import TarSource
from api.sources.zip import ZipSource


def tar_bytes() -> bytes:
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("a.png"))
    return written.getvalue()


def zip_bytes(*names: str) -> bytes:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as archive:
        for name in names:
            archive.writestr(name, b"a")
    return written.getvalue()


def parquet_bytes() -> bytes:
    written = io.BytesIO()
    pq.write_table(pa.table({"image": [b"a"]}), written)
    return written.getvalue()


def kind(location: object) -> type[Source]:
    with closing(open_source(str(location), Access())) as source:
        assert source.location == str(location)
        return type(source)


def test_what_is_not_there_is_no_source(tmp_path: Path) -> None:
    for missing in (tmp_path / "no", "memory://nowhere", tmp_path / os.fsdecode(b"\xff")):
        with pytest.raises(UnusableSource, match="no such file or folder") as caught:
            open_source(str(missing), Access())
        assert str(caught.value).encode()
        assert caught.value.location == str(missing)


def test_what_is_neither_file_nor_folder_is_no_source(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UnusableSource):
        open_source(str(tmp_path / "pipe"), Access())


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.png", b"", FolderSource),
        ("a.zip", b"no archive", FolderSource),
        ("a.png.gz", gzip.compress(b"an image"), FolderSource),
        ("broken.tar.gz", gzip.compress(tar_bytes())[:15], FolderSource),
        ("a.CSV", b"path\na.png\n", ManifestSource),
        ("a.tsv", b"path\tlabel\na.png\tx\n", ManifestSource),
        ("a.jsonl", b'{"path": "a.png"}\n', ManifestSource),
        ("a.ndjson", b'{"path": "a.png"}\n', ManifestSource),
        ("a.csv", parquet_bytes(), ParquetSource),
        ("a.jpg", zip_bytes("a.png"), ZipSource),
        ("a", zip_bytes(), ZipSource),
        ("a.csv", tar_bytes(), TarSource),
        ("a.dat", gzip.compress(tar_bytes()), TarSource),
    ],
    ids=lambda value: (
        f"{len(value)} bytes"
        if isinstance(value, bytes)
        else str(getattr(value, "__name__", value))
    ),
)
def test_content_decides_before_the_name(
    tmp_path: Path,
    memory_files: Callable[[str, bytes], str],
    name: str,
    content: bytes,
    expected: type[Source],
) -> None:
    (tmp_path / name).write_bytes(content)
    assert kind(tmp_path / name) is expected
    assert kind(memory_files(f"memory://in/{name}", content)) is expected


def test_columns_are_handed_on(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"where,else\na.png,b.png\n")
    (tmp_path / "a.parquet").write_bytes(parquet_bytes())
    with pytest.raises(UnusableSource, match="nothing"):
        open_source(str(tmp_path / "a.csv"), Access(), path_column="nothing")
    with pytest.raises(UnusableSource, match="nothing"):
        open_source(str(tmp_path / "a.parquet"), Access(), image_column="nothing")


def test_folders_and_lists_are_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert kind(tmp_path) is FolderSource
    assert kind(f"file://{tmp_path}") is FolderSource
    monkeypatch.chdir(tmp_path.parent)
    assert open_source(tmp_path.name, Access()).location == str(tmp_path)
    for lines, counts in ((None, []), ([b"a\n", b"b\n"], [2]), (io.BytesIO(b"a\nb\nc"), [3])):
        with closing(open_source("-", Access(), lines=lines)) as source:
            assert isinstance(source, PathsSource)
            assert [span.count for span in source.spans(9)] == counts
