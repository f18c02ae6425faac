"""Images as arrays: some of them, and the same ones after a delivery."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from index.calibration.population import CollectionName, Population, join_populations
from index.truth.perceptual import PerceptualHash

N = 8


def population(*, with_collections: bool = True) -> Population:
    random = np.random.default_rng(0)
    return Population(
        image_ids=np.array([40, 10, 30, 20, 80, 60, 70, 50]),
        sources=np.arange(N) // 2,
        vectors=random.standard_normal((N, 3)).astype(np.float32),
        logits=random.standard_normal(N),
        generators=tuple(f"g{i % 3}" if i else None for i in range(N)),
        hashes=tuple(PerceptualHash(bytes([i]) * 32, 100) if i % 2 else None for i in range(N)),
        collections=tuple(CollectionName("c", f"s{i % 2}") for i in range(N))
        if with_collections
        else (),
    )


def described(some: Population) -> list[Any]:
    return [
        (
            int(some.image_ids[i]),
            int(some.sources[i]),
            some.vectors[i].tolist(),
            float(some.logits[i]),
            some.generators[i],
            some.hashes[i],
            some.collections[i] if some.collections else None,
        )
        for i in range(len(some))
    ]


@settings(settings.get_profile("index"), max_examples=60)
@given(st.lists(st.integers(0, N - 1), max_size=12), st.booleans())
def test_taking_rows_takes_every_column(rows: list[int], with_collections: bool) -> None:
    whole = population(with_collections=with_collections)
    some = whole.taking(np.array(rows, np.int64))
    assert len(some) == len(rows)
    assert described(some) == [described(whole)[row] for row in rows]


@settings(settings.get_profile("index"), max_examples=60)
@given(st.sets(st.integers(1, 9)))
def test_a_delivery_changes_vectors_and_logits_of_the_images_that_it_has(ids: set[int]) -> None:
    whole, image_ids = population(), np.array(sorted(ids), np.int64) * 10
    vectors = np.arange(3 * len(ids), dtype=np.float32).reshape(-1, 3)
    logits = np.arange(len(ids), dtype=np.float64)
    found = whole.as_delivered(image_ids, vectors, logits)
    kept = [i for i in range(N) if int(whole.image_ids[i]) in image_ids]
    assert found.image_ids.tolist() == whole.image_ids[kept].tolist()
    for row, i in enumerate(kept):
        place = image_ids.tolist().index(int(whole.image_ids[i]))
        assert found.vectors[row].tolist() == vectors[place].tolist()
        assert found.logits[row] == logits[place]
        assert found.generators[row] == whole.generators[i]
        assert found.sources[row] == whole.sources[i]
        assert found.hashes[row] == whole.hashes[i]


def test_populations_are_joined_in_their_order() -> None:
    whole = population()
    parts = [whole.taking(np.array(rows, np.int64)) for rows in ([0, 1, 2], [], [3], [4, 5, 6, 7])]
    assert described(join_populations(*parts)) == described(whole)
    assert described(join_populations(*parts[1:2])) == []
    unnamed = population(with_collections=False)
    assert join_populations(whole, unnamed).collections == ()


def test_images_that_came_with_a_model_have_ids_below_zero() -> None:
    whole = population()
    assert not whole.is_shipped.any()
    shipped = replace(whole, image_ids=-whole.image_ids)
    assert join_populations(whole, shipped).is_shipped.tolist() == [False] * N + [True] * N


def test_the_hashes_of_rows_are_those_of_the_images() -> None:
    whole = population()
    assert list(whole.hashes_of(slice(2, 5))) == list(whole.hashes[2:5])


def test_collections_are_sorted_by_corpus_and_source_without_a_source_first() -> None:
    names = [CollectionName("b", None), CollectionName("a", "z"), CollectionName("a", None)]
    assert sorted(names, key=lambda each: each.key) == [names[2], names[1], names[0]]


def test_a_population_does_not_change() -> None:
    whole = population()
    with pytest.raises(AttributeError):
        whole.logits = np.zeros(N)  # type: ignore[misc]
    before = described(whole)
    whole.as_delivered(np.array([10]), np.zeros((1, 3), np.float32), np.zeros(1))
    assert described(whole) == before
