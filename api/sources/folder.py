"""A folder with all that lies under it, or a single file.

No file is chosen by its name: the decoder decides.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import cast

from api.sources.item import Item, Span, UnusableSource, printable
from api.sources.json_values import JSON
from api.sources.locations import as_text, from_text, joined, kind_of, name_of, read_bytes, walk
from api.sources.sidecars import Listed, read_sidecars, samples
from api.sources.spans import in_spans


class FolderSource:
    """A folder or a file, on a local path or at a URL.

    `Span.where` is a list of relative names as `as_text` writes them, each with those of its
    sidecars behind it; a single file is an entry without a name.
    """

    def __init__(self, location: str) -> None:
        self.location = location

    def spans(self, size: int) -> Iterator[Span]:
        return in_spans(self._entries(), size)

    def items(self, span: Span) -> Iterator[Item]:
        self._require()
        for entry in cast("Sequence[Sequence[str]]", span.where):
            name, *sidecars = [from_text(text) for text in entry] or [""]
            location = joined(self.location, name) if name else self.location
            declared = read_sidecars(
                (sidecar, partial(read_bytes, joined(self.location, sidecar)))
                for sidecar in sidecars
            )
            yield Item(
                printable(name or name_of(location)),
                partial(read_bytes, location),
                declared,
                location,
            )

    def close(self) -> None:
        """Nothing is kept open."""

    def _entries(self) -> Iterator[JSON]:
        if self._require() == "file":
            yield []
            return
        for sample in samples(Listed(name, None) for name, _ in walk(self.location)):
            yield [as_text(file.name) for file in (sample.file, *sample.sidecars)]

    def _require(self) -> str:
        kind = kind_of(self.location)
        if kind is None:
            raise UnusableSource(self.location, "no such file or folder")
        return kind
