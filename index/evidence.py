"""From what a search found to the evidence of a verdict. Each figure is computed once.

`assess` joins three things: what is known of a probe, its neighbours, and the calibration that
applies to it. The result holds the evidence, the verdict, and the figures that stand beside it.
Pure functions and frozen values: no database, no image, no JSON.

Not here: which calibration applies (`index.calibration.standing`), what it says of one probe
(`index.calibration.for_probe`), and what evidence means (`index.verdict`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Self

from index.cache.searching.questions import Neighbour
from index.calibration.attribution import Attributed
from index.calibration.for_probe import ProbeCalibration
from index.copies import LeadLimits
from index.figures import (
    ClassifierFigures,
    FalseMatchRate,
    HitRate,
    LikelihoodRatio,
    find_classifier_figures,
    find_false_match_rate,
    find_hit_rate,
    find_likelihood_ratio,
    find_probability,
    quote,
    read_likelihood_ratio,
    vote,
)
from index.leads import is_lead, is_same_picture
from index.neighbourhood import Neighbourhood
from index.policy import LogitCalibration, tells_nothing
from index.verdict import (
    ClassifierPolicy,
    Evidence,
    Policy,
    QualityIssue,
    RatioInterval,
    ReEncodingEvidence,
    SimilarityOutcome,
    SimilarityVerdict,
    Threshold,
    Verdict,
    judge,
    logit_flips,
    similarity_flips,
)

# If a model enlarges a picture more than twofold, most of what it reads is interpolated.
LARGEST_ENLARGEMENT = 2


@dataclass(frozen=True, slots=True)
class ProbeFacts:
    """What is known of a probe beside its embedding. None: not known.

    `condition` names how it seems to have been delivered. `shortest_side` and `model_side`, the
    edge of what the model reads, are in pixels. `is_flat`: it has hardly any structure.
    `is_embedded` is false if it is too small for the model.
    """

    logit: float | None = None
    condition: str | None = None
    shortest_side: int | None = None
    model_side: int = 0
    is_flat: bool = False
    is_embedded: bool = True


@dataclass(frozen=True, slots=True)
class Quality:
    """Whether a picture shows enough for a verdict.

    Below `familiar_from` a probe is further from everything than the calibration's images are from
    one another; None: not known.
    """

    issue: QualityIssue | None
    shortest_side: int | None
    familiar_from: float | None


@dataclass(frozen=True, slots=True)
class ReEncodedProbe:
    """A re-encoding of the probe with its nearest known fake; None if none was searched or found.

    `threshold` and `classifier` are the limits of the way it was delivered; None: those of the
    probe.
    """

    name: str
    logit: float
    nearest_similarity: float | None = None
    generator: str | None = None
    threshold: Threshold | None = None
    classifier: ClassifierPolicy | None = None

    @classmethod
    def of(
        cls,
        name: str,
        logit: float,
        nearest: Neighbour | None,
        threshold: Threshold | None,
        classifier: ClassifierPolicy | None = None,
    ) -> Self:
        """With its nearest known fake."""
        similarity = None if nearest is None else nearest.cosine_similarity
        generator = None if nearest is None else nearest.entry.generator
        return cls(name, logit, similarity, generator, threshold, classifier)

    @property
    def evidence(self) -> ReEncodingEvidence:
        """What a verdict is judged by."""
        return ReEncodingEvidence(
            self.nearest_similarity, self.logit, self.threshold, self.classifier
        )


@dataclass(frozen=True, slots=True)
class ReEncodingOutcome:
    """A re-encoding, and whether it is on another side of a limit than the probe."""

    reencoding: ReEncodedProbe
    flips_logit: bool
    flips_similarity: bool


@dataclass(frozen=True, slots=True)
class WithoutStrongest:
    """The verdict if the strongest supporting entry were not in its corpus."""

    entry_id: int
    similarity: SimilarityVerdict
    nearest_similarity: float | None


@dataclass(frozen=True, slots=True)
class Support:
    """The known fakes that support the verdict: the same picture, also a verified version of it, or
    at least as near as the threshold.

    `stands`: the verdict is the same without the strongest of them, or rests on none.
    """

    entry_ids: tuple[int, ...] = ()
    without_strongest: WithoutStrongest | None = None
    stands: bool = True


@dataclass(frozen=True, slots=True, eq=False)
class Assessment:
    """What was found out about a probe, and the verdict.

    `nearest_known_fake` is the entry that the verdict rests on: the same file, else the first that
    supports the verdict, else the first lead, else the most similar one. `policy` is what was
    judged by. `false_match_rate`, `hit_rate`, `likelihood_ratio` and `attribution` are None without
    a calibration, and if the picture's quality has an issue: they would be figures of noise that
    look like any others. An attribution is not stated beside `not_similar` either. `classifier` is
    None without a calibration.
    """

    neighbourhood: Neighbourhood
    calibration: ProbeCalibration | None
    policy: Policy
    quality: Quality
    evidence: Evidence
    verdict: Verdict
    support: Support
    nearest_known_fake: Neighbour | None
    false_match_rate: FalseMatchRate | None
    hit_rate: HitRate | None
    likelihood_ratio: LikelihoodRatio | None
    attribution: Attributed | None
    classifier: ClassifierFigures | None
    reencodings: tuple[ReEncodingOutcome, ...]


def assess(
    facts: ProbeFacts,
    neighbourhood: Neighbourhood,
    calibration: ProbeCalibration | None,
    policy: Policy,
    reencodings: Sequence[ReEncodedProbe] = (),
    logits: LogitCalibration | None = None,
) -> Assessment:
    """Return what a search found out about a probe, judged by a policy.

    `calibration` is that of the searched corpora, `logits` what the newest one says of the logit.
    """
    quality = _quality(facts, neighbourhood, calibration)
    ratio = find_likelihood_ratio(neighbourhood, calibration)
    seen = tuple(each.evidence for each in reencodings)
    probability = find_probability(facts.logit, logits)
    evidence = _evidence(facts, neighbourhood, quality, ratio, seen, probability, policy.leads)
    verdict = judge(evidence, policy)
    is_sound = quality.issue is None
    # Beside `not_similar` a name would be read as if a known fake were near after all. Where
    # similarity does not tell fakes from photographs, photographs get names like any fake.
    is_near = verdict.similarity.verdict is not SimilarityOutcome.NOT_SIMILAR
    is_telling = calibration is None or not tells_nothing(calibration)
    may_vote = is_sound and is_near and is_telling
    return Assessment(
        neighbourhood=neighbourhood,
        calibration=calibration,
        policy=policy,
        quality=quality,
        evidence=evidence,
        verdict=verdict,
        support=_support(facts, neighbourhood, calibration, policy, seen, verdict.similarity),
        nearest_known_fake=_find_shown(neighbourhood, policy),
        false_match_rate=find_false_match_rate(neighbourhood, calibration) if is_sound else None,
        hit_rate=find_hit_rate(neighbourhood, calibration) if is_sound else None,
        likelihood_ratio=ratio if is_sound else None,
        attribution=_attribute(neighbourhood, calibration, may_vote=may_vote),
        classifier=find_classifier_figures(verdict.classifier, logits, probability),
        reencodings=tuple(
            ReEncodingOutcome(
                reencoding,
                logit_flips(evidence, each, policy.classifier),
                similarity_flips(evidence, each, policy.threshold),
            )
            for reencoding, each in zip(reencodings, seen, strict=True)
        ),
    )


def judge_similarities(
    facts: ProbeFacts,
    fake: float | None,
    real: float | None,
    calibration: ProbeCalibration | None,
    policy: Policy,
    logits: LogitCalibration | None,
    reencodings: Sequence[ReEncodingEvidence] = (),
) -> Verdict:
    """Return the verdict of `assess` for a probe that is another picture than every entry.

    `fake` and `real` are the similarities to the nearest known fake and known-real image; None:
    there is none.
    """
    familiar_from = None if calibration is None else calibration.stratum.familiar_from
    near = [each for each in (fake, real) if each is not None]
    ratio = None
    if fake is not None and calibration is not None:
        ratio = read_likelihood_ratio(calibration.stratum, fake, real)
    evidence = Evidence(
        nearest_fake=fake,
        nearest_real=real,
        ratio=_supported_interval(ratio),
        logit=facts.logit,
        quality_issue=_find_issue(facts, near, familiar_from),
        reencodings=reencodings,
        probability=find_probability(facts.logit, logits),
    )
    return judge(evidence, policy)


def _evidence(
    facts: ProbeFacts,
    neighbourhood: Neighbourhood,
    quality: Quality,
    likelihood: LikelihoodRatio | None,
    reencodings: Sequence[ReEncodingEvidence],
    probability: float | None,
    leads: LeadLimits,
) -> Evidence:
    fake, real = neighbourhood.nearest_fake, neighbourhood.nearest_real
    found = (*neighbourhood.fakes, *neighbourhood.reals)
    return Evidence(
        nearest_fake=None if fake is None else fake.cosine_similarity,
        nearest_real=None if real is None else real.cosine_similarity,
        identical_to=neighbourhood.identical_to,
        same_picture_as=neighbourhood.same_picture_as,
        ratio=_supported_interval(likelihood),
        logit=facts.logit,
        quality_issue=quality.issue,
        reencodings=reencodings,
        probability=probability,
        edited_copy_of=neighbourhood.edited_copy_of,
        possible_copy_of=frozenset(each.entry.kind for each in found if is_lead(each, leads)),
        is_embedded=facts.is_embedded,
    )


def _quality(
    facts: ProbeFacts, neighbourhood: Neighbourhood, calibration: ProbeCalibration | None
) -> Quality:
    familiar_from = None if calibration is None else calibration.stratum.familiar_from
    both = (neighbourhood.nearest_fake, neighbourhood.nearest_real)
    near = [each.nearness for each in both if each is not None]
    return Quality(_find_issue(facts, near, familiar_from), facts.shortest_side, familiar_from)


def _find_issue(
    facts: ProbeFacts, near: Sequence[float], familiar_from: float | None
) -> QualityIssue | None:
    """Return why a picture shows too little; `near` are its largest similarities."""
    side = facts.shortest_side
    if not facts.is_embedded:
        return QualityIssue.TOO_SMALL
    if side is not None and side * LARGEST_ENLARGEMENT < facts.model_side:
        return QualityIssue.TOO_SMALL
    if facts.is_flat:
        return QualityIssue.FLAT
    if familiar_from is not None and near and max(near) < familiar_from:
        return QualityIssue.UNFAMILIAR
    return None


def _supported_interval(likelihood: LikelihoodRatio | None) -> RatioInterval | None:
    """Return the interval of a ratio that the data support."""
    if likelihood is None or not likelihood.is_supported:
        return None
    ratio = likelihood.ratio
    return RatioInterval(ratio.log10, ratio.low, ratio.high)


def _attribute(
    neighbourhood: Neighbourhood, calibration: ProbeCalibration | None, *, may_vote: bool
) -> Attributed | None:
    """Return the generators that the same picture declares, else the vote of the nearest known
    fakes.
    """
    return quote(neighbourhood) or (vote(neighbourhood, calibration) if may_vote else None)


def _find_shown(neighbourhood: Neighbourhood, policy: Policy) -> Neighbour | None:
    """Return the known fake that a verdict rests on, or would rest on."""
    fakes = neighbourhood.fakes
    same_file = (each for each in fakes if each.identical)
    supporting = (each for each in fakes if _supports(each, policy.threshold))
    leads = (each for each in fakes if is_lead(each, policy.leads))
    return next(chain(same_file, supporting, leads), neighbourhood.nearest_fake)


def _support(
    facts: ProbeFacts,
    neighbourhood: Neighbourhood,
    calibration: ProbeCalibration | None,
    policy: Policy,
    reencodings: Sequence[ReEncodingEvidence],
    similarity: SimilarityVerdict,
) -> Support:
    supporting = [each for each in neighbourhood.fakes if _supports(each, policy.threshold)]
    if not supporting:
        return Support()
    strongest = supporting[0]
    others = tuple(each for each in neighbourhood.fakes if each is not strongest)
    rest = replace(neighbourhood, fakes=others)
    evidence = _evidence(
        facts,
        rest,
        _quality(facts, rest, calibration),
        find_likelihood_ratio(rest, calibration),
        reencodings,
        None,
        policy.leads,
    )
    without = judge(evidence, policy).similarity
    return Support(
        entry_ids=tuple(each.entry.id for each in supporting),
        without_strongest=WithoutStrongest(strongest.entry.id, without, evidence.nearest_fake),
        stands=without.verdict is similarity.verdict,
    )


def _supports(neighbour: Neighbour, threshold: Threshold | None) -> bool:
    return is_same_picture(neighbour) or (
        threshold is not None and neighbour.nearness >= threshold.value
    )
