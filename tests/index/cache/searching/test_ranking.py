"""Ranking many probes at once: each gets what it gets alone, and what a sort of all gives."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from index.cache.plans.recall import Tuning
from index.cache.searching import ranking
from index.cache.searching.ranking import DECIMALS, cosine_similarities, rank, rank_many
from index.cache.segments.facts import Words
from index.cache.segments.sealed import SealedSegment, TunedCodes
from index.cache.segments.segment import Candidates
from index.cache.segments.view import Part
from index.cache.vectors.codes import PROBES_AT_ONCE, Codes
from index.cache.vectors.marks import Marks
from index.cache.vectors.rows import HeldRows
from tests.index.cache.samples import (
    clustered_rows,
    facts_with_ids,
    growing_of,
    sealed_of,
    unit_rows,
)

NOTHING = np.empty(0, np.int64)


@settings(derandomize=True, deadline=None, max_examples=60)
@given(
    p=st.integers(1, 30),
    sealed=st.integers(0, 90),
    growing=st.integers(0, 40),
    k=st.integers(1, 30),
    share=st.sampled_from([0.0, 0.3, 1.0]),
    seed=st.integers(0, 1000),
)
def test_many_probes_get_what_a_sort_of_all_similarities_gives(
    p: int, sealed: int, growing: int, k: int, share: float, seed: int
) -> None:
    random = np.random.default_rng(seed)
    rows = unit_rows(25, seed=seed)[random.integers(0, 25, sealed + growing)]  # ties are the rule
    ids = random.permutation(sealed + growing) + 1
    live = random.random(sealed + growing) < share
    parts = [
        Part(sealed_of(rows[:sealed], ids[:sealed]), Marks(live[:sealed])),
        Part(growing_of(rows[sealed:], ids[sealed:]), Marks(live[sealed:])),
    ]
    probes = unit_rows(p, seed=seed + 1)
    firsts = [ids[random.random(len(ids)) < 0.1] if i % 3 == 0 else NOTHING for i in range(p)]
    for probe, first, found in zip(
        probes, firsts, rank_many(parts, probes, k, firsts, exact=False), strict=True
    ):
        similarities = cosine_similarities(rows, probe)
        expected = sorted(
            (ids[i] not in first, -similarities[i], ids[i]) for i in np.flatnonzero(live)
        )
        assert found.ids.tolist() == [i for _, _, i in expected][:k]
        assert found.similarities.tolist() == [-s for _, s, _ in expected][:k]
        assert found.exact


@pytest.mark.parametrize("nprobe", [1, 4])
def test_codes_answer_a_batch_as_they_answer_each_probe(nprobe: int) -> None:
    rows = clustered_rows(3000, seed=2)
    codes = Codes.train(rows, 256, threads=1)
    codes.add([rows], threads=1)
    tuning = Tuning(nprobe, 32, 10, 1.0, 64, 0, len(rows), "2026-11-30T00:00:00+00:00")
    segment = SealedSegment(
        HeldRows(rows), facts_with_ids(np.arange(1, 3001)), Words(), TunedCodes(codes, tuning)
    )
    live = Marks(np.random.default_rng(1).random(3000) < 0.9)
    probes = clustered_rows(40, seed=3)
    for part in (Part(segment, None), Part(segment, live)):
        found = rank_many([part], probes, 10, [NOTHING] * 40, exact=False)
        for probe, each in zip(probes, found, strict=True):
            assert each.best == rank([part], probe, 10, NOTHING, exact=False).best
            assert len(each.ids) == 10


def test_probes_searched_in_several_turns_get_the_candidates_of_one_turn() -> None:
    rows = clustered_rows(3000, seed=2)
    codes = Codes.train(rows, 256, threads=1)
    codes.add([rows], threads=1)
    probes = clustered_rows(2 * PROBES_AT_ONCE + 1, seed=3)
    found = codes.search(probes, 32, 2)
    for start, stop in ((0, 5), (PROBES_AT_ONCE - 2, PROBES_AT_ONCE + 2), (len(probes) - 1, None)):
        assert np.array_equal(found[start:stop], codes.search(probes[start:stop], 32, 2))


def test_similarities_are_rounded_and_bounded_as_numpy_does() -> None:
    rows, (probe,) = unit_rows(500, 16, seed=4), unit_rows(1, 16, seed=5)
    wide, one = rows.astype(np.float64), probe.astype(np.float64)
    norms = np.sqrt(np.vecdot(wide, wide) * np.vecdot(one, one))
    expected: Any = np.round(np.vecdot(wide, one) / norms, DECIMALS).clip(-1.0, 1.0)
    assert np.array_equal(cosine_similarities(rows, probe), expected)


class CountingSegment(SealedSegment):
    """Keeps how many candidates were asked for at a time."""

    places = 0

    def candidates(self, probes: Any, m: int, live: Marks | None, *, exact: bool) -> Candidates:
        self.places = max(self.places, len(probes) * m)
        return super().candidates(probes, m, live, exact=exact)


def test_an_image_that_is_there_very_often_takes_no_more_memory_for_many_probes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ranking, "PLACES_AT_ONCE", 1000)
    rows = unit_rows(1, seed=6).repeat(300, axis=0)
    segment = CountingSegment(HeldRows(rows), facts_with_ids(np.arange(1, 301)), Words())
    found = rank_many([Part(segment, None)], rows[:40], 5, [NOTHING] * 40, exact=False)
    assert [each.ids.tolist() for each in found] == [[1, 2, 3, 4, 5]] * 40
    assert 500 < segment.places <= 1000
