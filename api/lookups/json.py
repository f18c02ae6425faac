"""One probe looked up: what was asked, and the two statements that are never merged."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from api.corpora.json import EntryAnswer
from api.fields import (
    MAX_FILTER_PLACES,
    MAX_FILTER_VALUES,
    Answer,
    CorpusName,
    FailedItem,
    Instant,
    Place,
    Scalar,
    Sha256,
)
from api.lookups.evidence_json import (
    AttributionAnswer,
    CalibrationUsed,
    QualityAnswer,
    RateAnswer,
    RatioAnswer,
    RestsOnAnswer,
    StabilityAnswer,
    StatementAnswer,
)
from index.cache.recall import Tuning
from index.truth.corpora import CorpusKind
from index.verdict import (
    ClassifierOutcome,
    ClassifierReason,
    Relation,
    SimilarityOutcome,
    SimilarityReason,
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
    embedding: Literal["computed", "stored", "sent"] = Field(
        description="Where the embedding comes from. computed: from the image, for this look-up. "
        "stored: from an earlier ingest of the same bytes. sent: from the client."
    )


class ClassifierAnswer(Answer):
    """The classifier's opinion of the probe alone. It does not use the corpora.

    The verdict is the output of a statistical model, which can be wrong. It is not proof of how the
    image was made.
    """

    verdict: ClassifierOutcome = Field(
        description="The class on whose side of the limits the logit is. synthetic: at or above "
        "`synthetic_logit`. authentic: at or below `authentic_logit`; this is the "
        "name of the class, not a finding that the image is genuine. inconclusive: "
        "between the limits, or `reason` forbids a verdict."
    )
    reason: ClassifierReason = Field(
        description="synthetic_limit_reached, authentic_limit_reached, between_limits. no_limits:"
        " no limits were measured for this model. poor_quality: see `quality`. "
        "unstable: a re-encoding moves the logit over a limit."
    )
    explanation: str = Field(description="The reason in one sentence.")
    logit: float = Field(
        description="Raw output of the classifier. Higher means more likely synthetic."
    )
    probability: float = Field(
        ge=0,
        le=1,
        description="Probability of `synthetic`, assuming equally many synthetic and real images."
        " If `calibration` is 'uncalibrated', it is only sigmoid(logit), which is not"
        " a measured probability.",
    )
    limits_source: str | None = Field(
        description="Data that the limits were measured on. Null without limits."
    )
    synthetic_logit: float | None = Field(
        None, description="The verdict is synthetic at or above this logit. Null without limits."
    )
    authentic_logit: float | None = Field(
        None, description="The verdict is authentic at or below this logit. Null without limits."
    )
    calibration: str = Field(
        description="The calibration that the probability comes from, or 'uncalibrated'."
    )
    ece: float | None = Field(
        None,
        description="Expected calibration error of the probability, on images that it was not "
        "fitted on. 0 is perfect. Null if uncalibrated.",
    )
    brier: float | None = Field(
        None,
        description="Brier score of the probability, on images that it was not fitted on. 0 is "
        "perfect. Null if uncalibrated.",
    )


class NeighbourAnswer(Answer):
    """An entry near the probe."""

    rank: int = Field(ge=1, description="Rank in the list, from 1.")
    cosine_similarity: float = Field(
        ge=-1,
        le=1,
        description="Cosine similarity, in [-1, 1], computed from the stored float32 vectors. "
        "Higher is nearer. It is not a probability.",
        examples=[0.973],
    )
    relation: Relation | None = Field(
        description="identical: the files have the same SHA-256. near_duplicate: the same image "
        "by perceptual hash (at most 31 of 256 bits differ). similar: the cosine "
        "similarity is at or above the threshold. below_threshold: it is below the "
        "threshold. Null if no threshold is known."
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


class SearchFilter(Answer):
    """Which entries are searched. Criteria that are left out do not restrict the search."""

    corpora: list[CorpusName] | None = Field(
        None,
        max_length=MAX_FILTER_VALUES,
        description="Names of the corpora to search. Null for all.",
    )
    kind: CorpusKind | None = Field(
        CorpusKind.KNOWN_FAKE,
        description="Kind of corpora to search: known_fake (the default) or known_real. Null for "
        "both.",
    )
    generators: list[str] | None = Field(
        None,
        max_length=MAX_FILTER_VALUES,
        description="Entries by any of these generators. Names are compared in their normalised "
        "form.",
    )
    labels: list[str] | None = Field(
        None, max_length=MAX_FILTER_VALUES, description="Entries with any of these labels."
    )
    acquired_from: Instant | None = Field(
        None, description="Entries acquired at this time or later. A time without a zone is UTC."
    )
    acquired_to: Instant | None = Field(
        None, description="Entries acquired before this time. A time without a zone is UTC."
    )
    provenance: dict[Place, list[Scalar]] | None = Field(
        None,
        max_length=MAX_FILTER_PLACES,
        description="Values in the entries' free provenance. Each key is a field name or a JSON "
        "pointer such as `/camera/model`, with its accepted values. An entry must "
        "satisfy every key. `true` does not equal 1; 1 equals 1.0; null does not "
        "match a missing field.",
        examples=[{"/camera/model": ["X100"], "reviewed": [True]}],
    )


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
        "above_threshold, below_threshold: by the nearest known fake. "
        "also_known_real: the same image is a known fake and a known-real image. "
        "between: below the threshold, but the likelihood ratio supports a generator "
        "in the corpora. ratio_disagrees: above the threshold, but the likelihood "
        "ratio supports a real image. no_threshold: no threshold is known. "
        "nothing_compared: no known fakes were searched. poor_quality: see `quality`."
        " unstable: a re-encoding moves the similarity over the threshold. "
        "fakes_not_reached: only in look-ups stored before schema 0004."
    )
    explanation: str = Field(description="The reason in one sentence.")
    threshold: ThresholdAnswer | None = Field(
        description="The similarity threshold that the verdict uses. Null if none is known for "
        "this model."
    )
    neighbours: list[NeighbourAnswer] = Field(
        description="The k nearest entries, and up to k near duplicates that are further away. "
        "Identical files come first, then near duplicates by increasing Hamming "
        "distance, then all others by decreasing similarity."
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
    likelihood_ratio: RatioAnswer | None = Field(
        None,
        description="How strongly the similarities support one of two propositions. Null if no "
        "calibration applies, if the data are too few, or if `quality` has an issue.",
    )
    attribution: AttributionAnswer | None = Field(
        None, description="Generators that may have made the probe. Null if no calibration applies."
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


class RecallAnswer(Answer):
    """How complete the candidates of the approximate search are.

    Recall is measured on this index, against the exact search.
    """

    k: int = Field(ge=1, description="Number of neighbours that recall was measured for.")
    recall: float = Field(
        ge=0,
        le=1,
        description="Share of the true k nearest neighbours that the search finds (recall@k).",
    )
    probes: int = Field(
        ge=1,
        description="Number of probes measured: vectors of the index, and probes of stored look-"
        "ups.",
    )
    lookups: int = Field(ge=0, description="Number of these probes that come from stored look-ups.")
    nprobe: int = Field(ge=1, description="Number of inverted lists read for each probe.")
    candidates: int = Field(
        ge=1, description="Number of candidates compared exactly for each probe."
    )
    rows: int = Field(
        ge=1, description="Number of positions in the index when recall was measured."
    )
    measured_at: datetime = Field(description="When recall was measured, in UTC.")

    @classmethod
    def of(cls, tuning: Tuning | None) -> RecallAnswer | None:
        """From what `index` measured."""
        if tuning is None:
            return None
        return cls(
            k=tuning.k,
            recall=tuning.recall,
            probes=tuning.probes,
            lookups=tuning.lookups,
            nprobe=tuning.nprobe,
            candidates=tuning.candidates,
            rows=tuning.rows,
            measured_at=datetime.fromisoformat(tuning.measured_at),
        )


class MethodAnswer(Answer):
    """What is needed to repeat the look-up."""

    lineup_version: str = Field(description="Version of Lineup that answered.")
    model: str = Field(description="Name of the model, or of its folder.")
    embedding_space: Sha256 = Field(
        description="Fingerprint of the model's weights and preprocessing. Only embeddings with "
        "the same fingerprint are compared."
    )
    weights_sha256: Sha256 = Field(description="SHA-256 of the model's weights file.")
    device: str = Field(examples=["cpu"], description="Device that the model ran on.")
    precision: str = Field(
        examples=["float32"],
        description="Precision of the model's computation. Stored embeddings are always float32.",
    )
    generation: int = Field(
        ge=0,
        description="State of the corpora that was searched, as the number of its last change. A "
        "generation never changes.",
    )
    index_digest: Sha256 = Field(
        description="Digest of all entries and vectors of that generation."
    )
    exact: bool = Field(
        description="True: every selected entry was compared. False: compressed codes selected "
        "the candidates; see `recall`."
    )
    k: int = Field(ge=1, description="Number of neighbours asked for.")
    recall: RecallAnswer | None = Field(
        None, description="Recall last measured on this index. Null if the search was exact."
    )
    pending_changes: int = Field(
        0,
        ge=0,
        description="Number of committed changes, less than a second old, that `generation` does "
        "not contain yet. Entries that they remove are left out of the answer.",
    )


class Timings(Answer):
    """Wall-clock time of each step, in milliseconds."""

    decode_ms: float = Field(description="Decoding and preprocessing.")
    embed_ms: float = Field(
        description="Running the model, including the wait for a place in a batch."
    )
    search_ms: float = Field(description="Searching the index and reading the neighbours' entries.")
    total_ms: float = Field(description="From receiving the request's data to this answer.")


class LookupAnswer(Answer):
    """The answer for one probe: two separate opinions, and what is needed to repeat them."""

    id: str = Field(description="Id of the look-up. GET /v1/lookups/{id} returns this same answer.")
    created_at: datetime = Field(description="When the look-up was answered, in UTC.")
    probe: ProbeAnswer = Field(description="The probe.")
    classifier: ClassifierAnswer | None = Field(
        description="The classifier's opinion of the probe alone. Null if an embedding was sent "
        "without its logit."
    )
    similarity: SimilarityAnswer = Field(
        description="Whether the probe is similar to known fakes in the corpora."
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
        "`timings`, `pending_changes` and this field. The same look-up on the same "
        "generation has the same value.",
    )


class LookupQuery(Answer):
    """How to search."""

    k: int = Field(
        10,
        ge=1,
        le=1000,
        description="Number of nearest entries to return. Fewer are returned only if fewer exist."
        " Near duplicates that are further away come in addition.",
    )
    filter: SearchFilter = Field(SearchFilter(), description="Which entries to search.")
    exact: bool = Field(False, description="Compare every selected entry, however long it takes.")
    false_match_rate: Annotated[float, Field(gt=0, le=0.5)] | None = Field(
        None,
        description="False-match rate whose threshold decides what is similar. Null: the "
        "operator's setting, 1 % by default.",
    )
    stability: bool = Field(
        False,
        description="Also look up a fixed list of re-encodings of the probe. A verdict that one "
        "of them changes becomes inconclusive.",
    )


class LookupRequest(LookupQuery):
    """A look-up without an image file: by `embedding`, by `sha256`, or by both if the client
    embedded the image itself.
    """

    embedding: list[float] | None = Field(
        None,
        description="Embedding of the probe in `embedding_space`, with an L2 norm of 1.",
        max_length=65536,
    )
    embedding_space: Sha256 | None = Field(
        None,
        description="Fingerprint of the embedding's space, required with `embedding`. GET "
        "/v1/models states it.",
    )
    logit: float | None = Field(
        None,
        description="The classifier's logit for the probe. Without it the answer has no "
        "classifier's opinion.",
        allow_inf_nan=False,
    )
    sha256: Sha256 | None = Field(
        None,
        description="SHA-256 of the probe's file. Without `embedding`, an image with these bytes "
        "must have been ingested.",
    )
    pdq_hash: Sha256 | None = Field(
        None, description="Perceptual hash (PDQ) of the probe, as 64 hex digits."
    )
    pdq_quality: int | None = Field(
        None,
        ge=0,
        le=100,
        description="Quality of `pdq_hash`, from 0 to 100. The hash is compared only if this is "
        "given.",
    )


class ProbeLookup(Answer):
    """The look-up of one file."""

    name: str = Field(description="Name of the file, as it was given.")
    lookup: LookupAnswer = Field(description="The answer.")


class SearchAnswer(Answer):
    """The output of `lineup search --json`. Every probe is in one of the two lists."""

    lookups: list[ProbeLookup] = Field(description="Probes that were looked up.")
    failures: list[FailedItem] = Field(description="Probes that could not be looked up.")


class DemoRow(Answer):
    """One probe of the demonstration."""

    probe: str = Field(description="Name of the probe.")
    truth: str = Field(description="How the probe was really made.")
    lookup: LookupAnswer = Field(description="The answer of Lineup.")


class DemoAnswer(Answer):
    """The table of the demonstration."""

    data_dir: str = Field(description="The demonstration's data folder.")
    rows: list[DemoRow] = Field(description="The probes.")
