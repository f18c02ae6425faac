import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from index.calibration.retrieval import (
    Ranking,
    average_precision,
    rankings_of_lists,
    rankings_of_matrix,
)
from index.calibration.retrieval import retrieval_figures as figures_of

seeded = settings(settings.get_profile("index"), max_examples=40)


def test_probes_without_a_relevant_entry_are_not_counted() -> None:
    found = figures_of(rankings_of_matrix([[0.5]], ["sdxl"], ["flux"]))
    assert found.mean is None
    assert found.by_label == {}
    assert figures_of([]).mean is None


def test_a_matrix_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match="a row for each probe"):
        rankings_of_matrix([[0.5, 0.1]], ["sdxl"], ["flux"])


def test_an_entry_of_an_untold_generator_is_never_relevant() -> None:
    (ranking,) = rankings_of_matrix([[0.9, 0.8]], [""], [None, ""])
    assert ranking.relevant.tolist() == [False, True]


def test_ties_put_the_irrelevant_first() -> None:
    (ranking,) = rankings_of_matrix([[0.9, 0.9, 0.1]], ["a"], ["a", "b", "a"])
    assert ranking.relevant.tolist() == [False, True, True]
    (listed,) = rankings_of_lists([[(0.9, "a"), (0.9, "b")]], ["a"], {"a": 2})
    assert listed.relevant.tolist() == [False, True]


def test_average_precision_is_the_mean_of_the_precisions_where_something_relevant_stands() -> None:
    assert average_precision(Ranking("a", np.array([True, False, True]), 2)) == pytest.approx(
        (1 + 2 / 3) / 2
    )
    # Of 5 relevant entries a list of 3 could hold 3.
    assert average_precision(Ranking("a", np.array([True, False, True]), 5)) == pytest.approx(
        (1 + 2 / 3) / 3
    )


@seeded
@given(st.integers(0, 2**32 - 1))
def test_the_figures_do_not_depend_on_the_order_of_the_entries(seed: int) -> None:
    rng = np.random.default_rng(seed)
    similarities = rng.integers(0, 5, (6, 12)) / 4
    probes, entries = rng.choice(["a", "b", "c"], 6), rng.choice(["a", "b", "c"], 12)
    order = rng.permutation(12)
    first = figures_of(rankings_of_matrix(similarities, probes.tolist(), entries.tolist()))
    second = figures_of(
        rankings_of_matrix(similarities[:, order], probes.tolist(), entries[order].tolist())
    )
    assert first == second


def test_figures_are_of_each_label_and_of_all() -> None:
    similarities = np.array([[0.9, 0.5, 0.4], [0.2, 0.9, 0.8]])
    exclude = np.array([[True, False, False], [False, False, False]])
    found = figures_of(
        rankings_of_matrix(similarities, ["a", "b"], ["a", "b", "a"], exclude=exclude), ks=(1, 2)
    )
    assert found.mean is not None
    assert found.mean.n == 2
    assert found.by_label["a"].precision_at_1 == 0
    assert found.by_label["a"].recall_at_k == {1: 0.0, 2: 1.0}
    assert found.by_label["b"].mean_average_precision == 1
    assert found.mean.precision_at_1 == 0.5
    assert found.mean.mean_average_precision == pytest.approx(0.75)
