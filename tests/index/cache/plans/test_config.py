"""The numbers that an index is built with."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from index.cache.plans.config import MOST_TRAINING_ROWS, TRAINING_ROWS_PER_LIST, IndexConfig


@pytest.mark.parametrize(
    ("rows", "lists"),
    [(0, 1), (1, 1), (100, 8), (20_000, 128), (1_000_000, 1024), (10**9, 4096)],
)
def test_lists_are_about_the_square_root_of_the_rows(rows: int, lists: int) -> None:
    assert IndexConfig().lists_for(rows) == lists


@given(st.integers(1, 10**8))
def test_lists_are_a_power_of_two_and_rarely_change(rows: int) -> None:
    lists = IndexConfig().lists_for(rows)
    assert lists & (lists - 1) == 0
    assert lists <= IndexConfig().lists_for(rows + 1) <= 2 * lists
    assert lists == 4096 or 0.5 <= lists / rows**0.5 <= 2


@given(st.integers(1, 10**8))
def test_training_takes_enough_rows_for_each_list_and_no_more_than_there_are(rows: int) -> None:
    config = IndexConfig()
    taken = config.training_rows(rows)
    assert taken <= rows
    wanted = TRAINING_ROWS_PER_LIST * config.lists_for(rows)
    assert taken == rows or taken >= min(wanted, MOST_TRAINING_ROWS)
    assert taken <= MOST_TRAINING_ROWS
