"""Jobs: long work as rows, done in chunks by any number of processes, which may die at any moment.

Owns the state, the request and the counts of a job. `index.truth.jobs.chunks` owns its chunks and
their leases, `index.truth.jobs.items` what is recorded about its items. The first chunk lists the
source and creates the others.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, delete, select, update

from index.errors import JobStateConflict, UnknownJob
from index.jsontext import JSON, canonical_json
from index.truth.jobs.items import escape_unstorable
from index.truth.schema import LARGEST_ID, corpora, embedding_spaces, job_chunks, jobs
from index.truth.spaces import SPACE_COLUMNS, Space, ensure_space_id, space_from_row
from index.truth.statements import insert_rows

LISTING = 0  # the number of the chunk that lists the source
# The number of the chunk that does what follows the last item. It is created when all others are
# finished, and is the largest number that the column holds.
CLOSING = 2**31 - 1


class JobKind(StrEnum):
    """What a job does."""

    INGEST = "ingest"
    REEMBED = "reembed"
    CALIBRATE = "calibrate"
    REMOVE = "remove"
    BACKFILL = "backfill"  # vectors of a copy descriptor, for the images that lack one


# They open what they need themselves, so a worker with any model can take them.
KINDS_OF_ANY_SPACE = (JobKind.REEMBED, JobKind.REMOVE, JobKind.BACKFILL)


# The kinds of jobs that have a closing chunk: a calibration measures when all images are embedded.
KINDS_WITH_CLOSING = (JobKind.CALIBRATE,)


class JobState(StrEnum):
    """State of a job.

    `completed` means that every item has a result, not that every item was added.
    """

    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"
    CANCELLED = "cancelled"
    COMPLETED = "completed"
    FAILED = "failed"

    @property
    def ended(self) -> bool:
        """Whether the job has ended for good and cannot be resumed."""
        return self in (JobState.CANCELLED, JobState.COMPLETED)


OPEN_STATES = (JobState.QUEUED, JobState.RUNNING)
RESUMABLE_STATES = (JobState.PAUSED, JobState.FAILED)


@dataclass(frozen=True, slots=True)
class JobCounts:
    """The numbers of items by outcome.

    In a completed job, `found` is the sum of the next five and of `removed`. `duplicates` counts
    the skipped items whose bytes occurred earlier in the same source. `near_duplicates` counts the
    items whose picture, by perceptual hash, was already in the corpus; they are kept unless the
    request skips them.
    """

    found: int = 0
    added: int = 0
    linked: int = 0
    embedded: int = 0
    skipped: int = 0
    failed: int = 0
    duplicates: int = 0
    near_duplicates: int = 0
    removed: int = 0

    @property
    def done(self) -> int:
        results = (self.added, self.linked, self.embedded, self.skipped, self.failed)
        return sum(results) + self.removed

    def __add__(self, other: JobCounts) -> JobCounts:
        return JobCounts(
            *(getattr(self, each.name) + getattr(other, each.name) for each in fields(self))
        )

    def __sub__(self, earlier: JobCounts) -> JobCounts:
        """Return what was counted since `earlier`."""
        return JobCounts(
            *(getattr(self, each.name) - getattr(earlier, each.name) for each in fields(self))
        )


@dataclass(frozen=True, slots=True)
class Job:
    """A job and its progress.

    `request` is the JSON that started it, `error` why it failed, `obstacle` why the last worker
    that looked at it could not work on it.
    """

    id: int
    kind: JobKind
    state: JobState
    corpus: str | None
    space: Space
    request: Mapping[str, Any]
    listed: bool
    counts: JobCounts
    error: str | None
    obstacle: str | None
    created_at: datetime
    updated_at: datetime
    finished_at: datetime | None


# The columns that `job_from_row` reads.
JOBS = (
    select(
        jobs,
        corpora.c.name.label("corpus"),
        embedding_spaces.c.id.label("of_space"),
        *SPACE_COLUMNS,
    )
    .join(corpora, corpora.c.id == jobs.c.corpus_id, isouter=True)
    .join(embedding_spaces, embedding_spaces.c.id == jobs.c.space_id)
)


def create_job(
    conn: Connection,
    kind: JobKind,
    corpus_id: int | None,
    space: Space,
    request: Mapping[str, JSON],
) -> Job:
    """Queue a job. Its first chunk is the listing of the source."""
    text, now = canonical_json(request), datetime.now(UTC)
    row = {
        "kind": kind.value,
        "state": JobState.QUEUED.value,
        "corpus_id": corpus_id,
        "space_id": ensure_space_id(conn, space),
        "request": text,
        "request_sha256": _sha256(text),
        "listed": False,
        "created_at": now,
        "updated_at": now,
    } | {each.name: 0 for each in fields(JobCounts)}
    job_id: int = conn.execute(jobs.insert().returning(jobs.c.id), row).scalar_one()
    listing = {
        "job_id": job_id,
        "number": LISTING,
        "first_position": 0,
        "item_count": 0,
        "span": "null",
    }
    insert_rows(conn, job_chunks, [listing])
    return get_job(conn, job_id)


def find_unfinished_job(
    conn: Connection, corpus_id: int | None, space: Space, request: Mapping[str, JSON]
) -> Job | None:
    """Return the newest job of the same request that has not ended, or None."""
    unfinished = jobs.c.state.in_([*OPEN_STATES, *RESUMABLE_STATES])
    return _newest(conn, _of_request(corpus_id, space, request).where(unfinished))


def find_last_job(
    conn: Connection, corpus_id: int | None, space: Space, request: Mapping[str, JSON]
) -> Job | None:
    """Return the newest job of the same request in any state, or None."""
    return _newest(conn, _of_request(corpus_id, space, request))


def _of_request(corpus_id: int | None, space: Space, request: Mapping[str, JSON]) -> Select[Any]:
    return JOBS.where(
        jobs.c.corpus_id.is_not_distinct_from(corpus_id),
        jobs.c.request_sha256 == _sha256(canonical_json(request)),
        embedding_spaces.c.fingerprint == space.fingerprint,
    )


def _newest(conn: Connection, query: Select[Any]) -> Job | None:
    row = conn.execute(query.order_by(jobs.c.id.desc()).limit(1)).one_or_none()
    return None if row is None else job_from_row(row)


def get_job(conn: Connection, job_id: int) -> Job:
    """Return a job.

    Raises:
        UnknownJob: no job has this id.

    """
    query = JOBS.where(jobs.c.id == job_id)
    row = conn.execute(query).one_or_none() if 0 < job_id <= LARGEST_ID else None
    if row is None:
        raise UnknownJob(job_id)
    return job_from_row(row)


def list_jobs(conn: Connection, before: int | None = None, limit: int = 100) -> tuple[Job, ...]:
    """Return at most `limit` jobs with ids below `before`, newest first."""
    query = JOBS.order_by(jobs.c.id.desc()).limit(limit)
    if before is not None:
        query = query.where(jobs.c.id < min(before, LARGEST_ID))
    return tuple(job_from_row(row) for row in conn.execute(query))


def list_unfinished_jobs(conn: Connection, kind: JobKind) -> tuple[Job, ...]:
    """Return the jobs of a kind that have not ended, oldest first."""
    unfinished = jobs.c.state.in_([*OPEN_STATES, *RESUMABLE_STATES])
    query = JOBS.where(unfinished, jobs.c.kind == kind.value).order_by(jobs.c.id)
    return tuple(job_from_row(row) for row in conn.execute(query))


def pause_job(conn: Connection, job_id: int) -> Job:
    """Pause a job: workers finish their chunks and claim no more.

    Raises:
        UnknownJob: no job has this id.
        JobStateConflict: the job is neither queued nor running.

    """
    return _change_state(conn, job_id, OPEN_STATES, JobState.PAUSED)


def resume_job(conn: Connection, job_id: int) -> Job:
    """Queue a paused or failed job again.

    Raises:
        UnknownJob: no job has this id.
        JobStateConflict: the job is neither paused nor failed.

    """
    return _change_state(conn, job_id, RESUMABLE_STATES, JobState.QUEUED, error=None, obstacle=None)


def count_removed(conn: Connection, job_id: int, *, found: int = 0, removed: int = 0) -> None:
    """Count entries that a removal found and removed; it is listed, and runs."""
    update_job(
        conn,
        job_id,
        found=jobs.c.found + found,
        removed=jobs.c.removed + removed,
        listed=True,
        state=JobState.RUNNING.value,
    )


def complete_job(conn: Connection, job_id: int) -> None:
    """Complete a job that works without chunks."""
    now = datetime.now(UTC)
    update_job(conn, job_id, state=JobState.COMPLETED.value, finished_at=now, error=None)
    conn.execute(delete(job_chunks).where(job_chunks.c.job_id == job_id))


def cancel_job(conn: Connection, job_id: int) -> Job:
    """Cancel a job for good; the entries that it added stay.

    Raises:
        UnknownJob: no job has this id.
        JobStateConflict: the job has ended; or it is a removal, whose entries are gone already.

    """
    job = get_job(conn, job_id)
    if job.kind is JobKind.REMOVE:
        raise JobStateConflict(job_id, job.state, JobState.CANCELLED)
    _change_state(
        conn,
        job_id,
        (*OPEN_STATES, *RESUMABLE_STATES),
        JobState.CANCELLED,
        finished_at=datetime.now(UTC),
        error=None,
        obstacle=None,
    )
    conn.execute(delete(job_chunks).where(job_chunks.c.job_id == job_id))
    return get_job(conn, job_id)


def fail_job(conn: Connection, job_id: int, error: str) -> None:
    """Stop a job because of an error that a person must fix; `resume_job` queues it again."""
    open_job = (jobs.c.id == job_id, jobs.c.state.in_(OPEN_STATES))
    conn.execute(
        update(jobs)
        .where(*open_job)
        .values(
            state=JobState.FAILED.value,
            error=escape_unstorable(error),
            obstacle=None,
            updated_at=datetime.now(UTC),
        )
    )


def note_obstacle(conn: Connection, job_id: int, obstacle: str) -> None:
    """Record why a worker cannot work on an open job; finished work clears it."""
    _note_obstacle(conn, escape_unstorable(obstacle), jobs.c.id == job_id)


def note_foreign_jobs(conn: Connection, space: Space) -> None:
    """Say for open jobs that need another model which one; those with an obstacle keep theirs.

    Jobs of the `KINDS_OF_ANY_SPACE` need none of this worker's.
    """
    others = select(embedding_spaces.c.id).where(
        embedding_spaces.c.fingerprint != space.fingerprint
    )
    query = JOBS.where(
        jobs.c.state.in_(OPEN_STATES),
        jobs.c.space_id.in_(others),
        jobs.c.kind.not_in(KINDS_OF_ANY_SPACE),
        jobs.c.obstacle.is_(None),
    )
    for row in conn.execute(query).all():
        obstacle = (
            f"needs a worker with the model {row.model}; the one that looked has {space.model}"
        )
        _note_obstacle(conn, obstacle, jobs.c.id == row.id)


def _note_obstacle(conn: Connection, obstacle: str, job: ColumnElement[bool]) -> None:
    conn.execute(update(jobs).where(job, jobs.c.state.in_(OPEN_STATES)).values(obstacle=obstacle))


def _change_state(
    conn: Connection,
    job_id: int,
    allowed: Sequence[JobState],
    wanted: JobState,
    **values: Any,  # noqa: ANN401 -- any value that a column takes
) -> Job:
    state = conn.execute(
        select(jobs.c.state).where(jobs.c.id == job_id).with_for_update()
    ).scalar_one_or_none()
    if state is None:
        raise UnknownJob(job_id)
    if state not in allowed:
        raise JobStateConflict(job_id, state, wanted)
    update_job(conn, job_id, state=wanted.value, **values)
    return get_job(conn, job_id)


def lock_job(conn: Connection, job_id: int) -> None:
    """Block other writers of this job's row until the transaction ends."""
    conn.execute(select(jobs.c.id).where(jobs.c.id == job_id).with_for_update(key_share=True))


def update_job(conn: Connection, job_id: int, **values: Any) -> None:  # noqa: ANN401 -- any value that a column takes
    """Change the row of a job and lock it until the transaction ends."""
    conn.execute(
        update(jobs).where(jobs.c.id == job_id).values(updated_at=datetime.now(UTC), **values)
    )


def job_from_row(row: Row[Any]) -> Job:
    """Return the job in a row of the query `JOBS`."""
    return Job(
        id=row.id,
        kind=JobKind(row.kind),
        state=JobState(row.state),
        corpus=row.corpus,
        space=space_from_row(row),
        request=json.loads(row.request),
        listed=row.listed,
        counts=JobCounts(*(getattr(row, each.name) for each in fields(JobCounts))),
        error=row.error,
        obstacle=row.obstacle,
        created_at=row.created_at,
        updated_at=row.updated_at,
        finished_at=row.finished_at,
    )


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
