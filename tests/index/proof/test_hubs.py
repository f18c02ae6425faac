import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import poisson, skew

from index.calibration.others import Pairs
from index.proof.hubs import HUB_CHANCE, Clusters, find_fakes_that_look_real, find_hubs
from index.truth.corpora import CorpusKind

FAKE, REAL = CorpusKind.KNOWN_FAKE, CorpusKind.KNOWN_REAL
settings.register_profile("proof", derandomize=True, deadline=None, max_examples=40)


@settings(settings.get_profile("proof"))
@given(
    count=st.integers(0, 9),
    edges=st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)), max_size=12),
)
def test_clusters_are_the_components_in_whatever_order_the_pairs_come(
    count: int, edges: list[tuple[int, int]]
) -> None:
    edges = [(a, b) for a, b in edges if a < count and b < count]
    clusters = Clusters(count)
    for a, b in edges:
        clusters.join(Pairs(np.array([a]), np.array([b])))
    groups = [{row} for row in range(count)]
    for a, b in edges:
        one = next(group for group in groups if a in group)
        other = next(group for group in groups if b in group)
        if one is not other:
            groups.remove(other)
            one |= other
    expected = sorted((sorted(g) for g in groups if len(g) > 1), key=lambda g: (-len(g), g[0]))
    assert [members.tolist() for members in clusters.members()] == expected


def test_nothing_is_a_hub_where_every_entry_is_nearest_as_often() -> None:
    hubs = find_hubs(np.arange(100).repeat(3), 100)
    assert hubs.rows.tolist() == []
    assert (hubs.expected, hubs.skewness) == (3.0, 0.0)


@pytest.mark.parametrize(("nearest", "count"), [([], 0), ([], 5), ([-1, -1], 5)])
def test_nothing_is_a_hub_where_nothing_was_compared(nearest: list[int], count: int) -> None:
    hubs = find_hubs(np.array(nearest, np.int64), count)
    assert (hubs.rows.tolist(), hubs.limit, hubs.counts.tolist()) == ([], 0, [0] * count)


def test_hubs_come_most_often_nearest_first_with_the_skewness_of_the_counts() -> None:
    rng = np.random.default_rng(7)
    nearest = np.concatenate([rng.integers(0, 1000, 1000), np.full(40, 17), np.full(90, 3), [-1]])
    hubs = find_hubs(nearest, 1000)
    assert hubs.rows.tolist() == [3, 17]
    assert hubs.counts[3] >= 90
    assert hubs.expected == pytest.approx(1.13)
    assert hubs.skewness == pytest.approx(skew(hubs.counts))


@settings(settings.get_profile("proof"))
@given(seed=st.integers(0, 1000), count=st.integers(1, 400), pictures=st.integers(1, 2000))
def test_chance_makes_a_hub_in_one_corpus_of_a_hundred(
    seed: int, count: int, pictures: int
) -> None:
    nearest = np.random.default_rng(seed).integers(0, count, pictures)
    hubs = find_hubs(nearest, count)
    mean, deviation = hubs.counts.mean(), hubs.counts.std()
    assert count * poisson.sf(hubs.limit - 1, mean) <= HUB_CHANCE * (1 + 1e-9)
    assert hubs.limit > mean + 2 * deviation
    by_rules = [
        limit for limit in (hubs.limit - 1,) if count * poisson.sf(limit - 1, mean) <= HUB_CHANCE
    ]
    assert all(
        limit <= mean + 2 * deviation for limit in by_rules
    )  # it is the least that fits both rules
    assert set(hubs.rows) == set(np.flatnonzero(hubs.counts >= hubs.limit))


def test_a_fake_looks_real_only_from_both_sides() -> None:
    nothing = -np.inf
    rows = find_fakes_that_look_real(
        logits=np.array([-3.0, -3.0, 5.0, -3.0, -3.0, -1.0, -3.0]),
        no_traces_logit=-1.0,
        to_real=np.array([0.9, 0.5, 0.9, nothing, 0.9, 0.8, 0.6], np.float32),
        to_fake=np.array([0.5, 0.5, 0.5, 0.5, nothing, 0.1, 0.7], np.float32),
    )
    assert rows.tolist() == [5, 0]
