"""The JSON of jobs: one set of models for the HTTP API, its events and the terminal's `--json`
lines.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import Field

from api.fields import Answer, CorpusName, Sha256
from api.server_paths import PathHider, hider_of, is_local, name_path, name_request
from api.sources.locations import folder_of
from index.truth.jobs.items import JobItem, Outcome
from index.truth.jobs.job import Job, JobKind, JobState


class JobAnswer(Answer):
    """A job and its progress.

    When a job is completed, found = added + linked + embedded + skipped + failed + removed.
    """

    id: int = Field(description="Id of the job. It is never used again.", examples=[7])
    kind: JobKind = Field(
        description="ingest: adds images or ready embeddings to a corpus. reembed: adds the "
        "embeddings of another model to existing entries. calibrate: measures a "
        "calibration. remove: removes the entries of a large corpus, which no answer has any more. "
        "backfill: adds the vectors of a copy descriptor to existing entries."
    )
    state: JobState = Field(
        description="queued, running, paused, cancelled, completed or failed. completed: every "
        "item has a result, but some may have failed. failed: the job stopped, and "
        "`error` says why; it can be resumed."
    )
    corpus: CorpusName | None = Field(
        description="Name of the corpus that the job fills. Null for a job over all corpora."
    )
    model: str = Field(description="Name of the model that computes the embeddings.")
    embedding_space: Sha256 = Field(
        description="Fingerprint of the model's weights and preprocessing. Only embeddings with "
        "the same fingerprint are compared."
    )
    listed: bool = Field(
        description="True when all sources are listed to their end, so that `found` is final."
    )
    found: int = Field(ge=0, description="Number of items found in the sources so far.")
    done: int = Field(ge=0, description="Number of items that have a result.")
    added: int = Field(ge=0, description="Number of new images.")
    linked: int = Field(
        ge=0,
        description="Number of images that were already stored for another corpus or an earlier "
        "entry. Only their entries are new.",
    )
    embedded: int = Field(
        ge=0, description="Number of existing entries that received an embedding of this model."
    )
    skipped: int = Field(
        ge=0, description="Number of items that changed nothing. `reasons` counts why."
    )
    failed: int = Field(
        ge=0, description="Number of items that could not be used. `reasons` counts why."
    )
    duplicates: int = Field(
        ge=0,
        description="Number of skipped items with the same bytes as an earlier item of the job's "
        "sources.",
    )
    near_duplicates: int = Field(
        ge=0,
        description="Number of items whose image the corpus already holds in another version, "
        "found by perceptual hash. They are added unless the job was started with "
        "`dedup: near`.",
    )
    removed: int = Field(0, ge=0, description="Number of entries that a removal has removed.")
    reasons: dict[Outcome, dict[str, int]] | None = Field(
        None,
        description="Number of items for each outcome and reason. Null if they were not counted "
        "for this answer.",
    )
    workers: int | None = Field(
        None,
        description="Number of processes that work on the job now. Null if they were not counted "
        "for this answer.",
    )
    images_per_second: float | None = Field(
        None,
        description="Speed of the process that reports it, since that process started on the job.",
    )
    next_step: str | None = Field(
        None,
        description="For a completed ingest: what is missing before look-ups in known fakes give "
        "verdicts by similarity, and the command that does it. Null if nothing is missing, and if "
        "it was not examined for this answer.",
    )
    tried_again: int | None = Field(
        None,
        description="Number of items whose work ended in an error or with its process, and that "
        "wait for another attempt. Null if they were not counted for this answer.",
    )
    obstacle: str | None = Field(
        None,
        description="Why the last worker that looked at the job could not work on it, for example "
        "because it cannot read the sources. Workers look again. Null if nothing is in the way.",
    )
    error: str | None = Field(description="Why the job failed. Null if it did not fail.")
    upload_kept_until: datetime | None = Field(
        None,
        description="For a failed or paused job of an upload: when the upload is removed, after "
        "which the job cannot be resumed. Null for other jobs, and if it was not examined for this "
        "answer.",
    )
    request: dict[str, Any] = Field(
        description="The request that started the job. Over HTTP, sources are named relative to "
        "the root that they lie in, and an upload is `upload:` with its name."
    )
    created_at: datetime = Field(description="When the job was created, in UTC.")
    updated_at: datetime = Field(description="When the job last made progress, in UTC.")
    finished_at: datetime | None = Field(
        description="When the job was completed or cancelled, in UTC."
    )

    @classmethod
    def of(
        cls,
        job: Job,
        reasons: dict[Outcome, dict[str, int]] | None = None,
        workers: int | None = None,
        images_per_second: float | None = None,
        tried_again: int | None = None,
        *,
        local: bool = False,
    ) -> JobAnswer:
        """From the row that `index` reads.

        `local`: for somebody on this machine, with its paths. Otherwise they are only named.
        """
        counts = job.counts
        answer = cls(
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
            removed=counts.removed,
            reasons=reasons,
            workers=workers,
            images_per_second=images_per_second,
            tried_again=tried_again,
            obstacle=job.obstacle,
            error=job.error,
            request=dict(job.request),
            created_at=job.created_at,
            updated_at=job.updated_at,
            finished_at=job.finished_at,
        )
        return answer if local else answer.for_client()

    def for_client(self) -> JobAnswer:
        """Return the same answer without paths of this machine."""
        hide = hider_of(self.request).hide
        return self.model_copy(
            update={
                "request": name_request(self.request),
                "error": self.error and hide(self.error),
                "obstacle": self.obstacle and hide(self.obstacle),
            }
        )


class JobPage(Answer):
    """One page of jobs, newest first."""

    jobs: list[JobAnswer] = Field(description="The jobs of this page, at most `limit`.")
    next_cursor: str | None = Field(
        description="Pass this as `cursor` to get the next page. Null on the last page."
    )


class JobItemAnswer(Answer):
    """One item of a job that failed, was skipped, or needs attention for another reason."""

    position: int = Field(ge=0, description="Position of the item in the sources, counted from 0.")
    name: str = Field(description="Name of the item within its source.")
    outcome: Outcome = Field(
        description="Result of the item: added, linked, embedded, skipped or failed."
    )
    reason: str = Field(
        description="Reason for the outcome, machine-readable.", examples=["truncated"]
    )
    detail: str = Field(description="Reason for the outcome, for people.")
    entry_id: int | None = Field(
        description="Id of the existing entry that the item repeats. Null if there is none."
    )

    @classmethod
    def of(cls, item: JobItem, hider: PathHider | None = None) -> JobItemAnswer:
        """From the row that `index` reads. `hider` shortens this machine's paths for a client."""
        name, detail = item.name, item.detail
        if hider is not None:
            own = [folder_of(name)] if is_local(name) else []
            detail = PathHider.below([*hider.folders, *own]).hide(detail)
            name = name_path(hider.hide_folders(name))
        return cls(
            position=item.position,
            name=name,
            outcome=item.outcome,
            reason=item.reason,
            detail=detail,
            entry_id=item.entry_id,
        )


class JobItemPage(Answer):
    """One page of items, in the order of the sources."""

    items: list[JobItemAnswer] = Field(description="The items of this page, at most `limit`.")
    next_cursor: str | None = Field(
        description="Pass this as `cursor` to get the next page. Null on the last page."
    )
