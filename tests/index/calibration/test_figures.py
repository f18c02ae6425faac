from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score, roc_curve

from index.calibration.figures import (
    balanced_accuracy,
    brier,
    cllr,
    cllr_min,
    ece,
    even_odds,
    log_loss,
    open_set_auroc,
    reliability,
    roc,
    roc_auc,
    tippett,
    tpr_at_fpr,
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


def test_what_needs_both_classes_is_not_made_up_without_one() -> None:
    for figure in (roc, roc_auc, open_set_auroc):
        assert figure([1.0, 2.0], [True, True]) is None
        assert figure([], []) is None
    assert tpr_at_fpr([1.0], [False], 0.01) is None
    assert balanced_accuracy([1.0], [False], 0) is None
    assert cllr([], [1.0]) is None
    assert cllr_min([1.0], []) is None
    assert tippett([], []) is None
    assert reliability([], []) is None
    assert brier([], []) is None
    assert log_loss([], []) is None


def test_a_value_that_is_not_a_number_is_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        roc_auc([float("nan"), 1.0], [True, False])
    with pytest.raises(ValueError, match="labels"):
        roc_auc([1.0], [True, False])


@seeded
@given(labelled)
def test_the_area_and_the_curve_are_those_of_scikit_learn(data: Any) -> None:
    x, positive = data
    area = roc_auc(x, positive)
    if area is None:
        assert len(set(positive)) == 1
        return
    assert area == pytest.approx(roc_auc_score(positive, x))
    curve = roc(x, positive)
    assert curve is not None
    fpr, tpr, _ = roc_curve(positive, x, drop_intermediate=False)
    np.testing.assert_allclose(curve.false_positive_rate, fpr)
    np.testing.assert_allclose(curve.true_positive_rate, tpr)


@seeded
@given(labelled, st.floats(0, 1))
def test_the_true_positive_rate_at_a_false_positive_rate_is_reached_by_a_threshold(
    data: Any, fpr: float
) -> None:
    x, positive = np.array(data[0]), np.array(data[1])
    rate = tpr_at_fpr(x, positive, fpr)
    if rate is None:
        return
    reached = [
        (x[positive] >= t).mean() for t in [*x, np.inf] if (x[~positive] >= t).mean() <= fpr
    ]  # inf calls nothing positive
    assert rate == pytest.approx(max(reached))


def test_balanced_accuracy_weighs_the_classes_alike() -> None:
    assert balanced_accuracy([1, 1, 1, 0, 1], [True, True, True, True, False], 1) == pytest.approx(
        (0.75 + 0.0) / 2
    )


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
