from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression

from index.calibration.pooling import LOG10_LIMIT, log10_of_odds, pav, pool_at

seeded = settings(settings.get_profile("index"), max_examples=60)
# Few distinct values, so that ties are the rule.
values = st.lists(
    st.sampled_from([-2.0, 0.0, 0.25]) | st.integers(-5000, 5000).map(lambda i: i / 1000),
    min_size=1,
)
labelled = values.flatmap(
    lambda x: st.tuples(st.just(x), st.lists(st.booleans(), min_size=len(x), max_size=len(x)))
)


def test_without_anything_to_pool_nothing_is_said() -> None:
    nothing, some = np.empty(0), np.array([-1.0, 1.0])
    assert pool_at(nothing, nothing.astype(bool), np.ones(2), some).tolist() == [0.5, 0.5]


@seeded
@given(labelled)
def test_pooling_adjacent_violators_is_that_of_scikit_learn_at_even_odds(data: Any) -> None:
    x, positive = np.array(data[0]), np.array(data[1])
    fitted = pav(x, positive)
    if positive.all() or not positive.any():
        assert (fitted == 0.5).all()
        return
    weights = np.where(positive, 1 / positive.sum(), 1 / (~positive).sum())
    expected = (
        IsotonicRegression(y_min=0, y_max=1).fit(x, positive, sample_weight=weights).predict(x)
    )
    np.testing.assert_allclose(fitted, expected, atol=1e-9)


@seeded
@given(labelled)
def test_with_misleading_ends_nothing_is_certain_and_nothing_falls(data: Any) -> None:
    x, positive = np.array(data[0]), np.array(data[1])
    said = pool_at(x, positive, np.ones(len(x) + 2), np.linspace(-6, 6, 50))
    assert ((said > 0) & (said < 1)).all()
    assert (np.diff(said) >= -1e-12).all()


def test_a_value_without_weight_is_as_if_it_were_not_there() -> None:
    x, positive = np.array([0.0, 1.0, 2.0, 3.0]), np.array([False, True, False, True])
    weights = np.array([1.0, 0.0, 1.0, 1.0, 1.0, 1.0])
    kept = np.array([0, 2, 3])
    at = np.linspace(-1, 4, 9)
    np.testing.assert_array_equal(
        pool_at(x, positive, weights, at), pool_at(x[kept], positive[kept], np.ones(5), at)
    )


def test_certainty_has_finite_odds() -> None:
    assert log10_of_odds(np.array([0.0, 0.5, 1.0])).tolist() == [-LOG10_LIMIT, 0.0, LOG10_LIMIT]
    assert log10_of_odds(np.array([0.9]))[0] == pytest.approx(np.log10(9))
