"""Manifests: CSV, TSV or JSON Lines files whose rows name an image and declare facts about it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import PurePosixPath, PureWindowsPath

from api.sources.access import Access
from api.sources.item import Item, Span, UnreadableItem, UnusableSource, make_printable
from api.sources.locations import folder_of, is_url, join_location, local_path, name_of
from api.sources.records import Record, Records

# In order of preference, ignoring case: the names that data sets give to the column of paths.
PATH_COLUMNS = (
    "path",
    "file",
    "file_name",
    "filename",
    "filepath",
    "file_path",
    "image",
    "image_path",
    "relpath",
)


class ManifestSource:
    """One item per row. Its path is relative to the manifest's folder, or absolute, or a URL.

    `confined` refuses rows whose text leads out of that folder (a link inside it can still do so);
    without it and without roots, the author of the manifest decides what is read, except that a
    manifest at a URL never names local files. `Item.declared` holds the row's
    other values, without the empty cells of a CSV file. A malformed row is an item named
    `manifest.csv, row 17`, counted from 0 without the header.
    """

    def __init__(
        self,
        location: str,
        path_column: str | None = None,
        access: Access | None = None,
        *,
        confined: bool = False,
    ) -> None:
        self.location = location
        self._access = access or Access()
        self.confined = confined
        self._folder = folder_of(location)
        self._records = Records(location, self._access)
        try:
            self.path_column = _choose_path_column(location, self._records.columns, path_column)
        except UnusableSource:
            self.close()
            raise

    def spans(self, size: int) -> Iterator[Span]:
        return self._records.spans(size)

    def items(self, span: Span) -> Iterator[Item]:
        return map(self._build_item, self._records.rows(span))

    def narrow(self, span: Span, first: int, count: int) -> Span:
        return self._records.narrow(span, first, count)

    def close(self) -> None:
        self._records.close()
        self._access.close()

    def _build_item(self, record: Record) -> Item:
        path = record.values.get(self.path_column)
        if not isinstance(path, str) or not path.strip() or "\x00" in path:
            fault = record.fault or f"no path in column {self.path_column!r}"
            name = f"{make_printable(name_of(self.location))}, row {record.number}"
            return Item(
                name, partial(_refuse, "malformed_row", f"{fault} (at byte {record.offset:,})")
            )
        declared = {
            name: value for name, value in record.values.items() if name != self.path_column
        }
        if self.confined and not stays_beneath(path):
            return Item(
                make_printable(path),
                partial(_refuse, "outside_source", "leads out of the manifest's folder"),
                declared,
            )
        location = join_location(self._folder, path)
        if local_path(self.location) is None and local_path(location) is not None:
            refused = partial(_refuse, "outside_source", "a local path in a remote manifest")
            return Item(make_printable(path), refused, declared)
        read = partial(self._access.read_bytes, location)
        return Item(make_printable(path), read, declared, location)


def find_path_column(columns: Sequence[str]) -> str | None:
    """Return the column whose name most likely means a path; None without one."""
    by_name: dict[str, str] = {}
    for column in columns:
        by_name.setdefault(column.strip().casefold(), column)
    return next((by_name[name] for name in PATH_COLUMNS if name in by_name), None)


def stays_beneath(name: str) -> bool:
    """Whether a name, joined to a folder, stays in or under it, on any operating system."""
    path = PureWindowsPath(name)  # understands both kinds of slashes
    return not (
        is_url(name) or path.anchor or PurePosixPath(name).is_absolute() or ".." in path.parts
    )


def _choose_path_column(location: str, columns: Sequence[str], named: str | None) -> str:
    found = find_path_column(columns) if named is None else named if named in columns else None
    if found is None:
        problem = "no column of paths" if named is None else f"no column {named!r}"
        raise UnusableSource(location, f"{problem}; its columns are {', '.join(columns)}")
    return found


def _refuse(reason: str, message: str, _max_bytes: int) -> bytes:
    raise UnreadableItem(reason, message)
