"""The calibrated probability: fitted on one half of the images, measured on the other."""

from __future__ import annotations

import numpy as np
import pytest

from api.evaluation.calibrating import measure_calibrated_reliability
from api.evaluation.classification import MIN_IMAGES, ClassifiedImages
from tests.api.evaluation.made import numbered


def images(of_each: int, apart: float = 2.0, seed: int = 0) -> ClassifiedImages:
    """As many real as synthetic images, each from a source of its own."""
    synthetic = np.arange(2 * of_each) < of_each
    logits = np.random.default_rng(seed).normal(np.where(synthetic, apart, -apart) / 2, 1.0)
    return ClassifiedImages(logits, synthetic, np.arange(2 * of_each))


@pytest.mark.parametrize("synthetic", [True, False])
def test_images_of_one_kind_have_no_calibrated_probability(synthetic: bool) -> None:
    one_kind = ClassifiedImages(np.zeros(300), np.full(300, synthetic), np.arange(300))
    assert measure_calibrated_reliability(one_kind, 0) is None


def test_no_image_has_no_calibrated_probability() -> None:
    nothing = ClassifiedImages(np.empty(0), np.empty(0, np.bool_), np.empty(0, np.int64))
    assert measure_calibrated_reliability(nothing, 0) is None


def test_one_source_cannot_be_halved() -> None:
    one = images(60)
    same = ClassifiedImages(one.logits, one.synthetic, np.zeros(120, np.int64))
    assert measure_calibrated_reliability(same, 0) is None


@pytest.mark.parametrize(
    ("of_each", "measured"), [(2 * MIN_IMAGES - 1, False), (2 * MIN_IMAGES, True)]
)
def test_each_half_needs_ten_images_of_each_kind(of_each: int, measured: bool) -> None:
    assert (measure_calibrated_reliability(images(of_each), 0) is not None) is measured


def test_a_half_of_fewer_than_a_hundred_images_has_a_reason_instead_of_figures() -> None:
    figures = measure_calibrated_reliability(images(99), 0)
    assert figures is not None
    assert figures.n == 98
    assert figures.bins == []
    assert figures.ece.reason == figures.brier.reason == "98 images; 100 are needed"


def test_a_logit_that_is_not_a_number_is_refused() -> None:
    damaged = images(60)
    damaged.logits[3] = np.nan
    with pytest.raises(ValueError, match=r"finite|NaN"):
        measure_calibrated_reliability(damaged, 0, halve=lambda *_: np.arange(120) % 2 == 0)


def test_equal_logits_state_even_odds() -> None:
    blind = images(100)
    blind = ClassifiedImages(np.full(200, 1.5), blind.synthetic, blind.sources)
    figures = measure_calibrated_reliability(blind, 0)
    assert figures is not None
    assert figures.brier.value == pytest.approx(0.25, abs=0.01)
    assert figures.ece.value == pytest.approx(0.0, abs=0.05)
    assert [each.n for each in figures.bins] == [100]


def test_logits_that_separate_everything_state_what_is_true() -> None:
    figures = measure_calibrated_reliability(images(100, apart=40.0), 0)
    assert figures is not None
    assert figures.brier.value is not None
    assert figures.brier.value < 0.01
    assert sum(each.n for each in figures.bins) == figures.n == 100


def test_logits_that_are_turned_are_turned_back() -> None:
    """The slope comes from the first half; so does the direction, if it allows one."""
    plain = images(200)
    right = measure_calibrated_reliability(plain, 0)
    shifted = ClassifiedImages(plain.logits * 5 + 30, plain.synthetic, plain.sources)
    moved = measure_calibrated_reliability(shifted, 0)
    assert right is not None
    assert moved is not None
    assert right.brier.value is not None
    assert moved.brier.value == pytest.approx(right.brier.value, abs=0.02)


def test_only_the_second_half_is_measured() -> None:
    asked = images(150)
    first = np.arange(300) % 3 == 0
    figures = measure_calibrated_reliability(asked, 0, halve=lambda *_: first)
    assert figures is not None
    assert figures.n == 200


def test_halves_are_asked_for_with_the_kinds_the_sources_and_the_seed() -> None:
    asked = images(30)
    calls = []

    def halve(synthetic: np.ndarray, sources: np.ndarray, seed: int) -> np.ndarray:
        calls.append((synthetic is asked.synthetic, sources is asked.sources, seed))
        return np.arange(60) % 2 == 0

    measure_calibrated_reliability(asked, 17, halve)
    assert calls == [(True, True, 17)]


def test_the_same_seed_gives_the_same_figures_and_the_interval_holds_them() -> None:
    asked = images(150)
    grouped = ClassifiedImages(
        asked.logits,
        asked.synthetic,
        np.where(asked.synthetic, numbered(300, 30), 30 + numbered(300, 30)),
    )
    one, again, other = (measure_calibrated_reliability(grouped, seed) for seed in (2, 2, 3))
    assert one == again
    assert one != other
    assert one is not None
    for figure in (one.ece, one.brier):
        assert figure.low is not None
        assert figure.high is not None
        assert figure.value is not None
        assert 0 <= figure.low <= figure.value <= figure.high <= 1
