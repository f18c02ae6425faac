"""What is needed to repeat a look-up, as JSON, and how long it took."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from api.fields import Answer, Sha256
from index.cache.plans.recall import Tuning
from index.truth.computations import Computation, PrecisionCheck


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


class PrecisionCheckAnswer(Answer):
    """How far a device and a precision move answers, from float32 on a CPU.

    Measured on a panel of pictures when the model was loaded. A picture that the panel does not
    have may move further.
    """

    images: int = Field(ge=1, description="Number of pictures compared.")
    smallest_cosine: float = Field(
        ge=-1,
        le=1,
        examples=[0.999996],
        description="Smallest cosine similarity of the two embeddings of one picture.",
    )
    largest_logit_difference: float = Field(
        ge=0, description="Largest difference of the two logits of one picture."
    )

    @classmethod
    def of(cls, check: PrecisionCheck | None) -> PrecisionCheckAnswer | None:
        """From what was measured; None if nothing was."""
        return None if check is None else cls(**check._asdict())


class ComputationAnswer(Answer):
    """What computed embeddings."""

    device: str | None = Field(
        examples=["cpu"], description="Device. Null if nobody recorded what computed them."
    )
    precision: str | None = Field(
        examples=["float32"],
        description="Precision of the model's computation. Null if nobody recorded it.",
    )
    check: PrecisionCheckAnswer | None = Field(
        None,
        description="How far this moves answers. Null for float32 on a CPU, with which others are "
        "compared, and if nobody measured it.",
    )

    @classmethod
    def of(cls, computation: Computation | None) -> ComputationAnswer:
        """From what a row names; None: it names nothing."""
        if computation is None:
            return cls(device=None, precision=None)
        return cls(
            device=computation.device,
            precision=computation.precision,
            check=PrecisionCheckAnswer.of(computation.check),
        )

    def to_computation(self) -> Computation | None:
        """As `index` has it; None if nobody recorded it."""
        if self.device is None or self.precision is None:
            return None
        check = None if self.check is None else PrecisionCheck(**self.check.model_dump())
        return Computation(self.device, self.precision, check)


class ComputedAnswer(Answer):
    """What computed the embeddings that were compared."""

    probe: ComputationAnswer | None = Field(
        description="What computed the probe's embedding, for this look-up or when it was ingested."
        " Null if the embedding was sent, and if nobody recorded it."
    )
    corpora: list[ComputationAnswer] = Field(
        description="What computed the embeddings of the corpora that the filter names, each only "
        "once. Embeddings whose entries were removed since count too."
    )
    similarity_moves_by: float | None = Field(
        ge=0,
        description="How far the difference between probe and corpora may have moved "
        "`nearest_similarity`, by the figures of `check`. 0 if they were embedded alike. Null if "
        "that is not known.",
    )


class MethodAnswer(Answer):
    """What is needed to repeat the look-up."""

    lineup_version: str = Field(description="Version of Lineup that answered.")
    rules: int = Field(
        1,
        ge=1,
        description="Version of the rules that the verdicts were judged by. Equal evidence has an "
        "equal verdict only under equal rules.",
    )
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
    precision_check: PrecisionCheckAnswer | None = Field(
        None,
        description="How far this device and precision move answers, from float32 on a CPU. Null "
        "if they are that, and in look-ups stored before schema 0007.",
    )
    computed: ComputedAnswer | None = Field(
        None,
        description="What computed the embeddings that were compared. Null in look-ups stored "
        "before schema 0007.",
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
    describe_ms: float | None = Field(
        None,
        description="Running the copy descriptor and searching its index. Null if it did not run.",
    )
    search_ms: float = Field(description="Searching the index and reading the neighbours' entries.")
    verify_ms: float | None = Field(
        None,
        description="Comparing the local features of candidates. Null if none was compared.",
    )
    total_ms: float = Field(description="From receiving the request's data to this answer.")
