"""Verdicts: what the evidence means, in two separate parts that are never merged into one number. Pure functions.

The classifier says whether its logit is beyond a limit; the similarity says whether a known fake is nearer than a
threshold. Both limits name where they come from; without one the verdict is `inconclusive`, never a guess.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from index.corpora import CorpusKind


class Relation(StrEnum):
    """How a neighbour stands to the probe."""

    IDENTICAL = "identical"  # the same bytes
    NEAR_DUPLICATE = "near_duplicate"  # the same picture by perceptual hash
    SIMILAR = "similar"  # at or above the threshold
    UNRELATED = "unrelated"


class SimilarityOutcome(StrEnum):
    SIMILAR_TO_KNOWN_FAKES = "similar_to_known_fakes"
    NOT_SIMILAR = "not_similar"
    INCONCLUSIVE = "inconclusive"


class SimilarityReason(StrEnum):
    """Why a similarity verdict is what it is."""

    IDENTICAL_IMAGE = "identical_image"  # the probe's bytes are those of a known fake
    NEAR_DUPLICATE_IMAGE = "near_duplicate_image"
    ABOVE_THRESHOLD = "above_threshold"
    BELOW_THRESHOLD = "below_threshold"
    NO_THRESHOLD = "no_threshold"
    NOTHING_COMPARED = "nothing_compared"  # there was no neighbour at all
    FAKES_NOT_REACHED = "fakes_not_reached"  # nearer known-real images left no place for a fake in the list


class ClassifierOutcome(StrEnum):
    SYNTHETIC = "synthetic"
    AUTHENTIC = "authentic"
    INCONCLUSIVE = "inconclusive"


class ClassifierReason(StrEnum):
    """Why a classifier verdict is what it is."""

    SYNTHETIC_LIMIT_REACHED = "synthetic_limit_reached"
    AUTHENTIC_LIMIT_REACHED = "authentic_limit_reached"
    BETWEEN_LIMITS = "between_limits"
    NO_LIMITS = "no_limits"


@dataclass(frozen=True, slots=True)
class Threshold:
    """The cosine similarity from which a neighbour counts as similar, and where that number was measured."""

    value: float
    source: str

    def __post_init__(self) -> None:
        if not -1.0 <= self.value <= 1.0:
            raise ValueError(f"a threshold of cosine similarity is between -1 and 1, not {self.value}")


@dataclass(frozen=True, slots=True)
class NeighbourEvidence:
    """What a verdict needs to know of a neighbour; cosine similarity in [-1, 1]."""

    kind: CorpusKind
    cosine_similarity: float
    identical: bool = False
    near_duplicate: bool = False

    def __post_init__(self) -> None:
        if math.isnan(self.cosine_similarity):
            raise ValueError("a cosine similarity is not a number")


@dataclass(frozen=True, slots=True)
class SimilarityVerdict:
    """The verdict on similarity, why, and the threshold that it rests on."""

    verdict: SimilarityOutcome
    reason: SimilarityReason
    threshold: Threshold | None


@dataclass(frozen=True, slots=True)
class ClassifierPolicy:
    """From `synthetic_logit` upwards is synthetic, up to `authentic_logit` is authentic; `source` names the data."""

    synthetic_logit: float
    authentic_logit: float
    source: str

    def __post_init__(self) -> None:
        if not self.authentic_logit <= self.synthetic_logit:
            raise ValueError("authentic_logit must not be above synthetic_logit")


@dataclass(frozen=True, slots=True)
class ClassifierVerdict:
    """The classifier's own verdict. `probability` is sigmoid(logit), uncalibrated."""

    verdict: ClassifierOutcome
    probability: float
    reason: ClassifierReason
    policy: ClassifierPolicy | None


def relation_of(
    cosine_similarity: float,
    threshold: Threshold | None,
    *,
    identical: bool = False,
    near_duplicate: bool = False,
) -> Relation | None:
    """Return how a neighbour stands to the probe, None where only a threshold could say and there is none."""
    if identical:
        return Relation.IDENTICAL
    if near_duplicate:
        return Relation.NEAR_DUPLICATE
    if threshold is None:
        return None
    return Relation.SIMILAR if cosine_similarity >= threshold.value else Relation.UNRELATED


def judge_similarity(neighbours: Sequence[NeighbourEvidence], threshold: Threshold | None) -> SimilarityVerdict:
    """Judge the nearest neighbours of a probe, all of one search, in any order.

    Only known fakes speak for similarity. Give the neighbours of a search among known fakes, or of one among all
    entries; in the latter nearer known-real images may leave no place for a fake, and the verdict says so.
    """
    fakes = [neighbour for neighbour in neighbours if neighbour.kind is CorpusKind.KNOWN_FAKE]
    relations = {
        relation_of(n.cosine_similarity, threshold, identical=n.identical, near_duplicate=n.near_duplicate)
        for n in fakes
    }
    for relation, reason in _SPEAKS_FOR_SIMILARITY.items():
        if relation in relations:
            return SimilarityVerdict(SimilarityOutcome.SIMILAR_TO_KNOWN_FAKES, reason, threshold)
    if threshold is None:
        return SimilarityVerdict(SimilarityOutcome.INCONCLUSIVE, SimilarityReason.NO_THRESHOLD, None)
    if not neighbours:
        return SimilarityVerdict(SimilarityOutcome.INCONCLUSIVE, SimilarityReason.NOTHING_COMPARED, threshold)
    if not fakes and max(n.cosine_similarity for n in neighbours) >= threshold.value:
        return SimilarityVerdict(SimilarityOutcome.INCONCLUSIVE, SimilarityReason.FAKES_NOT_REACHED, threshold)
    return SimilarityVerdict(SimilarityOutcome.NOT_SIMILAR, SimilarityReason.BELOW_THRESHOLD, threshold)


# Strongest first.
_SPEAKS_FOR_SIMILARITY = {
    Relation.IDENTICAL: SimilarityReason.IDENTICAL_IMAGE,
    Relation.NEAR_DUPLICATE: SimilarityReason.NEAR_DUPLICATE_IMAGE,
    Relation.SIMILAR: SimilarityReason.ABOVE_THRESHOLD,
}


def judge_classifier(logit: float, policy: ClassifierPolicy | None) -> ClassifierVerdict:
    """Judge a raw logit.

    Raises:
        ValueError: the logit is not a number.

    """
    if math.isnan(logit):
        raise ValueError("a logit is not a number")
    probability = _sigmoid(logit)
    if policy is None:
        return ClassifierVerdict(ClassifierOutcome.INCONCLUSIVE, probability, ClassifierReason.NO_LIMITS, None)
    if logit >= policy.synthetic_logit:
        outcome, reason = ClassifierOutcome.SYNTHETIC, ClassifierReason.SYNTHETIC_LIMIT_REACHED
    elif logit <= policy.authentic_logit:
        outcome, reason = ClassifierOutcome.AUTHENTIC, ClassifierReason.AUTHENTIC_LIMIT_REACHED
    else:
        outcome, reason = ClassifierOutcome.INCONCLUSIVE, ClassifierReason.BETWEEN_LIMITS
    return ClassifierVerdict(outcome, probability, reason, policy)


def _sigmoid(logit: float) -> float:
    if logit >= 0:
        return 1.0 / (1.0 + math.exp(-logit))
    odds = math.exp(logit)
    return odds / (1.0 + odds)
