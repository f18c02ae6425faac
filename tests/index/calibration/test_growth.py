import json
import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from index.calibration.growth import (
    CORPUS_ERROR,
    UNKNOWN_GROWTH,
    Growth,
    fit_growth,
    matched_by_subset,
)
from tests.benchmarks.evidence_simulated import KINDS, check_growth, make_cases

seeded = settings(settings.get_profile("index"), max_examples=40)
betas = st.lists(st.floats(0.02, 1), min_size=3, max_size=3).map(sorted)
growths = st.builds(lambda b, bend: Growth(b[1], b[0], b[2], -bend), betas, st.floats(0, 0.5))
hazards = st.floats(1e-9, 20)


@pytest.mark.parametrize(
    "wrong", [(0.0, 0.0, 1.0), (0.5, 0.6, 0.7), (0.5, 0.4, 1.1), (0.5, 0.4, 0.6, 0.1)]
)
def test_an_exponent_outside_its_interval_or_a_bend_upwards_is_refused(
    wrong: tuple[float, ...],
) -> None:
    with pytest.raises(ValueError, match="growth exponent"):
        Growth(*wrong)


def test_where_no_image_was_exceeded_each_entry_brings_as_much_as_the_last() -> None:
    none = np.zeros((50, 2), np.int64)
    assert (
        fit_growth(none, np.array([0.8, 0.9]), np.arange(50), corpus_size=1000, seed=0)
        == UNKNOWN_GROWTH
    )
    assert (
        fit_growth(none + 1, np.array([0.8, 0.9]), np.arange(50), corpus_size=1, seed=0)
        == UNKNOWN_GROWTH
    )


def test_a_subset_matches_as_the_hypergeometric_says() -> None:
    counts, sizes = np.array([[0], [1], [3], [10]]), np.array([1.0, 4.0, 8.0, 10.0])
    expected = [
        [1 - math.comb(10 - k, int(m)) / math.comb(10, int(m)) for m in sizes]
        for k in counts[:, 0].tolist()
    ]
    np.testing.assert_allclose(matched_by_subset(counts, 10, sizes)[:, 0], expected, atol=1e-12)


def test_entries_that_match_alone_grow_in_proportion_and_clusters_hardly() -> None:
    rng = np.random.default_rng(1)
    alone = (rng.random((2000, 1)) < 0.03).astype(np.int64)
    clustered = 400 * alone
    growth = {
        name: fit_growth(counts, np.array([0.9]), np.arange(2000), corpus_size=1000, seed=0)
        for name, counts in (("alone", alone), ("clustered", clustered))
    }
    assert growth["alone"].beta > 0.97
    assert growth["clustered"].beta < 0.1
    assert growth["clustered"].high >= growth["clustered"].beta + CORPUS_ERROR


@seeded
@given(growths, hazards, hazards)
def test_growth_keeps_the_order_of_hazards_and_rises_with_size(
    growth: Growth, one: float, other: float
) -> None:
    low, high = sorted([one, other])
    for factor in (0.1, 2.0, 10.0):
        lower, higher = (growth.predict_hazard(hazard, factor) for hazard in (low, high))
        assert lower <= higher * (1 + 1e-9)
    grown = [growth.predict_hazard(one, factor) for factor in (0.1, 0.5, 1.0, 2.0, 5.0, 10.0)]
    assert all(a <= b for a, b in pairwise(grown))
    assert grown[2] == pytest.approx(one)
    slow, middle, fast = (growth.predict_hazard(one, 10.0, side) for side in (-1.0, 0.0, 1.0))
    assert slow <= middle <= fast <= 10 * one * (1 + 1e-9)


@seeded
@given(
    st.lists(st.lists(st.integers(0, 100), min_size=3, max_size=3), min_size=1, max_size=30),
    st.randoms(),
)
def test_any_counts_give_a_growth_that_order_does_not_change_and_json_keeps(
    counts: Any, random: Any
) -> None:
    def fit(rows: Any, sources: Any) -> Growth:
        return fit_growth(
            np.array(rows), np.array([0.1, 0.2, 0.3]), np.array(sources), corpus_size=100, seed=4
        )

    growth = fit(counts, range(len(counts)))
    order = list(range(len(counts)))
    random.shuffle(order)
    assert fit([counts[i] for i in order], order) == growth
    assert Growth.from_json(json.loads(json.dumps(growth.to_json()))) == growth


def test_the_bend_foretells_what_one_exponent_does_not() -> None:
    errors = check_growth(
        list(make_cases(KINDS[0], corpora=1, calibrations=2, references=600, reals=4000))
    )
    for rate in (0.1, 0.03, 0.01):
        assert (
            abs(errors[rate, 10][0]) < 0.15
        )  # one exponent for all rates: -0.24 at 3 %, -0.55 at 1 %
