"""What is needed to repeat a look-up, as JSON, and how long it took."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from api.fields import Answer, Sha256
from index.cache.recall import Tuning


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
