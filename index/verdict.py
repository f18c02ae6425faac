"""Verdicts: what the evidence means, in two separate parts that are never merged into one number.

The classifier's verdict says whether its logit is beyond a limit. The similarity verdict says
whether a known fake is the same picture, or at least as near as a threshold. Both limits name where
they come from. Without a limit the verdict is `inconclusive`, never a guess. It is also
`inconclusive` if nothing says what similarity is worth in these corpora (`Policy.barrier`), if the
picture does not show enough, if re-encoding it would change the verdict, and if another figure
contradicts it: the likelihood ratio, or the calibrated probability.

A version of a known fake that local features verify counts like a near duplicate. A lead, an entry
that is perhaps such a version, makes no verdict but one: what would be `not_similar` is then
`inconclusive`. Pure functions.

`RULES` is the version of these rules. A stored look-up names the one that it was judged by. Which
limits apply is decided in `index.policy`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from index.copies import NO_LEADS, LeadLimits
from index.truth.corpora import CorpusKind

# Raised whenever equal evidence may get another verdict. Look-ups that name none were judged by 1.
RULES = 3


class Relation(StrEnum):
    """Relation of an entry to the probe."""

    IDENTICAL = "identical"  # the same bytes
    NEAR_DUPLICATE = "near_duplicate"  # the same picture by perceptual hash
    EDITED_COPY = "edited_copy"  # a version of the same picture, verified by local features
    POSSIBLE_COPY = "possible_copy"  # a lead: perhaps a version of the same picture
    SIMILAR = "similar"  # at or above the threshold
    BELOW_THRESHOLD = "below_threshold"


class SimilarityOutcome(StrEnum):
    """Verdict on similarity. It is never merged with the classifier's verdict."""

    SIMILAR_TO_KNOWN_FAKES = "similar_to_known_fakes"
    NOT_SIMILAR = "not_similar"
    INCONCLUSIVE = "inconclusive"


class SimilarityReason(StrEnum):
    """Reason for the similarity verdict."""

    IDENTICAL_IMAGE = "identical_image"  # the probe's bytes are those of a known fake
    NEAR_DUPLICATE_IMAGE = "near_duplicate_image"
    EDITED_COPY = "edited_copy"  # a version of a known fake, verified by local features
    # below the threshold, but a known fake is perhaps a version of the same picture
    POSSIBLE_COPY = "possible_copy"
    ABOVE_THRESHOLD = "above_threshold"
    BELOW_THRESHOLD = "below_threshold"
    NOT_CALIBRATED = "not_calibrated"  # nothing says what a similarity is worth in these corpora
    # known fakes come near to one another hardly more often than known-real images come near to
    # them
    TELLS_NOTHING = "tells_nothing"
    NO_THRESHOLD = "no_threshold"  # the calibration has too few images for one
    NOTHING_COMPARED = "nothing_compared"  # there was no known fake
    ALSO_KNOWN_REAL = (
        "also_known_real"  # the same bytes, or the same picture, are known fake and known real
    )
    # below the threshold, but the likelihood ratio supports a generator in the corpora
    BETWEEN = "between"
    RATIO_DISAGREES = (
        "ratio_disagrees"  # above the threshold, but the likelihood ratio supports a real image
    )
    POOR_QUALITY = "poor_quality"
    UNSTABLE = "unstable"  # a re-encoding is on the other side of the threshold
    FAKES_NOT_REACHED = "fakes_not_reached"  # only in answers stored before schema 0004


class ClassifierOutcome(StrEnum):
    """Verdict of the classifier alone.

    `no_traces`: no synthetic traces were found. It is no finding that the image is genuine: no
    detector can say that. Up to rules 1 the word was `authentic`.
    """

    SYNTHETIC = "synthetic"
    NO_TRACES = "no_traces"
    INCONCLUSIVE = "inconclusive"

    @classmethod
    def _missing_(cls, value: object) -> ClassifierOutcome | None:
        """Read the word of rules 1."""
        return cls.NO_TRACES if value == "authentic" else None


class ClassifierReason(StrEnum):
    """Reason for the classifier's verdict."""

    SYNTHETIC_LIMIT_REACHED = "synthetic_limit_reached"
    NO_TRACES_LIMIT_REACHED = "no_traces_limit_reached"
    BETWEEN_LIMITS = "between_limits"
    NO_LIMITS = "no_limits"
    POOR_QUALITY = "poor_quality"
    UNSTABLE = "unstable"  # a re-encoding is on another side of a limit
    # the limit is reached, but the calibrated probability is on the other side of one half
    PROBABILITY_DISAGREES = "probability_disagrees"

    @classmethod
    def _missing_(cls, value: object) -> ClassifierReason | None:
        """Read the word of rules 1."""
        return cls.NO_TRACES_LIMIT_REACHED if value == "authentic_limit_reached" else None


class QualityIssue(StrEnum):
    """Why an image shows too little for a verdict."""

    TOO_SMALL = "too_small"  # much smaller than what the model reads
    FLAT = "flat"  # hardly any structure
    # further from everything in the corpora than the images of the calibration
    UNFAMILIAR = "unfamiliar"


@dataclass(frozen=True, slots=True)
class Threshold:
    """The cosine similarity at or above which a neighbour is similar, and where it comes from."""

    value: float
    source: str

    def __post_init__(self) -> None:
        if not -1.0 <= self.value <= 1.0:
            raise ValueError(
                f"a threshold of cosine similarity is between -1 and 1, not {self.value}"
            )


@dataclass(frozen=True, slots=True)
class RatioInterval:
    """A likelihood ratio as log10, with its 95 % interval.

    Above 0 supports that a generator in the corpora made the probe.
    """

    log10: float
    low: float
    high: float

    def __post_init__(self) -> None:
        if not self.low <= self.log10 <= self.high:
            raise ValueError("a likelihood ratio lies within its interval")


@dataclass(frozen=True, slots=True)
class ReEncodingEvidence:
    """The nearest known fake and the logit of one re-encoding of the probe; None: not known.

    `threshold` and `classifier` are those of the way the re-encoding was delivered, because
    re-encoding a picture moves all its similarities, and its logit. None if that way has none of
    its own.
    """

    nearest_fake: float | None
    logit: float | None
    threshold: Threshold | None = None
    classifier: ClassifierPolicy | None = None


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything that a verdict rests on. Cosine similarities in [-1, 1]; None: nothing compared.

    `identical_to` and `same_picture_as` are the kinds of corpora that hold the probe's very bytes,
    or its picture by perceptual hash; `edited_copy_of` those that hold a version of it, verified by
    local features, and `possible_copy_of` those that hold a lead. `is_embedded` is false if the
    probe is too small for the model: then it was compared with known fakes, but not by embedding.
    `probability` is the calibrated one of `synthetic`.
    """

    nearest_fake: float | None
    nearest_real: float | None = None
    identical_to: frozenset[CorpusKind] = frozenset()
    same_picture_as: frozenset[CorpusKind] = frozenset()
    ratio: RatioInterval | None = None
    logit: float | None = None
    quality_issue: QualityIssue | None = None
    reencodings: Sequence[ReEncodingEvidence] = ()
    probability: float | None = None
    edited_copy_of: frozenset[CorpusKind] = frozenset()
    possible_copy_of: frozenset[CorpusKind] = frozenset()
    is_embedded: bool = True

    def __post_init__(self) -> None:
        if not self.is_embedded and (self.nearest_fake, self.nearest_real) != (None, None):
            raise ValueError("a probe without an embedding has no similarities")
        if any(
            value is not None and math.isnan(value)
            for value in (self.nearest_fake, self.nearest_real, self.logit, self.probability)
        ):
            raise ValueError("similarities and logits of evidence must be numbers, not NaN")


class LimitOrigin(StrEnum):
    """Where a limit of the logit was measured."""

    CALIBRATION = "calibration"  # on images of these corpora
    MODEL = "model"  # elsewhere, by those who made the model


@dataclass(frozen=True, slots=True)
class ClassifierPolicy:
    """A logit at or above `synthetic_logit` is synthetic, at or below `no_traces_logit` no_traces.

    Without one of them that verdict is never given. `source` names the data that the limits were
    measured on, and the origins say where.
    """

    synthetic_logit: float | None
    no_traces_logit: float | None
    source: str
    synthetic_from: LimitOrigin = LimitOrigin.MODEL
    no_traces_from: LimitOrigin = LimitOrigin.MODEL

    def __post_init__(self) -> None:
        given = [each for each in (self.no_traces_logit, self.synthetic_logit) if each is not None]
        if not given or any(map(math.isnan, given)) or given != sorted(given):
            raise ValueError(
                "at least one limit is a number, and no_traces_logit is not above synthetic_logit"
            )


# Why the similarity of embeddings gives no verdict, whatever the probe.
BARRIERS = frozenset(
    {
        SimilarityReason.NOT_CALIBRATED,
        SimilarityReason.TELLS_NOTHING,
        SimilarityReason.NO_THRESHOLD,
    }
)


@dataclass(frozen=True, slots=True)
class Policy:
    """The limits by which evidence is judged. A verdict without its limit is inconclusive.

    `barrier` is why the similarity of embeddings gives no verdict, whatever the probe: one of
    `BARRIERS`. The same picture is found nevertheless. `leads` say from when on an entry is perhaps
    a copy.
    """

    threshold: Threshold | None
    classifier: ClassifierPolicy | None = None
    barrier: SimilarityReason | None = None
    leads: LeadLimits = NO_LEADS

    def __post_init__(self) -> None:
        if self.barrier is not None and self.barrier not in BARRIERS:
            raise ValueError(f"{self.barrier} does not depend on the corpora alone")
        if self.barrier is not None and self.threshold is not None:
            raise ValueError("where similarity gives no verdict there is no threshold")


@dataclass(frozen=True, slots=True)
class SimilarityVerdict:
    """The verdict on similarity, why, and the threshold that it rests on."""

    verdict: SimilarityOutcome
    reason: SimilarityReason
    threshold: Threshold | None


@dataclass(frozen=True, slots=True)
class ClassifierVerdict:
    """The verdict on the classifier's logit, why, and the limits that it rests on."""

    verdict: ClassifierOutcome
    reason: ClassifierReason
    policy: ClassifierPolicy | None


@dataclass(frozen=True, slots=True)
class Verdict:
    """Two separate opinions. The classifier's is None without a logit."""

    similarity: SimilarityVerdict
    classifier: ClassifierVerdict | None


def judge(evidence: Evidence, policy: Policy) -> Verdict:
    """Return what evidence means by a policy. Equal evidence has an equal verdict."""
    similarity = _similarity_reason(evidence, policy)
    classifier = None
    if evidence.logit is not None:
        reason = _classifier_reason(evidence.logit, evidence, policy)
        classifier = ClassifierVerdict(
            _OUTCOME_BY_LIMIT.get(reason, INCONCLUSIVE_CLASS), reason, policy.classifier
        )
    return Verdict(
        SimilarityVerdict(
            _OUTCOME_BY_REASON.get(similarity, INCONCLUSIVE), similarity, policy.threshold
        ),
        classifier,
    )


def similarity_flips(
    evidence: Evidence, reencoding: ReEncodingEvidence, threshold: Threshold | None
) -> bool:
    """Return whether a re-encoding is on the other side of its threshold than the probe of its
    own.
    """
    if threshold is None or evidence.nearest_fake is None or reencoding.nearest_fake is None:
        return False
    own = reencoding.threshold or threshold
    return (reencoding.nearest_fake >= own.value) != (evidence.nearest_fake >= threshold.value)


def logit_flips(
    evidence: Evidence, reencoding: ReEncodingEvidence, policy: ClassifierPolicy | None
) -> bool:
    """Return whether a re-encoding is on another side of a limit of the logit than the probe of its
    own.
    """
    if policy is None or evidence.logit is None or reencoding.logit is None:
        return False
    own = reencoding.classifier or policy
    return _beyond(reencoding.logit, own) is not _beyond(evidence.logit, policy)


def find_relation(
    cosine_similarity: float | None,
    threshold: Threshold | None,
    *,
    identical: bool = False,
    near_duplicate: bool = False,
    edited_copy: bool = False,
    possible_copy: bool = False,
) -> Relation | None:
    """Return how a neighbour relates to the probe, None if that needs a threshold and an embedding
    and one of them is missing.
    """
    if identical:
        return Relation.IDENTICAL
    if near_duplicate:
        return Relation.NEAR_DUPLICATE
    if edited_copy:
        return Relation.EDITED_COPY
    if possible_copy:
        return Relation.POSSIBLE_COPY
    if threshold is None or cosine_similarity is None:
        return None
    return Relation.SIMILAR if cosine_similarity >= threshold.value else Relation.BELOW_THRESHOLD


INCONCLUSIVE = SimilarityOutcome.INCONCLUSIVE
INCONCLUSIVE_CLASS = ClassifierOutcome.INCONCLUSIVE
# With any other reason the verdict is inconclusive.
_OUTCOME_BY_REASON = {
    SimilarityReason.IDENTICAL_IMAGE: SimilarityOutcome.SIMILAR_TO_KNOWN_FAKES,
    SimilarityReason.NEAR_DUPLICATE_IMAGE: SimilarityOutcome.SIMILAR_TO_KNOWN_FAKES,
    SimilarityReason.EDITED_COPY: SimilarityOutcome.SIMILAR_TO_KNOWN_FAKES,
    SimilarityReason.ABOVE_THRESHOLD: SimilarityOutcome.SIMILAR_TO_KNOWN_FAKES,
    SimilarityReason.BELOW_THRESHOLD: SimilarityOutcome.NOT_SIMILAR,
}
_OUTCOME_BY_LIMIT = {
    ClassifierReason.SYNTHETIC_LIMIT_REACHED: ClassifierOutcome.SYNTHETIC,
    ClassifierReason.NO_TRACES_LIMIT_REACHED: ClassifierOutcome.NO_TRACES,
}
# log10 of the ratio 2: a ratio up to 2 supports neither side (ENFSI 2015; see
# `index.calibration.verbal`).
SUPPORTS_NEITHER = 0.302
FAKE, REAL = CorpusKind.KNOWN_FAKE, CorpusKind.KNOWN_REAL


def _similarity_reason(evidence: Evidence, policy: Policy) -> SimilarityReason:
    """First the same picture, which is stronger than any similarity; then what forbids a verdict;
    then the similarity.
    """
    same_picture = _same_picture_reason(evidence)
    if same_picture is not None:
        return same_picture
    is_lead = FAKE in evidence.possible_copy_of
    if not evidence.is_embedded:
        return SimilarityReason.POSSIBLE_COPY if is_lead else SimilarityReason.POOR_QUALITY
    if evidence.nearest_fake is None:
        return SimilarityReason.NOTHING_COMPARED
    if policy.threshold is None:
        return policy.barrier or SimilarityReason.NO_THRESHOLD
    if evidence.quality_issue is not None:
        return SimilarityReason.POOR_QUALITY
    flips = (similarity_flips(evidence, each, policy.threshold) for each in evidence.reencodings)
    if any(flips):
        return SimilarityReason.UNSTABLE
    reason = _threshold_reason(evidence.nearest_fake, evidence.ratio, policy.threshold)
    # A lead forbids one verdict: that nothing is there.
    if is_lead and reason is SimilarityReason.BELOW_THRESHOLD:
        return SimilarityReason.POSSIBLE_COPY
    return reason


def _same_picture_reason(evidence: Evidence) -> SimilarityReason | None:
    """Return the reason if the probe shows the same picture as a known fake."""
    by_hash, by_geometry = evidence.same_picture_as, evidence.edited_copy_of
    if FAKE in evidence.identical_to:
        both = REAL in evidence.identical_to
        return SimilarityReason.ALSO_KNOWN_REAL if both else SimilarityReason.IDENTICAL_IMAGE
    if FAKE not in by_hash | by_geometry:
        return None
    if REAL in evidence.identical_to | by_hash | by_geometry:
        return SimilarityReason.ALSO_KNOWN_REAL
    is_near = FAKE in by_hash
    return SimilarityReason.NEAR_DUPLICATE_IMAGE if is_near else SimilarityReason.EDITED_COPY


def _threshold_reason(
    nearest_fake: float, ratio: RatioInterval | None, threshold: Threshold
) -> SimilarityReason:
    """Return the reason by the similarity to the nearest known fake, and the likelihood ratio."""
    if nearest_fake >= threshold.value:
        opposes = ratio is not None and ratio.high < -SUPPORTS_NEITHER
        return SimilarityReason.RATIO_DISAGREES if opposes else SimilarityReason.ABOVE_THRESHOLD
    supports = ratio is not None and ratio.low > SUPPORTS_NEITHER
    return SimilarityReason.BETWEEN if supports else SimilarityReason.BELOW_THRESHOLD


def _classifier_reason(logit: float, evidence: Evidence, policy: Policy) -> ClassifierReason:
    """First what forbids a verdict, then the limits, then what contradicts them."""
    limits = policy.classifier
    if limits is None:
        return ClassifierReason.NO_LIMITS
    reached = _beyond(logit, limits)
    if evidence.quality_issue is not None and not _stands(reached, evidence.quality_issue):
        return ClassifierReason.POOR_QUALITY
    if any(logit_flips(evidence, reencoding, limits) for reencoding in evidence.reencodings):
        return ClassifierReason.UNSTABLE
    if evidence.probability is not None and _disagrees(reached, evidence.probability):
        return ClassifierReason.PROBABILITY_DISAGREES
    return reached


def _stands(reached: ClassifierReason, issue: QualityIssue) -> bool:
    """Return whether a picture that shows too little for other verdicts shows this.

    Unlike all images of the calibration are also those of a generator that the corpora lack: their
    traces count. That none are found in such a picture says nothing.
    """
    is_synthetic = reached is ClassifierReason.SYNTHETIC_LIMIT_REACHED
    return is_synthetic and issue is QualityIssue.UNFAMILIAR


def _disagrees(reached: ClassifierReason, probability: float) -> bool:
    match reached:
        case ClassifierReason.NO_TRACES_LIMIT_REACHED:
            return probability > 0.5
        case ClassifierReason.SYNTHETIC_LIMIT_REACHED:
            return probability < 0.5
        case _:
            return False


def _beyond(logit: float, policy: ClassifierPolicy) -> ClassifierReason:
    if policy.synthetic_logit is not None and logit >= policy.synthetic_logit:
        return ClassifierReason.SYNTHETIC_LIMIT_REACHED
    if policy.no_traces_logit is not None and logit <= policy.no_traces_logit:
        return ClassifierReason.NO_TRACES_LIMIT_REACHED
    return ClassifierReason.BETWEEN_LIMITS
