import json
import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from index.calibration.binomial import exact_interval
from index.calibration.copies import (
    LEAD_RATE,
    MIN_SOURCES,
    WIDEST_BAND,
    CopyCurve,
    CopyRates,
    fit_distances,
    fit_inliers,
    rate_of_bits,
    rate_of_inliers,
    shipped_copy_rates,
)
from index.calibration.false_matches import RateMethod, fit_false_matches
from index.calibration.growth import Growth
from index.truth.perceptual import MAX_HAMMING_DISTANCE

few = settings(settings.get_profile("index"), max_examples=15)
SLOW = Growth(0.5, 0.3, 0.7)


def draw_distances(n: int, seed: int = 0, mean: float = 74.0) -> np.ndarray:
    """Even distances, as those of hashes with as many ones as zeros."""
    return 2 * np.round(np.random.default_rng(seed).normal(mean, 9, n) / 2)


def rates_of(distances: np.ndarray, growth: Growth = SLOW) -> CopyRates:
    n = len(distances)
    curve = fit_distances(distances, np.arange(n), corpus_size=1000, growth=growth)
    return CopyRates(band=CopyCurve(curve, "photographs with fakes"))


def test_nothing_measured_has_no_rate_and_lists_near_duplicates_alone() -> None:
    nothing = CopyRates()
    assert nothing.band_rate(40) is None
    assert nothing.inlier_rate(40) is None
    assert nothing.descriptor_threshold("sscd") is None
    assert nothing.band_limit() == MAX_HAMMING_DISTANCE


def test_without_any_image_nothing_is_fitted() -> None:
    with pytest.raises(ValueError, match="at least one image"):
        fit_distances([], [], corpus_size=10)
    with pytest.raises(ValueError, match="at least one image"):
        fit_inliers([], [], corpus_size=10)


def test_where_many_images_come_near_the_rate_is_their_share() -> None:
    distances = draw_distances(1000)
    curve = fit_distances(distances, np.arange(1000), corpus_size=1000)
    for bits in range(62, 80, 2):
        there = rate_of_bits(curve, bits)
        assert there.method is RateMethod.EMPIRICAL
        assert there.estimate == pytest.approx((distances <= bits).mean(), abs=2e-3)
        assert there.low <= (distances <= bits).mean() <= there.high
        # No pair of hashes differs in an odd number of bits.
        assert rate_of_bits(curve, bits + 1).estimate == there.estimate


def test_where_nothing_came_near_the_bound_is_the_rule_of_three() -> None:
    curve = fit_distances([70.0] * 300, np.arange(300), corpus_size=1000)
    there = rate_of_bits(curve, 50)
    assert (there.method, there.matches) == (RateMethod.RULE_OF_THREE, 0)
    assert there.low == 0
    assert there.high >= 3 / 300
    inliers = fit_inliers(np.random.default_rng(0).poisson(6, 300), np.arange(300), corpus_size=9)
    assert rate_of_inliers(inliers, 500).high >= 3 / 300
    assert 0 < rate_of_inliers(inliers, 500).estimate < 1e-3


def test_versions_of_one_photograph_make_no_bound_narrower() -> None:
    distances, sources = np.repeat(draw_distances(100), 10), np.repeat(np.arange(100), 10)
    curve = fit_distances(distances, sources, corpus_size=1000)
    assert curve.n_sources == 100
    assert rate_of_bits(curve, 34).high >= 3 / 100


def draw_like_photographs(n: int, seed: int) -> np.ndarray:
    """Even distances that fall off as those of many pairs of photographs do."""
    shape, scale = 0.11, 0.037
    z = scale / shape * (np.random.default_rng(seed).random(n) ** -shape - 1)
    return 2 * np.round(96 * np.exp(-z) / 2)


@pytest.mark.parametrize("draw", [draw_distances, draw_like_photographs])
def test_the_tail_foretells_distances_that_only_many_more_images_show(
    draw: Callable[[int, int], np.ndarray],
) -> None:
    every = draw(200_000, 1)
    for share in (0.003, 0.001, 0.0002):
        bits = int(np.quantile(every, share, method="higher"))
        truth, ratios = (every <= bits).mean(), []
        for seed in range(2, 8):
            curve = fit_distances(draw(300, seed), np.arange(300), corpus_size=1000)
            there = rate_of_bits(curve, bits)
            assert truth <= there.high
            ratios.append(there.estimate / truth)
        assert 0.5 < np.median(ratios) < 8  # a little too often rather than too seldom


def test_inliers_by_chance_are_not_thought_rarer_than_they_are() -> None:
    every, outside = np.random.default_rng(3).geometric(0.4, 200_000) + 4, 0
    for inliers in (9, 12, 15, 18):
        truth, ratios = (every >= inliers).mean(), []
        for seed in range(4, 10):
            some = np.random.default_rng(seed).geometric(0.4, 200) + 4
            there = rate_of_inliers(fit_inliers(some, np.arange(200), corpus_size=1000), inliers)
            outside += not there.low <= truth <= there.high
            assert truth <= there.high
            ratios.append(there.estimate / truth)
        assert 0.5 < np.median(ratios) < 10
    assert outside <= 2  # of 24 intervals of 95 %


def test_inliers_of_pictures_that_look_alike_are_counted_before_the_model_speaks() -> None:
    largest = np.random.default_rng(5).geometric(0.5, 200) + 3
    curve = CopyCurve(fit_inliers(largest, np.arange(200), corpus_size=1000), "x")
    none, some = CopyRates(inliers=curve), CopyRates(inliers=curve, counted=(14, 9, 9, 6))
    for inliers, matches in ((6, 4), (9, 3), (14, 1), (15, 0), (200, 0)):
        seen, unseen = some.inlier_rate(inliers), none.inlier_rate(inliers)
        assert seen is not None
        assert unseen is not None
        assert (seen.matches, unseen.matches) == (matches, 0)
        assert seen.high >= exact_interval(matches, 200)[1]
        assert unseen.high >= 3 / 200
        assert unseen.method is RateMethod.RULE_OF_THREE
        assert unseen.estimate < 0.5 / 200
        if matches:
            assert seen.estimate == matches / 200
    # Among as many candidates as ever, whatever the size of the corpus.
    assert some.inlier_rate(9, 10**6) == some.inlier_rate(9)


def test_a_lead_is_worth_a_look_in_a_corpus_of_any_size() -> None:
    rates = rates_of(draw_distances(2000, mean=78))
    limits = [rates.band_limit(1000 * 10**power) for power in range(7)]
    assert limits[0] > MAX_HAMMING_DISTANCE
    assert limits == sorted(limits, reverse=True)
    assert limits[-1] >= MAX_HAMMING_DISTANCE
    for power, limit in enumerate(limits):
        if limit > MAX_HAMMING_DISTANCE:
            there = rates.band_rate(limit, 1000 * 10**power)
            assert there is not None
            assert there.estimate <= LEAD_RATE
        if limit < WIDEST_BAND:
            beyond = rates.band_rate(limit + 2, 1000 * 10**power)
            assert beyond is not None
            assert beyond.estimate > LEAD_RATE


def test_a_descriptor_has_the_threshold_of_its_own_curve() -> None:
    similarities = np.random.default_rng(4).normal(0.1, 0.1, 500)
    curve = fit_inliers([1] * 9, range(9), corpus_size=1)  # of another finding
    own = fit_false_matches(similarities, np.arange(500), corpus_size=1000, growth=SLOW, seed=0)
    rates = CopyRates(descriptors={"own": CopyCurve(own, "x"), "other": CopyCurve(curve, "y")})
    threshold = rates.descriptor_threshold("own", 0.05)
    assert threshold == pytest.approx(np.quantile(similarities, 0.95), abs=0.01)
    assert own.rate_at(threshold).estimate <= 0.05
    assert rates.descriptor_threshold("a third") is None


def test_own_figures_come_first_where_enough_photographs_were_measured() -> None:
    shipped = rates_of(draw_distances(500)).as_shipped()
    few_images = rates_of(draw_distances(MIN_SOURCES - 1))
    enough = rates_of(draw_distances(MIN_SOURCES))
    assert few_images.or_else(shipped).band is shipped.band
    assert shipped.band is not None
    assert shipped.band.is_shipped
    assert enough.or_else(shipped).band is enough.band
    assert CopyRates().or_else(shipped).inliers is None


def test_the_package_brings_figures_of_its_own() -> None:
    shipped = shipped_copy_rates()
    for curve in (shipped.band, shipped.inliers, *(shipped.descriptors or {}).values()):
        assert curve is None or (curve.is_shipped and curve.population)


@few
@given(st.lists(st.integers(0, 300), min_size=1, max_size=60), st.integers(0, 3))
def test_rates_are_ordered_and_survive_storage(counts: list[int], copies: int) -> None:
    sources = np.arange(len(counts)) // (copies + 1)
    by_inliers = fit_inliers(counts, sources, corpus_size=50)
    by_distance = fit_distances(counts, sources, corpus_size=50)
    rates = CopyRates(
        CopyCurve(by_distance, "a"),
        2,
        CopyCurve(by_inliers, "b"),
        counted=tuple(sorted((each for each in counts if each > 100), reverse=True)),
        candidates=20,
        descriptors={"d": CopyCurve(by_inliers, "")},
    )
    assert CopyRates.from_json(json.loads(json.dumps(rates.to_json()))) == rates
    for size in (None, 5, 50, 5000):
        found = [rates.inlier_rate(n, size) for n in range(0, 320, 20)]
        apart = [rates.band_rate(bits, size) for bits in range(250, 0, -25)]
        for row in (found, apart):
            estimates = [each.estimate for each in row if each is not None]
            assert estimates == sorted(estimates, reverse=True)
            for each in row:
                assert each is not None
                assert 0 <= each.low <= each.estimate <= each.high <= 1
                assert math.isfinite(each.high)
