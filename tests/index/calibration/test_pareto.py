"""The generalised Pareto tail against scipy's distribution of that name."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import genpareto

from index.calibration.pareto import (
    MIN_EXCEEDANCES,
    SHAPE_LIMITS,
    SHAPE_PRIOR,
    Tails,
    fit_tails,
)
from index.calibration.resampling import draw_weights

Floats = np.ndarray[tuple[int, ...], np.dtype[np.float64]]


def tail(shape: float, scale: float = 0.4, share: float = 0.05, u: float = 0.6) -> Tails:
    return Tails(u, u, np.array([share]), np.array([shape]), np.array([scale]))


def as_similarities(y: Floats) -> Floats:
    return 1 - np.exp(-y)


@pytest.mark.parametrize("shape", [-0.15, 1e-9, 0.2, 0.5])
def test_rates_are_those_of_scipy_s_distribution(shape: float) -> None:
    at = np.linspace(0.61, 0.999, 50)
    beyond = np.log(1 - 0.6) - np.log(1 - at)  # y - y_u
    expected = 0.05 * genpareto.sf(beyond, shape, scale=0.4)
    np.testing.assert_allclose(tail(shape).rates(at)[0], expected, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("shape", [-0.15, 1e-9, 0.2, 0.5])
def test_similarities_at_rates_are_scipy_s_quantiles(shape: float) -> None:
    similarities = tail(shape).similarities_at(20, 1e-4)
    rates = np.geomspace(0.05, 1e-4, 21)[1:]
    y = -np.log(1 - 0.6) + genpareto.isf(rates / 0.05, shape, scale=0.4)
    np.testing.assert_allclose(similarities, np.minimum(as_similarities(y), 1 - 1e-6), rtol=1e-6)


@pytest.mark.parametrize(("shape", "scale"), [(-0.1, 0.3), (0.1, 0.2), (0.3, 0.1)])
def test_a_fit_by_moments_agrees_with_scipy_s_fit_by_likelihood(shape: float, scale: float) -> None:
    """Of 40,000 values the tail has some 600, so that a shape is known to about 0.05."""
    y = genpareto.rvs(shape, scale=scale, size=40_000, random_state=np.random.default_rng(11))
    x = np.sort(as_similarities(y))
    fitted = fit_tails(x, np.full((1, len(x)), 1 / len(x)), len(x))
    assert fitted is not None
    above = x[x > fitted.fitted_above]
    z = np.log(1 - fitted.fitted_above) - np.log(1 - above)
    expected, _, _ = genpareto.fit(z, floc=0)
    # The estimate is shrunk towards 0 as if SHAPE_PRIOR more values had a shape of 0.
    assert fitted.shapes[0] * (len(z) + SHAPE_PRIOR) / len(z) == pytest.approx(expected, abs=0.1)
    far = np.quantile(x, 0.9995)
    assert fitted.rates(np.array([far]))[0, 0] == pytest.approx(0.0005, rel=0.4)


def sorted_similarities(n: int, seed: int, shape: float = 0.1) -> Floats:
    y = genpareto.rvs(shape, scale=0.2, size=n, random_state=np.random.default_rng(seed))
    return np.sort(as_similarities(y))


def uniform(n: int) -> Floats:
    return np.full((1, n), 1 / n)


@pytest.mark.parametrize("n", [1, 10, 2 * MIN_EXCEEDANCES - 1])
def test_too_few_sources_have_no_tail(n: int) -> None:
    assert fit_tails(sorted_similarities(n, 1), uniform(n), n) is None


def test_equal_similarities_have_no_tail() -> None:
    assert fit_tails(np.full(200, 0.7), uniform(200), 200) is None


def test_many_versions_of_few_sources_have_no_tail() -> None:
    """A tail needs ten sources beyond it, however many images are made of each."""
    x = np.sort(np.repeat(sorted_similarities(15, 2), 100))
    assert fit_tails(x, uniform(len(x)), 15) is None


@settings(settings.get_profile("index"), max_examples=40)
@given(seed=st.integers(0, 9999), n=st.integers(40, 400))
def test_a_tail_begins_at_its_share_and_falls(seed: int, n: int) -> None:
    x = sorted_similarities(n, seed)
    resampled = draw_weights(np.arange(n), 5, seed)
    tails = fit_tails(x, resampled, n)
    assert tails is not None
    assert tails.fitted_above <= tails.u < x[-1]
    data = tails.of_data(x)
    assert data.exceedances == MIN_EXCEEDANCES == int((x > tails.u).sum())
    assert data.share == pytest.approx(MIN_EXCEEDANCES / n)
    assert tails.shares[1:] == pytest.approx(resampled[1:, x > tails.u].sum(axis=1))
    at = np.linspace(tails.u, 0.999999, 60)
    rates = tails.rates(at)
    assert rates[:, 0] == pytest.approx(tails.shares)
    assert (np.diff(rates, axis=1) <= 0).all()
    assert (rates >= 0).all()
    low, high = SHAPE_LIMITS
    assert low <= data.shape <= high


@settings(settings.get_profile("index"), max_examples=30)
@given(seed=st.integers(0, 9999))
def test_rates_and_similarities_are_inverse(seed: int) -> None:
    x = sorted_similarities(200, seed)
    tails = fit_tails(x, uniform(200), 200)
    assert tails is not None
    similarities = tails.similarities_at(30, 1e-5)
    expected = np.geomspace(tails.shares[0], 1e-5, 31)[1:]
    reachable = similarities < 1 - 2e-6  # below the rounding error of float32 vectors
    np.testing.assert_allclose(
        tails.rates(similarities[reachable])[0], expected[reachable], rtol=1e-4
    )
    assert (np.diff(similarities) >= 0).all()
