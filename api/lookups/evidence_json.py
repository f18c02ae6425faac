"""The evidence beside the verdicts as JSON: how often wrong, how strong, which generator.

None of these values is a probability that the probe is fake.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from api.fields import Answer, CorpusName
from index.calibration.attribution import COVERAGE, Attributed
from index.calibration.false_matches import RateMethod
from index.calibration.for_probe import CollectionCount, ProbeCalibration
from index.calibration.standing import Applies
from index.calibration.verbal import VerbalScale
from index.evidence import FalseMatchRate, LikelihoodRatio, Quality
from index.verdict import QualityIssue

SHARES = 20  # of the vote that an answer lists


class StatementAnswer(Answer):
    """One sentence of further evidence, beside the verdicts."""

    topic: str = Field(
        examples=["ratio"],
        description="Topic of the sentence, machine-readable: rate, ratio, generator, known real, "
        "rests on, stability or calibration.",
    )
    words: str = Field(
        description="The sentence, for people. The page and the terminal print the same words."
    )


class CollectionRate(Answer):
    """False matches of one reference collection."""

    corpus: str = Field(description="Name of the corpus of known-real images.")
    source: str | None = Field(
        description="Source of the images within that corpus. Null if not declared."
    )
    images: int = Field(
        ge=1, description="Number of images of this collection that the calibration measured."
    )
    matches: int = Field(
        ge=0,
        description="Number of these images whose nearest known fake was at least as similar as "
        "the compared similarity.",
    )

    @classmethod
    def of(cls, count: CollectionCount) -> CollectionRate:
        """From what a calibration counted."""
        return cls(
            corpus=count.collection.corpus,
            source=count.collection.source,
            images=count.images,
            matches=count.matches,
        )


class RateAnswer(Answer):
    """The false-match rate: how often a known-real image has a known fake at least as near as the
    probe's nearest one.

    It describes the reference population. It is not a probability that the probe is fake, or real.
    """

    estimate: float = Field(
        ge=0,
        le=1,
        description="Estimated share of known-real images, of the reference population, that have"
        " a known fake at least as near.",
    )
    low: float = Field(ge=0, le=1, description="Lower end of the 95 % interval.")
    high: float = Field(ge=0, le=1, description="Upper end of the 95 % interval.")
    method: RateMethod = Field(
        description="empirical: the share observed. tail: extrapolated with a generalised Pareto "
        "tail, because few images came this near. rule_of_three: no image came this "
        "near; `high` is an upper bound."
    )
    images: int = Field(ge=1, description="Number of known-real images measured.")
    sources: int = Field(ge=1, description="Number of photographs that these images come from.")
    collections: list[CollectionRate] = Field(
        default_factory=list,
        description="The same count for each reference collection (corpus and source) of at least"
        " 20 images, if there are two or more. If their shares differ, the rate "
        "depends on the mixture. Also empty if more images came this near than a "
        "calibration stores.",
    )

    @classmethod
    def of(cls, found: FalseMatchRate | None) -> RateAnswer | None:
        """From what the assessment found."""
        if found is None:
            return None
        return cls(
            estimate=found.rate.estimate,
            low=found.rate.low,
            high=found.rate.high,
            method=found.rate.method,
            images=found.images,
            sources=found.sources,
            collections=[CollectionRate.of(each) for each in found.collections],
        )


class RatioAnswer(Answer):
    """Likelihood ratio: how much better the similarities fit one proposition than the other.

    First proposition: a generator that made images in the corpora made the probe. Alternative: the
    probe is a known-real image like those of the reference population. It is not a probability, and
    it does not cover other explanations, such as a generator that the corpora do not hold.
    """

    log10: float = Field(
        description="Logarithm (base 10) of the ratio. Above 0 supports the first proposition; "
        "below 0 supports the alternative."
    )
    low: float = Field(description="Lower end of the 95 % interval, as log10.")
    high: float = Field(description="Upper end of the 95 % interval, as log10.")
    bounds: tuple[float, float] = Field(
        description="Smallest and largest ratio that the calibration data can support (ELUB), as "
        "log10."
    )
    bounded: bool = Field(
        description="True if the ratio was cut to one of `bounds`. The data cannot support a "
        "stronger one."
    )
    words: str = Field(
        description="The ratio in the words of the verbal scale, about the two propositions.",
        examples=["weak support for the first proposition rather than the alternative"],
    )
    scale: str = Field(description="Name of the guideline that defines the verbal scale.")
    two_sided: bool = Field(
        description="True if the ratio also uses the nearest known-real image. False if it uses "
        "the nearest known fake alone."
    )
    cllr: float = Field(
        description="Cost of the calibration's ratios (Cllr) on data that they were not fitted "
        "on. 0 is perfect; at 1 or above they carry no information."
    )
    cllr_min: float = Field(
        description="The part of `cllr` that remains after the best possible recalibration."
    )
    same_source_images: int = Field(
        description="Number of known fakes that the ratio was fitted on, each compared with other"
        " images."
    )
    different_source_images: int = Field(
        description="Number of known-real images that the ratio was fitted on."
    )

    @classmethod
    def of(cls, found: LikelihoodRatio | None, scale: VerbalScale) -> RatioAnswer | None:
        """From what the assessment found, in the words of a verbal scale."""
        if found is None:
            return None
        ratio, model = found.ratio, found.model
        return cls(
            log10=ratio.log10,
            low=ratio.low,
            high=ratio.high,
            bounds=model.log10_bounds,
            bounded=ratio.bounded,
            words=scale.words_for(ratio.log10),
            scale=scale.source,
            two_sided=found.is_two_sided,
            cllr=model.cllr,
            cllr_min=model.cllr_min,
            same_source_images=model.n_same,
            different_source_images=model.n_different,
        )


class ShareAnswer(Answer):
    """One generator's share of the vote of the nearest known fakes."""

    generator: str = Field(description="Name of the generator, normalised.")
    share: float = Field(
        ge=0, le=1, description="Share of the vote. The shares of all generators sum to 1."
    )


class AttributionAnswer(Answer):
    """The generators that may have made the probe, if a generator in the corpora made it.

    An attribution does not say that the probe is fake.
    """

    unknown: bool = Field(description="True if no generator can be named.")
    reason: str = Field(
        description="nearest_known_fakes: the candidates follow from the nearest known fakes. "
        "no_generator_told: no near known fake has a declared generator. "
        "nothing_near_enough: every known fake is too far away. set_holds_everything:"
        " no generator can be excluded."
    )
    candidates: list[str] = Field(
        description="Candidate generators, most likely first. For images of a generator in the "
        "corpora, the candidates contain the right one in the share of cases given by"
        " `coverage`. Empty if `unknown`."
    )
    coverage: float = Field(
        description="Share of cases in which the candidates contain the right generator, if the "
        "corpora hold it.",
        examples=[0.9],
    )
    shares: list[ShareAnswer] = Field(
        description="Votes of the nearest known fakes, largest first. At most 20, and always all "
        "candidates."
    )

    @classmethod
    def of(cls, found: Attributed | None) -> AttributionAnswer | None:
        """From what the assessment found."""
        if found is None:
            return None
        return cls(
            unknown=found.unknown,
            reason=found.reason,
            candidates=list(found.candidates),
            coverage=COVERAGE,
            shares=[
                ShareAnswer(generator=name, share=share)
                for name, share in found.shares[: max(SHARES, len(found.candidates))]
            ],
        )


class QualityAnswer(Answer):
    """Whether the image shows enough for a verdict."""

    issue: QualityIssue | None = Field(
        description="too_small: smaller than the model needs. flat: hardly any structure. "
        "unfamiliar: far from everything in the corpora, so that the calibration does"
        " not apply. Null: no issue."
    )
    shortest_side: int | None = Field(
        description="Shorter side in pixels. Null if no image was sent."
    )
    pdq_quality: int | None = Field(
        description="Quality of the perceptual hash, from 0 (flat) to 100. Null if no image was "
        "sent."
    )
    luminance_std: float | None = Field(
        description="Standard deviation of the luminance that the model sees, on the scale 0 to "
        "255. Null if the image was not decoded for this look-up."
    )
    familiar_from: float | None = Field(
        None,
        description="Lowest similarity to the nearest entry, of any kind, at which a probe is "
        "familiar. 99.5 % of the calibration's images reach it. Null if not known.",
    )

    @classmethod
    def of(
        cls, found: Quality, *, pdq_quality: int | None, luminance_std: float | None
    ) -> QualityAnswer:
        """From what the assessment found, with the figures that say whether the image is flat."""
        return cls(
            issue=found.issue,
            shortest_side=found.shortest_side,
            pdq_quality=pdq_quality,
            luminance_std=luminance_std,
            familiar_from=found.familiar_from,
        )


class CalibrationUsed(Answer):
    """The calibration that the false-match rate, the likelihood ratio and the attribution come
    from.
    """

    id: int = Field(
        description="Id of the calibration. GET /v1/calibrations/{id} or `lineup calibrations "
        "show ID` prints it."
    )
    created_at: datetime = Field(description="When the calibration was stored, in UTC.")
    generation: int = Field(description="Number of the last change that the calibration measured.")
    applies: Literal["exact", "upper_bound"] = Field(
        description="exact: the calibrated corpora were searched. upper_bound: only part of them "
        "was searched, so the true false-match rate is at most the stated one."
    )
    against: list[CorpusName] = Field(description="Names of the calibrated corpora of known fakes.")
    reference: list[CorpusName] = Field(
        description="Names of the corpora of known-real images: the reference population."
    )
    corpus_size: int = Field(
        description="Number of entries of known fakes when the calibration was measured."
    )
    entries_since: int | None = Field(
        description="Entries added since the calibration (negative if removed). The rate is "
        "predicted for the corpus's current size. Null if only part of the corpora "
        "was searched."
    )
    probe_condition: str | None = Field(
        description="The kind of delivery that the probe's file looks like, by its format, its "
        "size and its JPEG tables. Null if no image was sent.",
        examples=["jpeg75"],
    )
    condition: str = Field(
        description="The kind of delivery whose figures are used: `probe_condition` if the "
        "calibration measured it, otherwise as_is.",
        examples=["as_is"],
    )
    images: int = Field(
        description="Number of known-real images measured for this kind of delivery."
    )
    sources: int = Field(description="Number of photographs that these images come from.")
    supports_threshold: bool = Field(
        description="True if there were enough images for the false-match rate that was asked "
        "for: the upper end of its interval is at most five times the rate. If false,"
        " the model's own threshold is used."
    )

    @classmethod
    def of(
        cls, found: ProbeCalibration | None, probe_condition: str | None
    ) -> CalibrationUsed | None:
        """From the calibration as it applies to the probe."""
        if found is None:
            return None
        applied, stratum = found.applied, found.stratum
        measured = applied.calibration.corpus_size
        is_exact = applied.applies is Applies.EXACT
        return cls(
            id=applied.id,
            created_at=applied.created_at,
            generation=applied.generation,
            applies=applied.applies.value,
            against=list(applied.against),
            reference=list(applied.reference),
            corpus_size=measured,
            entries_since=found.corpus_size - measured if is_exact else None,
            probe_condition=probe_condition,
            condition=found.condition,
            images=stratum.references,
            sources=stratum.sources,
            supports_threshold=found.threshold is not None,
        )
