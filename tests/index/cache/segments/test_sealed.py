"""The sealed segment: finding ids, remembering filters, and the choice of a plan."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from index.cache.plans.config import IndexConfig, Plan
from index.cache.plans.recall import Tuning
from index.cache.segments.facts import Words
from index.cache.segments.sealed import REMEMBERED, SealedSegment, TunedCodes, plan_of
from index.cache.vectors.codes import Codes
from index.cache.vectors.marks import Marks
from index.cache.vectors.rows import HeldRows
from tests.index.cache.samples import clustered_rows, facts_with_ids, sealed_of, unit_rows

N = 1200


def tuning(nprobe: int, candidates: int) -> Tuning:
    return Tuning(nprobe, candidates, 10, 1.0, 64, 0, N, "2026-11-24T00:00:00+00:00")


@pytest.fixture(scope="module")
def rows() -> Any:
    return clustered_rows(N)


@pytest.fixture(scope="module")
def coded(rows: Any) -> SealedSegment:
    codes = Codes.train(rows, IndexConfig().lists_for(N), threads=1)
    codes.add([rows], threads=1)
    facts = facts_with_ids(np.arange(1, N + 1))
    return SealedSegment(
        HeldRows(rows), facts, Words(), TunedCodes(codes, tuning(codes.nlist, 200))
    )


@pytest.fixture(scope="module")
def few_lists(rows: Any) -> SealedSegment:
    """Codes whose reach is as small as can be: one list, 32 candidates."""
    codes = Codes.train(rows, 32, threads=1)
    codes.add([rows], threads=1)
    facts = facts_with_ids(np.arange(1, N + 1))
    return SealedSegment(HeldRows(rows), facts, Words(), TunedCodes(codes, tuning(1, 32)))


@settings(derandomize=True, deadline=None)
@given(
    st.lists(st.integers(1, 50), unique=True, max_size=30),
    st.lists(st.integers(1, 60), max_size=20),
)
def test_ids_are_located_whether_they_rise_or_not(ids: list[int], wanted: list[int]) -> None:
    segment = sealed_of(unit_rows(len(ids)), ids)
    positions, is_here = segment.locate(np.array(wanted, np.int64))
    assert is_here.tolist() == [i in ids for i in wanted]
    assert positions.tolist() == [ids.index(i) for i in wanted if i in ids]
    assert segment.find(np.array(wanted, np.int64)).tolist() == positions.tolist()


def test_an_empty_segment_has_no_ids_and_can_be_warmed() -> None:
    segment = SealedSegment.empty(4)
    segment.warm(segment)
    assert segment.size == 0
    assert segment.find(np.array([1])).tolist() == []


class TakenRows(HeldRows):
    """Rows that count how often some of them were read."""

    taken = 0

    def take(self, positions: Any) -> Any:
        self.taken += 1
        return super().take(positions)


def test_what_filters_need_is_measured_once_and_not_without_codes(
    coded: SealedSegment, rows: Any
) -> None:
    counted = TakenRows(rows)
    SealedSegment(counted, coded.facts, Words()).prepare_for_filters()
    assert counted.taken == 0
    segment = SealedSegment(counted, coded.facts, Words(), coded.tuned)
    segment.prepare_for_filters()
    assert counted.taken == 1
    segment.warm(coded)
    assert counted.taken == 1


def test_the_selections_of_the_segment_before_are_there_when_the_next_one_is_used() -> None:
    before, after = sealed_of(unit_rows(5)), sealed_of(unit_rows(7))
    calls = []

    def criteria(segment: Any) -> Any:
        calls.append(segment.size)
        return segment.ids > 2

    before.marks(criteria)
    after.warm(before)
    assert after.marks(criteria).marks.tolist() == (after.ids > 2).tolist()
    assert calls == [5, 7]


def test_criteria_are_evaluated_once_and_the_oldest_are_forgotten() -> None:
    segment, calls = sealed_of(unit_rows(5)), []

    class Criteria:
        def __init__(self, number: int) -> None:
            self.number = number

        def __call__(self, each: Any) -> Any:
            calls.append(self.number)
            return each.ids == self.number

        def __eq__(self, other: object) -> bool:
            return isinstance(other, Criteria) and other.number == self.number

        def __hash__(self) -> int:
            return self.number

    for _ in range(3):
        assert segment.marks(Criteria(2)).positions.tolist() == [1]
    assert calls == [2]
    for number in range(100, 100 + REMEMBERED - 1):
        segment.marks(Criteria(number))
    segment.marks(Criteria(2))  # still there, and the latest again
    assert calls.count(2) == 1
    segment.marks(Criteria(900))  # the oldest, 100, is forgotten
    segment.marks(Criteria(100))
    assert (calls.count(100), calls.count(2)) == (2, 1)


def test_a_plan_follows_from_the_lists_that_are_read(coded: SealedSegment) -> None:
    assert coded.tuned is not None
    codes = coded.tuned.codes
    assert plan_of(None) is Plan.FLAT
    assert plan_of(TunedCodes(codes, tuning(codes.nlist, 32))) is Plan.CODES
    assert plan_of(TunedCodes(codes, tuning(codes.nlist - 1, 32))) is Plan.LISTS


@pytest.mark.parametrize("m", [1, 26])
def test_without_codes_a_search_is_exact(rows: Any, m: int) -> None:
    found = sealed_of(rows).candidates(rows[3:4], m, None, exact=False)
    assert found.exact.all()
    order = np.argsort(-(rows @ rows[3]), kind="stable")[:m]
    assert found.positions[0, :m].tolist() == order.tolist()


def test_codes_propose_and_an_exact_search_does_not_ask_them(
    coded: SealedSegment, rows: Any
) -> None:
    proposed = coded.candidates(rows[3:4], 26, None, exact=False)
    assert not proposed.exact.any()
    assert np.count_nonzero(proposed.positions >= 0) >= 26
    exact = coded.candidates(rows[3:4], 26, None, exact=True)
    assert exact.exact.all()
    order = np.argsort(-(rows @ rows[3]), kind="stable")[:26]
    assert exact.positions[0, :26].tolist() == order.tolist()


@settings(derandomize=True, deadline=None, max_examples=40)
@given(seed=st.integers(0, 10_000), share=st.sampled_from([0.0, 0.002, 0.02, 0.2, 0.9]))
def test_a_filter_never_starves(
    rows: Any, few_lists: SealedSegment, seed: int, share: float
) -> None:
    """However few rows a filter leaves, there are at least min(m, live) candidates, all live."""
    random = np.random.default_rng(seed)
    live = Marks(random.random(N) < share)
    probes = rows[random.choice(N, 3, replace=False)]
    for m in (1, 26, 400):
        for row in few_lists.candidates(probes, m, live, exact=False).positions:
            found = row[row >= 0]
            assert len(found) >= min(m, live.count)
            assert live.marks[found].all()
            assert len(np.unique(found)) == len(found)


@pytest.mark.parametrize("share", [0.3, 0.9, 0.995])
def test_what_a_filter_keeps_nearest_is_proposed(
    coded: SealedSegment, rows: Any, share: float
) -> None:
    random = np.random.default_rng(3)
    live = Marks(random.random(N) < share)
    probes = rows[random.choice(N, 8, replace=False)]
    found = coded.candidates(probes, 10, live, exact=False).positions
    similarities = np.where(live.marks, probes @ rows.T, -np.inf)  # (8, N)
    for row, best in zip(found, np.argsort(-similarities, axis=1, kind="stable"), strict=True):
        assert set(best[:10]) <= set(row.tolist())


def test_a_filter_finds_the_same_whatever_was_asked_before(coded: SealedSegment, rows: Any) -> None:
    """What surrounds a probe is kept for the next filter, and not taken for another probe's."""
    tuned, random = coded.tuned, np.random.default_rng(4)
    few, most = (Marks(random.random(N) < share) for share in (0.2, 0.8))
    probes = rows[:2].copy()
    for live in (few, most, few):
        for row in (5, 7):
            probes[1] = rows[row]
            fresh = SealedSegment(HeldRows(rows), coded.facts, Words(), tuned)
            found, expected = (
                each.candidates(probes, 10, live, exact=False).positions for each in (coded, fresh)
            )
            assert found.tolist() == expected.tolist()
