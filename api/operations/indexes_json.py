"""The JSON of indexes and their plans."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime

from pydantic import Field

from api.fields import Answer, Instant, Sha256
from api.lookups.answers.method_json import RecallAnswer
from index.cache.explain import IndexState
from index.cache.plans.comparison import Comparison
from index.cache.plans.config import Plan
from index.truth.spaces import SpaceKind


class PlanFiguresAnswer(Answer):
    """What one plan costs on this index, and what it finds."""

    plan: Plan = Field(description="The plan, as in the field `plan` of the index.")
    recall: float = Field(
        ge=0,
        le=1,
        description="Share of the true k nearest neighbours that it finds (recall@k); 1 for flat.",
    )
    milliseconds: float | None = Field(
        description="Median time of a search by one thread, rows of the database not included. "
        "Null if this plan cannot reach the required recall."
    )
    nprobe: int | None = Field(
        description="Number of inverted lists read for each probe. Null for flat, and without a "
        "time."
    )
    candidates: int | None = Field(
        description="Number of candidates compared exactly for each probe. Null for flat, and "
        "without a time."
    )


class PlanComparisonAnswer(Answer):
    """The plans side by side, as they were measured on this index."""

    plans: list[PlanFiguresAnswer] = Field(description="The plans that were measured.")
    rows: int = Field(ge=0, description="Number of positions in the index when it was measured.")
    k: int = Field(ge=1, description="Number of neighbours of the searches that were measured.")
    recall_target: float = Field(description="Recall that a plan had to reach.")
    measured_at: Instant = Field(description="When it was measured, in UTC.")

    @classmethod
    def of(cls, comparison: Comparison | None) -> PlanComparisonAnswer | None:
        """From what `index` measured."""
        if comparison is None:
            return None
        return cls(
            plans=[PlanFiguresAnswer(**asdict(each)) for each in comparison.plans],
            rows=comparison.rows,
            k=comparison.k,
            recall_target=comparison.recall_target,
            measured_at=datetime.fromisoformat(comparison.measured_at),
        )


class IndexAnswer(Answer):
    """The index of one embedding space: how it searches, and why."""

    model: str = Field(
        description="Name of the model of this embedding space, or of the copy descriptor."
    )
    embedding_space: Sha256 = Field(
        description="Fingerprint of the model's weights and preprocessing."
    )
    kind: SpaceKind = Field(
        SpaceKind.FORENSIC,
        description="forensic: the embeddings of a model. copy: the vectors of a copy descriptor.",
    )
    plan: Plan = Field(
        description="flat: compares every vector; exact. codes: compares every compressed code, "
        "then compares the best candidates exactly. lists: compares only the codes in"
        " the nearest inverted lists, then compares the best candidates exactly."
    )
    reason: str = Field(description="Why this plan is used, with the figures.")
    entries: int = Field(ge=0, description="Number of entries that are searched.")
    rows: int = Field(
        ge=0,
        description="Number of positions in the main part of the index, which changes only when "
        "the index is written. Positions of removed entries count too.",
    )
    dead: int = Field(
        ge=0,
        description="Number of positions that belong to removed entries. Compaction frees them.",
    )
    tail: int = Field(
        ge=0,
        description="Number of entries added since that part was written. They are always compared"
        " exactly.",
    )
    generation: int = Field(ge=0, description="Number of the last change that the index contains.")
    snapshot_generation: int | None = Field(
        description="Number of the last change in the snapshot on disk. Null without a snapshot."
    )
    nlist: int | None = Field(description="Number of inverted lists. Null without codes.")
    code_bytes: int | None = Field(
        description="Size of one compressed code in bytes. Null without codes."
    )
    recall: RecallAnswer | None = Field(
        description="Recall, measured when the codes were last written. Null without codes."
    )
    comparison: PlanComparisonAnswer | None = Field(
        None,
        description="Time and recall of every plan, measured when the index was built. Null where "
        "that was not done: up to `index_flat_limit` entries every vector is compared.",
    )

    @classmethod
    def of(cls, state: IndexState) -> IndexAnswer:
        """From what `index` explains."""
        return cls(
            model=state.space.model,
            embedding_space=state.space.fingerprint,
            kind=state.space.kind,
            plan=state.plan,
            reason=state.reason,
            entries=state.entries,
            rows=state.rows,
            dead=state.dead,
            tail=state.growing,
            generation=state.generation,
            snapshot_generation=state.snapshot_generation,
            nlist=state.nlist,
            code_bytes=state.code_bytes,
            recall=RecallAnswer.of(state.tuning),
            comparison=PlanComparisonAnswer.of(state.comparison),
        )


class IndexesAnswer(Answer):
    """The indexes of all embedding spaces, oldest space first."""

    indexes: list[IndexAnswer] = Field(description="The indexes, oldest space first.")
