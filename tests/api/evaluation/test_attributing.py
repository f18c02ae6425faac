"""Each generator left out in turn of what attribution knows."""

from __future__ import annotations

import numpy as np
import pytest

from api.evaluation.attributing import measure_attribution
from api.evaluation.json import AttributionEvaluation
from tests.api.evaluation.made import clusters, population

SIZES = {"sdxl": 32, "flux": 26, "gan": 24}
TOTAL = sum(SIZES.values())


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
