"""Halves hold whole sources and about as many images; draws take whole sources of either kind."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.evaluation.splits import (
    MIN_SOURCES,
    RESAMPLES,
    deal_into_folds,
    draw_resamples,
    has_enough_sources,
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


def test_no_image_is_split_into_no_image() -> None:
    nothing = np.empty(0, np.int64)
    assert split_in_halves(nothing, 0).shape == (0,)
    assert split_kinds_in_halves(np.empty(0, np.bool_), nothing, 0).shape == (0,)
    assert [len(rows) for rows in draw_resamples(np.empty(0, np.bool_), nothing, 0, 3)] == [0] * 3


def test_a_single_source_is_never_divided() -> None:
    assert split_in_halves(np.full(7, 3), 0).tolist() == [True] * 7


@pytest.mark.parametrize(("count", "enough"), [(0, False), (1, False), (4, False), (5, True)])
def test_sources_are_resampled_from_the_fifth_on(count: int, enough: bool) -> None:
    assert has_enough_sources(np.repeat(np.arange(count), 4)) is enough


@given(SOURCES, st.integers(0, 5))
def test_the_numbers_of_the_sources_do_not_matter(sources: np.ndarray, seed: int) -> None:
    expected = split_in_halves(sources, seed)
    assert (split_in_halves(sources * 7 + 100, seed) == expected).all()


@given(SOURCES, st.data())
def test_no_source_of_a_kind_is_in_both_halves_of_that_kind(
    sources: np.ndarray, data: st.DataObject
) -> None:
    n = len(sources)
    synthetic = np.array(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)), np.bool_)
    first = split_kinds_in_halves(synthetic, sources, 0)
    for kind in (synthetic, ~synthetic):
        assert not set(sources[kind & first]) & set(sources[kind & ~first])
        assert (kind & first).any() or not kind.any()


def test_one_large_source_stands_against_all_the_others() -> None:
    sources = np.array([9] * 10 + list(range(8)))
    first = split_in_halves(sources, 0)
    assert set(sources[first]) == {9}


@given(SOURCES, st.integers(0, 3))
def test_a_resample_has_as_many_sources_of_each_kind_as_there_are(
    sources: np.ndarray, seed: int
) -> None:
    synthetic = np.arange(len(sources)) % 2 == 0
    for rows in draw_resamples(synthetic, sources, seed, resamples=3):
        for kind in (synthetic, ~synthetic):
            own = np.flatnonzero(kind)
            drawn = rows[np.isin(rows, own)]
            if not has_enough_sources(sources[own]):
                assert len(drawn) == len(own)
                continue
            times = np.bincount(drawn, minlength=len(sources))
            by_source = [times[own[sources[own] == each]] for each in np.unique(sources[own])]
            assert all((some == some[0]).all() for some in by_source)
            assert sum(int(some[0]) for some in by_source) == len(by_source)


def test_resamples_are_repeated_by_their_seed_alone() -> None:
    synthetic, sources = np.arange(60) < 30, np.arange(60) // 3
    one, again, other = (list(draw_resamples(synthetic, sources, seed)) for seed in (4, 4, 5))
    assert len(one) == RESAMPLES
    assert all((a == b).all() for a, b in zip(one, again, strict=True))
    assert any(len(a) != len(b) or (a != b).any() for a, b in zip(one, other, strict=True))
    assert any((one[0].shape != rows.shape) or (one[0] != rows).any() for rows in one[1:])


def test_a_kind_without_images_gives_none_to_a_resample() -> None:
    for rows in draw_resamples(np.zeros(20, np.bool_), np.arange(20), 0, resamples=3):
        assert len(rows) == 20


@given(st.lists(st.integers(0, 12), min_size=1, max_size=60), st.integers(1, 5), st.integers(0, 9))
def test_folds_keep_sources_whole_and_hold_about_as_many_images(
    numbers: list[int], folds: int, seed: int
) -> None:
    sources = np.array(numbers)
    fold = deal_into_folds(sources, folds, seed)
    assert set(fold.tolist()) <= set(range(folds))
    sizes = np.bincount(fold, minlength=folds)
    for source in set(numbers):
        assert len(set(fold[sources == source].tolist())) == 1
    assert sizes.max() - sizes.min() <= np.bincount(sources).max()
    assert deal_into_folds(sources, folds, seed).tolist() == fold.tolist()
