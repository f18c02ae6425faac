"""ROC, area and Brier score: nothing made up without both classes, and right by counting."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

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
