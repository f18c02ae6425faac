"""The weighted bootstrap and the folds: by source, reproducible, independent of the order."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from index.calibration.resampling import FOLDS, draw_weights, folds_by_source

sources = st.lists(st.integers(0, 9), min_size=1, max_size=40)


@settings(settings.get_profile("index"), max_examples=60)
@given(sources, st.integers(0, 1000))
def test_weights_are_reproducible_and_those_of_one_source_are_equal(
    some: list[int], seed: int
) -> None:
    weights = draw_weights(some, 20, seed)
    assert weights.shape == (21, len(some))
    assert np.array_equal(weights, draw_weights(some, 20, seed))
    np.testing.assert_allclose(weights.sum(axis=1), 1.0)
    np.testing.assert_allclose(weights[0], 1 / len(some))
    assert (weights > 0).all()  # no resample loses an image
    for source in set(some):
        own = weights[:, np.array(some) == source]
        assert (own == own[:, :1]).all()


@settings(settings.get_profile("index"), max_examples=60)
@given(st.permutations(range(12)), st.integers(0, 1000))
def test_weights_and_folds_follow_the_sources_whatever_the_order(
    order: list[int], seed: int
) -> None:
    some = np.array([0, 0, 1, 2, 2, 2, 3, 4, 5, 6, 7, 7])
    weights, folds = draw_weights(some, 10, seed), folds_by_source(some, seed)
    np.testing.assert_allclose(draw_weights(some[order], 10, seed), weights[:, order], rtol=1e-12)
    assert np.array_equal(folds_by_source(some[order], seed), folds[order])


def test_another_seed_gives_other_weights_and_folds() -> None:
    some = np.arange(40)
    assert not np.array_equal(draw_weights(some, 5, 1), draw_weights(some, 5, 2))
    assert not np.array_equal(folds_by_source(some, 1), folds_by_source(some, 2))


def test_the_spread_of_a_mean_is_the_standard_error_over_sources() -> None:
    """Ten versions of each photograph do not make the interval narrower."""
    random = np.random.default_rng(3)
    values = random.standard_normal(200)
    alone = draw_weights(np.arange(200), 2000, 1)[1:] @ values
    versions = draw_weights(np.repeat(np.arange(200), 10), 2000, 1)[1:] @ np.repeat(values, 10)
    expected = values.std() / np.sqrt(200)
    assert alone.std() == pytest.approx(expected, rel=0.08)
    assert versions.std() == pytest.approx(alone.std(), rel=1e-9)


@settings(settings.get_profile("index"), max_examples=60)
@given(sources, st.integers(0, 1000), st.integers(2, 7))
def test_a_source_is_in_one_fold_and_folds_have_equal_numbers_of_sources(
    some: list[int], seed: int, folds: int
) -> None:
    found = folds_by_source(some, seed, folds)
    of_source = {
        source: {int(f) for f, s in zip(found, some, strict=True) if s == source} for source in some
    }
    assert all(len(each) == 1 for each in of_source.values())
    counts = np.bincount([each.pop() for each in of_source.values()], minlength=folds)
    assert counts.max() - counts.min() <= 1
    assert len(counts) == folds


def test_there_are_five_folds_by_default() -> None:
    assert set(folds_by_source(np.arange(50), 0).tolist()) == set(range(FOLDS))
