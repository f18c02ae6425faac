"""The answer of a look-up, written from what was assessed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from api.lookups.evidence_json import (
    AttributionAnswer,
    CalibrationUsed,
    QualityAnswer,
    RateAnswer,
    RatioAnswer,
    StatementAnswer,
)
from api.lookups.json import (
    ClassifierAnswer,
    LookupAnswer,
    NeighbourAnswer,
    SimilarityAnswer,
    ThresholdAnswer,
)
from api.lookups.method_json import MethodAnswer, Timings
from api.lookups.precision import state_precision
from api.lookups.probe import Probe
from api.lookups.request import LookupQuery
from api.lookups.robustness_json import LeftOutAnswer, RestsOnAnswer, StabilityAnswer
from api.lookups.words import explain_classifier, explain_similarity, write_statements
from index.cache.searching import SearchResult
from index.calibration.verbal import VerbalScale
from index.evidence import Assessment
from index.truth.computations import Computation
from index.truth.lookups import NOT_EVIDENCE, digest_evidence, new_lookup_id
from index.verdict import compute_probability


@dataclass(frozen=True, slots=True, eq=False)
class Assessed:
    """Everything that an answer is written from.

    `listed` answers the query. `left_out` are re-encodings that could not be used, None if none
    were asked for. `uncalibrated_corpora` are why no calibration applies. `computed` is what
    computed the embeddings of the corpora, None among them where nobody recorded it.
    """

    probe: Probe
    query: LookupQuery
    listed: SearchResult
    assessment: Assessment
    left_out: tuple[LeftOutAnswer, ...] | None = None
    uncalibrated_corpora: tuple[str, ...] = ()
    computed: tuple[Computation | None, ...] = ()


def write_answer(
    assessed: Assessed, scale: VerbalScale, method: MethodAnswer, timings: Timings
) -> LookupAnswer:
    """The answer under a new id, with the digest of its evidence."""
    probe, assessment, left_out = assessed.probe, assessed.assessment, assessed.left_out
    quality = QualityAnswer.of(
        assessment.quality, pdq_quality=probe.pdq_quality, luminance_std=probe.luminance_std
    )
    similarity = _write_similarity(assessed, quality, scale)
    stability = None if left_out is None else StabilityAnswer.of(assessment.reencodings, left_out)
    answer = LookupAnswer(
        id=new_lookup_id(),
        created_at=datetime.now(UTC),
        probe=probe.answer,
        classifier=_write_classifier(assessment, quality),
        similarity=similarity,
        statements=[
            StatementAnswer(topic=topic, words=words)
            for topic, words in (
                *write_statements(similarity, stability),
                *state_precision(method.computed, similarity.nearest_similarity),
            )
        ],
        quality=quality,
        stability=stability,
        method=method,
        timings=timings,
    )
    return answer.model_copy(update={"evidence_sha256": digest_evidence(dump_evidence(answer))})


def dump_evidence(answer: LookupAnswer) -> dict[str, Any]:
    """The part of an answer that its digest covers, as JSON."""
    return answer.model_dump(mode="json", exclude=NOT_EVIDENCE)


def _write_classifier(assessment: Assessment, quality: QualityAnswer) -> ClassifierAnswer | None:
    verdict, logit = assessment.verdict.classifier, assessment.evidence.logit
    if verdict is None or logit is None:
        return None
    policy = verdict.policy
    return ClassifierAnswer(
        verdict=verdict.verdict,
        reason=verdict.reason,
        explanation=explain_classifier(verdict, quality),
        logit=logit,
        limits_source=policy.source if policy else None,
        synthetic_logit=policy.synthetic_logit if policy else None,
        no_traces_logit=policy.no_traces_logit if policy else None,
        **_probability(assessment, logit),
    )


def _probability(assessment: Assessment, logit: float) -> dict[str, Any]:
    calibration = assessment.calibration
    model = None if calibration is None else calibration.stratum.classifier
    if calibration is None or model is None:
        return {"calibration": "uncalibrated", "probability": compute_probability(logit)}
    source = f"calibration {calibration.applied.id}, {calibration.condition}"
    return {
        "calibration": f"{model.variant} by {source}",
        "probability": model.probability(logit),
        "ece": model.ece,
        "brier": model.brier,
    }


def _write_similarity(
    assessed: Assessed, quality: QualityAnswer, scale: VerbalScale
) -> SimilarityAnswer:
    probe, assessment = assessed.probe, assessed.assessment
    verdict, real = assessment.verdict.similarity, assessment.neighbourhood.nearest_real
    threshold, hashed = verdict.threshold, probe.perceptual_hash
    condition = None if probe.condition is None else probe.condition.value
    return SimilarityAnswer(
        verdict=verdict.verdict,
        reason=verdict.reason,
        explanation=explain_similarity(verdict, quality),
        threshold=ThresholdAnswer.of(threshold),
        neighbours=[
            NeighbourAnswer.of(rank, each, hashed, threshold)
            for rank, each in enumerate(assessed.listed.neighbours, start=1)
        ],
        searched=assessed.listed.searched,
        filter=assessed.query.filter,
        nearest_similarity=assessment.evidence.nearest_fake,
        false_match_rate=RateAnswer.of(assessment.false_match_rate),
        likelihood_ratio=RatioAnswer.of(assessment.likelihood_ratio, scale),
        attribution=AttributionAnswer.of(assessment.attribution),
        nearest_known_real=None if real is None else NeighbourAnswer.of(1, real, hashed, threshold),
        rests_on=RestsOnAnswer.of(assessment.support),
        calibration=CalibrationUsed.of(assessment.calibration, condition),
        uncalibrated_corpora=list(assessed.uncalibrated_corpora),
    )
