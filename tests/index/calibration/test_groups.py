import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from index.calibration.groups import fold_groups, number_groups, weights_by_group
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


@given(arrays(np.int64, 30, elements=st.integers(0, 12)), st.integers(1, 5))
def test_no_group_is_in_two_folds_and_the_largest_have_one_each(
    groups: np.ndarray, most: int
) -> None:
    folds = fold_groups(groups, most)
    assert folds.max() < most
    sizes = {group: int((groups == group).sum()) for group in set(groups.tolist())}
    of_group = {group: set(folds[groups == group].tolist()) for group in sizes}
    assert all(len(each) == 1 for each in of_group.values())
    largest = sorted(sizes, key=lambda group: (-sizes[group], group))[:most]
    assert len(set.union(*(of_group[group] for group in largest))) == len(largest)
