"""Each generator left out in turn of what attribution knows."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.evaluation import attributing
from api.evaluation.attributing import (
    build_conformal_set,
    measure_attribution,
)
from api.evaluation.classification import MIN_IMAGES
from api.evaluation.json import AttributionEvaluation
from index.calibration.attribution import COVERAGE, Attributed, AttributionReason
from index.calibration.population import Population
from tests.api.evaluation.made import clusters, population

SIZES = {"sdxl": 32, "flux": 26, "gan": 24}
TOTAL = sum(SIZES.values())
OVERLAPPING = clusters({"b": 14, "c": 20, "a": 14, "rare": 10, "once": 1}, spread=1.5)


def test_two_generators_are_too_few_to_leave_one_out() -> None:
    answer = measure_attribution(clusters({"sdxl": 40, "flux": 40}), np.arange(80), 0)
    assert answer.auroc.value is None
    assert answer.by_generator == []
    assert (
        answer.reason
        == "2 generators have 10 images; two others are needed beside the one left out"
    )


@pytest.fixture(scope="module")
def apart() -> AttributionEvaluation:
    """Clusters that do not touch, and one that is too small to be left out."""
    return measure_attribution(clusters(SIZES | {"rare": 9}), np.arange(TOTAL + 9), 0)


def test_a_rare_generator_is_not_left_out_but_stays_known(apart: AttributionEvaluation) -> None:
    assert [(row.name, row.n_left_out) for row in apart.by_generator] == list(SIZES.items())
    assert apart.by_generator[0].n_known == (26 + 24 + 8) / 2


def test_clusters_apart_are_covered_by_small_sets_and_told_from_the_one_left_out(
    apart: AttributionEvaluation,
) -> None:
    assert apart.auroc.value is not None
    assert apart.auroc.value > 0.99
    assert apart.mean_set_size.value is not None
    assert apart.mean_set_size.value < 1.6
    assert apart.coverage.value is not None
    assert apart.coverage.value > 0.85
    assert apart.by_generator[0].abstained == 1.0
    assert (apart.by_generator[0].abstained_of_known or 0) < 0.25


def test_generators_that_look_alike_are_not_told_apart_though_each_is_of_one_source() -> None:
    vectors = np.random.default_rng(5).standard_normal((TOTAL, 16))
    alike = population(vectors, [name for name, size in SIZES.items() for _ in range(size)])
    answer = measure_attribution(alike, np.repeat([0, 1, 2], list(SIZES.values())), 0)
    assert [row.n_known for row in answer.by_generator] == [25, 28, 29]
    assert answer.auroc.value == pytest.approx(0.5, abs=0.12)
    assert answer.mean_set_size.value is not None
    assert answer.mean_set_size.value > 1.5


def attributed(*shares: tuple[str, float]) -> Attributed:
    reason = AttributionReason.NEAREST_KNOWN_FAKES
    return Attributed((), shares, unknown=False, reason=reason)


def test_an_image_without_shares_has_no_candidates() -> None:
    assert build_conformal_set(attributed(), {}) == set()
    assert build_conformal_set(attributed(), {"a": 0.0}) == set()


def test_each_generator_has_a_least_share_of_its_own() -> None:
    shares = (("a", 0.5), ("b", 0.25), ("c", 0.125), ("d", 0.125))
    assert build_conformal_set(attributed(*shares), {"a": 0.6, "b": 0.25, "c": 0.1}) == {"b", "c"}
    assert build_conformal_set(attributed(*shares), dict.fromkeys("abcd", 0.9)) == set()


@given(
    st.lists(st.floats(0.01, 1), min_size=1, max_size=8),
    st.lists(st.floats(0, 1), min_size=2, max_size=6),
)
def test_a_smaller_least_share_never_takes_a_candidate_away(
    weights: list[float], limits: list[float]
) -> None:
    ordered = sorted(weights, reverse=True)
    shares = [(f"g{place}", weight / sum(ordered)) for place, weight in enumerate(ordered)]
    names = [name for name, _ in shares]
    sets = [
        build_conformal_set(attributed(*shares), dict.fromkeys(names, limit))
        for limit in sorted(limits)
    ]
    assert all(larger >= smaller for larger, smaller in pairwise(sets))


def no_fakes() -> Population:
    return clusters({"a": 1}).taking(np.empty(0, np.int64))


def test_without_fakes_nothing_is_measured_and_the_reason_counts_them() -> None:
    answer = measure_attribution(no_fakes(), np.empty(0, np.int64), 0)
    assert answer.by_generator == []
    assert answer.reason is not None
    assert answer.reason.startswith("0 generators have 10 images")
    for figure in (answer.auroc, answer.coverage, answer.mean_set_size):
        assert (figure.value, figure.low, figure.high) == (None, None, None)
        assert figure.reason == answer.reason
    assert answer.target_coverage == COVERAGE


def test_fakes_that_declare_no_generator_are_not_used() -> None:
    fakes = clusters({"a": 40, "b": 40, "c": 40})
    unnamed = population(fakes.vectors.astype(np.float64), [None] * len(fakes))
    answer = measure_attribution(unnamed, np.arange(len(fakes)), 0)
    assert answer.reason is not None
    assert answer.reason.startswith("0 generators")


@pytest.fixture(scope="module")
def overlapping() -> AttributionEvaluation:
    """Clusters that touch, one of ten images, and a generator of a single image."""
    return measure_attribution(OVERLAPPING, np.arange(len(OVERLAPPING)), 0)


def test_a_generator_that_made_one_image_alone_is_not_known(
    overlapping: AttributionEvaluation,
) -> None:
    """Nobody could find it by its other images."""
    assert overlapping.by_generator[0].n_known == (14 + 14 + 10) / 2


def test_a_generator_is_left_out_from_the_tenth_image_on_the_largest_first(
    overlapping: AttributionEvaluation,
) -> None:
    assert [row.name for row in overlapping.by_generator] == ["c", "a", "b", "rare"]
    assert [row.n_left_out for row in overlapping.by_generator] == [20, 14, 14, MIN_IMAGES]


def test_means_weigh_each_generator_the_same(apart: AttributionEvaluation) -> None:
    rows = apart.by_generator
    assert apart.auroc.value == pytest.approx(np.mean([row.auroc.value for row in rows]))
    assert apart.coverage.value == pytest.approx(np.mean([row.coverage for row in rows]))
    assert apart.mean_set_size.value == pytest.approx(np.mean([row.mean_set_size for row in rows]))
    assert apart.auroc.low is None


def test_every_figure_of_a_generator_is_a_share_inside_its_interval(
    apart: AttributionEvaluation,
) -> None:
    for row in apart.by_generator:
        assert row.auroc.value is not None
        assert row.auroc.low is not None
        assert row.auroc.high is not None
        assert 0 <= row.auroc.low <= row.auroc.value <= row.auroc.high <= 1
        for share in (row.abstained, row.abstained_of_known, row.coverage):
            assert share is not None
            assert 0 <= share <= 1
        assert row.mean_set_size is not None
        assert 0 < row.mean_set_size <= len(SIZES)
        assert row.right_of_named is not None
        assert row.coverage <= row.right_of_named <= 1


def test_no_more_than_the_limit_are_left_out_and_the_seed_repeats_them(
    overlapping: AttributionEvaluation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attributing, "MOST_GENERATORS", 1)
    again, other = (
        measure_attribution(OVERLAPPING, np.arange(len(OVERLAPPING)), seed) for seed in (0, 1)
    )
    assert again.by_generator == overlapping.by_generator[:1]
    assert [row.name for row in other.by_generator] == ["c"]
    assert other.by_generator != again.by_generator
