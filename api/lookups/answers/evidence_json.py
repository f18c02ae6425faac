"""The evidence beside the verdicts as JSON: how strong, which generator, how good the picture.

None of these values is a probability that the probe is fake.
"""

from __future__ import annotations

from pydantic import Field

from api.fields import Answer
from index.calibration.attribution import (
    COVERAGE,
    Attributed,
    AttributionReason,
    GeneratorCoverage,
)
from index.calibration.for_probe import ProbeCalibration
from index.calibration.verbal import VerbalScale
from index.evidence import Quality
from index.figures import LikelihoodRatio, find_declaring
from index.neighbourhood import Neighbourhood
from index.verdict import QualityIssue

SHARES = 20  # of the vote that an answer lists


class StatementAnswer(Answer):
    """One sentence of further evidence, beside the verdicts."""

    topic: str = Field(
        examples=["ratio"],
        description="Topic of the sentence, machine-readable: rate, hits, ratio, generator, copies,"
        " known real, rests on, stability, precision, calibration or next step.",
    )
    words: str = Field(
        description="The sentence, for people. The page and the terminal print the same words."
    )


class RatioSupport(Answer):
    """Whether the data of the calibration support a likelihood ratio."""

    supported: bool = Field(
        description="True if stating ratios costs clearly less than stating none: both costs are "
        "below 0.95. If false, `likelihood_ratio` is null."
    )
    cllr: float = Field(
        description="Cost of the calibration's ratios (Cllr) on images that they were not fitted "
        "on. At 1 or above they carry no information."
    )
    cllr_left_out: float | None = Field(
        description="The same cost on collections that were left out. Null with one collection, "
        "and if the calibration does not keep it."
    )

    @classmethod
    def of(cls, found: LikelihoodRatio | None) -> RatioSupport | None:
        """From what the assessment found."""
        if found is None:
            return None
        model = found.model
        return cls(supported=found.is_supported, cllr=model.cllr, cllr_left_out=model.cllr_left_out)


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


class CoverageAnswer(Answer):
    """What such sets of candidates are worth for the images of one generator."""

    generator: str = Field(description="Name of the generator, normalised.")
    entries: int = Field(ge=1, description="Number of its known fakes in the corpora.")
    images: int = Field(
        ge=1, description="Number of these that were attributed, each without itself."
    )
    coverage: float = Field(
        ge=0, le=1, description="Share of these images whose candidates contain the generator."
    )
    low: float = Field(ge=0, le=1, description="Lower end of the 95 % interval.")
    high: float = Field(ge=0, le=1, description="Upper end of the 95 % interval.")

    @classmethod
    def of(cls, generator: str, found: GeneratorCoverage) -> CoverageAnswer:
        """From what a calibration measured."""
        return cls(
            generator=generator,
            entries=found.entries,
            images=found.images,
            coverage=found.coverage,
            low=found.low,
            high=found.high,
        )


class AttributionAnswer(Answer):
    """The generators that may have made the probe, if a generator in the corpora made it.

    An attribution does not say that the probe is fake.
    """

    unknown: bool = Field(description="True if no generator can be named.")
    reason: str = Field(
        description="nearest_known_fakes: the candidates follow from the nearest known fakes. "
        "same_picture: known fakes that are the same file or show the same picture declare them. "
        "no_generator_told: no near known fake has a declared generator. "
        "nothing_near_enough: every known fake is too far away. set_holds_everything:"
        " no generator can be excluded. too_many: more than five generators cannot be excluded. "
        "not_enough_entries: the generators that it points to have too few entries to be named."
    )
    declared_by: list[int] = Field(
        [],
        description="With same_picture: ids of the entries that declare the candidates.",
    )
    candidates: list[str] = Field(
        description="Candidate generators, most likely first. For images of a generator in the "
        "corpora, the candidates contain the right one in the share of cases given by"
        " `coverage`. Empty if `unknown`."
    )
    coverage: float | None = Field(
        description="Share of cases in which the candidates contain the right generator, if the "
        "corpora hold it: the share that the sets are built for. Null with same_picture.",
        examples=[0.9],
    )
    coverages: list[CoverageAnswer] = Field(
        [],
        description="The same as measured, for each candidate. Empty if the calibration does not "
        "keep it, and with same_picture.",
    )
    shares: list[ShareAnswer] = Field(
        description="Votes of the nearest known fakes, largest first. At most 20, and always all "
        "candidates."
    )

    @classmethod
    def of(
        cls,
        found: Attributed | None,
        neighbourhood: Neighbourhood,
        calibration: ProbeCalibration | None,
    ) -> AttributionAnswer | None:
        """From what the assessment found."""
        if found is None:
            return None
        is_quoted = found.reason is AttributionReason.SAME_PICTURE
        model = None if calibration is None or is_quoted else calibration.stratum.attribution
        classes = {} if model is None else model.classes
        return cls(
            unknown=found.unknown,
            reason=found.reason,
            declared_by=[each.entry.id for each in find_declaring(neighbourhood) if is_quoted],
            candidates=list(found.candidates),
            coverage=None if is_quoted else COVERAGE,
            coverages=[
                CoverageAnswer.of(name, classes[name])
                for name in found.candidates
                if name in classes
            ],
            shares=[
                ShareAnswer(generator=name, share=share)
                for name, share in found.shares[: max(SHARES, len(found.candidates))]
                if not is_quoted
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
