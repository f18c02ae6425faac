"""Halves hold whole sources and about as many images; draws take whole sources of either kind."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from api.evaluation.splits import (
    MIN_SOURCES,
    draw_resamples,
    split_in_halves,
    split_kinds_in_halves,
)

SOURCES = st.lists(st.integers(0, 12), min_size=1, max_size=80).map(
    lambda values: np.array(values, np.int64)
)


@given(SOURCES, st.integers(0, 5))
def test_no_source_is_in_both_halves(sources: np.ndarray, seed: int) -> None:
    first = split_in_halves(sources, seed)
    assert not set(sources[first]) & set(sources[~first])


@given(SOURCES, st.integers(0, 5))
def test_the_halves_differ_by_no_more_than_the_largest_source(
    sources: np.ndarray, seed: int
) -> None:
    first = split_in_halves(sources, seed)
    assert abs(int(first.sum()) - int((~first).sum())) <= np.bincount(sources).max()


def test_another_seed_makes_other_halves_and_the_same_seed_the_same() -> None:
    sources = np.arange(40)
    assert (split_in_halves(sources, 0) == split_in_halves(sources, 0)).all()
    assert (split_in_halves(sources, 0) != split_in_halves(sources, 1)).any()


def test_each_kind_is_halved_on_its_own() -> None:
    synthetic = np.arange(30) < 10
    first = split_kinds_in_halves(synthetic, np.arange(30), 0)
    assert (first[synthetic].sum(), first[~synthetic].sum()) == (5, 10)


def test_a_draw_takes_all_images_of_a_source_as_often_as_the_source() -> None:
    sources = np.repeat(np.arange(2 * MIN_SOURCES), 3)
    synthetic = sources >= MIN_SOURCES
    for rows in draw_resamples(synthetic, sources, 0, resamples=20):
        times = np.bincount(rows, minlength=len(sources)).reshape(-1, 3)
        assert (times == times[:, :1]).all()
        assert times[:MIN_SOURCES, 0].sum() == times[MIN_SOURCES:, 0].sum() == MIN_SOURCES


def test_of_a_kind_from_few_sources_images_are_drawn() -> None:
    synthetic, sources = np.arange(40) < 20, np.zeros(40, np.int64)
    drawn = [
        np.bincount(rows, minlength=40)
        for rows in draw_resamples(synthetic, sources, 0, resamples=5)
    ]
    assert all(times.sum() == 40 and times.max() > 1 for times in drawn)
    assert all(times[:20].sum() == 20 for times in drawn)
