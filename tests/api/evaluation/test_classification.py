"""The classifier's figures: null with a reason where images are few, and right on cases that are
known.
"""

from __future__ import annotations

import numpy as np
import pytest

from api.evaluation.classification import (
    ClassifiedImages,
    Limits,
    compute_balanced_accuracy,
    compute_roc_curve,
    compute_share_inconclusive,
    count_logits,
    measure_by_condition,
    measure_by_generator,
    measure_classifier,
    measure_reliability,
)
from tests.api.evaluation.made import numbered

LIMITS = Limits(1.0, -1.0)


def judged(real: list[float], synthetic: list[float], groups: int = 10) -> ClassifiedImages:
    logits = np.array([*real, *synthetic], np.float64)
    labels = np.arange(len(logits)) >= len(real)
    sources = np.concatenate(
        [numbered(len(real), groups), groups + numbered(len(synthetic), groups)]
    )
    return ClassifiedImages(logits, labels, sources)


def normal(n: int, mean: float, seed: int) -> list[float]:
    return np.random.default_rng(seed).normal(mean, 1.0, n).tolist()


def test_with_nine_images_of_a_kind_no_figure_is_made_up() -> None:
    figures = measure_classifier(judged(normal(9, 0, 0), normal(50, 1, 1)), LIMITS, 0)
    assert (
        figures.roc_auc.value is figures.balanced_accuracy.value is figures.tpr_at_fpr.value is None
    )
    assert figures.roc_auc.reason == "50 synthetic and 9 real images; 10 of each are needed"


def test_one_in_a_hundred_needs_a_hundred_real_images() -> None:
    figures = measure_classifier(judged(normal(99, 0, 0), normal(50, 1, 1)), LIMITS, 0)
    assert figures.tpr_at_fpr.value is None
    assert figures.tpr_at_fpr.reason == "99 real images; 100 are needed to measure 1 %"
    assert figures.roc_auc.value is not None


def test_a_model_without_limits_has_no_figure_at_them() -> None:
    figures = measure_classifier(judged(normal(20, 0, 0), normal(20, 1, 1)), None, 0)
    assert figures.balanced_accuracy_at_limits.value is figures.inconclusive.value is None
    assert "no measured limits" in (figures.inconclusive.reason or "")


def test_what_is_between_the_limits_is_not_right() -> None:
    images = judged([-2.0, 0.0], [2.0, 1.0, 0.0, -2.0])
    assert compute_balanced_accuracy(images, LIMITS) == pytest.approx((1 / 2 + 2 / 4) / 2)
    assert compute_share_inconclusive(images, LIMITS) == pytest.approx((1 / 2 + 1 / 4) / 2)


def test_the_figures_are_those_of_a_known_case_and_inside_their_intervals() -> None:
    figures = measure_classifier(judged(normal(400, 0, 0), normal(400, 1, 1)), LIMITS, 0)
    assert figures.roc_auc.value == pytest.approx(
        0.760, abs=0.03
    )  # P(N(1,1) > N(0,1)) = Phi(1 / sqrt 2)
    for measure in (
        figures.roc_auc,
        figures.balanced_accuracy,
        figures.tpr_at_fpr,
        figures.inconclusive,
    ):
        assert measure.value is not None
        assert measure.low is not None
        assert measure.high is not None
        assert 0 <= measure.low <= measure.value <= measure.high <= 1
        assert measure.low < measure.high
    assert figures.n.model_dump() == {
        "real": 400,
        "synthetic": 400,
        "real_sources": 10,
        "synthetic_sources": 10,
    }


def test_images_of_one_photograph_widen_the_interval() -> None:
    """A hundred photographs in ten copies each know no more than a hundred photographs."""
    real, synthetic = np.repeat(normal(100, 0, 0), 10), np.repeat(normal(100, 1, 1), 10)
    copies = ClassifiedImages(
        np.concatenate([real, synthetic]), np.arange(2000) >= 1000, np.repeat(np.arange(200), 10)
    )
    alone = ClassifiedImages(copies.logits, copies.synthetic, np.arange(2000))
    wide, narrow = (measure_classifier(images, None, 0).roc_auc for images in (copies, alone))
    assert wide.value == narrow.value
    assert width(wide) > 2 * width(narrow)


def width(measure: object) -> float:
    return measure.high - measure.low  # type: ignore[attr-defined,no-any-return]


def test_each_generator_is_measured_against_all_real_images_the_most_frequent_first() -> None:
    images = judged(normal(50, 0, 0), [*normal(20, -1, 1), *normal(30, 3, 2)])
    names = [None] * 50 + ["weak"] * 20 + ["strong"] * 30
    groups = measure_by_generator(images, names, LIMITS, 0)
    assert [(group.name, group.figures.n.synthetic, group.figures.n.real) for group in groups] == [
        ("strong", 30, 50),
        ("weak", 20, 50),
    ]
    strong, weak = (group.figures.roc_auc.value or 0 for group in groups)
    assert strong > 0.9
    assert weak < 0.5


def test_a_condition_is_measured_on_its_own_images_and_logits() -> None:
    images = judged(normal(50, 0, 0), normal(50, 3, 1))
    rows = np.arange(10, 90)
    flat = measure_by_condition(images, {"jpeg50": (rows, np.zeros(80))}, LIMITS, 0)
    assert flat[0].name == "jpeg50"
    assert flat[0].figures.roc_auc.value == 0.5
    assert flat[0].figures.n.real == 40


def test_the_histogram_counts_every_image() -> None:
    counted = count_logits(judged(normal(30, 0, 0), normal(40, 3, 1)))
    assert (sum(counted.real), sum(counted.synthetic)) == (30, 40)
    assert len(counted.edges) == len(counted.real) + 1


def test_a_long_curve_is_thinned_and_keeps_its_ends() -> None:
    curve = compute_roc_curve(judged(normal(3000, 0, 0), normal(3000, 1, 1)))
    assert curve is not None
    assert len(curve.x) <= 400
    assert (curve.x[0], curve.y[0], curve.x[-1], curve.y[-1]) == (0, 0, 1, 1)


def test_probabilities_of_few_images_are_held_to_nothing() -> None:
    figures = measure_reliability(np.full(99, 0.5), np.arange(99) < 40, np.arange(99), 0)
    assert figures.bins == []
    assert figures.ece.reason == "99 images; 100 are needed"


def test_either_kind_weighs_one_half_in_a_reliability_diagram() -> None:
    synthetic = np.arange(400) < 40
    figures = measure_reliability(np.full(400, 0.5), synthetic, np.arange(400), 0)
    assert figures.ece.value == pytest.approx(0.0)
    assert figures.bins[0].share_synthetic == pytest.approx(0.5)
