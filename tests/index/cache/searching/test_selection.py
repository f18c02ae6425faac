"""Filters over the columns of a view against the same filters in SQL."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection

from index.cache.live import LiveIndex
from index.cache.searching.corpus_ids import CorpusIds
from index.cache.searching.selection import (
    FEW_VALUES,
    ROWS_AT_ONCE,
    Criteria,
    select_parts,
)
from index.cache.segments.view import Part
from index.errors import InvalidFilter, UnknownCorpus
from index.truth.changes import read_head
from index.truth.corpora import CorpusKind
from index.truth.databases.database import Database
from index.truth.filters import Filter, select_ids
from index.truth.free_provenance import ProvenanceIs
from index.truth.spaces import find_space_id
from tests.index.cache.samples import growing_of, unit_rows

DAYS = [datetime(2026, 1, day, tzinfo=UTC) for day in (1, 2, 3)]
FAKE, REAL = CorpusKind.KNOWN_FAKE, CorpusKind.KNOWN_REAL
OPEN = Criteria(None, None, None, None, None)


@pytest.fixture
def dialect() -> str:
    return "sqlite"  # `test_searching` has both databases


@pytest.fixture
def filled(database: Database, material: Any, open_live: Callable[..., LiveIndex]) -> LiveIndex:
    """Two thirds of the entries in the sealed segment, one third in the growing one."""
    for number, (corpus, kind) in enumerate((("fakes", FAKE), ("more", FAKE), ("reals", REAL))):
        for part, generator in enumerate((None, "sdxl", "FLUX 1")):
            material.fill(
                database,
                corpus,
                [f"{corpus}-{part}-{i}" for i in range(3)],
                kind,
                generator=generator,
                label=None if part == 0 else "even",
                acquired_at=None if part == number else DAYS[part],
                extra={"batch": part},
            )
        if corpus == "more":
            live = open_live()
            live.snapshot()
    live.refresh()
    return live


filters = st.builds(
    Filter,
    corpora=st.none() | st.frozensets(st.sampled_from(["fakes", "more", "reals"]), max_size=2),
    kind=st.none() | st.sampled_from(CorpusKind),
    generators=st.none() | st.frozensets(st.sampled_from(["SDXL", "flux-1", "unseen"])),
    labels=st.none() | st.frozensets(st.sampled_from(["even", "odd"])),
    acquired_from=st.none() | st.sampled_from(DAYS[:2]),
    acquired_to=st.none() | st.just(DAYS[2]),
)


def select(conn: Connection, space_id: int, parts: Sequence[Part], chosen: Filter) -> list[Part]:
    head = read_head(conn)
    corpora = CorpusIds().find(conn, chosen, head)
    return select_parts(conn, space_id, parts, chosen, corpora, is_emptying=head.is_emptying)


@settings(settings.get_profile("index"), max_examples=60)
@given(chosen=filters)
def test_columns_select_what_sql_selects(
    database: Database, material: Any, filled: LiveIndex, chosen: Filter
) -> None:
    with database.read() as conn:
        space_id = find_space_id(conn, material.space)
        assert space_id is not None
        parts = select(conn, space_id, filled.current.view.parts, chosen)
        expected = select_ids(conn, space_id, chosen)
    found = np.concatenate([part.segment.ids[part.positions()] for part in parts])
    assert sorted(found.tolist()) == sorted(expected.tolist())


def test_free_provenance_is_answered_by_sql(
    database: Database, material: Any, filled: LiveIndex
) -> None:
    chosen = Filter(
        corpora=frozenset(["reals"]), provenance=frozenset([ProvenanceIs.at("batch", [2])])
    )
    with database.read() as conn:
        space_id = find_space_id(conn, material.space)
        assert space_id is not None
        parts = select(conn, space_id, filled.current.view.parts, chosen)
    assert [part.count for part in parts] == [0, 3]


def test_an_unknown_corpus_and_a_filter_without_sense_are_refused(
    database: Database, material: Any, filled: LiveIndex
) -> None:
    parts = filled.current.view.parts
    with database.read() as conn:
        with pytest.raises(UnknownCorpus):
            select(conn, 1, parts, Filter(corpora=frozenset(["nowhere"])))
        with pytest.raises(InvalidFilter):
            Filter(acquired_from=DAYS[1], acquired_to=DAYS[0]).check()


def test_a_filter_that_selects_all_keeps_the_parts(database: Database, filled: LiveIndex) -> None:
    parts = filled.current.view.parts
    with database.read() as conn:
        assert select(conn, 1, parts, Filter()) == list(parts)


def test_open_criteria_select_every_position() -> None:
    assert OPEN(growing_of(unit_rows(4))).tolist() == [True] * 4


def test_an_instant_outside_of_a_range_and_no_instant_are_left_out() -> None:
    segment = growing_of(unit_rows(4))
    segment.fact_buffer["acquired_at"][:4] = [np.iinfo(np.int64).min, 10, 20, 30]
    within = Criteria(None, None, None, 10, 30)
    assert within(segment).tolist() == [False, True, True, False]
    until = Criteria(None, None, None, None, 30)
    assert until(segment).tolist() == [False, True, True, False]
    since = Criteria(None, None, None, 20, None)
    assert since(segment).tolist() == [False, False, True, True]


@pytest.mark.parametrize("count", [0, 1, FEW_VALUES, FEW_VALUES + 1, 60])
def test_few_and_many_values_are_compared_with_the_same_result(count: int) -> None:
    size, first = ROWS_AT_ONCE + 40, ROWS_AT_ONCE - 40
    segment = growing_of(unit_rows(size, 2))
    segment.fact_buffer["corpus_id"][:size] = np.arange(size)
    wanted = range(first, first + count)
    criteria = Criteria(tuple(wanted), None, None, None, None)
    assert np.flatnonzero(criteria(segment)).tolist() == [*wanted]


def test_equal_criteria_are_one_key() -> None:
    """The sealed segment remembers the selections of recent filters by their criteria."""
    one = Criteria((1, 2), (3,), None, 5, None)
    assert len({one, Criteria((1, 2), (3,), None, 5, None), OPEN}) == 2
