"""Cut listings and spans, for every source that lists one JSON entry per item."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import cast

from api.sources.item import Span
from api.sources.json_values import JSON


def cut_into_spans(entries: Iterable[JSON], size: int) -> Iterator[Span]:
    """Cut a listing into spans of `size` entries, the last one shorter; `where` lists them."""
    remaining = iter(entries)
    while where := list(islice(remaining, size)):
        yield Span(len(where), where)


def narrow_entries(span: Span, first: int, count: int) -> Span:
    """Return the span of `count` items from item `first` on, counted from 0 in the span."""
    return Span(count, cast("list[JSON]", span.where)[first : first + count])
