"""Cutting a listing: every entry once, in order, in spans of one size but for the last."""

from __future__ import annotations

from itertools import count

from hypothesis import given
from hypothesis import strategies as st

from api.sources.item import Span
from api.sources.spans import cut_into_spans


@given(st.lists(st.integers(), max_size=30), st.integers(1, 7))
def test_every_entry_is_in_one_span_in_order(entries: list[int], size: int) -> None:
    spans = list(cut_into_spans(entries, size))
    assert [entry for span in spans for entry in span.where] == entries  # type: ignore[union-attr]
    assert all(span.count == len(span.where) for span in spans)  # type: ignore[arg-type]
    assert all(span.count == size for span in spans[:-1])
    assert len(spans) == -(-len(entries) // size)


def test_no_more_is_listed_than_is_asked_for() -> None:
    numbers = count()
    spans = cut_into_spans(numbers, 3)
    assert next(spans) == Span(3, [0, 1, 2])
    assert next(numbers) == 3
