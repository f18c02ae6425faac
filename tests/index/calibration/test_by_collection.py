import json
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from index.calibration.by_collection import (
    LEAST_KEPT,
    MIN_IMAGES,
    MOST_COLLECTIONS,
    CollectionMatches,
    by_collection,
)
from index.calibration.population import CollectionName

ONE, OTHER = CollectionName("reals", "camera"), CollectionName("reals", None)
SIMILARITIES = arrays(np.float64, st.integers(MIN_IMAGES, LEAST_KEPT), elements=st.floats(-1, 1))


def halves(n: int) -> list[CollectionName]:
    return [ONE, OTHER] * n


def test_one_collection_or_small_ones_beside_it_say_nothing() -> None:
    small = [CollectionName("reals", f"photographer {number}") for number in range(MIN_IMAGES - 1)]
    assert by_collection(np.zeros(0), []) == ()
    assert by_collection(np.zeros(MIN_IMAGES), [ONE] * MIN_IMAGES) == ()
    assert by_collection(np.zeros(2 * MIN_IMAGES - 1), [ONE] * MIN_IMAGES + small) == ()


def test_of_very_many_collections_the_largest_are_kept() -> None:
    names = [
        CollectionName("reals", f"{number:02}")
        for number in range(MOST_COLLECTIONS + 3)
        for _ in range(MIN_IMAGES)
    ]
    names += names[-1:] * 5
    found = by_collection(np.zeros(len(names)), names)
    assert len(found) == MOST_COLLECTIONS
    assert found[-1] == CollectionMatches(names[-1], MIN_IMAGES + 5, (0.0,) * (MIN_IMAGES + 5))
    assert [each.collection for each in found] == sorted({each.collection for each in found})


def test_more_matches_than_are_kept_are_not_guessed() -> None:
    n = LEAST_KEPT + 1
    first, _ = by_collection(np.repeat(np.linspace(0, 1, n), 2), halves(n))
    assert first.n == n
    assert first.matches_at(0.0) is None
    assert first.matches_at(1 / LEAST_KEPT) is None  # all that are kept reach it: there may be more
    assert first.matches_at(2 / LEAST_KEPT) == LEAST_KEPT - 1
    many, _ = by_collection(np.repeat(np.linspace(0, 1, 8 * LEAST_KEPT), 2), halves(8 * LEAST_KEPT))
    assert many.matches_at(0.9) == round(0.8 * LEAST_KEPT)
    assert many.matches_at(0.7) is None


@given(SIMILARITIES, SIMILARITIES, st.floats(-1, 1), st.integers(0, 2**32 - 1))
def test_what_came_near_is_counted_whatever_the_order_of_the_images(
    one: Any, other: Any, similarity: float, seed: int
) -> None:
    one, other, similarity = one.round(6), other.round(6), round(similarity, 6)
    maxima, names = np.concatenate([one, other]), [ONE] * len(one) + [OTHER] * len(other)
    order = np.random.default_rng(seed).permutation(len(maxima))
    found = by_collection(maxima, names)
    assert by_collection(maxima[order], [names[place] for place in order]) == found
    assert {each.collection: each.matches_at(similarity) for each in found} == {
        ONE: int((one >= similarity).sum()),
        OTHER: int((other >= similarity).sum()),
    }
    assert {each.collection: each.n for each in found} == {ONE: len(one), OTHER: len(other)}
    assert (
        tuple(CollectionMatches.from_json(json.loads(json.dumps(each.to_json()))) for each in found)
        == found
    )
