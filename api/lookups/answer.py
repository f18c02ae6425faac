"""The answer of a lookup, written from what was found and judged."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from api.corpora.json import EntryAnswer
from api.lookups.evidence import (
    Seen,
    Statement,
    attribution_answer,
    calibration_used,
    evidence_of,
    quality_answer,
    rate_answer,
    ratio_answer,
    rests_on,
    stability_answer,
)
from api.lookups.evidence_json import QualityAnswer, StatementAnswer
from api.lookups.json import (
    ClassifierAnswer,
    LookupAnswer,
    LookupQuery,
    MethodAnswer,
    NeighbourAnswer,
    SimilarityAnswer,
    ThresholdAnswer,
    Timings,
)
from api.lookups.probe import Probe
from api.lookups.stored import in_earlier_words
from api.lookups.words import explain_classifier, explain_similarity, statements
from index.cache.searching import Neighbour, SearchResult
from index.calibration.verbal import VerbalScale
from index.jsontext import canonical_json
from index.truth.lookups import new_lookup_id
from index.truth.perceptual import PerceptualHash
from index.verdict import Evidence, Policy, Threshold, Verdict, judge, probability_of, relation_of

# What differs between two answers of the same lookup on the same generation.
NOT_EVIDENCE: Any = {
    "id": True,
    "created_at": True,
    "timings": True,
    "evidence_sha256": True,
    "method": {"pending_changes"},
}


@dataclass(frozen=True, slots=True, eq=False)
class Answered:
    """Everything that an answer is written from."""

    probe: Probe
    query: LookupQuery
    listed: SearchResult
    seen: Seen
    statement: Statement
    policy: Policy
    evidence: Evidence
    verdict: Verdict
    model_side: int
    scale: VerbalScale

    @property
    def quality(self) -> QualityAnswer:
        return quality_answer(self.probe, self.seen, self.statement, self.model_side)


def judged(
    probe: Probe,
    query: LookupQuery,
    listed: SearchResult,
    seen: Seen,
    statement: Statement,
    policy: Policy,
    *,
    model_side: int,
    scale: VerbalScale,
) -> Answered:
    """What the evidence comes to by a policy."""
    evidence = evidence_of(probe, seen, statement, model_side)
    return Answered(
        probe,
        query,
        listed,
        seen,
        statement,
        policy,
        evidence,
        judge(evidence, policy),
        model_side,
        scale,
    )


def evidence_sha256(answer: LookupAnswer, *, earlier_words: bool = False) -> str:
    """What two answers share if and only if they say the same.

    `earlier_words`: in the words of earlier releases, to compare with a digest that one of them
    stored.
    """
    document = answer.model_dump(mode="json", exclude=NOT_EVIDENCE)
    text = canonical_json(in_earlier_words(document) if earlier_words else document)
    return hashlib.sha256(text.encode()).hexdigest()


def written(answered: Answered, method: MethodAnswer, timings: Timings) -> LookupAnswer:
    """The answer under a new id, with the digest of what it says."""
    probe, seen = answered.probe, answered.seen
    similarity, stability = (
        _similarity(answered),
        stability_answer(seen, answered.evidence, answered.policy),
    )
    answer = LookupAnswer(
        id=new_lookup_id(),
        created_at=datetime.now(UTC),
        probe=probe.answer,
        classifier=None if probe.logit is None else _classifier(answered, probe.logit),
        similarity=similarity,
        statements=[
            StatementAnswer(topic=topic, words=words)
            for topic, words in statements(similarity, stability)
        ],
        quality=answered.quality,
        stability=stability,
        method=method,
        timings=timings,
    )
    return answer.model_copy(update={"evidence_sha256": evidence_sha256(answer)})


def _classifier(answered: Answered, logit: float) -> ClassifierAnswer:
    said = answered.verdict.classifier
    assert said is not None
    calibration, applied = answered.statement.classifier, answered.statement.applied
    words: dict[str, Any] = {"calibration": "uncalibrated", "probability": probability_of(logit)}
    if calibration is not None and applied is not None:
        words = {
            "calibration": f"{calibration.variant} by calibration {applied.id}, "
            f"{answered.statement.condition}",
            "probability": calibration.probability(logit),
            "ece": calibration.ece,
            "brier": calibration.brier,
        }
    return ClassifierAnswer(
        verdict=said.verdict,
        reason=said.reason,
        explanation=explain_classifier(said, answered.quality),
        logit=logit,
        limits_source=said.policy.source if said.policy else None,
        synthetic_logit=said.policy.synthetic_logit if said.policy else None,
        authentic_logit=said.policy.authentic_logit if said.policy else None,
        **words,
    )


def _similarity(answered: Answered) -> SimilarityAnswer:
    said, seen, statement = answered.verdict.similarity, answered.seen, answered.statement
    threshold, hashed = said.threshold, answered.probe.perceptual_hash
    nearest, real = seen.nearest_fake, seen.nearest_real
    sound = (
        answered.quality.issue is None
    )  # else the numbers are of noise, and would look as any others
    return SimilarityAnswer(
        verdict=said.verdict,
        reason=said.reason,
        explanation=explain_similarity(said, answered.quality),
        threshold=_threshold(threshold),
        neighbours=[
            _neighbour(rank, each, hashed, threshold)
            for rank, each in enumerate(answered.listed.neighbours, start=1)
        ],
        searched=answered.listed.searched,
        filter=answered.query.filter,
        nearest_similarity=None if nearest is None else nearest.cosine_similarity,
        false_match_rate=rate_answer(seen, statement) if sound else None,
        likelihood_ratio=ratio_answer(seen, statement, answered.scale) if sound else None,
        attribution=attribution_answer(seen, statement) if sound else None,
        nearest_known_real=None if real is None else _neighbour(1, real, hashed, threshold),
        rests_on=rests_on(
            answered.probe, seen, statement, answered.policy, answered.verdict, answered.model_side
        ),
        calibration=calibration_used(answered.probe, statement),
        uncalibrated_corpora=list(statement.unseen),
    )


def _threshold(threshold: Threshold | None) -> ThresholdAnswer | None:
    if threshold is None:
        return None
    return ThresholdAnswer(cosine_similarity=threshold.value, source=threshold.source)


def _neighbour(
    rank: int, neighbour: Neighbour, hashed: PerceptualHash | None, threshold: Threshold | None
) -> NeighbourAnswer:
    similarity = neighbour.cosine_similarity
    same_picture = neighbour.near_duplicate is True
    return NeighbourAnswer(
        rank=rank,
        cosine_similarity=similarity,
        relation=relation_of(
            similarity, threshold, identical=neighbour.identical, near_duplicate=same_picture
        ),
        hamming_distance=neighbour.hamming_distance,
        perceptual_hash=_compared(hashed, neighbour.entry.image.perceptual_hash),
        entry=EntryAnswer.of(neighbour.entry),
    )


def _compared(
    one: PerceptualHash | None, other: PerceptualHash | None
) -> Literal["compared", "low_quality", "missing"]:
    if one is None or other is None:
        return "missing"
    return "compared" if one.reliable and other.reliable else "low_quality"
