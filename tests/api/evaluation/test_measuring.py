"""All figures of an evaluation from arrays: which are measured, and which have a reason instead."""

from __future__ import annotations

import numpy as np
import pytest

from api.evaluation.measuring import Figures, measure
from tests.api.evaluation.evaluated import LIMITS, embed_without_a_model

SIZES = {"sdxl": 24, "flux": 18, "gan": 14}


@pytest.fixture(scope="module")
def figures() -> Figures:
    return measure(embed_without_a_model(SIZES, 48, sources=12, deliver=True), LIMITS, 0)


def test_the_classifier_is_measured_on_all_images_and_on_each_generator(figures: Figures) -> None:
    classifier = figures.classifier
    assert (classifier.pooled.n.real, classifier.pooled.n.synthetic) == (48, 56)
    assert [group.name for group in classifier.by_generator] == ["sdxl", "flux", "gan"]
    assert [group.figures.n.synthetic for group in classifier.by_generator] == [24, 18, 14]
    assert {group.figures.n.real for group in classifier.by_generator} == {48}
    assert (classifier.pooled.roc_auc.value or 0) > 0.95
    assert sum(classifier.histogram.real) == 48
    assert sum(classifier.histogram.synthetic) == 56


def test_a_delivery_that_turns_the_logits_turns_the_figures(figures: Figures) -> None:
    unchanged, jpeg = figures.classifier.by_condition
    assert (unchanged.name, jpeg.name) == ("as_is", "jpeg50")
    assert unchanged.figures.n == jpeg.figures.n
    assert unchanged.figures.roc_auc.value == pytest.approx(
        1 - (jpeg.figures.roc_auc.value or 0), abs=1e-9
    )


def test_neighbours_and_attribution_are_those_of_the_fakes_alone(figures: Figures) -> None:
    assert figures.retrieval.entries == 56
    assert figures.retrieval.mean is not None
    assert figures.retrieval.mean.precision_at_1.value == 1.0
    assert [row.name for row in figures.attribution.by_generator] == ["sdxl", "flux", "gan"]


def test_images_are_halved_by_sources_only_where_they_are_declared(figures: Figures) -> None:
    assert [table.split for table in figures.similarity.false_matches] == ["sources", "images"]
    assert [ratio.split for ratio in figures.similarity.likelihood] == ["sources", "images"]
    by_source, by_image = figures.similarity.false_matches
    assert by_source.calibrated_sources + by_source.tested_sources == 12
    assert by_image.calibrated_sources + by_image.tested_sources == 48


def test_without_limits_sources_and_deliveries_their_figures_are_missing() -> None:
    figures = measure(embed_without_a_model({"sdxl": 12, "flux": 12}, 12), None, 0)
    assert [table.split for table in figures.similarity.false_matches] == ["images"]
    assert figures.classifier.by_condition == []
    pooled = figures.classifier.pooled
    for figure in (pooled.balanced_accuracy_at_limits, pooled.inconclusive):
        assert figure.value is None
        assert "limits" in (figure.reason or "")
    assert pooled.balanced_accuracy.value is not None


def test_the_same_images_and_seed_give_the_same_figures() -> None:
    embedded = embed_without_a_model({"sdxl": 10, "flux": 10}, 12)
    first, again, other = (measure(embedded, LIMITS, seed) for seed in (0, 0, 1))
    assert again == first
    one, two = first.classifier.pooled.inconclusive, other.classifier.pooled.inconclusive
    assert one.value == two.value
    assert (one.low, one.high) != (two.low, two.high)


def test_every_interval_holds_its_figure(figures: Figures) -> None:
    found = 0
    for group in (figures.classifier.pooled, *(g.figures for g in figures.classifier.by_generator)):
        for name in ("roc_auc", "balanced_accuracy", "inconclusive", "tpr_at_fpr"):
            measured = getattr(group, name)
            if measured.value is None:
                continue
            assert measured.low is not None
            assert measured.low <= measured.value <= (measured.high or -np.inf)
            found += 1
    assert found >= 8
