"""Score normalisation: what is near to everything is worth less, and nobody's order changes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from embedder.copies.normalisation import find_bias, normalise


def draw(seed: int, count: int, dimension: int = 8) -> NDArray[np.float32]:
    vectors = np.random.default_rng(seed).standard_normal((count, dimension))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def test_no_background_vector_at_all_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        find_bias(draw(0, 2), draw(1, 3), nearest=0)


def test_without_a_background_nothing_changes() -> None:
    bias = find_bias(draw(0, 3), np.empty((0, 8), np.float32))
    similarities = np.array([0.1, 0.5, 0.9], np.float32)
    assert np.array_equal(normalise(similarities, bias), similarities)


@given(st.integers(0, 2_500), st.integers(1, 30), st.integers(1, 40))
def test_the_bias_is_the_mean_of_the_nearest(probes: int, background: int, nearest: int) -> None:
    vectors, others = draw(0, min(probes, 1_100)), draw(1, background)
    expected = [
        np.sort(others @ vector)[::-1][: min(nearest, background)].mean() for vector in vectors
    ]
    assert np.allclose(find_bias(vectors, others, nearest), expected, atol=1e-6)


@given(st.integers(0, 1_000), st.floats(0, 2))
def test_the_order_of_a_probes_neighbours_stays(seed: int, weight: float) -> None:
    probes, entries, background = draw(seed, 3), draw(seed + 1, 20), draw(seed + 2, 10)
    similarities = probes @ entries.T  # (n, k)
    normalised = normalise(similarities, find_bias(probes, background), weight)
    assert normalised.shape == similarities.shape
    assert np.array_equal(normalised.argmax(axis=1), similarities.argmax(axis=1))


def test_a_probe_that_is_near_to_everything_falls_behind_one_that_is_near_to_one() -> None:
    common = draw(3, 1)[0]
    crowd = draw(4, 60) * np.float32(0.4) + common
    crowd /= np.linalg.norm(crowd, axis=1, keepdims=True)
    background, entries = crowd[:50], crowd[50:]
    alone = draw(9, 1)[0]
    probes = np.stack([common, alone])
    found = np.stack([(probes[0] @ entries.T).max(), np.float32(0.85)])
    assert found[0] > found[1]
    normalised = normalise(found, find_bias(probes, background))
    assert normalised[0] < normalised[1]
