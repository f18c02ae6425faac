"""From what a search found to statements and verdicts: which calibration speaks, and what it says.

Owns the joining of search results, calibration and policy. The statistics and the judging are pure
and in `index`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, Self

from api.lookups.evidence_json import (
    AttributionAnswer,
    CalibrationUsed,
    CollectionRate,
    LeftOutAnswer,
    QualityAnswer,
    RateAnswer,
    RatioAnswer,
    ReEncodingAnswer,
    RestsOnAnswer,
    ShareAnswer,
    StabilityAnswer,
    WithoutStrongest,
)
from api.lookups.probe import Probe
from embedder.pictures.delivery import Condition
from embedder.pictures.legibility import PictureQuality, is_flat
from embedder.pictures.reencodings import LeftOut
from index.cache.searching import Neighbour, SearchResult
from index.calibration.attribution import COVERAGE
from index.calibration.calibration import ATTRIBUTION_NEIGHBOURS, Stratum
from index.calibration.classifier import ClassifierCalibration
from index.calibration.likelihood import Likelihood, Ratio
from index.calibration.standing import Applied, Applies
from index.calibration.verbal import VerbalScale
from index.verdict import (
    Evidence,
    Policy,
    QualityIssue,
    RatioInterval,
    ReEncodingEvidence,
    Threshold,
    Verdict,
    judge,
    logit_flips,
    similarity_flips,
)

# Fewer known-real sources than a threshold needs make its upper bound many times the rate: with a
# hundred, of which one in expectation is over a rate of 1 %, the exact binomial interval ends at
# 5.4 %.
SUPPORTED_FACTOR = 5.0
# Of a picture that a model enlarges more than twofold most of what it looks at is interpolated.
LARGEST_ENLARGEMENT = 2
NEIGHBOURS = ATTRIBUTION_NEIGHBOURS
SHARES = 20  # of the vote that are told


@dataclass(frozen=True, slots=True)
class SeenReEncoding:
    """A re-encoding of the probe, with the similarity to its nearest known fake and that one's
    generator.

    `threshold` is that of the way it was delivered; None: that of the probe.
    """

    name: str
    logit: float
    nearest_similarity: float | None
    generator: str | None
    threshold: Threshold | None = None

    @classmethod
    def of(
        cls, name: str, logit: float, found: SearchResult | None, threshold: Threshold | None
    ) -> Self:
        """With what was found among known fakes; None where they were left out."""
        nearest = None if found is None else nearest_of(found.neighbours)
        if nearest is None:
            return cls(name, logit, None, None, threshold)
        return cls(name, logit, nearest.cosine_similarity, nearest.entry.generator, threshold)

    @property
    def evidence(self) -> ReEncodingEvidence:
        """What is judged."""
        return ReEncodingEvidence(self.nearest_similarity, self.logit, self.threshold)


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """What was searched: among known fakes (None: they were left out of the search), and the
    nearest known-real one.

    `left_out` are re-encodings that the model cannot look at; None where nobody asked for any.
    """

    fakes: SearchResult | None
    reals: SearchResult
    reencodings: Sequence[SeenReEncoding] = ()
    left_out: Sequence[LeftOut] | None = None

    @property
    def fake_neighbours(self) -> tuple[Neighbour, ...]:
        return () if self.fakes is None else self.fakes.neighbours

    @property
    def nearest_fake(self) -> Neighbour | None:
        return nearest_of(self.fake_neighbours)

    @property
    def nearest_real(self) -> Neighbour | None:
        return nearest_of(self.reals.neighbours)

    @property
    def nearest_other_real(self) -> Neighbour | None:
        """The nearest known-real image that is another picture than the probe, as a calibration
        compares them.
        """
        return nearest_of(
            [
                each
                for each in self.reals.neighbours
                if not each.identical and not each.near_duplicate
            ]
        )


def nearest_of(neighbours: Sequence[Neighbour]) -> Neighbour | None:
    """The most similar one, which near duplicates may stand before; of equal ones the first."""
    return max(neighbours, key=lambda each: each.cosine_similarity, default=None)


@dataclass(frozen=True, slots=True, eq=False)
class Statement:
    """What a calibration says of a probe. Everything is None where none speaks for the search.

    `unseen` are corpora with entries that the newest calibration has not seen, where that is why.
    `corpus_size` is what rates are stated for. `threshold` is the similarity at the false-match
    rate asked for, None where too few images support it.
    """

    applied: Applied | None = None
    condition: str | None = None
    stratum: Stratum | None = None
    corpus_size: int | None = None
    threshold: Threshold | None = None
    unseen: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        applied: Applied | None,
        probe: Probe,
        fakes: SearchResult | None,
        false_match_rate: float,
        unseen: tuple[str, ...] = (),
    ) -> Self:
        """At the size of now; a part of the corpora is spoken for at the size of the whole, as it
        was measured.

        Should the part have outgrown that, at its own size.
        """
        if fakes is None:
            return cls()
        if applied is None:
            return cls(unseen=unseen)
        condition, stratum = applied.calibration.stratum_for(probe.condition or "")
        whole = applied.applies is Applies.EXACT and fakes.searched
        size = fakes.searched if whole else max(fakes.searched, applied.calibration.corpus_size)
        threshold = _threshold_at(false_match_rate, applied, condition, stratum, size)
        return cls(applied, condition, stratum, size, threshold)

    def thresholds_for(
        self, conditions: Sequence[Condition], false_match_rate: float
    ) -> list[Threshold | None]:
        """The threshold of a probe delivered in each of these ways;

        None where this probe or that way has none.
        """
        if self.applied is None or self.corpus_size is None or self.threshold is None:
            return [None] * len(conditions)
        strata = [self.applied.calibration.stratum_for(condition) for condition in conditions]
        found: dict[str | None, Threshold | None] = {self.condition: self.threshold}
        for name, stratum in strata:
            if name not in found:
                found[name] = _threshold_at(
                    false_match_rate, self.applied, name, stratum, self.corpus_size
                )
        return [found[name] for name, _ in strata]

    @property
    def classifier(self) -> ClassifierCalibration | None:
        return None if self.stratum is None else self.stratum.classifier


def _threshold_at(
    rate: float, applied: Applied, condition: str, stratum: Stratum, size: int
) -> Threshold | None:
    """The similarity at a false-match rate; None where the images do not support one."""
    at = stratum.false_matches.similarity_at(rate, size)
    if stratum.false_matches.rate_at(at, size).high > SUPPORTED_FACTOR * rate:
        return None
    source = (
        f"similarity at a false-match rate of {rate:.2%} by calibration {applied.id}, {condition}: "
        f"{stratum.references} known-real images of {stratum.sources} photographs"
    )
    return Threshold(min(1.0, max(-1.0, at)), source)


def evidence_of(probe: Probe, seen: Seen, statement: Statement, model_side: int) -> Evidence:
    """What a verdict is judged by.

    `model_side` is the edge in pixels of what the model looks at.
    """
    fake, real = seen.nearest_fake, seen.nearest_real
    found = [*seen.fake_neighbours, *seen.reals.neighbours]
    found_ratio = _ratio_of(seen, statement)
    ratio = None if found_ratio is None else found_ratio[1]
    return Evidence(
        nearest_fake=None if fake is None else fake.cosine_similarity,
        nearest_real=None if real is None else real.cosine_similarity,
        identical_to=frozenset(each.entry.kind for each in found if each.identical),
        same_picture_as=frozenset(each.entry.kind for each in found if each.near_duplicate),
        ratio=None if ratio is None else RatioInterval(ratio.log10, ratio.low, ratio.high),
        logit=probe.logit,
        quality_issue=quality_answer(probe, seen, statement, model_side).issue,
        reencodings=[reencoding.evidence for reencoding in seen.reencodings],
    )


def rate_answer(seen: Seen, statement: Statement) -> RateAnswer | None:
    """The false-match rate of the nearest similarity."""
    fake, stratum = seen.nearest_fake, statement.stratum
    if fake is None or stratum is None:
        return None
    rate = stratum.false_matches.rate_at(fake.cosine_similarity, statement.corpus_size)
    return RateAnswer(
        estimate=rate.estimate,
        low=rate.low,
        high=rate.high,
        method=rate.method,
        images=stratum.references,
        sources=stratum.sources,
        collections=collection_rates(stratum, fake.cosine_similarity),
    )


def collection_rates(stratum: Stratum, similarity: float) -> list[CollectionRate]:
    """How many images of each reference collection come as near as that; nothing where one of them
    cannot say.
    """
    found = [(each, each.matches_at(similarity)) for each in stratum.collections]
    if any(matches is None for _, matches in found):
        return []
    return [
        CollectionRate(
            corpus=each.collection.corpus,
            source=each.collection.source,
            images=each.n,
            matches=matches or 0,
        )
        for each, matches in found
    ]


def ratio_answer(seen: Seen, statement: Statement, scale: VerbalScale) -> RatioAnswer | None:
    """The likelihood ratio that uses both sides; that of the nearest known fake alone where no real
    is there.
    """
    found = _ratio_of(seen, statement)
    if found is None:
        return None
    model, ratio = found
    return RatioAnswer(
        log10=ratio.log10,
        low=ratio.low,
        high=ratio.high,
        bounds=model.log10_bounds,
        bounded=ratio.bounded,
        words=scale.words_for(ratio.log10),
        scale=scale.source,
        two_sided=len(model.direction) > 1,
        cllr=model.cllr,
        cllr_min=model.cllr_min,
        same_source_images=model.n_same,
        different_source_images=model.n_different,
    )


def _ratio_of(seen: Seen, statement: Statement) -> tuple[Likelihood, Ratio] | None:
    fake, real, stratum = seen.nearest_fake, seen.nearest_other_real, statement.stratum
    if fake is None or stratum is None:
        return None
    if stratum.two_sided is not None and real is not None:
        both = (fake.cosine_similarity, real.cosine_similarity)
        return stratum.two_sided, stratum.two_sided.ratio_at(both)
    if stratum.likelihood is not None:
        return stratum.likelihood, stratum.likelihood.ratio_at(fake.cosine_similarity)
    return None


def attribution_answer(seen: Seen, statement: Statement) -> AttributionAnswer | None:
    """The vote of the nearest known fakes that are listed by similarity."""
    if (
        statement.stratum is None
        or statement.stratum.attribution is None
        or not seen.fake_neighbours
    ):
        return None
    model = statement.stratum.attribution
    nearest = sorted(seen.fake_neighbours, key=lambda each: -each.cosine_similarity)[:NEIGHBOURS]
    said = model.attribute([(each.cosine_similarity, each.entry.generator) for each in nearest])
    return AttributionAnswer(
        unknown=said.unknown,
        reason=said.reason,
        candidates=list(said.candidates),
        coverage=COVERAGE,
        shares=[
            ShareAnswer(generator=name, share=share)
            for name, share in said.shares[: max(SHARES, len(said.candidates))]
        ],
    )


def quality_answer(
    probe: Probe, seen: Seen, statement: Statement, model_side: int
) -> QualityAnswer:
    """Whether the picture says enough."""
    answer = probe.answer
    pdq_quality = None if probe.perceptual_hash is None else probe.perceptual_hash.quality
    familiar_from = None if statement.stratum is None else statement.stratum.familiar_from
    near = [
        each.cosine_similarity
        for each in (seen.nearest_fake, seen.nearest_real)
        if each is not None
    ]
    shortest_side = min(
        (side for side in (answer.width, answer.height) if side is not None), default=None
    )
    issue = None
    if shortest_side is not None and shortest_side * LARGEST_ENLARGEMENT < model_side:
        issue = QualityIssue.TOO_SMALL
    elif is_flat(PictureQuality(shortest_side or 0, pdq_quality, probe.luminance_std)):
        issue = QualityIssue.FLAT
    elif familiar_from is not None and near and max(near) < familiar_from:
        issue = QualityIssue.UNFAMILIAR
    return QualityAnswer(
        issue=issue,
        shortest_side=shortest_side,
        pdq_quality=pdq_quality,
        luminance_std=probe.luminance_std,
        familiar_from=familiar_from,
    )


def rests_on(
    probe: Probe,
    seen: Seen,
    statement: Statement,
    policy: Policy,
    verdict: Verdict,
    model_side: int,
) -> RestsOnAnswer:
    """The entries that carried the verdict, and what it were without the strongest of them."""
    carrying = [each for each in seen.fake_neighbours if _carries(each, policy.threshold)]
    if not carrying or seen.fakes is None:
        return RestsOnAnswer(entry_ids=[], without_strongest=None, stands=True)
    strongest = carrying[0]
    others = tuple(each for each in seen.fake_neighbours if each is not strongest)
    left = evidence_of(
        probe, replace(seen, fakes=replace(seen.fakes, neighbours=others)), statement, model_side
    )
    without = judge(left, policy).similarity
    return RestsOnAnswer(
        entry_ids=[each.entry.id for each in carrying],
        without_strongest=WithoutStrongest(
            entry_id=strongest.entry.id,
            verdict=without.verdict,
            reason=without.reason,
            nearest_similarity=left.nearest_fake,
        ),
        stands=without.verdict is verdict.similarity.verdict,
    )


def _carries(neighbour: Neighbour, threshold: Threshold | None) -> bool:
    same_picture = neighbour.identical or neighbour.near_duplicate is True
    return same_picture or (
        threshold is not None and neighbour.cosine_similarity >= threshold.value
    )


def stability_answer(seen: Seen, evidence: Evidence, policy: Policy) -> StabilityAnswer | None:
    """The range over all re-encodings; None where nobody asked."""
    if seen.left_out is None:
        return None
    similarities = [
        reencoding.nearest_similarity
        for reencoding in seen.reencodings
        if reencoding.nearest_similarity is not None
    ]
    logits = [reencoding.logit for reencoding in seen.reencodings]
    return StabilityAnswer(
        reencodings=[
            ReEncodingAnswer(
                name=reencoding.name,
                logit=reencoding.logit,
                nearest_similarity=reencoding.nearest_similarity,
                generator=reencoding.generator,
                threshold=None if reencoding.threshold is None else reencoding.threshold.value,
                flips=_flips(evidence, reencoding.evidence, policy),
            )
            for reencoding in seen.reencodings
        ],
        left_out=[LeftOutAnswer(name=each.name, reason=each.reason) for each in seen.left_out],
        logit_low=min(logits, default=None),
        logit_high=max(logits, default=None),
        similarity_low=min(similarities, default=None),
        similarity_high=max(similarities, default=None),
        generators=sorted(
            {
                reencoding.generator
                for reencoding in seen.reencodings
                if reencoding.generator is not None
            }
        ),
    )


def _flips(
    evidence: Evidence, reencoding: ReEncodingEvidence, policy: Policy
) -> list[Literal["logit", "similarity"]]:
    flips: list[Literal["logit", "similarity"]] = (
        ["logit"] if logit_flips(evidence, reencoding, policy.classifier) else []
    )
    return (
        [*flips, "similarity"]
        if similarity_flips(evidence, reencoding, policy.threshold)
        else flips
    )


def calibration_used(probe: Probe, statement: Statement) -> CalibrationUsed | None:
    """Which calibration speaks, and how it fits."""
    applied, stratum = statement.applied, statement.stratum
    if applied is None or stratum is None or statement.condition is None:
        return None
    measured = applied.calibration.corpus_size
    return CalibrationUsed(
        id=applied.id,
        created_at=applied.created_at,
        generation=applied.generation,
        applies=applied.applies.value,
        against=list(applied.against),
        reference=list(applied.reference),
        corpus_size=measured,
        entries_since=None
        if applied.applies is not Applies.EXACT
        else (statement.corpus_size or 0) - measured,
        probe_condition=None if probe.condition is None else probe.condition.value,
        condition=statement.condition,
        images=stratum.references,
        sources=stratum.sources,
        supports_threshold=statement.threshold is not None,
    )
