import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import roc_auc_score

from index.calibration.figures import (
    brier,
    cllr,
    cllr_min,
    ece,
    even_odds,
    log_loss,
    open_set_auroc,
    reliability,
    tippett,
)

seeded = settings(settings.get_profile("index"), max_examples=60)
# Few distinct values, so that ties are the rule.
values = st.lists(
    st.sampled_from([-2.0, -0.5, 0.0, 0.25, 1.0])
    | st.integers(-5000, 5000).map(lambda i: i / 1000),
    min_size=1,
    max_size=30,
)
labelled = values.flatmap(
    lambda x: st.tuples(st.just(x), st.lists(st.booleans(), min_size=len(x), max_size=len(x)))
)
log10s = st.lists(st.floats(-300, 300), min_size=1, max_size=20)
# Likelihood ratios that can be written as such; few distinct ones, so that ties are the rule.
moderate_log10s = st.lists(st.integers(-40, 40).map(lambda i: i / 8), min_size=1, max_size=20)


def test_what_needs_both_classes_is_not_made_up_without_one() -> None:
    assert open_set_auroc([1.0, 2.0], [True, True]) is None
    assert open_set_auroc([], []) is None
    assert cllr([], [1.0]) is None
    assert cllr_min([1.0], []) is None
    assert tippett([], []) is None
    assert reliability([], []) is None
    assert brier([], []) is None
    assert log_loss([], []) is None


def test_a_value_that_is_not_a_number_is_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        open_set_auroc([float("nan"), 1.0], [True, False])
    with pytest.raises(ValueError, match="labels"):
        open_set_auroc([1.0], [True, False])


@seeded
@given(labelled)
def test_the_open_set_area_is_that_of_scikit_learn(data: Any) -> None:
    nearness, known = data
    area = open_set_auroc(nearness, known)
    if area is None:
        assert len(set(known)) == 1
        return
    assert area == pytest.approx(roc_auc_score(known, nearness))


def test_calibration_error_is_that_of_the_bins() -> None:
    p = np.array([0.1, 0.1, 0.9, 0.9, 1.0])
    positive = np.array([False, True, True, True, True])
    diagram = reliability(p, positive, bins=10)
    assert diagram is not None
    assert [b.n for b in diagram.bins] == [2, 3]  # 1.0 belongs to the last bin
    assert diagram.ece == pytest.approx((2 * 0.4 + 3 * (1 - 2.8 / 3)) / 5)
    assert diagram.mce == pytest.approx(0.4)
    assert ece(p, positive, bins=10) == diagram.ece
    assert brier(p, positive) == pytest.approx((0.01 + 0.81 + 0.01 + 0.01) / 5)
    assert log_loss([1.0, 1.0], [True, False]) == pytest.approx(-np.log(1e-15) / 2)


@seeded
@given(log10s, log10s)
def test_the_least_cost_is_not_above_the_cost(same: Any, different: Any) -> None:
    cost, least = cllr(same, different), cllr_min(same, different)
    assert cost is not None
    assert least is not None
    assert 0 <= least <= min(cost, 1) + 1e-9


@seeded
@given(moderate_log10s, moderate_log10s)
def test_the_cost_is_the_published_sum_of_both_classes(
    same: list[float], different: list[float]
) -> None:
    """Brümmer & du Preez 2006, equation 23, in likelihood ratios instead of their logarithms."""
    missed = [math.log2(1 + 1 / 10**log10) for log10 in same]
    falsely_found = [math.log2(1 + 10**log10) for log10 in different]
    expected = (sum(missed) / len(missed) + sum(falsely_found) / len(falsely_found)) / 2
    assert cllr(same, different) == pytest.approx(expected, rel=1e-9)


@seeded
@given(moderate_log10s, moderate_log10s)
def test_the_least_cost_is_that_of_scikit_learn_s_isotonic_regression(
    same: list[float], different: list[float]
) -> None:
    x, is_same = [*same, *different], [True] * len(same) + [False] * len(different)
    weights = [1 / (len(same) if each else len(different)) for each in is_same]
    fitted = IsotonicRegression(y_min=0, y_max=1).fit(x, is_same, sample_weight=weights).predict(x)
    truth = np.where(is_same, fitted, 1 - fitted)  # the probability of the true class
    assert cllr_min(same, different) == pytest.approx(
        np.average(-np.log2(truth), weights=weights), abs=1e-9
    )


def test_the_costs_are_those_of_another_implementation() -> None:
    """`lir` 1.3.1 of the Netherlands Forensic Institute, which agrees to 4e-16 on 300 random cases.

    Its values are pinned here because it depends on optuna, pandas and KDEpy.
    """
    same, different = [-0.5, 0.25, 1.5, 2.0, 3.0], [-2.0, -1.0, -0.25, 0.5]
    assert cllr(same, different) == pytest.approx(0.632797280481868, rel=1e-12)
    assert cllr_min(same, different) == pytest.approx(0.44598422692719997, rel=1e-12)


def test_the_cost_of_saying_nothing_is_one_and_of_the_truth_near_nothing() -> None:
    assert cllr([0.0], [0.0, 0.0]) == pytest.approx(1)
    assert cllr([9.0], [-9.0]) == pytest.approx(0, abs=1e-8)
    assert cllr([-2.0], [2.0]) == pytest.approx(np.log2(101))
    assert cllr_min([0.1, 0.2], [-0.1, 0.05]) == pytest.approx(0, abs=1e-9)


@seeded
@given(log10s, log10s)
def test_tippett_curves_fall_from_everything_to_the_largest(same: Any, different: Any) -> None:
    curves = tippett(same, different, points=11)
    assert curves is not None
    for shares in (curves.same, curves.different):
        assert shares[0] == 1
        assert (np.diff(shares) <= 0).all()
    assert curves.same[-1] + curves.different[-1] > 0
    assert curves.misleading_same == np.mean(np.array(same) < 0)
    assert curves.misleading_different == np.mean(np.array(different) > 0)


def test_at_even_odds_a_class_weighs_one_half_whatever_its_size() -> None:
    positive = np.array([True, False, False, False])
    weights = even_odds(positive)
    np.testing.assert_allclose(weights, [2, 2 / 3, 2 / 3, 2 / 3])
    assert even_odds([True, True]).tolist() == [1, 1]
    half = np.full(4, 0.5)
    assert ece(half, positive, weights) == pytest.approx(0)
    assert ece(half, positive) == pytest.approx(0.25)
    assert brier([1, 0, 0, 0], positive, weights) == 0
    assert log_loss(half, positive, weights) == pytest.approx(np.log(2))
