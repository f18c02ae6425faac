"""A folder with all files under it, or a single file.

Files are not selected by name: the decoder decides what is an image.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import cast

from api.sources.access import Access
from api.sources.item import Item, Span, UnusableSource, make_printable
from api.sources.json_values import JSON
from api.sources.locations import (
    decode_path,
    encode_path,
    join_location,
    name_of,
)
from api.sources.sidecars import Listed, group_samples, read_sidecars
from api.sources.spans import cut_into_spans, narrow_entries


class FolderSource:
    """A folder or a file, on a local path or at a URL.

    `Span.where` is a list of entries. An entry is the relative name of an item as `encode_path`
    writes it, followed by the names of its sidecars; for a single file it is empty.
    """

    def __init__(self, location: str, access: Access | None = None) -> None:
        self.location = location
        self._access = access or Access()

    def spans(self, size: int) -> Iterator[Span]:
        return cut_into_spans(self._list_entries(), size)

    def items(self, span: Span) -> Iterator[Item]:
        self._require_kind()
        for entry in cast("Sequence[Sequence[str]]", span.where):
            name, *sidecars = [decode_path(text) for text in entry] or [""]
            location = join_location(self.location, name) if name else self.location
            declared = read_sidecars(
                (sidecar, partial(self._access.read_bytes, join_location(self.location, sidecar)))
                for sidecar in sidecars
            )
            yield Item(
                make_printable(name or name_of(location)),
                partial(self._access.read_bytes, location),
                declared,
                location,
            )

    def narrow(self, span: Span, first: int, count: int) -> Span:
        return narrow_entries(span, first, count)

    def close(self) -> None:
        self._access.close()

    def _list_entries(self) -> Iterator[JSON]:
        if self._require_kind() == "file":
            yield []
            return
        files = (Listed(name, None) for name, _ in self._access.walk(self.location))
        for sample in group_samples(files):
            yield [encode_path(file.name) for file in (sample.file, *sample.sidecars)]

    def _require_kind(self) -> str:
        kind = self._access.kind_of(self.location)
        if kind is None:
            raise UnusableSource(self.location, "no such file or folder")
        return kind
