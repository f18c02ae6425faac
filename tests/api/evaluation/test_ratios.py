"""Likelihood ratios fitted on one half and stated of the other; the classifier's probability
likewise.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.evaluation.calibrating import measure_calibrated_reliability
from api.evaluation.classification import ClassifiedImages
from api.evaluation.ratios import (
    NearestFakes,
    compute_log10_ratios,
    find_nearest_fakes,
    measure_likelihood,
    treat_images_as_sources,
)
from index.calibration.likelihood import Likelihood, fit_likelihood
from index.calibration.population import Population
from index.truth.perceptual import PerceptualHash
from tests.api.evaluation.made import anywhere, clusters, numbered


def pairs(n: int, apart: float, groups: int = 40) -> NearestFakes:
    random = np.random.default_rng(0)
    similarities = np.tanh(np.concatenate([random.normal(apart, 1, n), random.normal(0, 1, n)]))
    sources = np.concatenate([numbered(n, groups), groups + numbered(n, groups)])
    return NearestFakes(similarities, np.arange(2 * n) < n, sources)


def test_few_images_support_no_ratio() -> None:
    answer = measure_likelihood(pairs(19, 2.0), "sources", 0)
    assert answer.cllr.value is None
    assert answer.reason == "a half has 9 comparable images of a kind; 10 are needed"


def test_kin_that_are_nearer_cost_less_than_one_bit() -> None:
    apart, alike = (measure_likelihood(pairs(400, how_far), "sources", 0) for how_far in (3.0, 0.0))
    assert apart.cllr.value is not None
    assert apart.cllr_min.value is not None
    assert apart.cllr_min.value <= apart.cllr.value < 0.6
    assert alike.cllr.value == pytest.approx(1.0, abs=0.1)
    assert apart.tippett is not None
    assert apart.tippett.same[0] >= apart.tippett.same[-1]
    assert (apart.n_same, apart.n_different) == (200, 200)


def test_each_image_can_be_its_own_source() -> None:
    alone = treat_images_as_sources(pairs(50, 1.0, groups=2))
    assert len(set(alone.sources.tolist())) == 100


def test_a_fake_without_kin_is_not_compared() -> None:
    fakes, reals = clusters({"sdxl": 30, "once": 1}), anywhere(20)
    found = find_nearest_fakes(reals, fakes, np.arange(20), np.arange(31) + 20, 0)
    assert (int(found.same.sum()), int((~found.same).sum())) == (30, 20)
    assert found.similarities[found.same].mean() > found.similarities[~found.same].mean()
    assert set(found.sources[found.same]) == set(range(20, 50))


def test_a_probability_is_calibrated_on_other_sources_than_it_is_held_to() -> None:
    random = np.random.default_rng(0)
    synthetic = np.arange(800) < 400
    logits = random.normal(np.where(synthetic, 1.0, -1.0), 1.0) * 8  # far too sure of itself
    judged = ClassifiedImages(
        logits, synthetic, np.where(synthetic, numbered(800, 40), 40 + numbered(800, 40))
    )
    figures = measure_calibrated_reliability(judged, 0)
    assert figures is not None
    assert figures.n == 400
    assert figures.ece.value is not None
    assert figures.ece.value < 0.1
    few = judged.taking(np.concatenate([np.arange(12), np.arange(400, 412)]))
    assert measure_calibrated_reliability(few, 0) is None


def test_a_calibration_that_does_not_hold_for_the_other_half_is_found_out() -> None:
    """In the first half synthetic images have the larger logits, in the second the real ones."""
    synthetic, first = np.arange(400) % 2 == 0, np.arange(400) < 200
    logits = np.where(synthetic == first, 3.0, -3.0)
    images = ClassifiedImages(logits, synthetic, np.arange(400))
    figures = measure_calibrated_reliability(images, 0, halve=lambda *_: first)
    assert figures is not None
    assert figures.brier.value is not None
    assert figures.brier.value > 0.8


def no_images() -> Population:
    return anywhere(1).taking(np.empty(0, np.int64))


NO_SOURCES = np.empty(0, np.int64)


def test_without_fakes_nothing_is_compared_and_without_real_images_only_fakes() -> None:
    fakes, reals = clusters({"a": 12}), anywhere(8)
    without_fakes = find_nearest_fakes(reals, no_images(), np.arange(8), NO_SOURCES, 0)
    assert len(without_fakes.similarities) == len(without_fakes.sources) == 0
    without_reals = find_nearest_fakes(no_images(), fakes, NO_SOURCES, np.arange(12), 0)
    assert without_reals.same.tolist() == [True] * 12


@pytest.mark.parametrize(("same", "different"), [(0, 0), (0, 60), (60, 0)])
def test_pairs_of_one_kind_support_no_ratio(same: int, different: int) -> None:
    n = same + different
    answer = measure_likelihood(
        NearestFakes(np.linspace(-1, 1, n), np.arange(n) < same, np.arange(n)), "images", 0
    )
    assert answer.reason == "a half has 0 comparable images of a kind; 10 are needed"
    assert answer.cllr.reason == answer.cllr_min.reason == answer.reason
    assert answer.method is answer.log10_bounds is answer.tippett is None
    assert answer.misleading_same is answer.misleading_different is None
    assert (answer.n_same, answer.n_different) == (same // 2, different // 2)


@pytest.mark.parametrize(("n", "is_measured"), [(19, False), (20, True)])
def test_ten_images_of_each_kind_in_each_half_are_enough(n: int, is_measured: bool) -> None:
    answer = measure_likelihood(treat_images_as_sources(pairs(n, 2.0)), "images", 0)
    assert (answer.cllr.value is not None) is is_measured
    assert (answer.reason is None) is is_measured


def test_a_single_source_cannot_be_halved() -> None:
    one = replace(pairs(60, 2.0), sources=np.zeros(120, np.int64))
    answer = measure_likelihood(one, "sources", 0)
    assert answer.reason is not None
    assert answer.reason.startswith("a half has 0 comparable images")


def test_equal_similarities_carry_no_information() -> None:
    blind = replace(pairs(100, 0.0, groups=100), similarities=np.full(200, 0.5))
    answer = measure_likelihood(blind, "images", 0)
    assert answer.cllr.value == pytest.approx(1.0, abs=1e-6)
    assert answer.cllr_min.value == pytest.approx(1.0, abs=1e-6)


def test_a_similarity_that_is_not_a_number_is_refused() -> None:
    damaged = pairs(60, 2.0)
    damaged.similarities[:] = np.nan
    with pytest.raises(ValueError, match=r"finite|NaN"):
        measure_likelihood(damaged, "images", 0)


@pytest.mark.parametrize("apart", [0.0, 1.0, 4.0])
def test_every_figure_lies_in_its_range(apart: float) -> None:
    answer = measure_likelihood(pairs(200, apart), "sources", 0)
    for figure in (answer.cllr, answer.cllr_min):
        assert figure.value is not None
        assert figure.low is not None
        assert figure.high is not None
        assert 0 <= figure.low <= figure.value <= figure.high
    assert (answer.cllr_min.value or 0) <= (answer.cllr.value or 0) + 1e-9
    assert 0 <= (answer.misleading_same or 0) <= 1
    assert 0 <= (answer.misleading_different or 0) <= 1
    assert answer.log10_bounds is not None
    assert answer.log10_bounds[0] <= 0 <= answer.log10_bounds[1]


def test_the_curves_fall_and_stay_within_the_bounds_of_the_ratios() -> None:
    answer = measure_likelihood(pairs(300, 2.0), "sources", 0)
    assert answer.tippett is not None
    assert answer.log10_bounds is not None
    low, high = answer.log10_bounds
    assert answer.tippett.log10 == sorted(answer.tippett.log10)
    assert low - 1e-9 <= answer.tippett.log10[0]
    assert answer.tippett.log10[-1] <= high + 1e-9
    for shares in (answer.tippett.same, answer.tippett.different):
        assert shares == sorted(shares, reverse=True)
        assert len(shares) == len(answer.tippett.log10)
    above = zip(answer.tippett.same, answer.tippett.different, strict=True)
    assert sum(same - different for same, different in above) > 0


@pytest.fixture(scope="module")
def fitted() -> Likelihood:
    some = pairs(60, 2.0)
    return fit_likelihood(
        some.similarities[some.same],
        some.similarities[~some.same],
        some.sources[some.same],
        some.sources[~some.same],
        seed=0,
    )


@given(st.lists(st.floats(-1, 1), min_size=2, max_size=20))
def test_a_larger_similarity_never_has_a_smaller_ratio(
    fitted: Likelihood, similarities: list[float]
) -> None:
    ratios = compute_log10_ratios(fitted, np.sort(similarities))
    assert (np.diff(ratios) >= -1e-9).all()
    low, high = fitted.log10_bounds
    assert ((ratios >= low - 1e-9) & (ratios <= high + 1e-9)).all()


def test_the_seed_repeats_the_halves() -> None:
    one, again, other = (measure_likelihood(pairs(80, 1.0), "sources", seed) for seed in (0, 0, 1))
    assert one == again
    assert one != other


def test_a_near_duplicate_is_not_a_neighbour() -> None:
    """Each fake is there twice with the same hash; without it, its copy would be the nearest."""
    fakes = clusters({"a": 10})
    twice = fakes.taking(np.repeat(np.arange(10), 2))
    random = np.random.default_rng(0)
    hashes = [PerceptualHash(random.bytes(32), 100) for _ in range(10)]
    apart = replace(twice, image_ids=np.arange(20), sources=np.arange(20))
    marked = replace(apart, hashes=tuple(hashes[row // 2] for row in range(20)))
    copies, others = (
        find_nearest_fakes(no_images(), some, NO_SOURCES, np.arange(20), 0).similarities
        for some in (apart, marked)
    )
    assert copies == pytest.approx(np.ones(20), abs=1e-6)
    assert (others < 0.9999).all()


def test_the_nearest_fake_of_a_photograph_is_that_of_all_products() -> None:
    fakes, reals = clusters({"a": 12, "b": 12}), anywhere(15)
    found = find_nearest_fakes(reals, fakes, np.arange(15), np.arange(24) + 15, 0)
    expected = (reals.vectors @ fakes.vectors.T).max(axis=1)
    assert found.similarities[~found.same] == pytest.approx(expected, abs=1e-6)
    assert found.sources[~found.same].tolist() == list(range(15))
