"""Fakes looked up among the others: never itself, never its near duplicate, and chance said beside
it.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.evaluation.retrieving import BLOCK_PROBES, draw_rows, measure_retrieval
from index.truth.perceptual import PerceptualHash
from tests.api.evaluation.made import anywhere, clusters, population


def test_one_generator_is_nothing_to_retrieve_by() -> None:
    found = measure_retrieval(clusters({"sdxl": 30}), 0)
    assert found.mean is None
    assert found.reason == "30 fakes of 1 generators; 10 of 2 are needed"


def test_a_generator_with_few_probes_has_its_number_but_no_figures() -> None:
    found = measure_retrieval(clusters({"sdxl": 30, "flux": 9}), 0)
    row = next(each for each in found.by_generator if each.name == "flux")
    assert (row.n, row.precision_at_1.value, row.recall_at_k) == (9, None, {})
    assert row.precision_at_1.reason == "9 probes; 10 are needed"


def test_an_image_is_not_its_own_neighbour_nor_is_its_copy() -> None:
    """Each vector is twice there, once a generator: with the copy left out the nearest is anything
    but its own.
    """
    vectors = np.eye(16)[np.arange(32) % 16]
    fakes = population(vectors, ["a"] * 16 + ["b"] * 16)
    pairs = np.arange(32) % 16
    hashes = [PerceptualHash(np.random.default_rng(place).bytes(32), 100) for place in range(16)]
    own = replace(fakes, generators=("a", "b") * 16)
    by_copy = measure_retrieval(own, 0).mean
    same_bytes = measure_retrieval(replace(own, image_ids=pairs), 0).mean
    same_picture = measure_retrieval(
        replace(own, hashes=tuple(hashes[place] for place in pairs)), 0
    ).mean
    assert by_copy is not None
    assert same_bytes is not None
    assert same_picture is not None
    assert by_copy.precision_at_1.value == 1.0
    assert (
        same_bytes.precision_at_1.value == same_picture.precision_at_1.value == 0.0
    )  # ties rank strangers first


def test_clusters_are_found_and_chance_is_that_of_their_sizes() -> None:
    found = measure_retrieval(clusters({"sdxl": 30, "flux": 20, "sd1.5": 10}), 0)
    assert found.mean is not None
    assert found.mean.precision_at_1.value == 1.0
    assert found.mean.by_chance == pytest.approx((30 * 29 + 20 * 19 + 10 * 9) / (60 * 59))
    assert [row.name for row in found.by_generator] == ["sdxl", "flux", "sd1.5"]

    entries = clusters({"sdxl": 30, "flux": 20, "sd1.5": 10})
    sampled = measure_retrieval(entries, 0, most_probes=25)
    assert sampled.mean is not None
    assert (sampled.mean.n, sampled.entries) == (25, 60)


def test_rows_are_drawn_only_where_there_are_too_many() -> None:
    assert draw_rows(5, 5, 0).tolist() == [0, 1, 2, 3, 4]
    drawn = draw_rows(100, 5, 0)
    assert len(set(drawn.tolist())) == 5
    assert (np.diff(drawn) > 0).all()


def names_in_turn(n: int, *names: str | None) -> list[str | None]:
    return [names[row % len(names)] for row in range(n)]


def test_no_fake_and_fakes_without_a_generator_have_their_reason() -> None:
    nothing = clusters({"a": 1}).taking(np.empty(0, np.int64))
    for fakes in (nothing, anywhere(30)):
        found = measure_retrieval(fakes, 0)
        assert (found.entries, found.mean, found.by_generator) == (0, None, [])
        assert found.reason == "0 fakes of 0 generators; 10 of 2 are needed"


def test_nine_fakes_are_too_few_and_ten_enough() -> None:
    few, enough = (measure_retrieval(clusters({"a": 5, "b": n}), 0) for n in (4, 5))
    assert few.mean is None
    assert few.reason == "9 fakes of 2 generators; 10 of 2 are needed"
    assert enough.mean is not None
    assert enough.mean.n == 10


def test_generators_of_one_image_each_have_nothing_to_find() -> None:
    found = measure_retrieval(clusters({f"g{number}": 1 for number in range(12)}), 0)
    assert (found.mean, found.reason) == (None, "no generator has two images")
    assert found.entries == 12


def test_a_fake_without_a_generator_is_neither_probe_nor_neighbour() -> None:
    fakes = clusters({"a": 12, "b": 12})
    with_others = replace(
        fakes,
        generators=tuple(name if row % 4 else None for row, name in enumerate(fakes.generators)),
    )
    declared = np.flatnonzero(np.arange(24) % 4 != 0)
    assert measure_retrieval(with_others, 0) == measure_retrieval(fakes.taking(declared), 0)
    assert measure_retrieval(with_others, 0).entries == 18


def test_figures_over_several_blocks_are_those_of_all_similarities_at_once() -> None:
    n = BLOCK_PROBES + 44
    fakes = replace(anywhere(n, seed=4), generators=tuple(names_in_turn(n, "a", "b", "a", "c")))
    similarities = fakes.vectors @ fakes.vectors.T
    np.fill_diagonal(similarities, -2)
    order = np.argsort(-similarities, axis=1)
    own = np.array(fakes.generators)
    hits = own[order] == own[:, None]
    found = measure_retrieval(fakes, 0).mean
    assert found is not None
    assert found.n == n
    assert found.precision_at_1.value == pytest.approx(hits[:, 0].mean())
    assert found.recall_at_k[5] == pytest.approx(hits[:, :5].any(axis=1).mean())


def test_recall_grows_with_k_and_every_figure_is_a_share() -> None:
    fakes = replace(anywhere(60), generators=tuple(names_in_turn(60, "a", "b", "c")))
    found = measure_retrieval(fakes, 0)
    assert found.mean is not None
    for row in (found.mean, *found.by_generator):
        recalls = [row.recall_at_k[k] for k in sorted(row.recall_at_k)]
        assert row.recall_at_k[1] == row.precision_at_1.value
        assert all(more >= less for less, more in pairwise(recalls))
        assert row.mean_average_precision is not None
        assert 0 <= row.mean_average_precision <= 1
        assert row.by_chance == pytest.approx(19 / 59)


def test_names_that_say_nothing_about_the_images_are_found_by_chance() -> None:
    fakes = replace(anywhere(400, seed=8), generators=tuple(names_in_turn(400, "a", "b")))
    found = measure_retrieval(fakes, 0).mean
    assert found is not None
    assert found.precision_at_1.value == pytest.approx(found.by_chance, abs=0.1)


def test_generators_with_as_many_probes_come_by_name() -> None:
    found = measure_retrieval(clusters({"b": 12, "c": 14, "a": 12}), 0)
    assert [row.name for row in found.by_generator] == ["c", "a", "b"]
    assert found.mean is not None
    assert found.mean.name == "all"


@given(st.integers(0, 60), st.integers(0, 60), st.integers(0, 5))
def test_drawn_rows_are_distinct_increasing_and_no_more_than_wanted(
    n: int, most: int, seed: int
) -> None:
    drawn = draw_rows(n, most, seed)
    assert len(drawn) == min(n, most)
    assert (np.diff(drawn) > 0).all()
    assert not len(drawn) or (drawn[0] >= 0 and drawn[-1] < n)
    assert (drawn == draw_rows(n, most, seed)).all()


def test_another_seed_draws_other_rows() -> None:
    assert draw_rows(100, 10, 0).tolist() != draw_rows(100, 10, 1).tolist()
