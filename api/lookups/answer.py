"""The answer of a look-up, written from what was assessed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, overload

from api.lookups.answers.calibration_json import CalibrationUsed
from api.lookups.answers.calibration_words import describe_next_step
from api.lookups.answers.classifier_json import ClassifierAnswer
from api.lookups.answers.copies_json import CopiesAnswer
from api.lookups.answers.evidence_json import (
    AttributionAnswer,
    QualityAnswer,
    RatioAnswer,
    RatioSupport,
    StatementAnswer,
)
from api.lookups.answers.json import (
    LookupAnswer,
    NeighbourAnswer,
    SimilarityAnswer,
    ThresholdAnswer,
)
from api.lookups.answers.method_json import MethodAnswer, Timings
from api.lookups.answers.numbers import LOGIT_DIGITS, SIMILARITY_DIGITS, count_digits
from api.lookups.answers.precision import state_precision
from api.lookups.answers.rates_json import (
    DiscriminationAnswer,
    HitRateAnswer,
    LogitShareAnswer,
    RateAnswer,
)
from api.lookups.answers.robustness_json import LeftOutAnswer, RestsOnAnswer, StabilityAnswer
from api.lookups.answers.words import explain_classifier, explain_similarity, write_statements
from api.lookups.probe import Probe
from api.lookups.request import LookupQuery
from index.cache.searching.questions import Neighbour, SearchResult
from index.calibration.verbal import VerbalScale
from index.evidence import Assessment
from index.jsontext import CanonicalText
from index.truth.lookups import NOT_EVIDENCE, new_lookup_id, seal_answer
from index.verdict import ClassifierOutcome


@dataclass(frozen=True, slots=True, eq=False)
class Assessed:
    """Everything that an answer is written from.

    `listed` answers the query. `left_out` are re-encodings that could not be used, None if none
    were asked for; `reencoded_part` is the size of what was re-encoded, None for the whole picture.
    `uncalibrated_corpora` are why no calibration applies, or only a provisional one;
    `has_known_reals` says whether there are images to measure one with. `caution` is the warning
    about the model. `copies` says which stages looked for copies.
    """

    probe: Probe
    query: LookupQuery
    listed: SearchResult
    assessment: Assessment
    copies: CopiesAnswer | None = None
    left_out: tuple[LeftOutAnswer, ...] | None = None
    reencoded_part: tuple[int, int] | None = None
    uncalibrated_corpora: tuple[str, ...] = ()
    has_known_reals: bool = True
    caution: str | None = None


def write_answer(
    assessed: Assessed, scale: VerbalScale, method: MethodAnswer, timings: Timings
) -> tuple[LookupAnswer, CanonicalText]:
    """Return the answer under a new id, with the digest of its evidence, and its text as it is
    stored.
    """
    probe, assessment, left_out = assessed.probe, assessed.assessment, assessed.left_out
    quality = QualityAnswer.of(
        assessment.quality, pdq_quality=probe.pdq_quality, luminance_std=probe.luminance_std
    )
    classifier = _write_classifier(assessment, quality)
    similarity = _write_similarity(assessed, quality, scale)
    stability = None
    if left_out is not None:
        stability = StabilityAnswer.of(assessment.reencodings, left_out, assessed.reencoded_part)
    answer = LookupAnswer(
        id=new_lookup_id(),
        created_at=datetime.now(UTC),
        caution=assessed.caution,
        probe=probe.answer,
        classifier=classifier,
        similarity=similarity,
        copies=assessed.copies,
        statements=[
            StatementAnswer(topic=topic, words=words)
            for topic, words in (
                *write_statements(similarity, stability, classifier, assessed.copies),
                *state_precision(method.computed, similarity.nearest_similarity),
            )
        ],
        quality=quality,
        stability=stability,
        method=method,
        timings=timings,
    )
    digest, text = seal_answer(answer.model_dump(mode="json"))
    return answer.model_copy(update={"evidence_sha256": digest}), text


def dump_evidence(answer: LookupAnswer) -> dict[str, Any]:
    """The part of an answer that its digest covers, as JSON."""
    return answer.model_dump(mode="json", exclude=NOT_EVIDENCE)


def _write_classifier(assessment: Assessment, quality: QualityAnswer) -> ClassifierAnswer | None:
    verdict, logit = assessment.verdict.classifier, assessment.evidence.logit
    if verdict is None or logit is None:
        return None
    policy, figures = verdict.policy, assessment.classifier
    of_fakes = LogitShareAnswer.of(figures.of_fakes if figures else None)
    of_reals = LogitShareAnswer.of(figures.of_reals if figures else None)
    digits = _count_logit_digits(assessment)
    fell_back_from = figures.fell_back_from if figures else None
    has_no_traces = verdict.verdict is ClassifierOutcome.NO_TRACES
    return ClassifierAnswer(
        verdict=verdict.verdict,
        reason=verdict.reason,
        explanation=explain_classifier(
            verdict, quality, of_fakes, of_reals, digits, fell_back_from
        ),
        logit=logit,
        miss_rate=of_fakes if has_no_traces else None,
        clear_rate=of_reals if has_no_traces else None,
        false_alarm_rate=None if has_no_traces else of_reals,
        detection_rate=None if has_no_traces else of_fakes,
        limits_source=policy.source if policy else None,
        synthetic_logit=policy.synthetic_logit if policy else None,
        no_traces_logit=policy.no_traces_logit if policy else None,
        synthetic_from=policy.synthetic_from if policy else None,
        no_traces_from=policy.no_traces_from if policy else None,
        fell_back_from=fell_back_from,
        digits=digits,
        **_probability(assessment),
    )


def _probability(assessment: Assessment) -> dict[str, Any]:
    figures = assessment.classifier
    number = figures.number if figures else None
    if figures is None or figures.model is None:
        return {"calibration": "uncalibrated", "calibration_id": number}
    return {
        "calibration": f"{figures.model.variant} by calibration {number}, {figures.condition}",
        "calibration_id": number,
        "probability": figures.probability,
        "ece": figures.model.ece,
        "brier": figures.model.brier,
    }


def _count_logit_digits(assessment: Assessment) -> int:
    """Return the decimals that show each logit on its side of the limits."""
    own = assessment.verdict.classifier.policy if assessment.verdict.classifier else None
    logits = [(assessment.evidence.logit, own)] + [
        (each.reencoding.logit, each.reencoding.classifier or own)
        for each in assessment.reencodings
    ]
    pairs = [
        (logit, limit)
        for logit, policy in logits
        if policy is not None and logit is not None
        for limit in (policy.no_traces_logit, policy.synthetic_logit)
        if limit is not None
    ]
    return count_digits(pairs, LOGIT_DIGITS)


def _count_digits(assessed: Assessed) -> int:
    """Return the decimals that show each similarity on its side of the threshold."""
    assessment, threshold = assessed.assessment, assessed.assessment.policy.threshold
    found = [*assessed.listed.neighbours, assessment.nearest_known_fake]
    found.append(assessment.neighbourhood.nearest_real)
    similarities = (each.cosine_similarity for each in found if each is not None)
    pairs = [(value, threshold) for value in similarities if value is not None]
    pairs += [
        (each.reencoding.nearest_similarity, each.reencoding.threshold or threshold)
        for each in assessment.reencodings
        if each.reencoding.nearest_similarity is not None
    ]
    if assessment.evidence.nearest_fake is not None:
        pairs.append((assessment.evidence.nearest_fake, threshold))
    compared = [(value, limit.value) for value, limit in pairs if limit is not None]
    return count_digits(compared, SIMILARITY_DIGITS)


def _write_similarity(
    assessed: Assessed, quality: QualityAnswer, scale: VerbalScale
) -> SimilarityAnswer:
    probe, assessment, policy = assessed.probe, assessed.assessment, assessed.assessment.policy
    verdict, digits = assessment.verdict.similarity, _count_digits(assessed)
    condition = None if probe.condition is None else probe.condition.value
    used = CalibrationUsed.of(assessment.calibration, condition)
    discrimination = DiscriminationAnswer.of(assessment.calibration)
    ratio = assessment.likelihood_ratio
    is_stated = ratio is not None and ratio.is_supported
    rate = assessed.query.false_match_rate
    return SimilarityAnswer(
        verdict=verdict.verdict,
        reason=verdict.reason,
        explanation=explain_similarity(
            verdict, quality, used, discrimination, digits, assessed.copies
        ),
        threshold=ThresholdAnswer.of(verdict.threshold),
        barrier=policy.barrier,
        next_step=None
        if rate is None or verdict.reason is not policy.barrier
        else describe_next_step(
            policy.barrier,
            used,
            assessed.uncalibrated_corpora,
            rate,
            has_known_reals=assessed.has_known_reals,
        ),
        digits=digits,
        neighbours=[
            _write_neighbour(assessed, rank, each)
            for rank, each in enumerate(assessed.listed.neighbours, start=1)
        ],
        nearest_known_fake=_write_neighbour(assessed, 1, assessment.nearest_known_fake),
        searched=assessed.listed.searched,
        filter=assessed.query.filter,
        nearest_similarity=assessment.evidence.nearest_fake,
        false_match_rate=RateAnswer.of(assessment.false_match_rate),
        hit_rate=HitRateAnswer.of(assessment.hit_rate),
        discrimination=discrimination,
        likelihood_ratio=RatioAnswer.of(ratio, scale) if is_stated else None,
        ratio_support=RatioSupport.of(ratio),
        attribution=AttributionAnswer.of(
            assessment.attribution, assessment.neighbourhood, assessment.calibration
        ),
        nearest_known_real=_write_neighbour(assessed, 1, assessment.neighbourhood.nearest_real),
        rests_on=RestsOnAnswer.of(assessment.support),
        calibration=used,
        uncalibrated_corpora=list(assessed.uncalibrated_corpora),
    )


@overload
def _write_neighbour(assessed: Assessed, rank: int, found: Neighbour) -> NeighbourAnswer: ...
@overload
def _write_neighbour(assessed: Assessed, rank: int, found: None) -> None: ...
def _write_neighbour(
    assessed: Assessed, rank: int, found: Neighbour | None
) -> NeighbourAnswer | None:
    if found is None:
        return None
    probe = assessed.probe
    width, height = probe.answer.width, probe.answer.height
    size = None if width is None or height is None else (width, height)
    policy = assessed.assessment.policy
    return NeighbourAnswer.of(rank, found, probe.perceptual_hash, policy, size)
