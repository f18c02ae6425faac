"""A folder with all files under it, or a single file.

Files are not selected by name: the decoder decides what is an image.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import cast

from api.sources.item import Item, Span, UnusableSource, make_printable
from api.sources.json_values import JSON
from api.sources.locations import (
    decode_path,
    encode_path,
    join_location,
    kind_of,
    name_of,
    read_bytes,
    walk,
)
from api.sources.sidecars import Listed, group_samples, read_sidecars
from api.sources.spans import cut_into_spans


class FolderSource:
    """A folder or a file, on a local path or at a URL.

    `Span.where` is a list of entries. An entry is the relative name of an item as `encode_path`
    writes it, followed by the names of its sidecars; for a single file it is empty.
    """

    def __init__(self, location: str) -> None:
        self.location = location

    def spans(self, size: int) -> Iterator[Span]:
        return cut_into_spans(self._list_entries(), size)

    def items(self, span: Span) -> Iterator[Item]:
        self._require_kind()
        for entry in cast("Sequence[Sequence[str]]", span.where):
            name, *sidecars = [decode_path(text) for text in entry] or [""]
            location = join_location(self.location, name) if name else self.location
            declared = read_sidecars(
                (sidecar, partial(read_bytes, join_location(self.location, sidecar)))
                for sidecar in sidecars
            )
            yield Item(
                make_printable(name or name_of(location)),
                partial(read_bytes, location),
                declared,
                location,
            )

    def close(self) -> None:
        """Nothing is kept open."""

    def _list_entries(self) -> Iterator[JSON]:
        if self._require_kind() == "file":
            yield []
            return
        for sample in group_samples(Listed(name, None) for name, _ in walk(self.location)):
            yield [encode_path(file.name) for file in (sample.file, *sample.sidecars)]

    def _require_kind(self) -> str:
        kind = kind_of(self.location)
        if kind is None:
            raise UnusableSource(self.location, "no such file or folder")
        return kind
