"""Fakes looked up among the others: never itself, never its near duplicate, and chance said beside
it.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from api.evaluation.retrieving import draw_rows, measure_retrieval
from index.truth.perceptual import PerceptualHash
from tests.api.evaluation.made import clusters, population


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
