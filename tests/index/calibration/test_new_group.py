import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from index.calibration.new_group import (
    LEAST_SHARE,
    number_groups,
    predict_share,
    weights_by_group,
)
from index.calibration.population import CollectionName, Population


def images(generators: tuple[str | None, ...], *collections: CollectionName) -> Population:
    n = len(generators)
    return Population(
        image_ids=np.arange(n),
        sources=np.arange(n),
        vectors=np.ones((n, 1), np.float32),
        logits=np.zeros(n),
        generators=generators,
        hashes=(None,) * n,
        collections=collections,
    )


def test_a_group_is_a_generator_or_else_a_collection() -> None:
    one, other = CollectionName("reals", "camera"), CollectionName("reals", None)
    names = images(("sdxl", None, "sdxl", None, None), one, one, other, one, other)
    numbers = number_groups(names)
    assert numbers[0] == numbers[2]
    assert numbers[1] == numbers[3]
    assert len(set(numbers.tolist())) == 3
    assert set(number_groups(images((None, None))).tolist()) == {0}
    assert number_groups(images(())).shape == (0,)


def test_where_groups_do_not_differ_each_image_counts_the_same() -> None:
    values = np.tile([1.0, 2.0], 20)
    assert weights_by_group(values, np.repeat([0, 1], [30, 10])).tolist() == [1.0] * 40


def test_where_nothing_else_differs_each_group_counts_the_same() -> None:
    groups = np.repeat([0, 1, 2], [30, 6, 2])
    weights = weights_by_group(np.array([5.0, 1.0, 3.0])[groups], groups)
    assert np.bincount(groups, weights) == pytest.approx([1.0, 1.0, 1.0])


def test_one_group_and_a_single_image_count_fully() -> None:
    assert weights_by_group([1.0, 4.0], [7, 7]).tolist() == [1.0, 1.0]
    assert weights_by_group([1.0], [7]).tolist() == [1.0]


@given(
    arrays(np.float64, 24, elements=st.floats(-20, 20)),
    arrays(np.int64, 24, elements=st.integers(0, 6)),
)
def test_a_group_never_counts_more_than_its_images_nor_less_than_one(
    values: np.ndarray, groups: np.ndarray
) -> None:
    weights = weights_by_group(values, groups)
    sizes = np.bincount(groups)
    totals = np.bincount(groups, weights)
    there = sizes > 0
    assert (totals[there] <= sizes[there] + 1e-9).all()
    assert (totals[there] >= 1 - 1e-9).all()


def test_groups_that_differ_leave_more_open_than_as_many_images_of_one_kind() -> None:
    alike = predict_share([5] * 20, [50] * 20)
    unlike = predict_share([50, 50] + [0] * 18, [50] * 20)
    assert alike[1] - alike[0] < 0.2
    assert unlike[1] > 0.6
    assert unlike[0] < LEAST_SHARE


def test_more_groups_say_more_about_the_next_one() -> None:
    highs = [predict_share([0] * k, [30] * k)[1] for k in (2, 5, 10, 40)]
    assert highs == sorted(highs, reverse=True)
    assert highs[0] > 0.3
    assert highs[-1] < 0.02


@settings(max_examples=30)
@given(st.lists(st.tuples(st.integers(0, 40), st.integers(1, 40)), min_size=1, max_size=12))
def test_an_interval_lies_between_0_and_1(pairs: list[tuple[int, int]]) -> None:
    counts = [min(pair) for pair in pairs]
    low, high = predict_share(counts, [size for _, size in pairs])
    assert 0.0 <= low <= high <= 1.0


@pytest.mark.parametrize(("a", "b"), [(0.3, 9.0), (2.0, 20.0), (5.0, 5.0)])
def test_the_interval_holds_for_a_new_group_drawn_like_the_others(a: float, b: float) -> None:
    """Simulated: the shares of groups are drawn from a beta distribution, twelve are seen."""
    random = np.random.default_rng(3)
    inside = []
    for _ in range(150):
        shares = random.beta(a, b, 13)
        sizes = random.integers(10, 80, 12)
        low, high = predict_share(random.binomial(sizes, shares[:-1]), sizes)
        inside.append(low <= shares[-1] + LEAST_SHARE and shares[-1] <= high)
    assert np.mean(inside) >= 0.9
