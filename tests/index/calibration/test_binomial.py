import pytest
from scipy.stats import binomtest

from index.calibration.binomial import exact_interval


@pytest.mark.parametrize(("count", "n"), [(0, 1), (0, 30), (1, 30), (29, 30), (30, 30), (7, 400)])
def test_the_interval_is_that_of_scipy(count: int, n: int) -> None:
    low, high = binomtest(count, n).proportion_ci(0.95, "exact")
    assert exact_interval(count, n) == pytest.approx((low, high))


def test_a_share_of_a_source_lies_between_whole_ones() -> None:
    whole = [exact_interval(count, 20) for count in (3, 4)]
    between = exact_interval(3.5, 20)
    assert whole[0][0] < between[0] < whole[1][0]
    assert whole[0][1] < between[1] < whole[1][1]
