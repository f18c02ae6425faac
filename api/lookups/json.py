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
    """The questioned image, or what was sent in its place."""

    sha256: Sha256 | None = Field(description="Null when only an embedding was sent.")
    format: str | None = Field(
        None, description="By content, not by name; null without image bytes."
    )
    width: int | None = Field(None, description="Pixels, after the EXIF orientation.")
    height: int | None = Field(None, description="Pixels, after the EXIF orientation.")
    byte_size: int | None = Field(None, description="Bytes of the file; null without image bytes.")
    pdq_hash: str | None = Field(
        None, description="Perceptual hash (PDQ), 64 hex digits; null where there is none."
    )
    pdq_quality: int | None = Field(
        None, description="Of the hash, 0 to 100; under 50 it is not compared."
    )
    embedding: Literal["computed", "stored", "sent"] = Field(
        description="computed: now; stored: these very bytes were ingested before; sent: by the "
        "client."
    )


class ClassifierAnswer(Answer):
    """What the forensic classifier says of the probe alone, whatever the corpora hold."""

    verdict: ClassifierOutcome = Field(
        description="synthetic, authentic, or inconclusive between the limits."
    )
    reason: ClassifierReason = Field(description="Why, machine-readable.")
    explanation: str = Field(description="The reason in one sentence, as every skin prints it.")
    logit: float = Field(description="Raw output of the model, up means synthetic.")
    probability: float = Field(
        ge=0,
        le=1,
        description="Calibrated where `calibration` names one, for as many synthetic images as "
        "photographs; else "
        "sigmoid(logit).",
    )
    limits_source: str | None = Field(
        description="Where the limits of the logit come from; null without limits."
    )
    synthetic_logit: float | None = Field(None, description="From it on the verdict is synthetic.")
    authentic_logit: float | None = Field(None, description="Up to it the verdict is authentic.")
    calibration: str = Field(
        description="How the probability is calibrated; 'uncalibrated' means plain sigmoid."
    )
    ece: float | None = Field(
        None,
        description="Expected calibration error of the probability, on data that it was not "
        "fitted on.",
    )
    brier: float | None = Field(None, description="Brier score of the probability, likewise.")


class NeighbourAnswer(Answer):
    """An entry near the probe."""

    rank: int = Field(ge=1, description="1 is the first of the list.")
    cosine_similarity: float = Field(
        ge=-1, le=1, description="From the stored float32 vectors; up is nearer.", examples=[0.973]
    )
    relation: Relation | None = Field(
        description="identical: the same sha256; near_duplicate: the same picture by perceptual "
        "hash (at most 31 of "
        "256 bits differ); similar: at or above the threshold; below_threshold; null without a "
        "threshold."
    )
    hamming_distance: int | None = Field(
        None,
        ge=0,
        le=256,
        description="Bits of the perceptual hashes that differ; null where they were not compared.",
    )
    perceptual_hash: Literal["compared", "low_quality", "missing"] = Field(
        "missing",
        description="low_quality: a picture is too flat for its hash to mean anything: no match, "
        "and no mismatch; "
        "missing: the probe or the entry has none.",
    )
    entry: EntryAnswer = Field(description="The reference image.")


class ThresholdAnswer(Answer):
    """The cosine similarity from which a neighbour is called similar."""

    cosine_similarity: float = Field(ge=-1, le=1, description="From it on, a neighbour is similar.")
    source: str = Field(description="Where the number comes from.")


class SearchFilter(Answer):
    """Which entries were searched. A field left out does not restrict."""

    corpora: list[CorpusName] | None = Field(
        None, max_length=MAX_FILTER_VALUES, description="Names of corpora."
    )
    kind: CorpusKind | None = Field(
        CorpusKind.KNOWN_FAKE, description="known_fake unless told otherwise; null for both."
    )
    generators: list[str] | None = Field(
        None, max_length=MAX_FILTER_VALUES, description="Any of these, compared normalised."
    )
    labels: list[str] | None = Field(
        None, max_length=MAX_FILTER_VALUES, description="Any of these."
    )
    acquired_from: Instant | None = Field(
        None, description="Inclusive. A time without a zone is UTC."
    )
    acquired_to: Instant | None = Field(
        None, description="Exclusive. A time without a zone is UTC."
    )
    provenance: dict[Place, list[Scalar]] | None = Field(
        None,
        max_length=MAX_FILTER_PLACES,
        description="What the free provenance must hold: a key, or a JSON pointer such as "
        "`/camera/model`, with the "
        "values of which it must be one. Every place must fit. `true` is not 1, 1 is 1.0, null "
        "is not absence.",
        examples=[{"/camera/model": ["X100"], "reviewed": [True]}],
    )


class SimilarityAnswer(Answer):
    """Is the probe similar to known fakes, and to which.

    It is not a probability that the probe is fake.
    """

    verdict: SimilarityOutcome = Field(
        description="similar_to_known_fakes, not_similar, or inconclusive."
    )
    reason: SimilarityReason = Field(description="Why, machine-readable.")
    explanation: str = Field(description="The reason in one sentence, as every skin prints it.")
    threshold: ThresholdAnswer | None = Field(
        description="Null when none is known for this embedding space."
    )
    neighbours: list[NeighbourAnswer] = Field(
        description="The k nearest and, beside them, up to k near duplicates that are further "
        "away. Identical ones "
        "first, then near duplicates by rising `hamming_distance`, then the others by falling "
        "similarity; equal ones "
        "by entry id."
    )
    searched: int = Field(
        ge=0, description="Live entries that the filter selected, all of which were considered."
    )
    filter: SearchFilter = Field(description="What was searched.")
    nearest_similarity: float | None = Field(
        None,
        ge=-1,
        le=1,
        description="Largest cosine similarity to a known fake of those searched; null: none was.",
    )
    false_match_rate: RateAnswer | None = Field(
        None,
        description="Of the nearest similarity; null where no calibration was made for these "
        "corpora, or `quality` has "
        "an issue.",
    )
    likelihood_ratio: RatioAnswer | None = Field(
        None, description="Likewise; null also where too few images support one."
    )
    attribution: AttributionAnswer | None = Field(
        None, description="Which generators; null without a calibration."
    )
    nearest_known_real: NeighbourAnswer | None = Field(
        None, description="The most similar of all known-real images; null where there is none."
    )
    rests_on: RestsOnAnswer | None = Field(None, description="Which entries carried the verdict.")
    calibration: CalibrationUsed | None = Field(None, description="What the statements rest on.")
    uncalibrated_corpora: list[str] = Field(
        [],
        description="Corpora searched whose entries the newest calibration has not seen, so that "
        "none speaks.",
    )


class RecallAnswer(Answer):
    """How complete approximate candidates were, measured on this very corpus against the exact
    answer.
    """

    k: int = Field(ge=1, description="Neighbours that it was measured for.")
    recall: float = Field(
        ge=0, le=1, description="Share of the k true neighbours that were found: recall@k."
    )
    probes: int = Field(
        ge=1, description="Probes measured: vectors of the corpus, and those of stored lookups."
    )
    lookups: int = Field(ge=0, description="How many of the probes were those of stored lookups.")
    nprobe: int = Field(ge=1, description="Inverted lists read for it.")
    candidates: int = Field(ge=1, description="Candidates compared exactly for it.")
    rows: int = Field(ge=1, description="Positions in the index when it was measured.")
    measured_at: datetime = Field(description="UTC.")

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
    """What is needed to repeat the lookup."""

    lineup_version: str = Field(description="Of the service that answered.")
    model: str = Field(description="Name of the model, or of its directory.")
    embedding_space: Sha256 = Field(
        description="Fingerprint of weights and preprocessing; two spaces are never compared."
    )
    weights_sha256: Sha256 = Field(description="Of the model's weights file.")
    device: str = Field(examples=["cpu"], description="Where the forward ran.")
    precision: str = Field(
        examples=["float32"], description="Of the forward; embeddings are float32 always."
    )
    generation: int = Field(
        ge=0,
        description="Numbered, immutable state of the index: the last change that was visible.",
    )
    index_digest: Sha256 = Field(
        description="Digest of all (entry, vector) pairs of that generation."
    )
    exact: bool = Field(
        description="True: every selected entry was compared. False: codes proposed the "
        "candidates, see `recall`."
    )
    k: int = Field(ge=1, description="Neighbours asked for.")
    recall: RecallAnswer | None = Field(
        None, description="Recall last measured on this corpus; null where the answer is exact."
    )
    pending_changes: int = Field(
        0,
        ge=0,
        description="Changes committed when this was answered that `generation` does not hold "
        "yet, under a second old; "
        "entries that they removed are left out all the same.",
    )


class Timings(Answer):
    """Wall-clock milliseconds of the steps."""

    decode_ms: float = Field(description="Decoding and preprocessing.")
    embed_ms: float = Field(description="Waiting for the shared forward included.")
    search_ms: float = Field(description="The index, and the entries of the neighbours.")
    total_ms: float = Field(description="From the bytes to this answer.")


class LookupAnswer(Answer):
    """One probe answered: two separate statements, and what is needed to repeat them."""

    id: str = Field(description="Durable: GET /v1/lookups/{id} returns this same answer.")
    created_at: datetime = Field(description="UTC.")
    probe: ProbeAnswer = Field(description="What was asked about.")
    classifier: ClassifierAnswer | None = Field(
        description="Null when an embedding was sent without its logit."
    )
    similarity: SimilarityAnswer = Field(description="Beside known images.")
    statements: list[StatementAnswer] = Field(
        [], description="What stands beside the verdicts, in words."
    )
    quality: QualityAnswer | None = Field(
        None, description="Whether the picture says enough for a verdict."
    )
    stability: StabilityAnswer | None = Field(
        None, description="Its re-encodings; null where nobody asked."
    )
    method: MethodAnswer = Field(description="What is needed to repeat it.")
    timings: Timings = Field(description="Wall clock.")
    evidence_sha256: Sha256 | None = Field(
        None,
        description="SHA-256 of the canonical JSON of all this but `id`, `created_at`, `timings`, "
        "`pending_changes` "
        "and itself: the same lookup repeated on the same generation has the same.",
    )


class LookupQuery(Answer):
    """How to search."""

    k: int = Field(
        10,
        ge=1,
        le=1000,
        description="Nearest neighbours to return; fewer come back only when fewer exist. Near "
        "duplicates further away "
        "come on top.",
    )
    filter: SearchFilter = SearchFilter()
    exact: bool = Field(False, description="Compare every selected entry, however long that takes.")
    false_match_rate: Annotated[float, Field(gt=0, le=0.5)] | None = Field(
        None,
        description="Rate whose similarity is the threshold of `similar`; null: the operator's, "
        "1 % by default.",
    )
    stability: bool = Field(
        False,
        description="Re-encode the probe in a fixed list of ways; a verdict that flips is "
        "inconclusive.",
    )


class LookupRequest(LookupQuery):
    """A lookup without image bytes: an `embedding` or a `sha256`, or both when the sender embedded
    the image.
    """

    embedding: list[float] | None = Field(
        None, description="CLS embedding, L2 norm 1, of `embedding_space`.", max_length=65536
    )
    embedding_space: Sha256 | None = Field(
        None, description="Required with `embedding`; see GET /v1/models."
    )
    logit: float | None = Field(
        None, description="The classifier's logit for the sent embedding.", allow_inf_nan=False
    )
    sha256: Sha256 | None = Field(
        None, description="Of the probe's bytes. Alone, it names an image that was ingested."
    )
    pdq_hash: Sha256 | None = Field(
        None, description="Perceptual hash (PDQ) of the probe, 64 hex digits."
    )
    pdq_quality: int | None = Field(
        None, ge=0, le=100, description="Of `pdq_hash`, which counts only with it."
    )


class ProbeLookup(Answer):
    """A probe of `lineup search`, by the name it was given."""

    name: str
    lookup: LookupAnswer


class SearchAnswer(Answer):
    """What `lineup search --json` prints: every probe is in one of the two lists."""

    lookups: list[ProbeLookup]
    failures: list[FailedItem]


class DemoRow(Answer):
    """A probe of the demonstration, what is true of it, and what Lineup says."""

    probe: str
    truth: str
    lookup: LookupAnswer


class DemoAnswer(Answer):
    """The demonstration's table."""

    data_dir: str
    rows: list[DemoRow]
