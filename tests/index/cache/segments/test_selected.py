"""Candidates among selected rows: what estimates say, how many are needed, codes of their own."""

from typing import Any

import numpy as np
import pytest

from index.cache.plans.recall import Tuning
from index.cache.segments.facts import Words
from index.cache.segments.sealed import SELECTED_ROWS, SealedSegment, TunedCodes
from index.cache.segments.selected import (
    MOST_CODED,
    OFTEN,
    Estimation,
    Selections,
    propose_selected,
)
from index.cache.segments.view import Part
from index.cache.vectors.codes import Codes
from index.cache.vectors.marks import Marks
from index.cache.vectors.rows import HeldRows
from tests.index.cache.samples import clustered_rows, facts_with_ids, unit_rows

N, STAGE = 2400, 64


@pytest.fixture(scope="module")
def rows() -> Any:
    return clustered_rows(N)


@pytest.fixture(scope="module")
def codes(rows: Any) -> Codes:
    trained = Codes.train(rows, 16, threads=1)
    trained.add([rows], threads=1)
    return trained


@pytest.fixture(scope="module")
def estimation(codes: Codes, rows: Any) -> Estimation:
    return Estimation.measure(codes, HeldRows(rows))


def propose(
    codes: Codes, estimation: Estimation, rows: Any, probes: Any, m: int, live: Marks | None
) -> Any:
    count = codes.size if live is None else live.count
    return propose_selected(codes, estimation, HeldRows(rows), probes, m, live, count, STAGE)


def test_hardly_an_estimate_is_less_than_its_similarity_allows(
    codes: Codes, estimation: Estimation, rows: Any
) -> None:
    probes = unit_rows(8, rows.shape[1], seed=3)
    probes[:4] = rows[:4]  # for these there are near rows
    positions, estimates = codes.estimate(probes, N, codes.nlist)
    similarities = np.vecdot(rows[positions], probes[:, np.newaxis])
    is_less = estimates < estimation.least(similarities.astype(np.float32))
    assert 0 < is_less.mean() < 0.02
    assert is_less[similarities > 0.5].mean() < 0.02
    assert 0.3 < estimation.scale < 1.0


def test_a_probe_has_as_many_candidates_as_it_needs_and_misses_hardly_a_neighbour(
    codes: Codes, estimation: Estimation, rows: Any
) -> None:
    live = Marks(np.random.default_rng(1).random(N) < 0.5)
    probes, m = rows[:40], 3
    proposed = propose(codes, estimation, rows, probes, m, live)
    counts = np.count_nonzero(proposed >= 0, axis=1)
    assert len(set(counts.tolist())) > 1
    assert live.marks[proposed[proposed >= 0]].all()
    similarities = np.where(live.marks, probes @ rows.T, -np.inf)
    nearest = np.argsort(-similarities, axis=1, kind="stable")[:, :m]
    asked = counts > 0
    found = [
        len(set(some) & set(row.tolist())) / m
        for some, row in zip(nearest[asked].tolist(), proposed[asked], strict=True)
    ]
    assert asked.mean() > 0.5
    assert np.mean(found) > 0.98


def test_nothing_is_proposed_where_comparing_all_is_quicker(
    codes: Codes, estimation: Estimation, rows: Any
) -> None:
    live = Marks.all_of(N)
    assert (propose(codes, estimation, rows, rows[:2], N // 4, live) < 0).all()
    vague = Estimation(estimation.scale, 1.0)  # it says nothing of any row
    proposed = propose(codes, vague, rows, rows[:2], 3, live)
    assert (proposed < 0).all()


def test_codes_of_their_own_propose_what_all_codes_propose(
    codes: Codes, estimation: Estimation, rows: Any
) -> None:
    selected = Marks(np.arange(N) % 2 == 0)
    positions = selected.positions
    own = codes.select(
        [(positions[:700], rows[positions[:700]]), (positions[700:], rows[positions[700:]])], 1
    )
    assert (own.size, own.nlist) == (len(positions), 1)
    one = propose(codes, estimation, rows, rows[:30], 3, selected)
    other = propose(own, estimation, rows, rows[:30], 3, None)
    assert [set(row) - {-1} for row in one.tolist()] == [set(row) - {-1} for row in other.tolist()]


def test_filters_that_are_used_often_get_codes_but_not_too_many(codes: Codes, rows: Any) -> None:
    selections, filters = Selections(), [Marks.all_of(N) for _ in range(MOST_CODED + 1)]
    for selected in filters:
        for _ in range(OFTEN):
            assert selections.find_due() is None
            assert selections.find(selected) is None
        if selected is filters[-1]:
            assert selections.find_due() is None
        else:
            assert selections.find_due() is selected
            selections.code(selected, codes, HeldRows(rows))
            assert selections.has(selected)
            assert selections.find(selected) is not None


def test_a_segment_finds_the_same_members_before_and_after_a_filter_has_codes() -> None:
    """The least segment in which codes of a filter are compared, with dead positions in it."""
    size = 4 * (SELECTED_ROWS + 200)
    rows = clustered_rows(size, 16)
    codes = Codes.train(rows[:4000], 8, threads=1)
    codes.add([rows], threads=1)
    tuning = Tuning(1, 32, 10, 1.0, 64, 0, size, "2026-12-01T00:00:00+00:00")
    facts = facts_with_ids(np.arange(1, size + 1))
    segment = SealedSegment(HeldRows(rows), facts, Words(), TunedCodes(codes, tuning))
    alive = Marks(np.arange(size) % 1000 != 0)

    def criteria(each: Any) -> Any:
        return each.ids % 4 == 1

    for members in (None, alive):
        for probe in rows[4:7]:
            answers = []
            for _ in range(OFTEN):
                part = Part(segment, members).select(segment.marks(criteria))
                found = segment.candidates(probe[np.newaxis], 2, part.live, exact=False)
                answers.append(found.positions[0, :2].tolist())
            assert part.live is not None
            similarities = np.where(part.live.marks, rows @ probe, -np.inf)
            nearest = np.argsort(-similarities, kind="stable")[:2].tolist()
            assert answers == [nearest] * OFTEN
        assert segment.code_selection() == (members is None)
    assert not segment.is_coding_due
    later = SealedSegment(HeldRows(rows), facts, Words(), TunedCodes(codes, tuning))
    later.warm(segment)
    for _ in range(OFTEN):
        later.candidates(rows[:1], 2, later.marks(criteria), exact=False)
    assert not later.is_coding_due  # it has the codes already
