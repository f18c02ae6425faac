"""The JSON of Lineup: one set of models for the HTTP API, the terminal's ``--json`` and the stored lookups.

Words are those of the design: ``cosine_similarity`` is in [-1, 1] and grows with nearness, ``logit`` is the
classifier's raw output, ``probability`` is sigmoid(logit). Nothing merges classifier and similarity into one number.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictBool, StrictFloat, StrictInt

from index import (
    AddStatus,
    ClassifierOutcome,
    ClassifierReason,
    CorpusKind,
    Entry,
    IndexState,
    Keep,
    Plan,
    Relation,
    SimilarityOutcome,
    SimilarityReason,
    Tuning,
)
from index import Corpus as CorpusRow

MAX_FILTER_PLACES = 16
MAX_FILTER_VALUES = 1000  # of one criterion; a database takes only so many in one statement
Sha256 = Annotated[
    str, Field(pattern="^[0-9a-f]{64}$", examples=["9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"])
]
CorpusName = Annotated[
    str,
    Field(description="Of a corpus.", pattern="^[a-z0-9][a-z0-9._-]{0,63}$", examples=["casework-2026-sdxl"]),
]

Place = Annotated[str, Field(min_length=1, max_length=1000)]
Scalar = Annotated[
    StrictBool | StrictInt | StrictFloat | Annotated[str, Field(max_length=10_000)] | None, Field(union_mode="smart")
]


def in_utc(instant: datetime) -> datetime:
    """The same instant in UTC; without a zone it is UTC. Raises ValueError on one that UTC cannot express."""
    try:
        return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)
    except OverflowError as err:
        raise ValueError("is not in the years 1 to 9999 of UTC") from err


Instant = Annotated[datetime, AfterValidator(in_utc)]


class Answer(BaseModel):
    """Frozen, and strict about unknown fields, so that a misspelt one is an error and not ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="null")


class CorpusAnswer(Answer):
    """A named set of reference images."""

    name: CorpusName
    kind: CorpusKind = Field(description="known_fake or known_real.")
    keep: Keep = Field(description="What is kept of its images: original (and thumbnail), thumbnail, or none.")
    description: str = Field(
        examples=["Known fakes of case 2026-114"], description="What the corpus keeper says of it."
    )
    entry_count: int = Field(description="Live entries.", ge=0)
    created_at: datetime = Field(description="UTC.")

    @classmethod
    def of(cls, corpus: CorpusRow) -> CorpusAnswer:
        """From the row that `index` reads."""
        return cls(
            name=corpus.name,
            kind=corpus.kind,
            keep=corpus.keep,
            description=corpus.description,
            entry_count=corpus.entries,
            created_at=corpus.created_at,
        )


class CorpusPage(Answer):
    """Corpora in the order of their names."""

    corpora: list[CorpusAnswer] = Field(description="At most `limit` of them.")
    next_cursor: str | None = Field(description="Pass as `cursor` for the next page; null on the last one.")


class NewCorpus(Answer):
    """What is needed to create a corpus."""

    name: CorpusName
    kind: CorpusKind = Field(CorpusKind.KNOWN_FAKE, description="known_fake or known_real; it cannot be changed later.")
    keep: Keep = Field(Keep.THUMBNAIL, description="What is kept of its images: original, thumbnail or none.")
    description: str = Field("", max_length=1000, description="Free text.")


class EntryAnswer(Answer):
    """One image's membership in one corpus, with its provenance."""

    id: int = Field(description="Never reused, not even after removal.", examples=[42])
    corpus: CorpusName
    kind: CorpusKind = Field(description="The corpus's: known_fake or known_real.")
    sha256: Sha256 = Field(description="Of the image's bytes, as they were ingested.")
    format: str | None = Field(
        examples=["jpeg"], description="By content, not by name; like the sizes null where a ready embedding said none."
    )
    width: int | None = Field(description="Pixels, after the EXIF orientation.")
    height: int | None = Field(description="Pixels, after the EXIF orientation.")
    byte_size: int | None = Field(description="Bytes of the original file.")
    pdq_hash: str | None = Field(
        None, description="Perceptual hash (PDQ), 64 hex digits; null where the image was never seen by this release."
    )
    pdq_quality: int | None = Field(
        None, description="Of the hash, 0 to 100; under 50 the picture is too flat for it to mean anything."
    )
    generator: str | None = Field(
        description="What made it, normalised free text; null when not told.", examples=["sdxl"]
    )
    label: str | None = Field(description="Free label; null when not told.")
    licence: str | None = Field(description="Of the image; null when not told.")
    source: str | None = Field(description="Where the corpus keeper got it from.")
    acquired_at: datetime | None = Field(description="When the image was acquired, UTC; null when not told.")
    provenance: dict[str, Any] = Field(description="Free JSON that came with the entry.")
    created_at: datetime = Field(description="When the entry was ingested, UTC.")
    job_id: int | None = Field(None, description="The job that added it; null for one added on its own.")

    @classmethod
    def of(cls, entry: Entry) -> EntryAnswer:
        """From the row that `index` reads."""
        hashed = entry.image.perceptual_hash
        return cls(
            id=entry.id,
            corpus=entry.corpus,
            kind=entry.kind,
            sha256=entry.sha256,
            format=entry.image.format,
            width=entry.image.width,
            height=entry.image.height,
            byte_size=entry.image.byte_size,
            pdq_hash=hashed.bits.hex() if hashed else None,
            pdq_quality=hashed.quality if hashed else None,
            generator=entry.generator,
            label=entry.label,
            licence=entry.licence,
            source=entry.source,
            acquired_at=entry.acquired_at,
            provenance=dict(entry.provenance),
            created_at=entry.created_at,
            job_id=entry.job_id,
        )


class EntryPage(Answer):
    """Entries in the order of their ids."""

    entries: list[EntryAnswer] = Field(description="At most `limit` of them.")
    next_cursor: str | None = Field(description="Pass as `cursor` for the next page; null on the last one.")


class AddedEntry(Answer):
    """What became of one image offered to a corpus."""

    status: AddStatus = Field(
        description="added: embedded and stored; linked: the image was known from elsewhere, the entry is new; "
        "embedded: the entry was there, its embedding by the active model is new; skipped: all of it was there."
    )
    entry: EntryAnswer = Field(description="The entry, new or found.")


class ProbeAnswer(Answer):
    """The questioned image, or what was sent in its place."""

    sha256: Sha256 | None = Field(description="Null when only an embedding was sent.")
    format: str | None = Field(None, description="By content, not by name; null without image bytes.")
    width: int | None = Field(None, description="Pixels, after the EXIF orientation.")
    height: int | None = Field(None, description="Pixels, after the EXIF orientation.")
    byte_size: int | None = Field(None, description="Bytes of the file; null without image bytes.")
    pdq_hash: str | None = Field(None, description="Perceptual hash (PDQ), 64 hex digits; null where there is none.")
    pdq_quality: int | None = Field(None, description="Of the hash, 0 to 100; under 50 it is not compared.")
    embedding: Literal["computed", "stored", "sent"] = Field(
        description="computed: now; stored: these very bytes were ingested before; sent: by the client."
    )


class ClassifierAnswer(Answer):
    """What the forensic classifier says of the probe alone, whatever the corpora hold."""

    verdict: ClassifierOutcome = Field(description="synthetic, authentic, or inconclusive between the limits.")
    reason: ClassifierReason = Field(description="Why, machine-readable.")
    explanation: str = Field(description="The reason in one sentence, as every skin prints it.")
    logit: float = Field(description="Raw output of the model, up means synthetic.")
    probability: float = Field(ge=0, le=1, description="sigmoid(logit).")
    limits_source: str | None = Field(description="Where the limits of the logit come from; null without limits.")
    calibration: str = Field(description="How the probability is calibrated; 'uncalibrated' means plain sigmoid.")


class NeighbourAnswer(Answer):
    """An entry near the probe."""

    rank: int = Field(ge=1, description="1 is the first of the list.")
    cosine_similarity: float = Field(
        ge=-1, le=1, description="From the stored float32 vectors; up is nearer.", examples=[0.973]
    )
    relation: Relation | None = Field(
        description="identical: the same sha256; near_duplicate: the same picture by perceptual hash (at most 31 of "
        "256 bits differ); similar, unrelated: from or under the threshold; null without one."
    )
    hamming_distance: int | None = Field(
        None, ge=0, le=256, description="Bits of the perceptual hashes that differ; null where they were not compared."
    )
    perceptual_hash: Literal["compared", "low_quality", "missing"] = Field(
        "missing",
        description="low_quality: a picture is too flat for its hash to mean anything: no match, and no mismatch; "
        "missing: the probe or the entry has none.",
    )
    entry: EntryAnswer = Field(description="The reference image.")


class ThresholdAnswer(Answer):
    """The cosine similarity from which a neighbour is called similar."""

    cosine_similarity: float = Field(ge=-1, le=1, description="From it on, a neighbour is similar.")
    source: str = Field(description="Where the number comes from.")


class SearchFilter(Answer):
    """Which entries were searched. A field left out does not restrict."""

    corpora: list[CorpusName] | None = Field(None, max_length=MAX_FILTER_VALUES, description="Names of corpora.")
    kind: CorpusKind | None = Field(
        CorpusKind.KNOWN_FAKE, description="known_fake unless told otherwise; null for both."
    )
    generators: list[str] | None = Field(
        None, max_length=MAX_FILTER_VALUES, description="Any of these, compared normalised."
    )
    labels: list[str] | None = Field(None, max_length=MAX_FILTER_VALUES, description="Any of these.")
    acquired_from: Instant | None = Field(None, description="Inclusive. A time without a zone is UTC.")
    acquired_to: Instant | None = Field(None, description="Exclusive. A time without a zone is UTC.")
    provenance: dict[Place, list[Scalar]] | None = Field(
        None,
        max_length=MAX_FILTER_PLACES,
        description="What the free provenance must hold: a key, or a JSON pointer such as `/camera/model`, with the "
        "values of which it must be one. Every place must fit. `true` is not 1, 1 is 1.0, null is not absence.",
        examples=[{"/camera/model": ["X100"], "reviewed": [True]}],
    )


class SimilarityAnswer(Answer):
    """Is the probe similar to known fakes, and to which. It is not a probability that the probe is fake."""

    verdict: SimilarityOutcome = Field(description="similar_to_known_fakes, not_similar, or inconclusive.")
    reason: SimilarityReason = Field(description="Why, machine-readable.")
    explanation: str = Field(description="The reason in one sentence, as every skin prints it.")
    threshold: ThresholdAnswer | None = Field(description="Null when none is known for this embedding space.")
    neighbours: list[NeighbourAnswer] = Field(
        description="The k nearest and, beside them, up to k near duplicates that are further away. Identical ones "
        "first, then near duplicates by rising `hamming_distance`, then the others by falling similarity; equal ones "
        "by entry id."
    )
    searched: int = Field(ge=0, description="Live entries that the filter selected, all of which were considered.")
    filter: SearchFilter = Field(description="What was searched.")


class RecallAnswer(Answer):
    """How complete approximate candidates were, measured on this very corpus against the exact answer."""

    k: int = Field(ge=1, description="Neighbours that it was measured for.")
    recall: float = Field(ge=0, le=1, description="Share of the k true neighbours that were found: recall@k.")
    probes: int = Field(ge=1, description="Probes measured: vectors of the corpus, and those of stored lookups.")
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
    precision: str = Field(examples=["float32"], description="Of the forward; embeddings are float32 always.")
    generation: int = Field(
        ge=0, description="Numbered, immutable state of the index: the last change that was visible."
    )
    index_digest: Sha256 = Field(description="Digest of all (entry, vector) pairs of that generation.")
    exact: bool = Field(
        description="True: every selected entry was compared. False: codes proposed the candidates, see `recall`."
    )
    k: int = Field(ge=1, description="Neighbours asked for.")
    recall: RecallAnswer | None = Field(
        None, description="Recall last measured on this corpus; null where the answer is exact."
    )
    pending_changes: int = Field(
        0,
        ge=0,
        description="Changes committed when this was answered that `generation` does not hold yet, under a second old; "
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
    classifier: ClassifierAnswer | None = Field(description="Null when an embedding was sent without its logit.")
    similarity: SimilarityAnswer = Field(description="Beside known images.")
    method: MethodAnswer = Field(description="What is needed to repeat it.")
    timings: Timings = Field(description="Wall clock.")


class LookupQuery(Answer):
    """How to search."""

    k: int = Field(
        10,
        ge=1,
        le=1000,
        description="Nearest neighbours to return; fewer come back only when fewer exist. Near duplicates further away "
        "come on top.",
    )
    filter: SearchFilter = SearchFilter()
    exact: bool = Field(False, description="Compare every selected entry, however long that takes.")


class LookupRequest(LookupQuery):
    """A lookup without image bytes: an `embedding` or a `sha256`, or both when the sender embedded the image."""

    embedding: list[float] | None = Field(
        None, description="CLS embedding, L2 norm 1, of `embedding_space`.", max_length=65536
    )
    embedding_space: Sha256 | None = Field(None, description="Required with `embedding`; see GET /v1/models.")
    logit: float | None = Field(None, description="The classifier's logit for the sent embedding.", allow_inf_nan=False)
    sha256: Sha256 | None = Field(None, description="Of the probe's bytes. Alone, it names an image that was ingested.")
    pdq_hash: Sha256 | None = Field(None, description="Perceptual hash (PDQ) of the probe, 64 hex digits.")
    pdq_quality: int | None = Field(None, ge=0, le=100, description="Of `pdq_hash`, which counts only with it.")


class ModelAnswer(Answer):
    """A model that Lineup knows by name, or the one that is loaded."""

    name: str = Field(examples=["builtin"], description="As `--model` takes it.")
    description: str = Field(description="One line.")
    active: bool = Field(description="This service embeds with it.")
    available: bool = Field(description="Its files are on this machine.")
    licence: str = Field(description="Of the weights.")
    revision: str | None = Field(description="Pinned revision on the hub; null for a model that is not from the hub.")
    weights_bytes: int | None = Field(description="Size of the weights file; null where it is not known.")
    weights_sha256: Sha256 | None = Field(description="Null where nothing pins it before it is loaded.")
    embedding_space: Sha256 | None = Field(
        None, description="Fingerprint of weights and preprocessing; of the active model."
    )
    dimension: int | None = Field(None, description="Components of an embedding; of the active model.")
    image_size: int | None = Field(None, description="Edge of the square that the active model sees, in pixels.")
    parameter_count: int | None = Field(None, description="Of the active model.")
    device: str | None = Field(None, description="Where the active model runs.")
    precision: str | None = Field(None, description="Of the active model's forward; embeddings are float32 always.")


class ModelsAnswer(Answer):
    """Every model that can be named, the active one first."""

    models: list[ModelAnswer] = Field(description="The active one first.")


class ReadyAnswer(Answer):
    """Whether lookups can be answered now."""

    ready: bool = Field(description="Every check is ok.")
    checks: dict[str, str] = Field(description="Each part, with 'ok' or what is wrong.")
    generation: int | None = Field(description="Last change that the index has seen; null before the first.")


class IndexAnswer(Answer):
    """The index of one embedding space: how it answers now, and why so."""

    model: str = Field(description="Name of the model whose space it is.")
    embedding_space: Sha256 = Field(description="Fingerprint of weights and preprocessing.")
    plan: Plan = Field(
        description="flat: every vector is compared, exactly. codes: every compressed code is compared, the best "
        "candidates exactly. lists: the codes of the nearest inverted lists, the best candidates exactly."
    )
    reason: str = Field(description="Why this plan, with its figures.")
    entries: int = Field(ge=0, description="Live entries.")
    rows: int = Field(ge=0, description="Positions in the base, those of removed entries included.")
    dead: int = Field(ge=0, description="Positions of removed entries, reclaimed by compaction.")
    tail: int = Field(ge=0, description="Entries added since the base was written; always compared exactly.")
    generation: int = Field(ge=0, description="Last change that is visible.")
    snapshot_generation: int | None = Field(description="Last change in the snapshot on disk; null without one.")
    nlist: int | None = Field(description="Inverted lists; null without codes.")
    code_bytes: int | None = Field(description="Bytes of one compressed code; null without codes.")
    recall: RecallAnswer | None = Field(description="Measured when the codes were last written; null without codes.")

    @classmethod
    def of(cls, state: IndexState) -> IndexAnswer:
        """From what `index` explains."""
        return cls(
            model=state.space.model,
            embedding_space=state.space.fingerprint,
            plan=state.plan,
            reason=state.reason,
            entries=state.entries,
            rows=state.rows,
            dead=state.dead,
            tail=state.tail,
            generation=state.generation,
            snapshot_generation=state.snapshot_generation,
            nlist=state.nlist,
            code_bytes=state.code_bytes,
            recall=RecallAnswer.of(state.tuning),
        )


class IndexesAnswer(Answer):
    """The indexes of all embedding spaces of a database, oldest space first."""

    indexes: list[IndexAnswer]


class FailedItem(Answer):
    """An item that was not taken, and why."""

    name: str = Field(description="Path of the file, as it was found.")
    reason: str = Field(description="Machine-readable.", examples=["truncated"])
    detail: str = Field(description="For a person.")


class FindingAnswer(Answer):
    """One inconsistency."""

    kind: str
    item: str
    message: str
    repaired: bool


class FsckAnswer(Answer):
    """What a check of truth and cache found."""

    clean: bool = Field(description="No finding, or every finding repaired.")
    findings: list[FindingAnswer]
    checked: dict[str, int]


class SpaceDigestAnswer(Answer):
    """An embedding space in a backup."""

    embedding_space: Sha256 = Field(description="Fingerprint of weights and preprocessing.")
    model: str
    dimension: int
    digest: Sha256 = Field(description="Set digest of its live entries, as the change log states it.")


class BackupAnswer(Answer):
    """A backup whose every digest was compared."""

    archive: str = Field(description="Path of the file.")
    byte_size: int
    created_at: Instant
    lineup_version: str = Field(description="Release that wrote it.")
    database: str = Field(description="Which it was made of: sqlite or postgresql; it restores into both.")
    schema_revision: str
    generation: int = Field(description="Number of the last change in it.")
    spaces: list[SpaceDigestAnswer]
    row_counts: dict[str, int] = Field(description="Rows of each table.")
    snapshots: list[str] = Field(description="Embedding spaces, first 16 digits, whose index snapshot is in it.")
    thumbnails: int | None = Field(description="How many; null where they were left out.")
    warnings: list[str] = Field(description="What could not be read and was left out; never rows.")
    seconds: float


class RestoreAnswer(Answer):
    """What was restored, and where."""

    backup: BackupAnswer
    database: str = Field(description="Into which: sqlite or postgresql.")
    data_dir: str
    thumbnails: int = Field(description="How many were restored.")


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
