"""What every source of a bulk ingest offers: items, in an order that never changes, cut into spans.

A source is listed once, before anything is read from it. `spans` records where the items are, as
JSON that is stored with the job. Any process can then read exactly the items of a span, as often
as needed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from api.errors import ServiceError
from api.sources.json_values import JSON

# Of an error that is stored with a job and sent to clients: the columns of an ordinary table fit,
# the hundred thousand names in a hostile one do not.
MAX_REASON_LENGTH = 2000


class UnreadableItem(ServiceError):
    """The bytes of one item cannot be read; `reason` is for programs, the message for people."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class UnusableSource(ServiceError):
    """A whole source cannot be ingested: it is missing, of an unknown kind, or a table without an
    image column.

    The reason may list what a file contains; it is cut to `MAX_REASON_LENGTH`.
    """

    def __init__(self, location: str, reason: str) -> None:
        if len(reason) > MAX_REASON_LENGTH:
            reason = f"{reason[:MAX_REASON_LENGTH]}…"
        super().__init__(f"{make_printable(location)}: {reason}")
        self.location = location
        self.reason = reason


@dataclass(frozen=True, slots=True, eq=False)
class Item:
    """One image that a source offers.

    `read(max_bytes)` returns its bytes, or the first ``max_bytes + 1`` of a larger file: enough
    for the decoder to refuse it. It raises `UnreadableItem`. `declared` holds the fields that the
    item's own row or the files beside the image give, under the names that are used there.
    `location` is the absolute path or URL of a file that holds exactly these bytes; None for a
    member of an archive or a table.
    """

    name: str  # for people: relative to the source, with forward slashes, printable
    read: Callable[[int], bytes]
    declared: Mapping[str, JSON] = field(default_factory=dict)
    location: str | None = None


@dataclass(frozen=True, slots=True)
class Span:
    """Consecutive items of a source: their number, and where they are, as JSON that the same kind
    of source understands.
    """

    count: int
    where: JSON


class Source(Protocol):
    """Something that holds items. Only one thread may use it at a time."""

    @property
    def location(self) -> str:
        """An absolute path or a URL, as it is stored with the job."""
        ...

    def spans(self, size: int) -> Iterator[Span]:
        """List every item in spans of at most `size`, without reading contents, in memory that does
        not grow with the number of items.

        Nothing is left out silently: what cannot be used is an item whose `read` raises. Raises
        `UnusableSource`.
        """
        ...

    def items(self, span: Span) -> Iterator[Item]:
        """Return the `span.count` items of a span, in order.

        Raises `UnusableSource` if the source is gone.
        """
        ...

    def narrow(self, span: Span, first: int, count: int) -> Span:
        """Return the span of `count` items of a span from item `first` on, counted from 0.

        It reads no item's content. Raises `UnusableSource`.
        """
        ...

    def close(self) -> None: ...


def make_printable(name: str) -> str:
    r"""Return a name as text that JSON and SQL can hold: a byte that is not UTF-8, and NUL, become
    ``\xNN``.
    """
    return os.fsencode(name).decode("utf-8", "backslashreplace").replace("\x00", "\\x00")
