"""Cutting a listing into spans, for every source that lists one JSON entry per item."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

from api.sources.item import Span
from api.sources.json_values import JSON


def cut_into_spans(entries: Iterable[JSON], size: int) -> Iterator[Span]:
    """Cut a listing into spans of `size` entries, the last one shorter; `where` lists them."""
    remaining = iter(entries)
    while where := list(islice(remaining, size)):
        yield Span(len(where), where)
