"""No number contradicts the sentence that it stands in."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.lookups.answers.numbers import MOST_DIGITS, count_digits, percent, percent_at_most, times

shares = st.floats(0, 1)
values = st.floats(-1, 1) | st.floats(-40, 40)


@pytest.mark.parametrize(
    ("share", "words", "bound"),
    [
        (0.0, "0 %", "0 %"),
        (9e-6, "under 0.001 %", "under 0.001 %"),
        (1e-5, "0.001 %", "0.001 %"),
        (0.00369, "0.37 %", "0.37 %"),
        (0.0102, "1 %", "1.1 %"),
        (0.0777, "7.8 %", "7.8 %"),
        (0.0996, "10 %", "10 %"),
        (0.604, "60 %", "61 %"),
        (0.948, "95 %", "95 %"),
        (0.9902, "99 %", "99.1 %"),
        (0.994, "99 %", "99.4 %"),
        (0.997, "99.7 %", "99.7 %"),
        (0.9975, "99.8 %", "99.8 %"),
        (0.99996, "99.996 %", "99.996 %"),
        (0.999999, "over 99.999 %", "100 %"),
        (1.0, "100 %", "100 %"),
    ],
)
def test_a_percentage_has_two_digits_that_mean_something(
    share: float, words: str, bound: str
) -> None:
    assert (percent(share), percent_at_most(share)) == (words, bound)


def value_of(words: str) -> float:
    found = re.search(r"[\d.]+", words)
    assert found is not None
    return float(found[0]) / 100


@given(share=shares)
def test_only_none_is_0_percent_and_only_all_are_100_percent(share: float) -> None:
    words = percent(share)
    assert (words == "0 %") == (share == 0)
    assert (words == "100 %") == (share == 1)
    if not words.startswith(("under", "over")):
        assert value_of(words) == pytest.approx(share, rel=0.051, abs=1e-12)


@given(share=shares)
def test_an_upper_bound_is_never_rounded_down(share: float) -> None:
    words = percent_at_most(share)
    assert value_of(words) >= share - 1e-11
    if share > 1e-5:
        assert value_of(words) <= min(1.0, share * 1.11 + 1e-9)


@pytest.mark.parametrize(
    ("ratio", "words"),
    [(1.0, "1"), (1.04, "1"), (1.55, "1.6"), (9.96, "10"), (25.4, "25"), (1234.0, "1,200")],
)
def test_a_ratio_has_two_digits(ratio: float, words: str) -> None:
    assert times(ratio) == words


@given(pairs=st.lists(st.tuples(values, values), max_size=5), least=st.integers(0, 4))
def test_printed_values_stand_on_the_side_of_their_limit(
    pairs: list[tuple[float, float]], least: int
) -> None:
    """Two doubles that are nearer than 17 decimals can show are printed alike; none are that near
    among similarities, which are rounded to 12.
    """
    digits = count_digits(pairs, least)
    assert least <= digits <= MOST_DIGITS
    for value, limit in pairs:
        shown, shown_limit = float(f"{value:.{digits}f}"), float(f"{limit:.{digits}f}")
        if abs(value - limit) > 1e-15:
            assert (shown < shown_limit) == (value < limit)
            assert (shown > shown_limit) == (value > limit)


def test_no_more_decimals_are_printed_than_are_needed() -> None:
    assert count_digits([], 4) == 4
    assert count_digits([(0.5, 0.5), (0.7, 0.6)], 4) == 4
    assert count_digits([(0.99312, 0.99314)], 4) == 5  # 0.9931 beside 0.9931 would read as equal
    assert count_digits([(0.99306, 0.99314), (0.7, 0.99314)], 4) == 5
    assert count_digits([(0.993049, 0.993051)], 4) == 4  # 0.9930 and 0.9931
