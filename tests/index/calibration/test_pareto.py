"""The generalised Pareto tail against scipy's distribution of that name."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import genpareto

from index.calibration.pareto import SHAPE_PRIOR, Tails, fit_tails

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
    # The estimate is drawn to 0 as if SHAPE_PRIOR more values had said so.
    assert fitted.shapes[0] * (len(z) + SHAPE_PRIOR) / len(z) == pytest.approx(expected, abs=0.1)
    far = np.quantile(x, 0.9995)
    assert fitted.rates(np.array([far]))[0, 0] == pytest.approx(0.0005, rel=0.4)
