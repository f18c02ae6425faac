"""Recall against brute force: the k-th neighbour, the recall that is stated, and the reach."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from index.cache.plans.config import IndexConfig
from index.cache.plans.recall import (
    FEWEST_CANDIDATES,
    FEWEST_LOOKUPS,
    MARGIN,
    Probes,
    RecallMeasurement,
    Tuning,
    draw_probes,
    kth_similarities,
    measure_recall,
)
from index.cache.vectors.codes import Codes
from index.cache.vectors.marks import Marks
from index.cache.vectors.rows import HeldRows
from tests.index.cache.samples import clustered_rows, unit_rows

CONFIG = IndexConfig(recall_probes=40)
NONE = np.empty((0, 16), np.float32)


def codes_of(rows: Any, nlist: int = 8) -> Codes:
    codes = Codes.train(rows, nlist, threads=1)
    codes.add([rows], threads=1)
    return codes


@settings(derandomize=True, deadline=None, max_examples=40)
@given(
    n=st.integers(2, 50),
    p=st.integers(1, 8),
    lookups=st.integers(0, 4),
    k=st.integers(1, 6),
    seed=st.integers(0, 999),
    masked=st.booleans(),
)
def test_the_kth_similarity_is_that_of_a_sort_without_the_probe_itself(
    n: int, p: int, lookups: int, k: int, seed: int, masked: bool
) -> None:
    rows = unit_rows(n, seed=seed)
    live = Marks(np.random.default_rng(seed).random(n) < 0.6) if masked else None
    probes = draw_probes(HeldRows(rows), live, p, unit_rows(lookups, seed=seed + 7777))
    found = kth_similarities(HeldRows(rows), live, probes, k)
    for row, (vector, position) in enumerate(zip(probes.vectors, probes.positions, strict=True)):
        others = [
            float(rows[i] @ vector)
            for i in range(n)
            if i != position and (live is None or live.marks[i])
        ]
        expected = sorted(others, reverse=True)[k - 1] if len(others) >= k else -np.inf
        assert found[row] == pytest.approx(expected, abs=1e-6)


def test_probes_are_live_rows_drawn_without_repetition_and_the_same_each_time() -> None:
    rows, live = HeldRows(unit_rows(100, 16)), Marks(np.arange(100) % 2 == 0)
    probes = draw_probes(rows, live, 30, unit_rows(3, 16, seed=1))
    drawn = probes.positions[probes.positions >= 0]
    assert len(set(drawn.tolist())) == 30
    assert live.marks[drawn].all()
    assert probes.lookups == 3
    assert np.array_equal(probes.vectors[:30], rows.take(drawn))
    again = draw_probes(rows, live, 30, unit_rows(3, 16, seed=1))
    assert np.array_equal(again.positions, probes.positions)


def test_fewer_rows_than_probes_are_all_drawn() -> None:
    probes = draw_probes(HeldRows(unit_rows(5, 16)), None, 30, NONE)
    assert sorted(probes.positions.tolist()) == [0, 1, 2, 3, 4]


def test_the_stated_recall_is_the_share_of_neighbours_among_the_candidates() -> None:
    rows = clustered_rows(1500)
    held, codes = HeldRows(rows), codes_of(rows)
    probes = draw_probes(held, None, CONFIG.recall_probes, NONE)
    tuning, reached = RecallMeasurement(held, None, probes, CONFIG).tune(codes, 4)
    assert tuning is not None
    assert tuning.recall == reached
    recalls = []
    for vector, position in zip(probes.vectors, probes.positions, strict=True):
        similarities = rows @ vector
        similarities[position] = -np.inf
        nearest = set(np.argsort(-similarities, kind="stable")[: tuning.k].tolist())
        (proposed,) = codes.search(vector[np.newaxis], tuning.candidates, tuning.nprobe)
        recalls.append(len(nearest & set(proposed.tolist())) / tuning.k)
    assert tuning.recall == pytest.approx(np.mean(recalls), abs=0.01)
    assert tuning.recall >= CONFIG.recall_target
    assert (tuning.probes, tuning.lookups, tuning.rows) == (40, 0, 1500)
    assert tuning.candidates >= FEWEST_CANDIDATES
    assert tuning.m == tuning.k + MARGIN


def test_no_tuning_is_given_where_no_reach_has_the_recall() -> None:
    """Of 4,000 rows at most a quarter are candidates: they cannot contain nearly as many nearest
    ones by codes of 4 bits for 4 dimensions.
    """
    rows = unit_rows(4000, 16)
    held, probes = HeldRows(rows), draw_probes(HeldRows(rows), None, 10, NONE)
    config = IndexConfig(recall_target=1.0, recall_k=900)
    tuning, reached = RecallMeasurement(held, None, probes, config).tune(codes_of(rows), 8)
    assert tuning is None
    assert 0.5 < reached < 1


def test_unlike_lookups_raise_the_reach() -> None:
    """Stored look-ups far from the corpus need more candidates than rows of it do."""
    rows = clustered_rows(3000)
    held, codes = HeldRows(rows), codes_of(rows, 32)
    few = draw_probes(held, None, 40, NONE)
    usual, _ = RecallMeasurement(held, None, few, CONFIG).tune(codes, codes.nlist)
    far = draw_probes(held, None, 40, unit_rows(20, 16, seed=9))
    wide, _ = RecallMeasurement(held, None, far, CONFIG).tune(codes, codes.nlist)
    assert usual is not None
    assert wide is not None
    assert wide.lookups == 20
    assert wide.candidates > usual.candidates


@pytest.mark.parametrize(
    ("lookups", "counts_apart"), [(FEWEST_LOOKUPS - 1, False), (FEWEST_LOOKUPS, True)]
)
def test_lookups_count_apart_from_a_number_on(lookups: int, counts_apart: bool) -> None:
    probes = Probes(
        np.zeros((10 + lookups, 4), np.float32),
        np.concatenate([np.arange(10), np.full(lookups, -1)]),
    )
    hits = np.ones((10 + lookups, 5), np.bool_)
    hits[10:] = False  # nothing was found for the look-ups
    recall = measure_recall(hits, probes, 5)
    assert recall == (0.0 if counts_apart else pytest.approx(10 / (10 + lookups)))


def test_few_candidates_are_compared_where_few_suffice() -> None:
    """What is stated does not depend on the stages in which candidates are compared."""
    rows = clustered_rows(3000)
    held, codes = HeldRows(rows), codes_of(rows, 4)
    probes = draw_probes(held, None, 40, NONE)
    measurement = RecallMeasurement(held, None, probes, IndexConfig(recall_target=0.999))
    tuning, reached = measurement.tune(codes, 4)
    assert tuning is not None
    fewer = RecallMeasurement(held, None, probes, IndexConfig(recall_target=0.5)).tune(codes, 4)[0]
    assert fewer is not None
    assert fewer.candidates <= tuning.candidates
    assert fewer.recall <= reached


def test_there_are_candidates_for_every_neighbour_of_a_search() -> None:
    rows = clustered_rows(1000)
    held = HeldRows(rows)
    config = IndexConfig(recall_target=0.01, recall_k=70)
    probes = draw_probes(held, None, 20, NONE)
    tuning, _ = RecallMeasurement(held, None, probes, config).tune(codes_of(rows), 8)
    assert tuning is not None
    assert tuning.candidates == tuning.m == 86


def test_a_tuning_is_stored_as_plain_numbers() -> None:
    tuning = Tuning(3, 128, 10, 0.99, 64, 0, 500, "2026-11-24T00:00:00+00:00")
    assert tuning.m == 26
