"""Selecting: from a filter to marks on the positions of a view.

The columns beside the vectors answer corpus, kind, generator, label and date. SQL answers only the
names of corpora and free provenance. `filters.select_ids` computes the same selection from SQL
alone, and tests compare the two.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection

from index.cache.searching.corpus_ids import CorpusSelection
from index.cache.segments.facts import NO_INSTANT, Words, microseconds
from index.cache.segments.segment import Segment
from index.cache.segments.view import Part
from index.cache.vectors.marks import Marks
from index.truth.filters import (
    Filter,
    normalise_generators,
    normalise_labels,
    select_ids,
)
from index.truth.removal import find_emptying_ids

# Up to this many comparisons of a column are quicker than looking up each value.
FEW_VALUES = 16
# The rows of a column that are compared while they are in the processor's cache. One value takes
# 1.0 ms in a million rows; a copy of the column would take 3 to 16 ms before (2026-12-01).
ROWS_AT_ONCE = 32_768


@dataclass(frozen=True, slots=True)
class Criteria:
    """A filter in the numbers of the columns. None selects everything; instants are microseconds
    since 1970.
    """

    corpus_ids: tuple[int, ...] | None
    generators: tuple[int, ...] | None
    labels: tuple[int, ...] | None
    acquired_from: int | None
    acquired_to: int | None
    without_corpus_ids: tuple[int, ...] = ()

    def __call__(self, segment: Segment) -> NDArray[np.bool_]:
        """Return which positions (n,) of a segment these criteria select."""
        chosen = np.ones(segment.size, np.bool_)
        for name, values in (
            ("corpus_id", self.corpus_ids),
            ("generator", self.generators),
            ("label", self.labels),
        ):
            if values is not None:
                chosen &= _is_one_of(segment.column(name), values)
        if self.without_corpus_ids:
            chosen &= ~_is_one_of(segment.column("corpus_id"), self.without_corpus_ids)
        if self.acquired_from is not None:
            chosen &= segment.column("acquired_at") >= self.acquired_from
        if self.acquired_to is not None:
            chosen &= segment.column("acquired_at") < self.acquired_to
        if self.acquired_from is not None or self.acquired_to is not None:
            chosen &= segment.column("acquired_at") != NO_INSTANT
        return chosen


def select_parts(
    conn: Connection,
    space_id: int,
    parts: Sequence[Part],
    chosen: Filter,
    corpora: CorpusSelection,
    *,
    is_emptying: bool,
) -> list[Part]:
    """Return parts with only the members that a filter selects, and of no removed corpus.

    `corpora` are those that the filter selects, and `is_emptying` is that of the transaction's
    head.

    Raises:
        InvalidFilter, UnknownCorpus

    """
    emptying = find_emptying_ids(conn) if is_emptying else ()
    selected = select_members(parts, chosen, corpora, emptying)
    if not chosen.provenance:
        return selected
    ids = select_ids(conn, space_id, chosen)
    return [part.select(_mark(part.segment, ids)) for part in selected]


def select_members(
    parts: Sequence[Part],
    chosen: Filter,
    corpora: CorpusSelection,
    emptying: tuple[int, ...] = (),
) -> list[Part]:
    """Return parts with only the members that a filter selects by all but its free provenance, and
    that are in none of the corpora that are being emptied.
    """
    if chosen.selects_all and not emptying:
        return list(parts)
    criteria = replace(
        _resolve(chosen, corpora, parts[0].segment.words), without_corpus_ids=emptying
    )
    return [part.select(part.segment.marks(criteria)) for part in parts]


def _resolve(chosen: Filter, corpora: CorpusSelection, words: Words) -> Criteria:
    generators, labels = normalise_generators(chosen), normalise_labels(chosen)
    return Criteria(
        corpus_ids=corpora.ids,
        generators=None if generators is None else tuple(words.find_numbers(generators)),
        labels=None if labels is None else tuple(words.find_numbers(labels)),
        acquired_from=None if chosen.acquired_from is None else microseconds(chosen.acquired_from),
        acquired_to=None if chosen.acquired_to is None else microseconds(chosen.acquired_to),
    )


def _is_one_of(
    column: NDArray[np.int64] | NDArray[np.int32], values: Collection[int]
) -> NDArray[np.bool_]:
    if len(values) > FEW_VALUES:
        return np.isin(column, np.fromiter(values, column.dtype))
    chosen = np.zeros(len(column), np.bool_)
    for start in range(0, len(column), ROWS_AT_ONCE):
        some = np.ascontiguousarray(column[start : start + ROWS_AT_ONCE])
        for value in values:
            chosen[start : start + ROWS_AT_ONCE] |= some == value
    return chosen


def _mark(segment: Segment, ids: NDArray[np.int64]) -> Marks:
    marks = np.zeros(segment.size, np.bool_)
    marks[segment.find(ids)] = True
    return Marks(marks)
