"""The answer of a look-up as JSON: two separate opinions, and what is needed to repeat them.

What is asked for is in `request`. The parts of the answer are in the modules beside this one whose
names end in `_json`.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from api.corpora.json import EntryAnswer
from api.fields import Answer, FailedItem, Sha256
from api.lookups.answers.calibration_json import CalibrationUsed
from api.lookups.answers.classifier_json import ClassifierAnswer
from api.lookups.answers.copies_json import CopiesAnswer, CopyAnswer
from api.lookups.answers.copy_words import Size
from api.lookups.answers.evidence_json import (
    AttributionAnswer,
    QualityAnswer,
    RatioAnswer,
    RatioSupport,
    StatementAnswer,
)
from api.lookups.answers.method_json import MethodAnswer, Timings
from api.lookups.answers.numbers import SIMILARITY_DIGITS
from api.lookups.answers.rates_json import DiscriminationAnswer, HitRateAnswer, RateAnswer
from api.lookups.answers.robustness_json import RestsOnAnswer, StabilityAnswer
from api.lookups.request import SearchFilter
from index.cache.searching.questions import Neighbour
from index.leads import is_edited_copy, is_lead, is_same_picture
from index.truth.perceptual import PerceptualHash
from index.verdict import (
    Policy,
    Relation,
    SimilarityOutcome,
    SimilarityReason,
    Threshold,
    find_relation,
)


class ProbeAnswer(Answer):
    """The probe: the questioned image, or the embedding or hash that was sent instead."""

    sha256: Sha256 | None = Field(
        description="SHA-256 of the probe's file. Null if only an embedding was sent."
    )
    format: str | None = Field(
        None,
        description="Image format, detected from the file's content. Null if no image was sent.",
    )
    width: int | None = Field(
        None,
        description="Width in pixels, after the EXIF orientation is applied. Null if no image was"
        " sent.",
    )
    height: int | None = Field(
        None,
        description="Height in pixels, after the EXIF orientation is applied. Null if no image "
        "was sent.",
    )
    byte_size: int | None = Field(
        None, description="Size of the file in bytes. Null if no image was sent."
    )
    pdq_hash: str | None = Field(
        None, description="Perceptual hash (PDQ) as 64 hex digits. Null if there is none."
    )
    pdq_quality: int | None = Field(
        None,
        description="Quality of the perceptual hash, from 0 to 100. Below 50 it is not compared.",
    )
    embedding: Literal["computed", "stored", "sent", "none"] = Field(
        description="Where the embedding comes from. computed: from the image, for this look-up. "
        "stored: from an earlier ingest of the same bytes. sent: from the client. none: the image "
        "is too small for the model, or only its hash was sent; copies of it are looked for "
        "all the same."
    )


class NeighbourAnswer(Answer):
    """An entry near the probe."""

    rank: int = Field(ge=1, description="Rank in the list, from 1.")
    cosine_similarity: float | None = Field(
        ge=-1,
        le=1,
        description="Cosine similarity, in [-1, 1], computed from the stored float32 vectors. "
        "Higher is nearer. It is not a probability. Null if the probe has no embedding, because it "
        "is too small for the model.",
        examples=[0.973],
    )
    relation: Relation | None = Field(
        description="identical: the files have the same SHA-256. near_duplicate: the same image "
        "by perceptual hash (at most 31 of 256 bits differ), as it is, mirrored, turned, without "
        "its borders or in part. edited_copy: a version of the same image, verified by local "
        "features. possible_copy: a lead, perhaps a version of the same image; look at both. "
        "similar: the cosine similarity is at or above the threshold. below_threshold: it is below "
        "the threshold. Null if no threshold is known, or the probe has no embedding."
    )
    copy_evidence: CopyAnswer | None = Field(
        None,
        description="What shows, or suggests, that the probe is an edited version of the entry's "
        "picture. Null if nothing does, and in look-ups stored under rules before 3.",
    )
    hamming_distance: int | None = Field(
        None,
        ge=0,
        le=256,
        description="Number of differing bits of the two perceptual hashes. Null if they were not"
        " compared.",
    )
    perceptual_hash: Literal["compared", "low_quality", "missing"] = Field(
        "missing",
        description="compared: the hashes were compared. low_quality: one image has too little "
        "structure for its hash, so that neither a match nor a difference follows. "
        "missing: the probe or the entry has no hash.",
    )
    entry: EntryAnswer = Field(description="The entry.")

    @classmethod
    def of(
        cls,
        rank: int,
        neighbour: Neighbour,
        probe_hash: PerceptualHash | None,
        policy: Policy,
        probe_size: Size | None,
    ) -> NeighbourAnswer:
        """From what the search found, by the limits of a policy. `probe_size` is the width and the
        height of the probe, None if not known.
        """
        is_copy = is_same_picture(neighbour) or is_lead(neighbour, policy.leads)
        return cls(
            rank=rank,
            cosine_similarity=neighbour.cosine_similarity,
            relation=find_relation(
                neighbour.cosine_similarity,
                policy.threshold,
                identical=neighbour.identical,
                near_duplicate=neighbour.near_duplicate is True,
                edited_copy=is_edited_copy(neighbour),
                possible_copy=is_lead(neighbour, policy.leads),
            ),
            copy_evidence=CopyAnswer.of(neighbour, probe_size) if is_copy else None,
            hamming_distance=neighbour.hamming_distance,
            perceptual_hash=_comparison(probe_hash, neighbour.entry.image.perceptual_hash),
            entry=EntryAnswer.of(neighbour.entry),
        )


def _comparison(
    one: PerceptualHash | None, other: PerceptualHash | None
) -> Literal["compared", "low_quality", "missing"]:
    if one is None or other is None:
        return "missing"
    return "compared" if one.reliable and other.reliable else "low_quality"


class ThresholdAnswer(Answer):
    """The similarity threshold that the verdict uses."""

    cosine_similarity: float = Field(
        ge=-1,
        le=1,
        description="An entry is similar if its cosine similarity is at or above this value.",
    )
    source: str = Field(
        description="Where the threshold comes from: the calibration, the operator's setting, or "
        "the model."
    )

    @classmethod
    def of(cls, threshold: Threshold | None) -> ThresholdAnswer | None:
        """From the threshold of a verdict."""
        if threshold is None:
            return None
        return cls(cosine_similarity=threshold.value, source=threshold.source)


class SimilarityAnswer(Answer):
    """Whether the probe is similar to known fakes in the corpora, and to which.

    No value here is a probability that the probe is fake. not_similar does not mean that the probe
    is real.
    """

    verdict: SimilarityOutcome = Field(
        description="similar_to_known_fakes: a known fake shows the same image or is at least as "
        "near as the threshold. not_similar: no searched known fake is. inconclusive:"
        " `reason` says why no verdict is possible."
    )
    reason: SimilarityReason = Field(
        description="identical_image: the probe's bytes are those of a known fake. "
        "near_duplicate_image: the same image as a known fake, by perceptual hash. "
        "edited_copy: a version of a known fake, verified by local features. "
        "possible_copy: no known fake is as near as the threshold, but one is perhaps a version of "
        "the same image; look at both. "
        "above_threshold, below_threshold: by the nearest known fake. "
        "also_known_real: the same image is a known fake and a known-real image. "
        "between: below the threshold, but the likelihood ratio supports a generator "
        "in the corpora. ratio_disagrees: above the threshold, but the likelihood "
        "ratio supports a real image. not_calibrated: nothing says what a similarity is worth in "
        "these corpora; see `next_step`. tells_nothing: known fakes come this near to one another "
        "hardly more often than known-real images do. no_threshold: the calibration has too few "
        "images for a threshold. "
        "nothing_compared: no known fakes were searched. poor_quality: see `quality`."
        " unstable: a re-encoding moves the similarity over the threshold. "
        "fakes_not_reached: only in look-ups stored before schema 0004."
    )
    explanation: str = Field(description="The reason in one sentence.")
    threshold: ThresholdAnswer | None = Field(
        description="The similarity threshold that the verdict uses: that of the calibration, or "
        "the operator's. Null if `barrier` is set."
    )
    barrier: SimilarityReason | None = Field(
        None,
        examples=["not_calibrated"],
        description="Why the similarity of embeddings gives no verdict in these corpora, whatever "
        "the probe: not_calibrated, tells_nothing or no_threshold. Identical files and near "
        "duplicates are found nevertheless. Null: it gives one.",
    )
    next_step: str | None = Field(
        None,
        description="What to do so that similarity gives a verdict, in one sentence. Null if there "
        "is nothing to do.",
        examples=["run `lineup calibrate`: it measures casework-2026-sdxl"],
    )
    digits: int = Field(
        SIMILARITY_DIGITS,
        ge=0,
        description="Decimals with which similarities and the threshold are printed, so that they "
        "read as the verdict compares them.",
    )
    neighbours: list[NeighbourAnswer] = Field(
        description="The k nearest entries, and up to k near duplicates that are further away. "
        "Identical files come first, then entries with a similarity over 0.9999, then near "
        "duplicates by increasing Hamming distance, then all others; within each group by "
        "decreasing similarity, then by increasing id."
    )
    nearest_known_fake: NeighbourAnswer | None = Field(
        None,
        description="The known fake that the verdict rests on: an identical file, else the first "
        "of those that support the verdict, else the most similar one. Null without known fakes.",
    )
    searched: int = Field(
        ge=0, description="Number of entries that the filter selects. All of them were considered."
    )
    filter: SearchFilter = Field(description="The filter that was applied.")
    nearest_similarity: float | None = Field(
        None,
        ge=-1,
        le=1,
        description="Cosine similarity to the nearest known fake that was searched. Null if no "
        "known fakes were searched.",
    )
    false_match_rate: RateAnswer | None = Field(
        None,
        description="How often known-real images have a known fake this near. Null if no "
        "calibration applies to these corpora, or `quality` has an issue.",
    )
    hit_rate: HitRateAnswer | None = Field(
        None,
        description="How often known fakes have another known fake this near. Null like "
        "`false_match_rate`, and if the calibration did not measure it.",
    )
    discrimination: DiscriminationAnswer | None = Field(
        None,
        description="Whether similarity tells known fakes from known-real images at the false-"
        "match rate that was asked for. Null if no calibration applies or did not measure it.",
    )
    likelihood_ratio: RatioAnswer | None = Field(
        None,
        description="How strongly the similarities support one of two propositions. Null if no "
        "calibration applies, if the data do not support it, or if `quality` has an issue.",
    )
    ratio_support: RatioSupport | None = Field(
        None,
        description="Whether the data support a likelihood ratio. Null if none was measured.",
    )
    attribution: AttributionAnswer | None = Field(
        None,
        description="Generators that may have made the probe. Null if no calibration applies and "
        "no same picture declares one, and beside not_similar.",
    )
    nearest_known_real: NeighbourAnswer | None = Field(
        None, description="The nearest known-real image of all corpora. Null if there is none."
    )
    rests_on: RestsOnAnswer | None = Field(
        None, description="The entries that support the verdict."
    )
    calibration: CalibrationUsed | None = Field(
        None, description="The calibration that was used. Null if none applies."
    )
    uncalibrated_corpora: list[str] = Field(
        [],
        description="Searched corpora with entries that the newest calibration does not cover. If"
        " not empty, this is why no calibration applies.",
    )


class LookupAnswer(Answer):
    """The answer for one probe: two separate opinions, and what is needed to repeat them."""

    id: str = Field(description="Id of the look-up. GET /v1/lookups/{id} returns this same answer.")
    created_at: datetime = Field(description="When the look-up was answered, in UTC.")
    stored: bool = Field(
        True,
        description="Whether the look-up is stored, so that it can be read and recomputed by its "
        "id. False from a server that writes nothing into its database, such as one on a replica.",
    )
    caution: str | None = Field(
        None,
        description="Warning about the model, to be read before the verdicts. Null if there is "
        "none.",
        examples=["The built-in model is for trying Lineup. It is not for casework."],
    )
    probe: ProbeAnswer = Field(description="The probe.")
    classifier: ClassifierAnswer | None = Field(
        description="The classifier's opinion of the probe alone. Null if an embedding was sent "
        "without its logit."
    )
    similarity: SimilarityAnswer = Field(
        description="Whether the probe is similar to known fakes in the corpora."
    )
    copies: CopiesAnswer | None = Field(
        None,
        description="Which stages looked for edited copies of stored pictures, and what they could "
        "not find. Null in look-ups stored under rules before 3.",
    )
    statements: list[StatementAnswer] = Field([], description="Further evidence in sentences.")
    quality: QualityAnswer | None = Field(
        None,
        description="Whether the image shows enough for a verdict. Null in look-ups stored before"
        " schema 0004.",
    )
    stability: StabilityAnswer | None = Field(
        None,
        description="How far re-encodings move the values. Null if `stability` was not asked for.",
    )
    method: MethodAnswer = Field(description="What is needed to repeat the look-up.")
    timings: Timings = Field(description="Wall-clock time of each step.")
    evidence_sha256: Sha256 | None = Field(
        None,
        description="SHA-256 of the canonical JSON of this answer without `id`, `created_at`, "
        "`stored`, `timings`, `pending_changes` and this field. The same look-up on the same "
        "generation has the same value. It is computed once, from the answer as it was stored: a "
        "later release does not compute it again with its own terms.",
    )


class ProbeLookup(Answer):
    """The look-up of one file."""

    name: str = Field(description="Name of the file, as it was given.")
    lookup: LookupAnswer = Field(description="The answer.")


class SearchAnswer(Answer):
    """The output of `lineup search --json`. Every probe is in one of the two lists."""

    lookups: list[ProbeLookup] = Field(description="Probes that were looked up.")
    failures: list[FailedItem] = Field(description="Probes that could not be looked up.")
