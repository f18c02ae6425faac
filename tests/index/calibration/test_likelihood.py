import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm
from sklearn.linear_model import LogisticRegression

from index.calibration.figures import cllr, cllr_min
from index.calibration.likelihood import (
    Likelihood,
    LikelihoodVariant,
    elub,
    fit_likelihood,
    fit_two_sided,
)
from index.calibration.logistic import fit_logistic

seeded = settings(settings.get_profile("index"), max_examples=5)
similarities = st.lists(
    st.sampled_from([-1.0, 0.0, 0.5, 1.0]) | st.floats(-1, 1), min_size=1, max_size=25
)


def fit(same: Any, different: Any) -> Likelihood:
    """Even numbers of sources are shared by both sides, as of a photograph and its counterpart."""
    return fit_likelihood(same, different, np.arange(len(same)), np.arange(len(different)), seed=5)


def fit_both(same: Any, different: Any) -> Likelihood:
    return fit_two_sided(same, different, np.arange(len(same)), np.arange(len(different)), seed=5)


def normal_pairs(rng: np.random.Generator, n: int, shift: float) -> tuple[Any, Any]:
    return rng.normal(0.5 + shift / 10, 0.1, n), rng.normal(0.5, 0.1, n)


def test_a_side_without_similarities_or_one_that_is_not_a_number_is_refused() -> None:
    for same, different in (([], [0.1]), ([0.1], []), ([float("nan")], [0.1])):
        with pytest.raises(ValueError, match="both sides"):
            fit(same, different)


def test_a_ratio_of_another_number_of_similarities_is_refused() -> None:
    with pytest.raises(ValueError, match="needs 1 similarities, not 2"):
        fit([0.5], [0.1]).ratio_at((0.5, 0.1))


def test_a_fit_that_comes_out_the_wrong_way_round_says_nothing() -> None:
    nearer, further = normal_pairs(np.random.default_rng(1), 200, 2.0)
    model = fit(further, nearer)
    assert model.cllr >= 0.99
    for similarity in (0.2, 0.5, 0.9):
        assert model.ratio_at(similarity).log10 == pytest.approx(0, abs=0.05)


def test_nothing_is_learned_from_one_pair_a_side() -> None:
    model = fit([0.9], [0.1])
    ratio = model.ratio_at(0.9)
    assert ratio.log10 == pytest.approx(0)
    assert ratio.bounded


def test_no_ratio_is_larger_than_the_sources_can_support() -> None:
    same, different = np.linspace(0.8, 0.9, 30), np.linspace(0.1, 0.2, 30)
    model = fit(same, different)
    low, high = model.log10_bounds
    assert 0 < high <= np.log10(31)
    assert -np.log10(31) <= low < 0
    assert model.ratio_at(1.0).log10 == high
    assert model.ratio_at(1.0).bounded
    ten_times = fit_likelihood(
        np.repeat(same, 10),
        np.repeat(different, 10),
        np.repeat(np.arange(30), 10),
        np.repeat(np.arange(30), 10),
        seed=5,
    )
    assert ten_times.log10_bounds[1] <= np.log10(
        31
    )  # versions of a photograph support no more than the photograph
    assert (ten_times.n_same, ten_times.n_sources_same) == (300, 30)


def test_the_bounds_are_where_the_cost_of_acting_meets_the_cost_of_ignoring() -> None:
    log10 = np.array([-5.0] * 99 + [5.0] * 99)
    same = np.arange(198) >= 99
    low, high = elub(log10, same, np.arange(198))
    # With one misleading source of 100 a side: FNR = FPR = 1/100, and 1/100 + t/100 = 1 at t = 99.
    assert high == pytest.approx(np.log10(99), abs=0.01)
    assert low == pytest.approx(-np.log10(99), abs=0.01)
    assert elub(-log10, same, np.arange(198)) == (0.0, 0.0)


@seeded
@given(similarities, similarities)
def test_any_similarities_give_ratios_within_bounds_that_never_fall(
    same: Any, different: Any
) -> None:
    model = fit(same, different)
    low, high = model.log10_bounds
    assert low <= 0 <= high
    ratios = [model.ratio_at(float(s)) for s in np.linspace(-1, 1, 41)]
    assert all(low <= r.low <= r.log10 <= r.high <= high for r in ratios)
    assert (np.diff([r.log10 for r in ratios]) >= 0).all()
    assert 0 <= model.cllr_min <= model.cllr + 1e-9
    assert model.cllr == min(model.cllr_of_variants.values())


@seeded
@given(
    st.lists(st.tuples(st.floats(-1, 1), st.floats(-1, 1)), min_size=2, max_size=20),
    st.floats(-1, 1),
)
def test_two_sided_ratios_rise_with_the_nearest_fake_and_fall_with_the_nearest_real(
    pairs: Any, other: float
) -> None:
    half = len(pairs) // 2
    model = fit_both(pairs[:half], pairs[half:])
    at = np.linspace(-1, 1, 21)
    assert (np.diff([model.ratio_at((s, other)).log10 for s in at]) >= 0).all()
    assert (np.diff([model.ratio_at((other, s)).log10 for s in at]) <= 0).all()


@seeded
@given(similarities, similarities, st.randoms(use_true_random=False))
def test_the_order_does_not_matter_and_what_was_stored_says_the_same(
    same: Any, different: Any, random: Any
) -> None:
    model = fit(same, different)
    order = list(range(len(same)))
    random.shuffle(order)
    shuffled = fit_likelihood(
        np.array(same)[order], different, np.array(order), np.arange(len(different)), seed=5
    )
    assert shuffled == model
    again = Likelihood.from_json(json.loads(json.dumps(model.to_json(), allow_nan=False)))
    assert again == model
    assert [again.ratio_at(s) for s in (-1, 0.4, 1)] == [model.ratio_at(s) for s in (-1, 0.4, 1)]


def test_ratios_of_normal_similarities_are_near_the_true_ones() -> None:
    same, different = normal_pairs(np.random.default_rng(3), 500, 1.5)
    model = fit(same, different)
    for similarity in (0.45, 0.55, 0.65, 0.75):
        true = (norm.logpdf(similarity, 0.65, 0.1) - norm.logpdf(similarity, 0.5, 0.1)) / np.log(10)
        assert model.ratio_at(similarity).log10 == pytest.approx(true, abs=0.2)
    assert model.variant is LikelihoodVariant.LOGISTIC
    assert model.cllr - model.cllr_min < 0.02


def test_the_cost_that_is_stated_is_that_on_new_sources() -> None:
    rng = np.random.default_rng(4)
    model = fit(*normal_pairs(rng, 500, 1.0))
    same, different = (
        [model.ratio_at(s).log10 for s in side] for side in normal_pairs(rng, 2000, 1.0)
    )
    assert cllr(same, different) == pytest.approx(model.cllr, abs=0.04)
    least = cllr_min(same, different)
    assert least is not None
    assert least < 1


def test_the_second_side_adds_what_it_knows() -> None:
    rng = np.random.default_rng(6)
    same = np.column_stack([rng.normal(0.6, 0.1, 250), rng.normal(0.4, 0.1, 250)])
    different = np.column_stack([rng.normal(0.5, 0.1, 250), rng.normal(0.5, 0.1, 250)])
    assert fit_both(same, different).cllr < fit(same[:, 0], different[:, 0]).cllr - 0.05


def test_coefficients_are_those_of_weighted_logistic_regression() -> None:
    rng = np.random.default_rng(7)
    positive = rng.random(300) < 0.3
    x = rng.normal(positive[:, None] * [0.8, -0.5], 1.0)
    (fitted,) = fit_logistic(x, positive, np.ones((1, 300)), (1, -1))
    reference = LogisticRegression(C=np.inf, class_weight="balanced", tol=1e-10, max_iter=1000).fit(
        x, positive
    )
    np.testing.assert_allclose(fitted, [*reference.intercept_, *reference.coef_[0]], atol=1e-3)
