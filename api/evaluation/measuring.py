"""All figures of an evaluation from embedded images. Needs neither a model nor a file."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from api.evaluation.attributing import measure_attribution
from api.evaluation.calibrating import measure_calibrated_reliability
from api.evaluation.classification import (
    ClassifiedImages,
    Limits,
    compute_roc_curve,
    count_logits,
    measure_by_condition,
    measure_by_generator,
    measure_classifier,
    measure_reliability,
)
from api.evaluation.embedding import Embeddings
from api.evaluation.json import (
    AttributionEvaluation,
    ClassifierEvaluation,
    RetrievalEvaluation,
    SimilarityEvaluation,
    VerdictEvaluation,
)
from api.evaluation.judging import Rules
from api.evaluation.matching import measure_false_matches
from api.evaluation.ratios import find_nearest_fakes, measure_likelihood, treat_images_as_sources
from api.evaluation.retrieving import measure_retrieval
from api.evaluation.verdicts import measure_verdicts
from embedder.pictures.delivery import Condition
from index.calibration.figures import sigmoid


@dataclass(frozen=True, slots=True)
class Figures:
    """The figures of an evaluation, by the question that they answer."""

    classifier: ClassifierEvaluation
    verdicts: VerdictEvaluation
    retrieval: RetrievalEvaluation
    attribution: AttributionEvaluation
    similarity: SimilarityEvaluation


def measure(embedded: Embeddings, rules: Rules, seed: int) -> Figures:
    """Measure everything. `rules` are those of look-ups, with the model's own limits."""
    limits = Limits.of(rules.choices.classifier)
    fakes = np.flatnonzero(embedded.synthetic)
    known = embedded.population.taking(fakes)
    return Figures(
        classifier=_measure_classifier(embedded, limits, seed),
        verdicts=measure_verdicts(embedded, rules, seed),
        retrieval=measure_retrieval(known, seed),
        attribution=measure_attribution(known, embedded.sources[fakes], seed),
        similarity=_measure_similarity(embedded, seed),
    )


def _measure_classifier(
    embedded: Embeddings, limits: Limits | None, seed: int
) -> ClassifierEvaluation:
    images = ClassifiedImages(embedded.population.logits, embedded.synthetic, embedded.sources)
    return ClassifierEvaluation(
        pooled=measure_classifier(images, limits, seed),
        by_generator=measure_by_generator(images, embedded.population.generators, limits, seed),
        by_condition=measure_by_condition(images, _group_by_condition(embedded), limits, seed),
        histogram=count_logits(images),
        roc=compute_roc_curve(images),
        uncalibrated=measure_reliability(
            sigmoid(images.logits), images.synthetic, images.sources, seed
        ),
        calibrated=measure_calibrated_reliability(images, seed),
    )


def _group_by_condition(
    embedded: Embeddings,
) -> dict[str, tuple[NDArray[np.int64], NDArray[np.float64]]]:
    """Return rows and logits by condition. The unchanged images come first, for comparison."""
    if not embedded.delivered:
        return {}
    rows = embedded.conditioned
    unchanged = {Condition.AS_IS.value: (rows, embedded.population.logits[rows])}
    return unchanged | {
        name.value: (each.rows, each.logits) for name, each in embedded.delivered.items()
    }


def _measure_similarity(embedded: Embeddings, seed: int) -> SimilarityEvaluation:
    fakes, reals = np.flatnonzero(embedded.synthetic), np.flatnonzero(~embedded.synthetic)
    known, photographs = embedded.population.taking(fakes), embedded.population.taking(reals)
    sources = embedded.sources[reals]
    pairs = find_nearest_fakes(photographs, known, sources, embedded.sources[fakes], seed)
    splits = {"images": (np.arange(len(reals), dtype=np.int64), treat_images_as_sources(pairs))}
    if any(image.source_is_declared for image in embedded.images):
        splits = {"sources": (sources, pairs), **splits}
    return SimilarityEvaluation(
        false_matches=[
            measure_false_matches(photographs, known, kept, split, seed)
            for split, (kept, _) in splits.items()
        ],
        likelihood=[measure_likelihood(some, split, seed) for split, (_, some) in splits.items()],
    )
