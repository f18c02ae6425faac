"""From what a search found to the evidence of a verdict. Each figure is computed once.

`assess` joins three things: what is known of a probe, its neighbours, and the calibration that
applies to it. The result holds the evidence, the verdict, and the figures that stand beside it.
Pure functions and frozen values: no database, no image, no JSON.

Not here: which calibration applies (`index.calibration.standing`), what it says of one probe
(`index.calibration.for_probe`), and what evidence means (`index.verdict`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Self

from index.cache.searching import Neighbour
from index.calibration.attribution import Attributed
from index.calibration.calibration import ATTRIBUTION_NEIGHBOURS
from index.calibration.false_matches import Rate
from index.calibration.for_probe import CollectionCount, ProbeCalibration, count_by_collection
from index.calibration.likelihood import Likelihood, Ratio
from index.truth.corpora import CorpusKind
from index.verdict import (
    Evidence,
    Policy,
    QualityIssue,
    RatioInterval,
    ReEncodingEvidence,
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
    """

    logit: float | None = None
    condition: str | None = None
    shortest_side: int | None = None
    model_side: int = 0
    is_flat: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Neighbourhood:
    """The known fakes and the known-real images that a search found near a probe.

    The other fields follow from these two, and are computed when the object is made.
    `nearest_other_real` is the nearest known-real image that is another picture than the probe: a
    calibration compares other pictures too. `identical_to` and `same_picture_as` are the kinds of
    corpora that hold the probe's bytes, or its picture by perceptual hash.
    """

    fakes: tuple[Neighbour, ...]
    reals: tuple[Neighbour, ...]
    nearest_fake: Neighbour | None = field(init=False)
    nearest_real: Neighbour | None = field(init=False)
    nearest_other_real: Neighbour | None = field(init=False)
    identical_to: frozenset[CorpusKind] = field(init=False)
    same_picture_as: frozenset[CorpusKind] = field(init=False)

    def __post_init__(self) -> None:
        found = (*self.fakes, *self.reals)
        derived = {
            "nearest_fake": find_nearest(self.fakes),
            "nearest_real": find_nearest(self.reals),
            "nearest_other_real": find_nearest(
                [each for each in self.reals if not each.identical and not each.near_duplicate]
            ),
            "identical_to": frozenset(each.entry.kind for each in found if each.identical),
            "same_picture_as": frozenset(each.entry.kind for each in found if each.near_duplicate),
        }
        for name, value in derived.items():
            object.__setattr__(self, name, value)


def find_nearest(neighbours: Sequence[Neighbour]) -> Neighbour | None:
    """Return the most similar neighbour, the first of equal ones; near duplicates may stand before
    it.
    """
    return max(neighbours, key=lambda each: each.cosine_similarity, default=None)


@dataclass(frozen=True, slots=True)
class FalseMatchRate:
    """How often a known-real image has a known fake at least as near as the nearest one here."""

    rate: Rate
    images: int
    sources: int
    collections: tuple[CollectionCount, ...]


@dataclass(frozen=True, slots=True)
class LikelihoodRatio:
    """The likelihood ratio of a probe, and the model that it was read from."""

    model: Likelihood
    ratio: Ratio

    @property
    def is_two_sided(self) -> bool:
        """Whether the nearest known-real image is weighed too."""
        return len(self.model.direction) > 1


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

    `threshold` is that of the way it was delivered; None: that of the probe.
    """

    name: str
    logit: float
    nearest_similarity: float | None = None
    generator: str | None = None
    threshold: Threshold | None = None

    @classmethod
    def of(
        cls, name: str, logit: float, nearest: Neighbour | None, threshold: Threshold | None
    ) -> Self:
        """With its nearest known fake."""
        if nearest is None:
            return cls(name, logit, threshold=threshold)
        return cls(name, logit, nearest.cosine_similarity, nearest.entry.generator, threshold)

    @property
    def evidence(self) -> ReEncodingEvidence:
        """What a verdict is judged by."""
        return ReEncodingEvidence(self.nearest_similarity, self.logit, self.threshold)


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
    """The known fakes that support the verdict: the same picture, or at least as near as the
    threshold.

    `stands`: the verdict is the same without the strongest of them, or rests on none.
    """

    entry_ids: tuple[int, ...] = ()
    without_strongest: WithoutStrongest | None = None
    stands: bool = True


@dataclass(frozen=True, slots=True, eq=False)
class Assessment:
    """What was found out about a probe, and the verdict.

    `false_match_rate`, `likelihood_ratio` and `attribution` are None without a calibration, and if
    the picture's quality has an issue: they would be figures of noise that look like any others.
    """

    neighbourhood: Neighbourhood
    calibration: ProbeCalibration | None
    quality: Quality
    evidence: Evidence
    verdict: Verdict
    support: Support
    false_match_rate: FalseMatchRate | None
    likelihood_ratio: LikelihoodRatio | None
    attribution: Attributed | None
    reencodings: tuple[ReEncodingOutcome, ...]


def assess(
    facts: ProbeFacts,
    neighbourhood: Neighbourhood,
    calibration: ProbeCalibration | None,
    policy: Policy,
    reencodings: Sequence[ReEncodedProbe] = (),
) -> Assessment:
    """Return what a search found out about a probe, judged by a policy."""
    quality = _quality(facts, neighbourhood, calibration)
    ratio = _likelihood_ratio(neighbourhood, calibration)
    seen = tuple(each.evidence for each in reencodings)
    evidence = _evidence(facts, neighbourhood, quality, ratio, seen)
    verdict = judge(evidence, policy)
    is_sound = quality.issue is None
    return Assessment(
        neighbourhood=neighbourhood,
        calibration=calibration,
        quality=quality,
        evidence=evidence,
        verdict=verdict,
        support=_support(facts, neighbourhood, calibration, policy, seen, verdict.similarity),
        false_match_rate=_false_match_rate(neighbourhood, calibration) if is_sound else None,
        likelihood_ratio=ratio if is_sound else None,
        attribution=_attribution(neighbourhood, calibration) if is_sound else None,
        reencodings=tuple(
            ReEncodingOutcome(
                reencoding,
                logit_flips(evidence, each, policy.classifier),
                similarity_flips(evidence, each, policy.threshold),
            )
            for reencoding, each in zip(reencodings, seen, strict=True)
        ),
    )


def _evidence(
    facts: ProbeFacts,
    neighbourhood: Neighbourhood,
    quality: Quality,
    likelihood: LikelihoodRatio | None,
    reencodings: Sequence[ReEncodingEvidence],
) -> Evidence:
    fake, real = neighbourhood.nearest_fake, neighbourhood.nearest_real
    ratio = None if likelihood is None else likelihood.ratio
    return Evidence(
        nearest_fake=None if fake is None else fake.cosine_similarity,
        nearest_real=None if real is None else real.cosine_similarity,
        identical_to=neighbourhood.identical_to,
        same_picture_as=neighbourhood.same_picture_as,
        ratio=None if ratio is None else RatioInterval(ratio.log10, ratio.low, ratio.high),
        logit=facts.logit,
        quality_issue=quality.issue,
        reencodings=reencodings,
    )


def _quality(
    facts: ProbeFacts, neighbourhood: Neighbourhood, calibration: ProbeCalibration | None
) -> Quality:
    familiar_from = None if calibration is None else calibration.stratum.familiar_from
    both = (neighbourhood.nearest_fake, neighbourhood.nearest_real)
    near = [each.cosine_similarity for each in both if each is not None]
    side, issue = facts.shortest_side, None
    if side is not None and side * LARGEST_ENLARGEMENT < facts.model_side:
        issue = QualityIssue.TOO_SMALL
    elif facts.is_flat:
        issue = QualityIssue.FLAT
    elif familiar_from is not None and near and max(near) < familiar_from:
        issue = QualityIssue.UNFAMILIAR
    return Quality(issue, side, familiar_from)


def _false_match_rate(
    neighbourhood: Neighbourhood, calibration: ProbeCalibration | None
) -> FalseMatchRate | None:
    nearest = neighbourhood.nearest_fake
    if nearest is None or calibration is None:
        return None
    stratum, similarity = calibration.stratum, nearest.cosine_similarity
    return FalseMatchRate(
        stratum.false_matches.rate_at(similarity, calibration.corpus_size),
        stratum.references,
        stratum.sources,
        count_by_collection(stratum, similarity),
    )


def _likelihood_ratio(
    neighbourhood: Neighbourhood, calibration: ProbeCalibration | None
) -> LikelihoodRatio | None:
    """The ratio that weighs both sides; that of the nearest known fake alone where no known-real
    image was found.
    """
    fake, real = neighbourhood.nearest_fake, neighbourhood.nearest_other_real
    if fake is None or calibration is None:
        return None
    one_sided, two_sided = calibration.stratum.likelihood, calibration.stratum.two_sided
    if two_sided is not None and real is not None:
        both = (fake.cosine_similarity, real.cosine_similarity)
        return LikelihoodRatio(two_sided, two_sided.ratio_at(both))
    if one_sided is not None:
        return LikelihoodRatio(one_sided, one_sided.ratio_at(fake.cosine_similarity))
    return None


def _attribution(
    neighbourhood: Neighbourhood, calibration: ProbeCalibration | None
) -> Attributed | None:
    """The vote of the most similar known fakes."""
    model = None if calibration is None else calibration.stratum.attribution
    if model is None or not neighbourhood.fakes:
        return None
    nearest = sorted(neighbourhood.fakes, key=lambda each: -each.cosine_similarity)
    return model.attribute(
        [
            (each.cosine_similarity, each.entry.generator)
            for each in nearest[:ATTRIBUTION_NEIGHBOURS]
        ]
    )


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
        _likelihood_ratio(rest, calibration),
        reencodings,
    )
    without = judge(evidence, policy).similarity
    return Support(
        entry_ids=tuple(each.entry.id for each in supporting),
        without_strongest=WithoutStrongest(strongest.entry.id, without, evidence.nearest_fake),
        stands=without.verdict is similarity.verdict,
    )


def _supports(neighbour: Neighbour, threshold: Threshold | None) -> bool:
    is_same_picture = neighbour.identical or neighbour.near_duplicate is True
    return is_same_picture or (
        threshold is not None and neighbour.cosine_similarity >= threshold.value
    )
