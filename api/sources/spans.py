"""Cutting a listing into spans, the same way for every source that lists one entry of JSON an
item.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

from api.sources.item import Span
from api.sources.json_values import JSON


def in_spans(entries: Iterable[JSON], size: int) -> Iterator[Span]:
    """Spans of `size` entries, the last of fewer; `where` is the list of them."""
    remaining = iter(entries)
    while where := list(islice(remaining, size)):
        yield Span(len(where), where)
