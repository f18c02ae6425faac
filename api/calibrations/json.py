"""Calibrations as JSON."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import Field

from api.fields import Answer, CorpusName, Sha256
from api.lookups.answers.rates_json import CollectionRate, MeasuredShare, write_share
from index.calibration.calibration import Calibration, Stratum
from index.calibration.classifier import ClassifierCalibration
from index.calibration.copies import CopyCurve, CopyRates
from index.calibration.for_probe import count_by_collection
from index.calibration.likelihood import Likelihood
from index.truth.calibrations import (
    StoredCalibration,
)

# What a table shows; a lookup asks for any rate.
SHOWN_RATES = (0.1, 0.01, 0.005)
SHOWN_BITS = (60, 52, 44, 36)
SHOWN_INLIERS = (8, 16, 32, 64)
SHOWN_FACTORS = (1, 10, 100)  # of the corpus that was measured


class ThresholdAtRate(Answer):
    """The similarity threshold for one false-match rate."""

    false_match_rate: float = Field(description="The false-match rate that was asked for.")
    cosine_similarity: float = Field(
        description="The smallest threshold whose estimated false-match rate is at most "
        "`false_match_rate`."
    )
    low: float = Field(description="Lower end of the 95 % interval of the rate at this threshold.")
    high: float = Field(
        description="Upper end of the 95 % interval. If it is more than five times the rate, "
        "look-ups use a higher threshold, or none."
    )
    look_up_threshold: float | None = Field(
        None,
        description="Similarity from which look-ups call a probe similar: the smallest one with at "
        "most this rate whose interval ends at five times the rate or less. Null if too few images "
        "support one, or if the rates did not hold for collections that were left out.",
    )
    hit_rate: MeasuredShare | None = Field(
        None,
        description="Share of known fakes that have another known fake at least this near. Null if "
        "no known fake was measured after this delivery, or an earlier release measured it.",
    )
    tells: bool | None = Field(
        None,
        description="True if the hit rate is clearly above the false-match rate. If false, "
        "similarity gives no verdict at this rate. Null without a hit rate.",
    )
    collections: list[CollectionRate] = Field(
        description="False matches of each reference collection at this threshold. Given where "
        "there are two or more collections of at least 20 images."
    )


class RatiosAnswer(Answer):
    """Quality of the likelihood ratios, measured on data that they were not fitted on."""

    same_source_images: int = Field(
        description="Number of known fakes used: those whose generator made other images in the "
        "corpora."
    )
    different_source_images: int = Field(description="Number of known-real images used.")
    cllr: float = Field(
        description="Cost of the likelihood ratios (Cllr), in bits. 0 is perfect; at 1 or above "
        "they carry no information."
    )
    cllr_left_out: float | None = Field(
        None,
        description="The same, with each collection left out in turn: what to expect of images "
        "from elsewhere. Null with too few collections.",
    )
    supported: bool = Field(
        True,
        description="True if both are below 0.95. If false, look-ups state no likelihood ratio.",
    )
    cllr_min: float = Field(
        description="The part of `cllr` that remains after the best possible recalibration. The "
        "difference is calibration error."
    )
    bounds: tuple[float, float] = Field(
        description="Smallest and largest ratio that the data can support (ELUB), as log10."
    )


class ClassifierFigures(Answer):
    """How the classifier's probability was calibrated."""

    method: str = Field(
        examples=["temperature"], description="temperature (with an offset) or isotonic."
    )
    images: int = Field(description="Number of images used, real and synthetic.")
    ece: float = Field(
        description="Expected calibration error, on images that the calibration was not fitted "
        "on. 0 is perfect."
    )
    brier: float = Field(
        description="Brier score, on images that the calibration was not fitted on. 0 is perfect."
    )


class AttributionFigures(Answer):
    """Quality of the attribution to generators, cross-validated."""

    coverage: float = Field(
        description="Share of images whose candidates contain the right generator. The target is "
        "0.9."
    )
    mean_set_size: float = Field(description="Mean number of candidates, before abstention.")
    open_set_auroc: float | None = Field(
        description="Area under the ROC curve for separating images of known generators from "
        "images of a generator that the corpora do not hold. 0.5 is chance. Null if "
        "it could not be measured."
    )


class CopyCurveAnswer(Answer):
    """How often a look-up of an unrelated picture finds as much, for one kind of finding."""

    population: str = Field(description="Which images were compared with what, in words.")
    images: int = Field(description="Number of images that were looked up.")
    sources: int = Field(description="Number of photographs that these images come from.")
    corpus_size: int = Field(description="Number of entries that they were compared with.")
    growth: float | None = Field(
        description="Exponent by which the rate grows with the number of entries. 1: every new "
        "entry adds its full chance. Null for geometry, which verifies as many candidates in a "
        "corpus of any size, so its rate is not predicted."
    )
    similarity_at_rate: float | None = Field(
        None,
        description="Of a copy descriptor, the similarity that 1 % of these images reach. Null for "
        "other findings.",
    )
    supported: bool = Field(
        description="True if at least 100 photographs were measured. If false, look-ups state "
        "figures that came with the package instead."
    )

    @classmethod
    def of(cls, curve: CopyCurve | None, *, is_predicted: bool = True) -> CopyCurveAnswer | None:
        """From what was measured; None if it was not."""
        if curve is None:
            return None
        return cls(
            population=curve.population,
            images=curve.rates.n,
            sources=curve.rates.n_sources,
            corpus_size=curve.rates.corpus_size,
            growth=curve.rates.growth.beta if is_predicted else None,
            supported=curve.is_supported,
        )


class BandRate(Answer):
    """How often an unrelated picture has a view this near to a known fake by perceptual hash."""

    bits: int = Field(description="Hamming distance, in bits of 256, at which the rate is stated.")
    estimate: float = Field(
        description="Estimated rate, in a corpus of the size that was measured."
    )
    low: float = Field(description="Lower end of its 95 % interval.")
    high: float = Field(description="Upper end of its 95 % interval.")
    matches: int | None = Field(
        description="Number of images that came this near. Null if it was not kept."
    )


class LeadLimit(Answer):
    """The largest distance at which a candidate is listed as a lead, in a corpus of some size."""

    corpus_size: int = Field(description="Number of entries.")
    bits: int = Field(
        description="Largest Hamming distance whose predicted rate is at most 1 %. 31 is the limit "
        "of near duplicates: no distance beyond it is a lead."
    )


class InlierRate(Answer):
    """How often a look-up of an unrelated picture finds an entry with so many inliers."""

    inliers: int = Field(description="Number of pairs of keypoints that fit one transform.")
    estimate: float = Field(description="Estimated rate, by a tail model beyond what was seen.")
    high: float = Field(
        description="Upper end of its 95 % interval, which answers state. It is at least 3 divided "
        "by the number of photographs where nothing was seen."
    )
    matches: int | None = Field(
        description="Number of images that had so many. Null if it was not kept."
    )


class CopyRatesAnswer(Answer):
    """How often unrelated pictures look like edited copies: what leads and verified copies are
    worth.
    """

    band: CopyCurveAnswer | None = Field(
        description="The curve by perceptual hash, beyond near duplicates. Null if not measured."
    )
    band_rates: list[BandRate] = Field(description="Its rates, from 60 bits down.")
    lead_limits: list[LeadLimit] = Field(
        description="The largest distance of a lead: now, at 10 times the corpus, and at 100 times."
    )
    near_duplicates: int = Field(
        description="Number of images with a view that is a near duplicate of a known fake. They "
        "are copies by that rule; if they are not, the rule is wrong about them."
    )
    geometry: CopyCurveAnswer | None = Field(
        description="The curve of verification by local features. Null if not measured."
    )
    inlier_rates: list[InlierRate] = Field(description="Its rates.")
    descriptors: dict[str, CopyCurveAnswer] = Field(
        description="The curves of copy descriptors, by their fingerprints."
    )

    @classmethod
    def of(cls, rates: CopyRates) -> CopyRatesAnswer:
        """From what a calibration measured."""
        return cls(
            band=CopyCurveAnswer.of(rates.band),
            band_rates=[
                BandRate(
                    bits=bits,
                    estimate=there.estimate,
                    low=there.low,
                    high=there.high,
                    matches=there.matches,
                )
                for bits in SHOWN_BITS
                if (there := rates.band_rate(bits)) is not None
            ],
            lead_limits=[
                LeadLimit(corpus_size=size, bits=rates.band_limit(size))
                for size in _list_sizes(rates)
            ],
            near_duplicates=rates.near_duplicates,
            geometry=CopyCurveAnswer.of(rates.inliers, is_predicted=False),
            inlier_rates=[
                InlierRate(
                    inliers=inliers,
                    estimate=there.estimate,
                    high=there.high,
                    matches=there.matches,
                )
                for inliers in SHOWN_INLIERS
                if (there := rates.inlier_rate(inliers)) is not None
            ],
            descriptors={
                name: curve_answer.model_copy(
                    update={"similarity_at_rate": rates.descriptor_threshold(name)}
                )
                for name, curve in (rates.descriptors or {}).items()
                if (curve_answer := CopyCurveAnswer.of(curve)) is not None
            },
        )


class StratumAnswer(Answer):
    """The figures for one kind of delivery."""

    condition: str = Field(
        examples=["jpeg75"],
        description="Kind of delivery: as_is (unchanged images), or a re-encoding such as jpeg75.",
    )
    images: int = Field(description="Number of known-real images.")
    sources: int = Field(description="Number of photographs that these images come from.")
    fakes: int = Field(description="Number of known fakes.")
    holds: bool = Field(
        True,
        description="False if the stated rates did not hold for collections that were left out. "
        "Look-ups then use the figures of any_delivery.",
    )
    thresholds: list[ThresholdAtRate] = Field(
        description="Thresholds for false-match rates of 10 %, 1 % and 0.5 %."
    )
    growth: float = Field(
        description="Exponent by which the false-match rate grows with the number of known fakes."
        " 1: every new entry adds its full chance of a false match. Smaller: new "
        "entries resemble existing ones."
    )
    one_sided: RatiosAnswer | None = Field(
        description="Quality of likelihood ratios from the nearest known fake alone. Null with "
        "too few images."
    )
    two_sided: RatiosAnswer | None = Field(
        description="Quality of likelihood ratios from the nearest known fake and the nearest "
        "known-real image. Null with too few images."
    )
    classifier: ClassifierFigures | None = Field(
        description="Calibration of the classifier's probability. Null with too few images."
    )
    attribution: AttributionFigures | None = Field(
        description="Quality of the attribution. Null with too few images or generators."
    )
    familiar_from: float | None = Field(
        description="An image whose similarity to every entry is below this value is unfamiliar, "
        "and gets no verdict. Null if not measured."
    )

    @classmethod
    def of(cls, condition: str, stratum: Stratum) -> StratumAnswer:
        """From what `index` measured."""
        attribution = stratum.attribution
        return cls(
            condition=condition,
            images=stratum.references,
            sources=stratum.sources,
            fakes=stratum.fakes,
            holds=stratum.holds,
            thresholds=[_describe_threshold(stratum, rate) for rate in SHOWN_RATES],
            growth=stratum.false_matches.growth.beta,
            one_sided=_describe_ratios(stratum.likelihood),
            two_sided=_describe_ratios(stratum.two_sided),
            classifier=_describe_classifier(stratum.classifier),
            attribution=None
            if attribution is None
            else AttributionFigures(
                coverage=attribution.coverage,
                mean_set_size=attribution.mean_set_size,
                open_set_auroc=attribution.open_set_auroc,
            ),
            familiar_from=stratum.familiar_from,
        )


class CalibrationAnswer(Answer):
    """A calibration. It is measured once and never changes."""

    id: int = Field(description="Id of the calibration. Newer calibrations have larger ids.")
    created_at: datetime = Field(description="When the calibration was stored, in UTC.")
    embedding_space: Sha256 = Field(
        description="Fingerprint of the model's weights and preprocessing."
    )
    generation: int = Field(description="Number of the last change that the calibration measured.")
    device: str | None = Field(
        description="Device that embedded its images after each kind of delivery, if it embedded "
        "any. Null in calibrations stored before schema 0007."
    )
    precision: str | None = Field(description="Precision in which it did, likewise.")
    against: list[CorpusName] = Field(description="Names of the corpora of known fakes.")
    reference: list[str] = Field(
        description="The reference population: names of the corpora of known-real images, and "
        "`photographs shipped with` a model if they were used."
    )
    provisional: bool = Field(
        description="True if fewer than ten photographs are known-real images of this "
        "installation. Look-ups state the figures, and no verdict rests on them."
    )
    corpus_size: int = Field(description="Number of entries of known fakes.")
    generators: dict[str, int] = Field(description="Number of known fakes of each generator.")
    seed: int = Field(description="Seed of the random choice and of the bootstrap.")
    request: dict[str, Any] = Field(description="The request that started the calibration.")
    strata: list[StratumAnswer] = Field(
        description="Figures for each kind of delivery. `as_is` (unchanged images) is always "
        "included."
    )
    copies: CopyRatesAnswer | None = Field(
        None,
        description="How often unrelated pictures look like edited copies of known fakes. Null if "
        "it was not measured: no file could be read, or an earlier release measured it.",
    )

    @classmethod
    def of(cls, stored: StoredCalibration) -> CalibrationAnswer:
        """From the row that `index` reads."""
        calibration = Calibration.from_json(stored.document)
        return cls(
            id=stored.id,
            created_at=stored.created_at,
            embedding_space=stored.space_fingerprint,
            generation=stored.generation,
            device=None if stored.computation is None else stored.computation.device,
            precision=None if stored.computation is None else stored.computation.precision,
            against=list(stored.scope.against),
            reference=list(stored.scope.reference_names),
            provisional=calibration.is_provisional,
            corpus_size=calibration.corpus_size,
            generators=dict(calibration.generators),
            seed=calibration.seed,
            request=stored.scope.to_json(),
            strata=[StratumAnswer.of(*each) for each in calibration.strata.items()],
            copies=None if calibration.copies is None else CopyRatesAnswer.of(calibration.copies),
        )


class CalibrationPage(Answer):
    """One page of calibrations, newest first."""

    calibrations: list[CalibrationAnswer] = Field(
        description="The calibrations of this page, at most `limit`."
    )
    next_cursor: str | None = Field(
        description="Pass this as `cursor` to get the next page. Null on the last page."
    )


def _list_sizes(rates: CopyRates) -> list[int]:
    if rates.band is None:
        return []
    return [max(1, rates.band.rates.corpus_size) * factor for factor in SHOWN_FACTORS]


def _describe_threshold(stratum: Stratum, rate: float) -> ThresholdAtRate:
    matches = stratum.false_matches
    at = matches.similarity_at(rate)
    there = matches.rate_at(at)
    found = stratum.discriminate(rate)
    hit = None if stratum.hits is None else stratum.hits.rate_at(at)
    return ThresholdAtRate(
        false_match_rate=rate,
        cosine_similarity=at,
        low=there.low,
        high=there.high,
        look_up_threshold=stratum.threshold_at(rate),
        hit_rate=None
        if hit is None
        else MeasuredShare(**write_share(hit, hit.n, hit.sources or hit.n)),
        tells=None if found is None else found.tells,
        collections=[CollectionRate.of(each) for each in count_by_collection(stratum, at)],
    )


def _describe_ratios(model: Likelihood | None) -> RatiosAnswer | None:
    if model is None:
        return None
    return RatiosAnswer(
        same_source_images=model.n_same,
        different_source_images=model.n_different,
        cllr=model.cllr,
        cllr_left_out=model.cllr_left_out,
        supported=model.supported,
        cllr_min=model.cllr_min,
        bounds=model.log10_bounds,
    )


def _describe_classifier(model: ClassifierCalibration | None) -> ClassifierFigures | None:
    if model is None:
        return None
    return ClassifierFigures(method=model.variant, images=model.n, ece=model.ece, brier=model.brier)
