"""Whether stated rates hold for collections that were left out."""

from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest

from index.calibration.across_collections import group_images
from index.calibration.checking import (
    CHECKED_RATES,
    MIN_COLLECTIONS,
    StratumCheck,
    check_rates,
    count_interval,
)


def check(centres: Any, size: int = 40, *, seed: int = 1) -> StratumCheck | None:
    """Collections of normal similarities around these centres."""
    random = np.random.default_rng(seed)
    names = np.repeat(np.arange(len(centres)), size)
    x = np.asarray(centres)[names] + 0.1 * random.normal(size=len(names))
    return check_rates(x, group_images(names.tolist(), np.arange(len(names))))


def test_too_few_collections_are_not_checked() -> None:
    assert check([0.0] * (MIN_COLLECTIONS - 1)) is None
    assert check([0.0] * MIN_COLLECTIONS) is not None


@pytest.mark.parametrize("spread", [0.0, 0.05, 0.1])
def test_collections_of_one_kind_hold_however_much_they_differ(spread: float) -> None:
    centres = spread * np.random.default_rng(2).normal(size=12)
    found = check(centres)
    assert found is not None
    assert (found.collections, found.rates) == (12, 12 * len(CHECKED_RATES))
    assert found.holds
    assert found.inside >= 0.9 * found.rates


def test_a_collection_unlike_all_others_is_outside() -> None:
    found = check([0.0] * 7 + [0.5])
    assert found == StratumCheck(holds=False, collections=8, rates=24, inside=21)


def test_each_delivery_of_a_left_out_collection_is_counted() -> None:
    """Of seven collections and one unlike them after one of two deliveries."""
    random = np.random.default_rng(5)
    names = np.tile(np.repeat(np.arange(8), 40), 2)
    x = 0.1 * random.normal(size=len(names))
    x[-40:] += 0.5
    deliveries = np.repeat(["as_is", "half"], 8 * 40).tolist()
    sources = np.tile(np.arange(8 * 40), 2)
    found = check_rates(x, group_images(names.tolist(), sources, deliveries))
    assert found == StratumCheck(holds=True, collections=8, rates=48, inside=45)


@pytest.mark.parametrize(("matches", "n"), [(0, 5), (5, 5), (1, 40), (17, 56), (3, 1000)])
def test_the_interval_of_a_count_is_the_exact_one(matches: int, n: int) -> None:
    low, high = count_interval(np.array(float(matches)), np.array(float(n)))
    exact = binomtest(matches, n).proportion_ci(0.95, "exact")
    assert (float(low), float(high)) == pytest.approx((exact.low, exact.high), abs=1e-6)
