"""The JSON of jobs: one set of models for the HTTP API, its events and the terminal's `--json`
lines.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import Field

from api.fields import Answer, CorpusName, Sha256
from index.truth.jobs import Job, JobItem, JobKind, JobState, Outcome


class JobAnswer(Answer):
    """A job and how far it has come: found == added + linked + embedded + skipped + failed when it
    is completed.
    """

    id: int = Field(description="Never reused.", examples=[7])
    kind: JobKind = Field(
        description="ingest: sources into a corpus. reembed: another model's embeddings. "
        "calibrate: reference images as they may be delivered, then a calibration."
    )
    state: JobState = Field(
        description="queued, running, paused, failed (somebody must do something, see `error`; it "
        "can be resumed), "
        "cancelled, completed (every item has ended, taken or not)."
    )
    corpus: CorpusName | None = Field(description="Null for a job over all corpora.")
    model: str = Field(description="Name of the model that embeds.")
    embedding_space: Sha256 = Field(description="Fingerprint of weights and preprocessing.")
    listed: bool = Field(
        description="Whether `found` is final: the sources were listed to their ends."
    )
    found: int = Field(ge=0, description="Items that the sources hold.")
    done: int = Field(ge=0, description="Items that have ended, in whichever way.")
    added: int = Field(ge=0, description="New images.")
    linked: int = Field(
        ge=0,
        description="Images known from another corpus or an earlier time; nothing was computed.",
    )
    embedded: int = Field(
        ge=0, description="Entries that were there, and now have an embedding of this model too."
    )
    skipped: int = Field(ge=0, description="Items that changed nothing; `reasons` says why.")
    failed: int = Field(ge=0, description="Items that could not be taken; `reasons` says why.")
    duplicates: int = Field(
        ge=0, description="Of the skipped: their bytes came earlier in the same source."
    )
    near_duplicates: int = Field(
        ge=0,
        description="Items whose picture the corpus had already, by perceptual hash; kept unless "
        "told otherwise.",
    )
    reasons: dict[Outcome, dict[str, int]] | None = Field(
        None,
        description="By outcome, how many items ended for which reason; null where it was not "
        "counted.",
    )
    workers: int | None = Field(
        None, description="Processes at work on it now; null where it was not counted."
    )
    images_per_second: float | None = Field(
        None, description="Of the process that says it, since it began."
    )
    error: str | None = Field(description="Why it failed.")
    request: dict[str, Any] = Field(description="What was asked for.")
    created_at: datetime = Field(description="UTC.")
    updated_at: datetime = Field(description="When it last came further, UTC.")
    finished_at: datetime | None = Field(description="When it was completed or cancelled, UTC.")

    @classmethod
    def of(
        cls,
        job: Job,
        reasons: dict[Outcome, dict[str, int]] | None = None,
        workers: int | None = None,
        images_per_second: float | None = None,
    ) -> JobAnswer:
        """From the row that `index` reads."""
        counts = job.counts
        return cls(
            id=job.id,
            kind=job.kind,
            state=job.state,
            corpus=job.corpus,
            model=job.space.model,
            embedding_space=job.space.fingerprint,
            listed=job.listed,
            found=counts.found,
            done=counts.done,
            added=counts.added,
            linked=counts.linked,
            embedded=counts.embedded,
            skipped=counts.skipped,
            failed=counts.failed,
            duplicates=counts.duplicates,
            near_duplicates=counts.near_duplicates,
            reasons=reasons,
            workers=workers,
            images_per_second=images_per_second,
            error=job.error,
            request=dict(job.request),
            created_at=job.created_at,
            updated_at=job.updated_at,
            finished_at=job.finished_at,
        )


class JobPage(Answer):
    """Jobs, the newest first."""

    jobs: list[JobAnswer] = Field(description="At most `limit` of them.")
    next_cursor: str | None = Field(
        description="Pass as `cursor` for the next page; null on the last one."
    )


class JobItemAnswer(Answer):
    """An item that did not simply succeed."""

    position: int = Field(ge=0, description="In the order of the source, from 0.")
    name: str = Field(description="As the source calls it.")
    outcome: Outcome = Field(description="What became of it.")
    reason: str = Field(description="Machine-readable.", examples=["truncated"])
    detail: str = Field(description="For a person.")
    entry_id: int | None = Field(description="The entry that it repeats; null where there is none.")

    @classmethod
    def of(cls, item: JobItem) -> JobItemAnswer:
        """From the row that `index` reads."""
        return cls(
            position=item.position,
            name=item.name,
            outcome=item.outcome,
            reason=item.reason,
            detail=item.detail,
            entry_id=item.entry_id,
        )


class JobItemPage(Answer):
    """Items in the order of the source."""

    items: list[JobItemAnswer] = Field(description="At most `limit` of them.")
    next_cursor: str | None = Field(
        description="Pass as `cursor` for the next page; null on the last one."
    )
