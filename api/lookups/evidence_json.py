"""How sure, how often wrong, which generator, would it change: what a lookup says beside its
verdicts.

No field of these is a probability that the probe is fake.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from api.fields import Answer, CorpusName
from index.calibration.false_matches import RateMethod
from index.verdict import QualityIssue, SimilarityOutcome, SimilarityReason


class StatementAnswer(Answer):
    """One thing that stands beside the verdicts, in the words of every skin."""

    topic: str = Field(examples=["ratio"], description="What it is about, machine-readable.")
    words: str = Field(description="For a person.")


class CollectionRate(Answer):
    """How many images of one reference collection come as near as that."""

    corpus: str = Field(description="The known-real corpus.")
    source: str | None = Field(
        description="What its entries have as their source; null where they have none."
    )
    images: int = Field(ge=1, description="Images of it that were measured.")
    matches: int = Field(
        ge=0, description="Those with a known fake at least this near, when it was measured."
    )


class RateAnswer(Answer):
    """How often a known-real image of the reference population has a known fake at least this
    near.
    """

    estimate: float = Field(
        ge=0, le=1, description="The false-match rate of the nearest similarity."
    )
    low: float = Field(ge=0, le=1, description="Lower end of its 95 % interval.")
    high: float = Field(ge=0, le=1, description="Upper end of its 95 % interval.")
    method: RateMethod = Field(
        description="empirical: so many were observed; tail: by a generalised Pareto tail beyond "
        "what was observed; "
        "rule_of_three: none was observed."
    )
    images: int = Field(ge=1, description="Known-real images that were measured.")
    sources: int = Field(ge=1, description="Photographs that these images came from.")
    collections: list[CollectionRate] = Field(
        default_factory=list,
        description="The same for each reference collection (corpus and source) of at least 20 "
        "images, where there are "
        "two or more: where their shares differ, the rate is that of their mixture. Empty too "
        "where more came this "
        "near than a calibration keeps.",
    )


class RatioAnswer(Answer):
    """Likelihood ratio of the nearest similarity: a picture by a generator in the corpora, against
    a known-real one.
    """

    log10: float = Field(
        description="Above 0 supports a generator in the corpora, below 0 a known-real image."
    )
    low: float = Field(description="Lower end of its 95 % interval.")
    high: float = Field(description="Upper end of its 95 % interval.")
    bounds: tuple[float, float] = Field(
        description="What the calibration data can support at most (ELUB), as log10."
    )
    bounded: bool = Field(
        description="The ratio was cut at a bound: it may be further from 0, the data cannot say."
    )
    words: str = Field(
        description="The verbal equivalent. The first proposition: a generator of which the "
        "corpora hold pictures made "
        "it. The alternative: it is a known-real image like those of the reference population.",
        examples=["weak support for the first proposition rather than the alternative"],
    )
    scale: str = Field(description="The guideline that the words are from.")
    two_sided: bool = Field(
        description="It weighs the nearest known-real image of another picture too, beside the "
        "nearest known fake."
    )
    cllr: float = Field(
        description="Cost of the ratios on data that they were not fitted on: under 1 is "
        "informative."
    )
    cllr_min: float = Field(description="The part of it that no better calibration could remove.")
    same_source_images: int = Field(
        description="Known fakes behind it, each compared with other pictures."
    )
    different_source_images: int = Field(description="Known-real images behind it.")


class ShareAnswer(Answer):
    """A generator's part of the vote of the nearest known fakes."""

    generator: str = Field(description="Normalised.")
    share: float = Field(ge=0, le=1, description="Of the vote; all shares sum to 1.")


class AttributionAnswer(Answer):
    """Which generators the nearest known fakes point to, or that this cannot be said."""

    unknown: bool = Field(description="Nothing is near enough, or nearly anything would do.")
    reason: str = Field(description="Why, machine-readable.")
    candidates: list[str] = Field(
        description="Conformal set: of pictures whose generator is in the corpora it holds the "
        "right one in the stated "
        "share of cases. Empty where unknown."
    )
    coverage: float = Field(description="The stated share.", examples=[0.9])
    shares: list[ShareAnswer] = Field(
        description="The vote behind it, the largest first; at most 20 and all candidates."
    )


class WithoutStrongest(Answer):
    """The verdict if the entry that speaks most for it were not in its corpus."""

    entry_id: int = Field(description="The entry left out.")
    verdict: SimilarityOutcome = Field(description="As it were then.")
    reason: SimilarityReason = Field(description="Why, machine-readable.")
    nearest_similarity: float | None = Field(
        description="To the next known fake; null where there is none."
    )


class RestsOnAnswer(Answer):
    """What carried the verdict."""

    entry_ids: list[int] = Field(
        description="Known fakes that are the same picture, or at least as near as the limit."
    )
    without_strongest: WithoutStrongest | None = Field(
        description="Null where no entry carries it."
    )
    stands: bool = Field(description="The verdict is the same without the strongest one.")


class ReEncodingAnswer(Answer):
    """The probe re-encoded in one way."""

    name: str = Field(examples=["jpeg75"], description="Of the re-encoding.")
    logit: float = Field(description="Of the classifier.")
    nearest_similarity: float | None = Field(description="To the nearest known fake.")
    generator: str | None = Field(description="Of the nearest known fake.")
    threshold: float | None = Field(
        None,
        description="Cosine similarity from which it were similar, delivered like this; null: "
        "that of the probe.",
    )
    flips: list[Literal["logit", "similarity"]] = Field(
        [],
        description="On which of the two it is on another side of a limit than the probe itself.",
    )


class LeftOutAnswer(Answer):
    """A re-encoding that the model cannot look at."""

    name: str = Field(description="Of the re-encoding.")
    reason: str = Field(description="Why, machine-readable.", examples=["too_small"])


class StabilityAnswer(Answer):
    """How far logit and similarity move when the probe is re-encoded in a fixed list of ways."""

    reencodings: list[ReEncodingAnswer] = Field(description="In a fixed order.")
    left_out: list[LeftOutAnswer] = Field(description="Those that the model cannot look at.")
    logit_low: float | None = Field(description="Null where no re-encoding could be made.")
    logit_high: float | None = Field(description="Likewise.")
    similarity_low: float | None = Field(
        description="To the nearest known fake; null where none was searched."
    )
    similarity_high: float | None = Field(description="Likewise.")
    generators: list[str] = Field(
        description="Generators of the nearest known fakes, of all re-encodings."
    )


class QualityAnswer(Answer):
    """Whether the picture says enough for a verdict."""

    issue: QualityIssue | None = Field(
        description="too_small, flat, or unfamiliar: nothing known is near; null: none."
    )
    shortest_side: int | None = Field(description="Pixels; null without an image.")
    pdq_quality: int | None = Field(description="0 (flat) to 100; null without an image.")
    luminance_std: float | None = Field(
        description="Standard deviation, in levels of 255, of what the model reads; null where it "
        "was read before."
    )
    familiar_from: float | None = Field(
        None,
        description="Similarity to anything known that 99.5 % of the calibration's images reach; "
        "null: not known.",
    )


class CalibrationUsed(Answer):
    """The calibration that the statements rest on."""

    id: int = Field(description="`lineup calibrations show ID`, GET /v1/calibrations/{id}.")
    created_at: datetime = Field(description="UTC.")
    generation: int = Field(description="Last change that it was measured on.")
    applies: Literal["exact", "upper_bound"] = Field(
        description="exact: these very corpora were searched. upper_bound: only a part of them, "
        "where the nearest is "
        "at most as near, so that the rate is at most what is stated."
    )
    against: list[CorpusName] = Field(description="Corpora of known fakes.")
    reference: list[CorpusName] = Field(
        description="Corpora of known-real images: the reference population."
    )
    corpus_size: int = Field(description="Entries of known fakes when it was measured.")
    entries_since: int | None = Field(
        description="Entries that came since (negative: that left); the rate is stated for the "
        "size of now. Null where "
        "only a part was searched."
    )
    probe_condition: str | None = Field(
        description="How the probe seems to have been delivered, by its file; null without one.",
        examples=["jpeg75"],
    )
    condition: str = Field(
        description="The delivery that the statements are for.", examples=["as_is"]
    )
    images: int = Field(description="Known-real images of that condition.")
    sources: int = Field(description="Photographs that they came from.")
    supports_threshold: bool = Field(
        description="Enough images for the rate that was asked for: the upper end of its interval "
        "is at most five "
        "times that rate. Otherwise the threshold is the model's."
    )
