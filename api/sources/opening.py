"""Choosing the kind of source: by what is at a location, by its first bytes, and by its name only
if the bytes do not decide.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import BinaryIO

from api.sources.access import Access
from api.sources.folder import FolderSource
from api.sources.item import Source, UnreadableItem, UnusableSource
from api.sources.locations import make_absolute, name_of
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
    access: Access,
    *,
    lines: BinaryIO | Iterable[bytes] | None = None,
    path_column: str | None = None,
    image_column: str | None = None,
) -> Source:
    """Open the source at a path or a URL, within what `access` may read. `-` is a list of paths,
    read from `lines`. Closing the source closes the connections of `access`.

    A file of no other kind is taken for a single image; the decoder decides later. Raises
    `UnusableSource`, `SourceNotAllowed`.
    """
    if location == "-":
        return PathsSource(lines or (), access=access)
    location = make_absolute(location)
    match access.kind_of(location):
        case None:
            raise UnusableSource(location, "no such file or folder")
        case "folder":
            return FolderSource(location, access)
        case "file":
            return _open_file(location, access, path_column, image_column)


def _open_file(
    location: str, access: Access, path_column: str | None, image_column: str | None
) -> Source:
    beginning = _read_beginning(location, access)
    if beginning.startswith(ZIP_MAGIC):
        return ZipSource(location, access)
    if beginning.startswith(PARQUET_MAGIC):
        return ParquetSource(location, image_column, access)
    if is_tar(location, access):
        return TarSource(location, access)
    if PurePosixPath(name_of(location)).suffix.lower() in MANIFEST_SUFFIXES:
        return ManifestSource(location, path_column, access)
    return FolderSource(location, access)


def _read_beginning(location: str, access: Access) -> bytes:
    try:
        return access.read_bytes(location, 4)
    except UnreadableItem as err:
        raise UnusableSource(location, str(err)) from err
