"""The growing segment: appended to, never changed, compared exactly."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from index.cache.segments.facts import Words
from index.cache.segments.growing import FIRST_CAPACITY, GrowingSegment
from index.cache.vectors.marks import Marks
from tests.index.cache.samples import DIMENSION, facts_with_ids, growing_of, unit_rows


def contents(segment: GrowingSegment) -> tuple[list[int], Any]:
    return segment.ids.tolist(), segment.vectors(np.arange(segment.size)).tolist()


@settings(derandomize=True, deadline=None, max_examples=50)
@given(st.lists(st.integers(0, 300), max_size=6))
def test_appending_piece_by_piece_is_appending_at_once_and_changes_no_older_segment(
    lengths: list[int],
) -> None:
    rows, ids = unit_rows(sum(lengths)), np.arange(10, 10 + sum(lengths))
    segment = GrowingSegment.empty(DIMENSION, Words())
    older, start = [], 0
    for length in lengths:
        older.append((segment, start))
        segment = segment.append(
            facts_with_ids(ids[start : start + length]), rows[start : start + length]
        )
        start += length
    assert contents(segment) == (ids.tolist(), rows.tolist())
    for one, size in older:
        assert contents(one) == (ids[:size].tolist(), rows[:size].tolist())


def test_buffers_grow_by_doubling_so_that_appending_is_cheap() -> None:
    segment = growing_of(unit_rows(1))
    capacities = set()
    for number in range(1, 2000):
        segment = segment.append(facts_with_ids([number + 1]), unit_rows(1, seed=number))
        capacities.add(len(segment.fact_buffer))
    assert capacities == {FIRST_CAPACITY * 2**power for power in range(4)}
    assert segment.size == 2000


def test_finding_ids_returns_their_positions() -> None:
    segment = growing_of(unit_rows(4), [40, 10, 30, 20])
    assert segment.find(np.array([20, 99, 40])).tolist() == [0, 3]
    assert segment.find(np.empty(0, np.int64)).tolist() == []
    assert (segment.dimension, segment.size) == (DIMENSION, 4)


def test_columns_and_marks_are_those_of_the_facts() -> None:
    facts = facts_with_ids([1, 2, 3])
    facts["corpus_id"] = [7, 8, 7]
    segment = GrowingSegment.empty(DIMENSION, Words()).append(facts, unit_rows(3))
    assert segment.column("corpus_id").tolist() == [7, 8, 7]
    marks = segment.marks(lambda each: each.column("corpus_id") == 7)
    assert marks.positions.tolist() == [0, 2]


@pytest.mark.parametrize("share", [0.0, 0.1, 0.9])
@pytest.mark.parametrize("exact", [True, False])
def test_candidates_are_exact_whatever_share_is_live(share: float, exact: bool) -> None:
    rows = unit_rows(50, seed=3)
    live = Marks(np.random.default_rng(1).random(50) < share)
    found = growing_of(rows).candidates(rows[7:8], 5, live, exact=exact)
    expected = live.positions[np.argsort(-(rows[live.positions] @ rows[7]), kind="stable")[:5]]
    assert found.positions[0, : len(expected)].tolist() == expected.tolist()
    assert found.exact.all()
