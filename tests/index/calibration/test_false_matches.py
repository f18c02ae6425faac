import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from index.calibration.across_collections import group_images
from index.calibration.false_matches import (
    MOST_KEPT,
    FalseMatches,
    RateMethod,
    fit_false_matches,
)
from index.calibration.growth import UNKNOWN_GROWTH, Growth
from tests.benchmarks.evidence_simulated import KINDS, check_intervals, make_cases

seeded = settings(settings.get_profile("index"), max_examples=10)
GROWTH = Growth(0.7, 0.6, 0.9)
# Ties, atoms at the end of the scale, nothing in between, and ordinary values.
maxima = st.lists(
    st.sampled_from([-1.0, 0.0, 0.5, 0.9, 1.0]) | st.floats(-1, 1), min_size=1, max_size=60
)
repeated = st.tuples(maxima, st.sampled_from([1, 7])).map(lambda pair: np.repeat(pair[0], pair[1]))


def fit(
    x: Any, sources: Any = None, growth: Growth = GROWTH, *, collections: int = 0, **how: Any
) -> FalseMatches:
    """With a number of collections, images are dealt to them one by one."""
    source = np.arange(len(x)) if sources is None else sources
    if collections:
        how["groups"] = group_images([str(at % collections) for at in range(len(x))], source)
    return fit_false_matches(np.asarray(x), source, corpus_size=1000, growth=growth, seed=3, **how)


def draw(rng: np.random.Generator, n: int) -> Any:
    """Distances to the nearest of many in some six dimensions, as similarities."""
    return 1 - 0.6 * rng.gamma(3, 0.33, size=n) ** (1 / 6)


def test_nothing_is_fitted_to_no_image_nor_to_what_is_not_a_number() -> None:
    for x, sources in (([], []), ([float("nan")], [0]), ([0.5], [0, 1])):
        with pytest.raises(ValueError, match="at least one image"):
            fit(x, np.array(sources, np.int64))


def test_where_nothing_was_observed_the_rule_of_three_bounds_the_rate() -> None:
    few = fit([0.1, 0.2, 0.3])
    rate = few.rate_at(0.31)
    assert (rate.method, rate.low, rate.high) == (RateMethod.RULE_OF_THREE, 0.0, 1.0)
    assert rate.estimate == pytest.approx(0.5 / 4)
    assert few.tail is None
    many = fit(draw(np.random.default_rng(1), 1000))
    beyond = many.rate_at(0.999)
    assert (beyond.method, beyond.low) == (RateMethod.RULE_OF_THREE, 0.0)
    assert beyond.high == pytest.approx(3 / 1000)
    assert beyond.estimate < 1e-5


def test_a_rate_that_no_similarity_has_gives_the_end_of_the_scale() -> None:
    few = fit([0.1, 0.2, 0.3])
    assert few.similarity_at(0.01) == 1.0
    assert few.rate_at(1.0).estimate > 0.01
    assert few.similarity_at(1.0) == -1.0
    assert few.similarity_at(0.0) == 1.0


def test_an_atom_is_not_taken_for_a_tail() -> None:
    x = np.concatenate([np.linspace(0.1, 0.5, 450), np.full(50, 1.0)])
    rate = fit(x).rate_at(1.0)
    assert rate.estimate == pytest.approx(0.1)
    assert rate.low < 0.1 < rate.high


def test_images_of_few_photographs_say_less_than_as_many_of_many() -> None:
    x = np.repeat(draw(np.random.default_rng(2), 40), 25)
    alone, together = fit(x), fit(x, np.repeat(np.arange(40), 25))
    t = alone.similarity_at(0.1)
    assert together.rate_at(t).high - together.rate_at(t).low > 3 * (
        alone.rate_at(t).high - alone.rate_at(t).low
    )
    assert (together.n, together.n_sources) == (1000, 40)


@seeded
@given(repeated, st.sampled_from([0, 5, 8]), st.booleans())
def test_any_images_give_rates_that_are_ordered_and_fall(
    x: Any, collections: int, is_coarse: bool
) -> None:
    model = fit(x, collections=collections, is_coarse=is_coarse)
    at = np.unique(np.concatenate([np.linspace(-1, 1, 41), x, np.nextafter(x, 2).clip(-1, 1)]))
    for corpus_size in (None, 100, 10_000):
        rates = [model.rate_at(float(s), corpus_size) for s in at]
        assert all(0 <= r.low <= r.estimate <= r.high <= 1 for r in rates)
        for name in ("low", "estimate", "high"):
            curve = [getattr(r, name) for r in rates]
            assert (np.diff(curve) <= 1e-12).all()
        assert rates[0].estimate > 0.99


@seeded
@given(repeated, st.floats(-1, 1), st.sampled_from([0, 5, 8]))
def test_a_larger_corpus_has_no_smaller_rate(x: Any, similarity: float, collections: int) -> None:
    model = fit(x, collections=collections)
    rates = [
        model.rate_at(similarity, size) for size in (0, 10, 500, 1000, 1001, 2000, 10_000, 10**7)
    ]
    for name in ("low", "estimate", "high"):
        assert (np.diff([getattr(r, name) for r in rates]) >= -1e-12).all()


@seeded
@given(repeated, st.floats(1e-4, 0.9), st.sampled_from([None, 5000]))
def test_the_threshold_of_a_rate_has_that_rate_and_hardly_less_does_not(
    x: Any, rate: float, size: Any
) -> None:
    model = fit(x)
    t = model.similarity_at(rate, size)
    if t < 1:
        assert model.rate_at(t, size).estimate <= rate
    if t > -1:
        assert model.rate_at(float(np.nextafter(t, -2)), size).estimate > rate


@seeded
@given(repeated, st.floats(0.01, 0.5), st.floats(0.05, 0.9), st.sampled_from([0, 5]))
def test_a_threshold_can_be_asked_for_with_an_upper_end(
    x: Any, rate: float, most: float, collections: int
) -> None:
    model = fit(x, collections=collections)
    t = model.similarity_at(rate, most_high=most)
    assert t >= model.similarity_at(rate)
    if t < 1:
        there = model.rate_at(t)
        assert there.estimate <= rate
        assert there.high <= most
    if t > -1:
        below = model.rate_at(float(np.nextafter(t, -2)))
        assert below.estimate > rate or below.high > most


@pytest.mark.parametrize("n", [5, 28, 600])
@pytest.mark.parametrize("collections", [0, 5])
@pytest.mark.parametrize("size", [None, 100, 100_000])
def test_that_none_came_so_near_is_told_with_a_tail_and_at_any_size(
    n: int, collections: int, size: int | None
) -> None:
    model = fit(draw(np.random.default_rng(9), n), collections=collections)
    assert (model.tail is None) is (n < 20)
    assert (model.across is None) is (n < 15 or not collections)
    for similarity in (model.largest + 1e-8, (1 + model.largest) / 2, 1.0):
        rate = model.rate_at(similarity, size)
        assert (rate.matches, rate.method, rate.low) == (0, RateMethod.RULE_OF_THREE, 0.0)
        assert (rate.n, rate.sources) == (n, n)
        if size != 100:
            assert rate.high >= min(1.0, 3 / n) * 0.999
    one = model.rate_at(model.largest, size)
    assert one.matches == 1
    assert one.method is not RateMethod.RULE_OF_THREE


def test_images_are_counted_as_far_as_they_are_kept() -> None:
    x = draw(np.random.default_rng(9), 1000)
    model = fit(x)
    falling = np.sort(x)[::-1].round(9)
    for count in (1, 10, MOST_KEPT - 1):
        assert model.rate_at(float(falling[count - 1])).matches == count
    assert model.rate_at(float(falling[MOST_KEPT - 1])).matches is None
    assert fit(x[:50]).rate_at(-1.0).matches == 50


def test_a_calibration_of_format_1_counts_only_that_none_came_so_near() -> None:
    model = fit(draw(np.random.default_rng(9), 50))
    stored = model.to_json()
    del stored["closest"], stored["across"]
    old = FalseMatches.from_json(stored)
    assert old.rate_at(model.largest + 1e-8).matches == 0
    assert old.rate_at(model.largest).matches is None
    assert old.rate_at(0.3).estimate == model.rate_at(0.3).estimate


def test_collections_that_differ_widen_the_interval_and_leave_the_estimate() -> None:
    random = np.random.default_rng(9)
    x = draw(random, 400)
    names = [str(at // 50) for at in range(400)]
    apart = np.concatenate([np.sort(x)[:350], np.sort(x)[350:]])  # the last collection is nearest
    alone, alike, differing = (
        fit_false_matches(
            values, np.arange(400), corpus_size=1000, growth=GROWTH, seed=3, groups=groups
        )
        for values, groups in (
            (x, None),
            (x, group_images(names, np.arange(400))),
            (apart, group_images(names, np.arange(400))),
        )
    )
    t = alone.similarity_at(0.05)
    rates = [each.rate_at(t) for each in (alone, alike, differing)]
    assert len({each.estimate for each in rates}) == 1
    assert [each.across_collections for each in rates] == [False, True, True]
    assert rates[0].high < rates[1].high < 0.5 * rates[2].high
    assert differing.mean_interval_at(t)[1] < rates[2].high
    assert alone.mean_interval_at(t) == (rates[0].low, rates[0].high)


@seeded
@given(repeated, st.randoms(use_true_random=False))
def test_the_order_of_the_images_does_not_matter(x: Any, random: Any) -> None:
    order = list(range(len(x)))
    random.shuffle(order)
    assert fit(x[order], np.array(order)) == fit(x)


@seeded
@given(repeated)
def test_what_was_stored_says_the_same(x: Any) -> None:
    model = fit(x, collections=5)
    again = FalseMatches.from_json(json.loads(json.dumps(model.to_json(), allow_nan=False)))
    assert again == model
    assert [again.rate_at(s) for s in (-1, 0.3, 0.93, 1)] == [
        model.rate_at(s) for s in (-1, 0.3, 0.93, 1)
    ]


def test_the_interval_widens_by_what_growth_is_not_sure_of() -> None:
    x = draw(np.random.default_rng(4), 500)
    sure, unsure = fit(x, growth=Growth(0.7, 0.7, 0.7)), fit(x, growth=Growth(0.7, 0.4, 1.0))
    t = sure.similarity_at(0.01)
    assert sure.rate_at(t) == unsure.rate_at(t)
    assert unsure.rate_at(t, 10_000).high > sure.rate_at(t, 10_000).high
    assert unsure.rate_at(t, 10_000).low < sure.rate_at(t, 10_000).low
    assert UNKNOWN_GROWTH.high == 1


@pytest.mark.parametrize(("rate", "method"), [(0.1, "empirical"), (0.01, "tail"), (0.005, "tail")])
def test_the_true_rate_lies_in_the_interval_about_as_often_as_stated(
    rate: float, method: str
) -> None:
    rng = np.random.default_rng(11)
    population = np.sort(draw(rng, 1_000_000))
    inside = 0
    for _ in range(40):
        model = fit(draw(rng, 1000))
        t = model.similarity_at(rate)
        stated, true = model.rate_at(t), 1 - np.searchsorted(population, t) / len(population)
        inside += stated.low <= true <= stated.high
        assert stated.method == method
    assert inside >= 34  # 95 % of 40 is 38; fewer than 34 has a chance of 1 %


def test_the_rate_realised_on_a_corpus_that_grew_lies_in_the_interval() -> None:
    """A short version of `python -m tests.benchmarks.evidence_simulated`."""
    some = [
        case
        for kind in KINDS[::2]
        for case in make_cases(kind, corpora=1, calibrations=3, references=600, reals=4000)
    ]
    held = check_intervals(some)
    for (rate, size), found in held.items():
        assert found.inside >= 0.75, (rate, size, found)  # of nine that share three corpora
        assert 0.2 * rate < found.realised < 2 * rate
    assert np.mean([found.inside for found in held.values()]) > 0.9
