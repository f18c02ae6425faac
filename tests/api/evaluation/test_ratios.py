"""Likelihood ratios fitted on one half and stated of the other; the classifier's probability
likewise.
"""

from __future__ import annotations

import numpy as np
import pytest

from api.evaluation.calibrating import measure_calibrated_reliability
from api.evaluation.classification import ClassifiedImages
from api.evaluation.ratios import (
    NearestFakes,
    find_nearest_fakes,
    measure_likelihood,
    treat_images_as_sources,
)
from tests.api.evaluation.made import anywhere, clusters, numbered


def pairs(n: int, apart: float, groups: int = 40) -> NearestFakes:
    random = np.random.default_rng(0)
    similarities = np.tanh(np.concatenate([random.normal(apart, 1, n), random.normal(0, 1, n)]))
    sources = np.concatenate([numbered(n, groups), groups + numbered(n, groups)])
    return NearestFakes(similarities, np.arange(2 * n) < n, sources)


def test_few_images_support_no_ratio() -> None:
    answer = measure_likelihood(pairs(19, 2.0), "sources", 0)
    assert answer.cllr.value is None
    assert answer.reason == "a half has 9 comparable images of a kind; 10 are needed"


def test_kin_that_are_nearer_cost_less_than_one_bit() -> None:
    apart, alike = (measure_likelihood(pairs(400, how_far), "sources", 0) for how_far in (3.0, 0.0))
    assert apart.cllr.value is not None
    assert apart.cllr_min.value is not None
    assert apart.cllr_min.value <= apart.cllr.value < 0.6
    assert alike.cllr.value == pytest.approx(1.0, abs=0.1)
    assert apart.tippett is not None
    assert apart.tippett.same[0] >= apart.tippett.same[-1]
    assert (apart.n_same, apart.n_different) == (200, 200)


def test_each_image_can_be_its_own_source() -> None:
    alone = treat_images_as_sources(pairs(50, 1.0, groups=2))
    assert len(set(alone.sources.tolist())) == 100


def test_a_fake_without_kin_is_not_compared() -> None:
    fakes, reals = clusters({"sdxl": 30, "once": 1}), anywhere(20)
    found = find_nearest_fakes(reals, fakes, np.arange(20), np.arange(31) + 20, 0)
    assert (int(found.same.sum()), int((~found.same).sum())) == (30, 20)
    assert found.similarities[found.same].mean() > found.similarities[~found.same].mean()
    assert set(found.sources[found.same]) == set(range(20, 50))


def test_a_probability_is_calibrated_on_other_sources_than_it_is_held_to() -> None:
    random = np.random.default_rng(0)
    synthetic = np.arange(800) < 400
    logits = random.normal(np.where(synthetic, 1.0, -1.0), 1.0) * 8  # far too sure of itself
    judged = ClassifiedImages(
        logits, synthetic, np.where(synthetic, numbered(800, 40), 40 + numbered(800, 40))
    )
    figures = measure_calibrated_reliability(judged, 0)
    assert figures is not None
    assert figures.n == 400
    assert figures.ece.value is not None
    assert figures.ece.value < 0.1
    few = judged.taking(np.concatenate([np.arange(12), np.arange(400, 412)]))
    assert measure_calibrated_reliability(few, 0) is None


def test_a_calibration_that_does_not_hold_for_the_other_half_is_found_out() -> None:
    """In the first half synthetic images have the larger logits, in the second the real ones."""
    synthetic, first = np.arange(400) % 2 == 0, np.arange(400) < 200
    logits = np.where(synthetic == first, 3.0, -3.0)
    images = ClassifiedImages(logits, synthetic, np.arange(400))
    figures = measure_calibrated_reliability(images, 0, halve=lambda *_: first)
    assert figures is not None
    assert figures.brier.value is not None
    assert figures.brier.value > 0.8
