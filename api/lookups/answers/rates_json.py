"""Rates as JSON: shares of measured images, each with its interval and what it was measured on.

None of these values is a probability that the probe is fake.
"""

from __future__ import annotations

from typing import Any

from pydantic import Field

from api.fields import Answer
from index.calibration.false_matches import Rate, RateMethod
from index.calibration.for_probe import CollectionCount, ProbeCalibration
from index.calibration.hits import Discrimination
from index.figures import FalseMatchRate, HitRate, LogitShare


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


class MeasuredShare(Answer):
    """A share of measured images, with its interval."""

    estimate: float = Field(ge=0, le=1, description="Estimated share of the images.")
    low: float = Field(ge=0, le=1, description="Lower end of the 95 % interval.")
    high: float = Field(ge=0, le=1, description="Upper end of the 95 % interval.")
    method: RateMethod = Field(
        description="empirical: the share observed. tail: extrapolated with a generalised Pareto "
        "tail, because few images came this near. rule_of_three: no image came this "
        "near; `high` is an upper bound."
    )
    images: int = Field(ge=1, description="Number of images measured.")
    sources: int = Field(
        ge=1, description="Number of photographs or prompts that these images come from."
    )
    matches: int | None = Field(
        None,
        ge=0,
        description="Number of these images that were counted when the calibration was measured. "
        "Null if it does not keep the number.",
    )
    across_collections: bool = Field(
        False,
        description="True if the interval is that of a collection that was left out: it holds for "
        "images from elsewhere. False if it is that of images like the measured ones.",
    )


def write_share(rate: Rate, images: int, sources: int) -> dict[str, Any]:
    """The fields of a `MeasuredShare` from what a calibration states."""
    return {
        "estimate": rate.estimate,
        "low": rate.low,
        "high": rate.high,
        "method": rate.method,
        "images": images,
        "sources": sources,
        "matches": rate.matches,
        "across_collections": rate.across_collections,
    }


class RateAnswer(MeasuredShare):
    """The false-match rate: how often a known-real image has a known fake at least as near as the
    probe's nearest one.

    It describes the reference population. It is not a probability that the probe is fake, or real.
    """

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
            **write_share(found.rate, found.images, found.sources),
            collections=[CollectionRate.of(each) for each in found.collections],
        )


class GeneratorHitsAnswer(Answer):
    """Hits of the known fakes of one generator."""

    generator: str = Field(description="Name of the generator, normalised.")
    images: int = Field(ge=1, description="Number of its known fakes that were measured.")
    matches: int | None = Field(
        description="Number of these that have another known fake at least as near. Null if the "
        "calibration does not keep so many."
    )


class HitRateAnswer(MeasuredShare):
    """The hit rate: how often a known fake has another known fake at least as near as the probe's
    nearest one.

    It says what the false-match rate beside it is worth. Where the two are alike, similarity does
    not tell fakes from photographs.
    """

    generators: list[GeneratorHitsAnswer] = Field(
        [], description="The same count for each generator, by name."
    )

    @classmethod
    def of(cls, found: HitRate | None) -> HitRateAnswer | None:
        """From what the assessment found."""
        if found is None:
            return None
        share = write_share(found.rate, found.images, found.sources)
        own = {
            "across_collections": found.across_collections,
            # A hundred models are made three times as fast from dictionaries, all in one call.
            "generators": [
                {"generator": generator, "images": images, "matches": matches}
                for generator, images, matches in found.generators
            ],
        }
        return cls.model_validate(share | own)


class DiscriminationAnswer(Answer):
    """Whether similarity tells known fakes from known-real images in these corpora, with this
    model: both rates at the similarity of the false-match rate that was asked for.
    """

    similarity: float = Field(description="Cosine similarity at which the rates are compared.")
    hit_rate: MeasuredShare = Field(
        description="Share of known fakes that have another known fake at least this near."
    )
    false_match_rate: MeasuredShare = Field(
        description="Share of known-real images that have a known fake at least this near."
    )
    tells: bool = Field(
        description="True if the hit rate is clearly above the false-match rate, as means over "
        "collections: their 95 % intervals, which are narrower than those here, do not overlap. If "
        "false, similarity gives no verdict."
    )

    @classmethod
    def of(cls, calibration: ProbeCalibration | None) -> DiscriminationAnswer | None:
        """From the calibration as it applies to the probe."""
        found: Discrimination | None = None if calibration is None else calibration.discrimination
        if calibration is None or found is None:
            return None
        stratum = calibration.stratum
        return cls(
            similarity=found.similarity,
            hit_rate=MeasuredShare(
                **write_share(found.hit, found.hit.n, found.hit.sources or found.hit.n)
            ),
            false_match_rate=MeasuredShare(
                **write_share(found.false_match, stratum.references, stratum.sources)
            ),
            tells=found.tells,
        )


class LogitShareAnswer(MeasuredShare):
    """The share of the images of one kind that get the same verdict of the classifier."""

    @classmethod
    def of(cls, found: LogitShare | None) -> LogitShareAnswer | None:
        """From what the assessment found."""
        if found is None:
            return None
        share = write_share(found.rate, found.images.n, found.images.n_sources)
        return cls(**share | {"across_collections": found.images.across_groups})
