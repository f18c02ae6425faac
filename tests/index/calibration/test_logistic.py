"""Logistic regression at even odds with constrained signs, against scipy's optimiser."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from index.calibration.logistic import PRIOR_DEVIATION, balance, fit_logistic


def sample(seed: int, n: int = 80, dimension: int = 2) -> tuple[Any, Any]:
    random = np.random.default_rng(seed)
    x = random.standard_normal((n, dimension))
    slope = random.uniform(-2, 2, dimension)
    return x, random.random(n) < 1 / (1 + np.exp(-(x @ slope) + 0.5))


def cost(coefficients: Any, x: Any, positive: Any, weights: Any) -> float:
    """The penalised loss in the units of the module: a normal prior on standardised columns."""
    spread = x.std(axis=0)
    w = balance(positive, weights[None, :])[0]
    log_odds = coefficients[0] + x @ coefficients[1:]
    loss = w @ np.logaddexp(0, np.where(positive, -log_odds, log_odds))
    return float(
        loss + ((coefficients[1:] * spread) ** 2).sum() / (2 * PRIOR_DEVIATION**2 * len(x))
    )


@settings(settings.get_profile("index"), max_examples=25)
@given(st.integers(0, 10_000), st.sampled_from([(1, 1), (1, -1), (-1, -1)]))
def test_the_fit_is_the_optimum_under_the_signs(seed: int, signs: tuple[int, int]) -> None:
    x, positive = sample(seed)
    if positive.all() or not positive.any():
        return
    weights = np.random.default_rng(seed).random(len(x)) + 0.1
    (fitted,) = fit_logistic(x, positive, weights[None, :], signs)
    bounds = [(None, None), *((0, None) if sign > 0 else (None, 0) for sign in signs)]
    found = minimize(
        cost,
        np.zeros(3),
        args=(x, positive, weights),
        method="L-BFGS-B",
        bounds=bounds,
        options={"ftol": 1e-14, "gtol": 1e-10},
    )
    assert cost(fitted, x, positive, weights) <= found.fun + 1e-7
    assert (fitted[1:] * np.array(signs) >= 0).all()
    np.testing.assert_allclose(fitted, found.x, atol=2e-3)


def test_each_row_of_weights_is_a_fit_of_its_own() -> None:
    x, positive = sample(5)
    weights = np.random.default_rng(1).random((6, len(x)))
    together = fit_logistic(x, positive, weights, (1, 1))
    for row, own in zip(weights, together, strict=True):
        np.testing.assert_allclose(fit_logistic(x, positive, row[None], (1, 1))[0], own, atol=1e-7)


def test_a_weight_counts_as_often_as_the_row_is_repeated() -> None:
    x, positive = sample(8, 30, 1)
    times = np.random.default_rng(2).integers(1, 4, 30)
    weighted = fit_logistic(x, positive, times[None, :].astype(np.float64), (1,))[0]
    repeated = fit_logistic(
        np.repeat(x, times, axis=0), np.repeat(positive, times), np.ones((1, times.sum())), (1,)
    )[0]
    np.testing.assert_allclose(weighted, repeated, rtol=0.01, atol=0.01)


def test_log_odds_do_not_depend_on_how_many_images_a_class_has() -> None:
    """At even odds the log odds are a log likelihood ratio, whatever the class sizes are."""
    random = np.random.default_rng(4)
    same, different = random.normal(1, 1, 4000), random.normal(-1, 1, 4000)
    for count in (4000, 400):
        x = np.concatenate([same, different[:count]])[:, None]
        positive = np.arange(len(x)) < 4000
        constant, slope = fit_logistic(x, positive, np.ones((1, len(x))), (1,))[0]
        assert slope == pytest.approx(2.0, abs=0.25)  # of two normals: (mean + mean) / variance
        assert constant == pytest.approx(0.0, abs=0.15)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_coefficient_with_the_wrong_sign_is_zero(sign: int) -> None:
    x, positive = np.linspace(-1, 1, 40)[:, None], np.arange(40) % 40 >= 20
    _, slope = fit_logistic(x, positive, np.ones((1, 40)), (sign,))[0]
    assert (slope > 0) if sign > 0 else (slope == 0.0)


def test_separable_data_have_finite_coefficients() -> None:
    x = np.concatenate([np.full(50, -1.0), np.full(50, 1.0)])[:, None]
    constant, slope = fit_logistic(x, np.arange(100) >= 50, np.ones((1, 100)), (1,))[0]
    assert 5 < slope < 1000
    assert constant == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("positive", [np.zeros(9, np.bool_), np.ones(9, np.bool_)])
def test_one_class_alone_says_nothing(positive: Any) -> None:
    x = np.linspace(0, 1, 9)[:, None]
    assert fit_logistic(x, positive, np.ones((1, 9)), (1,)).tolist() == [[0.0, 0.0]]


def test_a_constant_column_gets_no_coefficient_of_its_own() -> None:
    x = np.column_stack([np.linspace(-1, 1, 40), np.full(40, 0.3)])
    fitted = fit_logistic(x, np.arange(40) >= 20, np.ones((1, 40)), (1, 1))[0]
    assert np.isfinite(fitted).all()
    assert fitted[2] == pytest.approx(0.0, abs=1e-6)


@settings(settings.get_profile("index"), max_examples=40)
@given(st.lists(st.booleans(), min_size=1, max_size=20), st.integers(0, 100))
def test_balanced_weights_give_each_class_one_half(classes: list[bool], seed: int) -> None:
    positive = np.array(classes)
    weights = np.random.default_rng(seed).random((3, len(classes))) + 0.01
    found = balance(positive, weights)
    if positive.all() or not positive.any():
        assert not found.any()
        return
    np.testing.assert_allclose((found * positive).sum(axis=1), 0.5)
    np.testing.assert_allclose((found * ~positive).sum(axis=1), 0.5)
    own = weights[:, positive] / weights[:, positive].sum(axis=1, keepdims=True) / 2
    np.testing.assert_allclose(found[:, positive], own)
