"""ROC, area and Brier score: nothing made up without both classes, and right by counting."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score, roc_curve

from api.evaluation.separation import balanced_accuracy, brier, roc_of

# Few distinct values, so that ties are the rule.
values = st.lists(st.integers(-4, 4).map(float), min_size=2, max_size=30)
labelled = values.flatmap(
    lambda x: st.tuples(st.just(x), st.lists(st.booleans(), min_size=len(x), max_size=len(x)))
).map(lambda pair: (np.array(pair[0]), np.array(pair[1])))
of_both_classes = labelled.filter(lambda pair: pair[1].any() and not pair[1].all())


@pytest.mark.parametrize("positive", [True, False])
def test_without_both_classes_nothing_is_made_up(positive: bool) -> None:
    assert roc_of(np.array([1.0, 2.0]), np.array([positive, positive])) is None
    assert balanced_accuracy(np.array([1.0, 2.0]), np.array([positive, positive]), 1.5) is None
    assert roc_of(np.array([]), np.array([], np.bool_)) is None


def test_a_value_that_is_not_a_number_is_refused() -> None:
    with pytest.raises(ValueError, match="NaN"):
        roc_of(np.array([np.nan, 1.0]), np.array([True, False]))


@given(of_both_classes)
def test_the_area_is_the_share_of_pairs_in_order_and_ties_count_one_half(data: Any) -> None:
    x, positive = data
    over = x[positive][:, None] - x[~positive][None, :]
    roc = roc_of(x, positive)
    assert roc is not None
    assert roc.area == pytest.approx(((over > 0).mean() + (over >= 0).mean()) / 2)
    assert (roc.false_positive_rate[0], roc.true_positive_rate[0]) == (0, 0)
    assert (roc.false_positive_rate[-1], roc.true_positive_rate[-1]) == (1, 1)


@given(of_both_classes)
def test_the_operating_points_and_the_area_are_those_of_scikit_learn(data: Any) -> None:
    x, positive = data
    roc = roc_of(x, positive)
    assert roc is not None
    false, true, _ = roc_curve(positive, x, drop_intermediate=False)
    np.testing.assert_allclose(roc.false_positive_rate, false, atol=1e-12)
    np.testing.assert_allclose(roc.true_positive_rate, true, atol=1e-12)
    assert roc.area == pytest.approx(roc_auc_score(positive, x))


@given(of_both_classes, st.floats(0, 1))
def test_the_true_positive_rate_at_a_false_positive_rate_is_reached_by_a_threshold(
    data: Any, fpr: float
) -> None:
    x, positive = data
    roc = roc_of(x, positive)
    assert roc is not None
    thresholds = [*x, np.inf]  # inf calls nothing positive
    reached = [(x[positive] >= t).mean() for t in thresholds if (x[~positive] >= t).mean() <= fpr]
    assert roc.true_positive_rate_at(fpr) == pytest.approx(max(reached))


def test_balanced_accuracy_weighs_the_classes_alike() -> None:
    values, positive = np.array([1.0, 1, 1, 0, 1]), np.array([True, True, True, True, False])
    assert balanced_accuracy(values, positive, 1) == pytest.approx((0.75 + 0.0) / 2)


def test_the_brier_score_is_the_weighted_mean_squared_error() -> None:
    stated, positive = np.array([0.1, 0.1, 0.9, 1.0]), np.array([False, True, True, True])
    assert brier(stated, positive) == pytest.approx((0.01 + 0.81 + 0.01 + 0) / 4)
    assert brier(stated, positive, [3, 1, 1, 1]) == pytest.approx((0.03 + 0.81 + 0.01 + 0) / 6)
    assert brier(np.array([0.2, 0.2]), np.array([False, False])) == pytest.approx(0.04)


@given(of_both_classes)
def test_the_operating_points_rise_from_the_strictest_threshold_on(data: Any) -> None:
    roc = roc_of(*data)
    assert roc is not None
    assert (np.diff(roc.false_positive_rate) >= 0).all()
    assert (np.diff(roc.true_positive_rate) >= 0).all()


@given(of_both_classes)
def test_the_area_depends_on_the_order_of_the_values_alone(data: Any) -> None:
    x, positive = data
    plain, stretched, turned = roc_of(x, positive), roc_of(x**3 + x, positive), roc_of(-x, positive)
    assert plain is not None
    assert stretched is not None
    assert turned is not None
    assert stretched.area == pytest.approx(plain.area)
    assert turned.area == pytest.approx(1 - plain.area)


def test_a_perfect_a_reversed_and_a_constant_value_have_the_areas_one_zero_and_one_half() -> None:
    positive = np.arange(20) >= 12
    for values, area, found in (
        (positive.astype(float), 1.0, 1.0),
        (-positive.astype(float), 0.0, 0.0),
        (np.zeros(20), 0.5, 0.0),
    ):
        roc = roc_of(values, positive)
        assert roc is not None
        assert roc.area == area
        assert roc.true_positive_rate_at(0.0) == found
        assert roc.true_positive_rate_at(1.0) == 1.0


@pytest.mark.parametrize("rate", [0.0, 0.24, 0.25, 0.49, 0.5])
def test_a_false_positive_rate_of_exactly_what_is_allowed_is_allowed(rate: float) -> None:
    """Four negatives at 1, 2, 3, 4; a positive above three of them, and one above two."""
    values = np.array([1.0, 2, 3, 4, 3.5, 2.5])
    roc = roc_of(values, np.arange(6) >= 4)
    assert roc is not None
    expected = 0.0 if rate < 0.25 else 0.5 if rate < 0.5 else 1.0
    assert roc.true_positive_rate_at(rate) == expected


@given(of_both_classes, st.integers(-5, 5).map(float))
def test_balanced_accuracy_is_the_mean_of_two_counted_shares(data: Any, threshold: float) -> None:
    x, positive = data
    pairs = list(zip(x.tolist(), positive.tolist(), strict=True))
    right = sum(value >= threshold for value, is_one in pairs if is_one) / positive.sum()
    cleared = sum(value < threshold for value, is_one in pairs if not is_one) / (~positive).sum()
    assert balanced_accuracy(x, positive, threshold) == pytest.approx((right + cleared) / 2)


@given(of_both_classes)
def test_no_image_moves_the_brier_score_out_of_its_range(data: Any) -> None:
    x, positive = data
    stated = (x + 4) / 8
    assert 0 <= brier(stated, positive) <= 1
    assert brier(positive.astype(float), positive) == 0
    assert brier((~positive).astype(float), positive) == 1
    assert brier(stated, positive) == pytest.approx(brier(1 - stated, ~positive))
