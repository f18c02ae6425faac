"""Choosing the kind of source: by what is at a location, by its first bytes, and by its name only
if the bytes do not decide.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import BinaryIO

from api.sources.folder import FolderSource
from api.sources.item import Source, UnreadableItem, UnusableSource
from api.sources.locations import kind_of, make_absolute, name_of, read_bytes
from api.sources.manifest import ManifestSource
from api.sources.parquet import ParquetSource
from api.sources.paths import PathsSource
from api.sources.tar import TarSource, is_tar
from api.sources.zip import ZipSource

ZIP_MAGIC = (
    b"PK\x03\x04",
    b"PK\x05\x06",
)  # a first member, or the end record of an empty archive (APPNOTE 4.3)
PARQUET_MAGIC = b"PAR1"
MANIFEST_SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson")


def open_source(
    location: str,
    *,
    lines: BinaryIO | Iterable[bytes] | None = None,
    path_column: str | None = None,
    image_column: str | None = None,
) -> Source:
    """Open the source at a path or a URL. `-` is a list of paths, read from `lines`.

    A file of no other kind is taken for a single image; the decoder decides later. Raises
    `UnusableSource`.
    """
    if location == "-":
        return PathsSource(lines or ())
    location = make_absolute(location)
    match kind_of(location):
        case None:
            raise UnusableSource(location, "no such file or folder")
        case "folder":
            return FolderSource(location)
        case "file":
            return _open_file(location, path_column, image_column)


def _open_file(location: str, path_column: str | None, image_column: str | None) -> Source:
    beginning = _read_beginning(location)
    if beginning.startswith(ZIP_MAGIC):
        return ZipSource(location)
    if beginning.startswith(PARQUET_MAGIC):
        return ParquetSource(location, image_column)
    if is_tar(location):
        return TarSource(location)
    if PurePosixPath(name_of(location)).suffix.lower() in MANIFEST_SUFFIXES:
        return ManifestSource(location, path_column)
    return FolderSource(location)


def _read_beginning(location: str) -> bytes:
    try:
        return read_bytes(location, 4)
    except UnreadableItem as err:
        raise UnusableSource(location, str(err)) from err
