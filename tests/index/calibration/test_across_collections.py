"""The interval of a collection that was not measured, on collections whose true rates are known."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from index.calibration.across_collections import (
    MIN_COLLECTIONS,
    MIN_PHOTOGRAPHS,
    AcrossCollections,
    Groups,
    fit_across_collections,
    group_images,
    predict_rates,
)
from index.calibration.population import CollectionName
from tests.benchmarks.evidence_collections import check_collections

seeded = settings(settings.get_profile("index"), max_examples=15)


def predict(matches: Any, sizes: Any) -> Any:
    """The intervals at one similarity."""
    matched, n = np.array([matches], np.float64), np.array(sizes, np.float64)
    found = predict_rates(matched, n, np.ones(len(n)))
    return tuple(float(each[0]) for each in found)


def grouped(names: Any) -> Groups:
    """Each image of its own photograph."""
    return group_images(list(names), np.arange(len(names)))


def test_too_few_collections_say_nothing_of_a_further_one() -> None:
    names = np.repeat(np.arange(MIN_COLLECTIONS), MIN_PHOTOGRAPHS)
    x = np.linspace(0, 1, len(names))
    assert fit_across_collections(x, grouped(names)) is not None
    assert fit_across_collections(x[MIN_PHOTOGRAPHS:], grouped(names[MIN_PHOTOGRAPHS:])) is None
    assert fit_across_collections(x[1:], grouped(names[1:])) is None  # one has too few photographs
    assert fit_across_collections(x, group_images((), np.arange(len(x)))) is None


def test_a_source_of_each_picture_is_no_collection() -> None:
    groups = grouped([f"https://example.org/{at}" for at in range(40)])
    assert (groups.sizes.tolist(), set(groups.numbers.tolist())) == ([40.0], {0})


def test_small_collections_count_together_and_too_few_pictures_not_at_all() -> None:
    names = [CollectionName("c", each) for each in "aaaaaabbbccc"] + [None]
    groups = grouped(names)
    assert groups.numbers.tolist() == [0] * 6 + [1] * 6 + [-1]
    assert groups.sizes.tolist() == [6.0, 6.0]
    alone = grouped([*"aaaaaabbb"])
    assert alone.numbers.tolist() == [0] * 6 + [-1] * 3


def test_a_photograph_in_ten_versions_counts_once() -> None:
    sources = np.array([*np.repeat(np.arange(5), 10), *range(5, 10)])
    groups = group_images(["a"] * 50 + ["b"] * 5, sources)
    assert groups.sizes.tolist() == [5.0, 5.0]
    x = np.zeros(55)
    x[:5] = 1.0  # half of the versions of one photograph
    assert groups.count(x, np.array([0.5])).tolist() == [[0.5, 0.0]]


def test_deliveries_of_the_same_photographs_count_as_one_collection() -> None:
    random = np.random.default_rng(3)
    names = np.repeat(np.arange(8), 25)
    x = random.normal(size=len(names)) / 10 + names / 40
    once = fit_across_collections(x, grouped(names))
    thrice = fit_across_collections(
        np.tile(x, 3),
        group_images(
            np.tile(names, 3).tolist(),
            np.tile(np.arange(len(names)), 3),
            np.repeat(["as_is", "half", "jpeg50"], len(names)).tolist(),
        ),
    )
    assert once is not None
    assert thrice is not None
    assert once.collections == thrice.collections == 8
    for at in (0.0, 0.1, 0.2):
        assert thrice.interval_at(at) == pytest.approx(once.interval_at(at), rel=0.2)


@pytest.mark.parametrize("spread", [0.5, 1.0, 1.5])
@pytest.mark.parametrize("median", [0.1, 0.01])
@pytest.mark.parametrize("count", [MIN_COLLECTIONS, 10])
def test_the_rate_of_a_further_collection_lies_in_the_interval_as_often_as_stated(
    spread: float, median: float, count: int
) -> None:
    """95 %, in the mean over references. A short version of
    `python -m tests.benchmarks.evidence_collections`.
    """
    held = check_collections(count, spread, median, repeats=60)
    assert 0.88 < held.inside <= 1.0
    assert held.mean_inside > 0.75


def test_collections_that_differ_say_less_of_the_next_one() -> None:
    alike, apart = predict([5] * 10, [50] * 10), predict([0] * 8 + [20, 30], [50] * 10)
    assert apart[1] > 2 * alike[1]
    assert apart[0] == 0.0 < alike[0]


def test_more_collections_say_more() -> None:
    highs = [predict([3] * count, [30] * count)[1] for count in (5, 10, 20, 40)]
    assert highs == sorted(highs, reverse=True)
    assert 0.1 < highs[-1] < highs[0] < 0.6


def test_where_none_came_near_the_rate_of_a_further_collection_is_bounded() -> None:
    low, high, mean_low, mean_high = predict([0] * 10, [60] * 10)
    assert (low, mean_low) == (0.0, pytest.approx(0.0, abs=1e-3))
    assert 3 / 600 < high < 0.05  # the rule of three is that of the same collections
    assert mean_high <= high
    assert predict([0] * 10, [600] * 10)[1] < high / 5


def test_large_collections_are_not_lost_between_the_points_of_the_grid() -> None:
    for share in (0.1, 0.0137, 0.002):
        low, high, mean_low, mean_high = predict([20_000 * share] * 12, [20_000] * 12)
        assert 0.4 * share < low < share < high < 2.5 * share
        assert 0.75 * share < mean_low < share < mean_high < 1.3 * share


@seeded
@given(
    st.lists(
        st.tuples(st.integers(0, 6), st.sampled_from([-1.0, 0.0, 0.5, 1.0]) | st.floats(-1, 1)),
        min_size=30,
        max_size=90,
    ),
    st.randoms(use_true_random=False),
)
def test_any_collections_give_intervals_that_are_ordered_fall_and_can_be_stored(
    images: Any, random: Any
) -> None:
    def fit(some: Any) -> AcrossCollections | None:
        groups = grouped([name for name, _ in some])
        return fit_across_collections(np.array([x for _, x in some]), groups)

    model = fit(images)
    if model is None:
        return
    at = np.linspace(-1, 1, 81).tolist()
    for ends in ([model.interval_at(s) for s in at], [model.mean_at(s) for s in at]):
        lows, highs = zip(*ends, strict=True)
        assert all(0 <= low <= high <= 1 for low, high in ends)
        assert (np.diff(lows) <= 1e-12).all()
        assert (np.diff(highs) <= 1e-12).all()
    random.shuffle(images)
    assert fit(images) == model
    assert AcrossCollections.from_json(json.loads(json.dumps(model.to_json()))) == model
