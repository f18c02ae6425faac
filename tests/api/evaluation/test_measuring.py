"""All figures of an evaluation from arrays: which are measured, and which have a reason instead."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from api.evaluation.embedding import Embeddings
from api.evaluation.measuring import Figures, measure
from index.calibration.figures import even_odds, sigmoid
from tests.api.evaluation.evaluated import embed_without_a_model, rules

SIZES = {"sdxl": 24, "flux": 18, "gan": 14}


@pytest.fixture(scope="module")
def figures() -> Figures:
    return measure(embed_without_a_model(SIZES, 48, sources=12, deliver=True), rules(), 0)


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
    figures = measure(embed_without_a_model({"sdxl": 12, "flux": 12}, 12), rules(None), 0)
    assert [table.split for table in figures.similarity.false_matches] == ["images"]
    assert figures.classifier.by_condition == []
    pooled = figures.classifier.pooled
    for figure in (pooled.balanced_accuracy_at_limits, pooled.inconclusive):
        assert figure.value is None
        assert "limits" in (figure.reason or "")
    assert pooled.balanced_accuracy.value is not None


def test_the_same_images_and_seed_give_the_same_figures() -> None:
    embedded = embed_without_a_model({"sdxl": 10, "flux": 10}, 12)
    first, again, other = (measure(embedded, rules(), seed) for seed in (0, 0, 1))
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


def taking(embedded: Embeddings, rows: np.ndarray) -> Embeddings:
    """Some of the images, without their deliveries."""
    return replace(
        embedded,
        images=tuple(embedded.images[row] for row in rows),
        population=embedded.population.taking(rows),
        synthetic=embedded.synthetic[rows],
        sources=embedded.sources[rows],
        delivered={},
        conditioned=np.empty(0, np.int64),
    )


@pytest.mark.parametrize(("kept", "n"), [(True, (0, 42)), (False, (24, 0)), (None, (0, 0))])
def test_images_of_one_kind_or_none_have_reasons_instead_of_figures(
    kept: bool | None, n: tuple[int, int]
) -> None:
    everything = embed_without_a_model({"sdxl": 24, "flux": 18}, 24)
    rows = np.flatnonzero(everything.synthetic == kept) if kept is not None else np.arange(0)
    figures = measure(taking(everything, rows), rules(), 0)
    classifier = figures.classifier
    assert (classifier.pooled.n.real, classifier.pooled.n.synthetic) == n
    assert classifier.pooled.roc_auc.reason is not None
    assert classifier.roc is classifier.calibrated is None
    assert classifier.uncalibrated.ece.reason == f"{sum(n)} images; 100 are needed"
    (table,), (ratio,) = figures.similarity.false_matches, figures.similarity.likelihood
    assert table.rows == []
    assert table.reason is not None
    assert ratio.reason is not None
    assert (figures.retrieval.mean is not None) is (kept is True)
    assert figures.attribution.by_generator == []


def test_a_logit_that_is_not_a_number_is_refused() -> None:
    embedded = embed_without_a_model({"sdxl": 12, "flux": 12}, 12)
    embedded.population.logits[3] = np.nan
    with pytest.raises(ValueError, match=r"NaN|finite"):
        measure(embedded, rules(), 0)


def test_one_source_of_all_images_cannot_be_halved_but_images_can() -> None:
    embedded = embed_without_a_model({"sdxl": 60, "flux": 60}, 60, sources=1)
    figures = measure(embedded, rules(), 0)
    by_source, by_image = figures.similarity.false_matches
    assert by_source.reason == "all real images come from one source, which cannot be halved"
    assert by_image.reason is None
    assert len(by_image.rows) == 12
    assert figures.classifier.pooled.resampled == "images of real, images of synthetic images"


def test_the_uncalibrated_probability_is_the_sigmoid_of_the_logit() -> None:
    embedded = embed_without_a_model({"sdxl": 60, "flux": 50}, 60)
    reliability = measure(embedded, rules(None), 0).classifier.uncalibrated
    stated, weights = sigmoid(embedded.population.logits), even_odds(embedded.synthetic)
    assert reliability.n == len(stated)
    for each in reliability.bins:
        inside = (stated >= each.low) & (stated < each.high)
        assert each.n == inside.sum()
        expected = np.average(stated[inside], weights=weights[inside])
        assert each.mean_probability == pytest.approx(expected)


def test_real_images_change_nothing_about_the_neighbours_of_fakes() -> None:
    few, many = (
        measure(embed_without_a_model({"sdxl": 12, "flux": 12}, reals), rules(None), 0).retrieval
        for reals in (12, 20)
    )
    assert few == many


def test_the_order_of_the_conditions_is_kept_after_the_unchanged_images(figures: Figures) -> None:
    assert [group.name for group in figures.classifier.by_condition] == ["as_is", "jpeg50"]
    for group in figures.classifier.by_condition:
        assert group.figures.n.real + group.figures.n.synthetic == 52
