"""Jobs: long work as rows, done in chunks by any number of processes, which may die at any moment.

A worker leases a chunk for some seconds and renews the lease while it works. One transaction writes
the entries of a chunk, the results of its items, and removes the chunk. So every item is counted
exactly once, also if several workers begin the same chunk. Chunk 0 lists the source and creates the
other chunks.

All code takes locks in this order, so that two workers cannot deadlock: corpus, change log, job,
chunk.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, Row, Select, delete, func, or_, select, update

from index.errors import JobStateConflict, LeaseLost, UnknownJob
from index.failpoints import Failpoint, reach
from index.jsontext import JSON, canonical_json
from index.truth.schema import LARGEST_ID, corpora, embedding_spaces, job_chunks, job_items, jobs
from index.truth.spaces import Space, ensure_space_id, space_from_row
from index.truth.statements import insert_rows

LISTING = 0  # the number of the chunk that lists the source


class JobKind(StrEnum):
    """What a job does."""

    INGEST = "ingest"
    REEMBED = "reembed"
    CALIBRATE = "calibrate"


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


class Outcome(StrEnum):
    """Result of one item of a job."""

    ADDED = "added"  # the image was new
    LINKED = "linked"  # the image was known from another corpus or an earlier entry
    EMBEDDED = "embedded"  # the entry existed; its image now also has an embedding of this model
    SKIPPED = "skipped"  # nothing changed; the reason says why
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class JobCounts:
    """The numbers of items by outcome.

    In a completed job, `found` is the sum of the next five. `duplicates` counts the skipped items
    whose bytes occurred earlier in the same source. `near_duplicates` counts the items whose
    picture, by perceptual hash, was already in the corpus; they are kept unless the request skips
    them.
    """

    found: int = 0
    added: int = 0
    linked: int = 0
    embedded: int = 0
    skipped: int = 0
    failed: int = 0
    duplicates: int = 0
    near_duplicates: int = 0

    @property
    def done(self) -> int:
        return self.added + self.linked + self.embedded + self.skipped + self.failed

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
    """A job and its progress. `request` is the JSON that started it."""

    id: int
    kind: JobKind
    state: JobState
    corpus: str | None
    space: Space
    request: Mapping[str, Any]
    listed: bool
    counts: JobCounts
    error: str | None
    created_at: datetime
    updated_at: datetime
    finished_at: datetime | None


@dataclass(frozen=True, slots=True)
class JobItem:
    """A recorded item: it failed, was skipped, or needs a remark.

    `position` counts from 0 in the order of the source.
    """

    position: int
    name: str
    outcome: Outcome
    reason: str
    detail: str = ""
    entry_id: int | None = None


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some items of a job, leased to a worker; chunk 0 is the listing."""

    job_id: int
    number: int
    worker: str
    first_position: int
    item_count: int
    span: JSON


@dataclass(frozen=True, slots=True)
class ChunkResult:
    """The results of a chunk: counts to add, and the items to record."""

    counts: JobCounts = field(default_factory=JobCounts)
    items: Sequence[JobItem] = ()


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
    return _JOBS.where(
        jobs.c.corpus_id.is_not_distinct_from(corpus_id),
        jobs.c.request_sha256 == _sha256(canonical_json(request)),
        embedding_spaces.c.fingerprint == space.fingerprint,
    )


def _newest(conn: Connection, query: Select[Any]) -> Job | None:
    row = conn.execute(query.order_by(jobs.c.id.desc()).limit(1)).one_or_none()
    return None if row is None else _job(row)


def find_open_job(
    conn: Connection, space: Space, but: frozenset[int] = frozenset(), *, abandoned: bool = False
) -> Job | None:
    """Return the oldest queued or running job that has a free chunk, or None.

    Only jobs of this space are considered, and re-embedding jobs of any space, without those in
    `but`. `abandoned` selects only jobs on which no worker is working. While the source is being
    listed, no other chunk is free.
    """
    of_job = select(job_chunks.c.number).where(job_chunks.c.job_id == jobs.c.id)
    free = of_job.where(_free(conn), or_(jobs.c.listed, job_chunks.c.number == LISTING)).exists()
    query = _JOBS.where(
        jobs.c.state.in_(OPEN_STATES),
        or_(embedding_spaces.c.fingerprint == space.fingerprint, jobs.c.kind == JobKind.REEMBED),
        jobs.c.id.not_in(but),
        free,
    )
    if abandoned:
        query = query.where(~of_job.where(~_free(conn)).exists())
    row = conn.execute(query.order_by(jobs.c.id).limit(1)).one_or_none()
    return None if row is None else _job(row)


def get_job(conn: Connection, job_id: int) -> Job:
    """Return a job.

    Raises:
        UnknownJob: no job has this id.

    """
    query = _JOBS.where(jobs.c.id == job_id)
    row = conn.execute(query).one_or_none() if 0 < job_id <= LARGEST_ID else None
    if row is None:
        raise UnknownJob(job_id)
    return _job(row)


def list_jobs(conn: Connection, before: int | None = None, limit: int = 100) -> tuple[Job, ...]:
    """Return at most `limit` jobs with ids below `before`, newest first."""
    query = _JOBS.order_by(jobs.c.id.desc()).limit(limit)
    if before is not None:
        query = query.where(jobs.c.id < min(before, LARGEST_ID))
    return tuple(_job(row) for row in conn.execute(query))


def count_reasons(conn: Connection, job_id: int) -> dict[Outcome, dict[str, int]]:
    """Return the number of items by outcome and reason."""
    query = select(job_items.c.outcome, job_items.c.reason, func.count()).where(
        job_items.c.job_id == job_id
    )
    found: dict[Outcome, dict[str, int]] = {}
    for outcome, reason, count in conn.execute(
        query.group_by(job_items.c.outcome, job_items.c.reason).order_by(
            job_items.c.outcome, job_items.c.reason
        )
    ):
        found.setdefault(Outcome(outcome), {})[reason] = count
    return found


def list_items(
    conn: Connection,
    job_id: int,
    outcome: Outcome | None = None,
    after: int = -1,
    limit: int = 1000,
) -> tuple[JobItem, ...]:
    """Return recorded items in the order of the source, at most `limit` after a position."""
    query = select(job_items).where(job_items.c.job_id == job_id, job_items.c.position > after)
    if outcome is not None:
        query = query.where(job_items.c.outcome == outcome.value)
    rows = conn.execute(query.order_by(job_items.c.position).limit(limit))
    return tuple(
        JobItem(row.position, row.name, Outcome(row.outcome), row.reason, row.detail, row.entry_id)
        for row in rows
    )


def count_workers(conn: Connection, job_id: int) -> int:
    """Return the number of workers that hold a current lease of this job."""
    query = select(func.count(job_chunks.c.worker.distinct())).where(
        job_chunks.c.job_id == job_id, job_chunks.c.leased_until > _now(conn)
    )
    return int(conn.execute(query).scalar_one())


def lease_holders(conn: Connection) -> tuple[str, ...]:
    """Return the workers that hold chunks, including those whose leases have expired."""
    query = select(job_chunks.c.worker).distinct().where(job_chunks.c.worker.is_not(None))
    return tuple(conn.execute(query).scalars())


def claim_chunk(conn: Connection, job_id: int, worker: str, lease_seconds: float) -> Chunk | None:
    """Lease the first free chunk of a job, or return None if no chunk is free now.

    A chunk is free if it has no lease or its lease has expired. `get_job` shows whether the job has
    ended.
    """
    state = conn.execute(select(jobs.c.state).where(jobs.c.id == job_id)).scalar_one()
    if JobState(state) not in OPEN_STATES:
        return None
    if state == JobState.QUEUED:
        _set(conn, job_id, state=JobState.RUNNING.value)
    query = select(job_chunks).where(
        job_chunks.c.job_id == job_id, _free(conn), _listed_or_listing(job_id)
    )
    row = conn.execute(
        query.order_by(job_chunks.c.number).limit(1).with_for_update(skip_locked=True)
    ).one_or_none()
    if row is None:
        return None
    this = (job_chunks.c.job_id == job_id, job_chunks.c.number == row.number)
    until = _now(conn) + timedelta(seconds=lease_seconds)
    conn.execute(update(job_chunks).where(*this).values(worker=worker, leased_until=until))
    return Chunk(
        job_id, row.number, worker, row.first_position, row.item_count, json.loads(row.span)
    )


def renew_leases(conn: Connection, worker: str, lease_seconds: float) -> None:
    """Extend all leases of a worker to `lease_seconds` from now."""
    until = _now(conn) + timedelta(seconds=lease_seconds)
    conn.execute(update(job_chunks).where(job_chunks.c.worker == worker).values(leased_until=until))


def release_chunks(conn: Connection, worker: str) -> None:
    """End all leases of a worker."""
    conn.execute(
        update(job_chunks)
        .where(job_chunks.c.worker == worker)
        .values(worker=None, leased_until=None)
    )


def begin_listing(conn: Connection, listing: Chunk) -> None:
    """Delete the chunks of an interrupted listing.

    Raises:
        LeaseLost: another worker has taken over the listing.

    """
    _set(conn, listing.job_id, found=0)
    _require_lease(conn, listing)
    conn.execute(
        delete(job_chunks).where(
            job_chunks.c.job_id == listing.job_id, job_chunks.c.number > LISTING
        )
    )


def add_chunks(
    conn: Connection, listing: Chunk, last: Chunk | None, spans: Sequence[tuple[int, JSON]]
) -> Chunk | None:
    """Append chunks (item count, span) after the last one; return the new last one.

    Raises:
        LeaseLost: another worker has taken over the listing.

    """
    number = last.number if last else LISTING
    position = last.first_position + last.item_count if last else 0
    rows: list[dict[str, Any]] = []
    for count, span in spans:
        number += 1
        rows.append(
            {
                "job_id": listing.job_id,
                "number": number,
                "first_position": position,
                "item_count": count,
                "span": canonical_json(span),
            }
        )
        position += count
    _set(conn, listing.job_id, found=position)
    _require_lease(conn, listing)
    insert_rows(conn, job_chunks, rows)
    if not rows:
        return last
    return Chunk(
        listing.job_id,
        number,
        listing.worker,
        rows[-1]["first_position"],
        rows[-1]["item_count"],
        None,
    )


def finish_listing(conn: Connection, listing: Chunk) -> None:
    """Let workers claim the chunks; a job without chunks is completed.

    Raises:
        LeaseLost: another worker has taken over the listing.

    """
    _set(conn, listing.job_id, listed=True)
    _remove_chunk(conn, listing)


def finish_chunk(conn: Connection, chunk: Chunk, result: ChunkResult) -> None:
    """Write the results of a chunk and remove it; the last chunk completes the job.

    Call it after the entries are added.

    Raises:
        LeaseLost: another worker has taken over the chunk, or the job was cancelled; the caller
            must roll back.

    """
    added = {
        each.name: getattr(jobs.c, each.name) + getattr(result.counts, each.name)
        for each in fields(JobCounts)
    }
    _set(conn, chunk.job_id, **added)
    if result.items:
        rows = [
            {
                "position": item.position,
                "name": _storable(item.name),
                "outcome": item.outcome.value,
                "reason": item.reason,
                "detail": _storable(item.detail),
                "entry_id": item.entry_id,
            }
            for item in result.items
        ]
        insert_rows(conn, job_items, rows, job_id=chunk.job_id)
    _remove_chunk(conn, chunk)
    reach(Failpoint.CHUNK_FINISHED)


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
    return _change_state(conn, job_id, RESUMABLE_STATES, JobState.QUEUED, error=None)


def cancel_job(conn: Connection, job_id: int) -> Job:
    """Cancel a job for good; the entries that it added stay.

    Raises:
        UnknownJob: no job has this id.
        JobStateConflict: the job has ended.

    """
    _change_state(
        conn,
        job_id,
        (*OPEN_STATES, *RESUMABLE_STATES),
        JobState.CANCELLED,
        finished_at=datetime.now(UTC),
        error=None,
    )
    conn.execute(delete(job_chunks).where(job_chunks.c.job_id == job_id))
    return get_job(conn, job_id)


def fail_job(conn: Connection, job_id: int, error: str) -> None:
    """Stop a job because of an error that a person must fix; `resume_job` queues it again."""
    open_job = (jobs.c.id == job_id, jobs.c.state.in_(OPEN_STATES))
    conn.execute(
        update(jobs)
        .where(*open_job)
        .values(state=JobState.FAILED.value, error=_storable(error), updated_at=datetime.now(UTC))
    )


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
    _set(conn, job_id, state=wanted.value, **values)
    return get_job(conn, job_id)


def _set(conn: Connection, job_id: int, **values: Any) -> None:  # noqa: ANN401 -- any value that a column takes
    """Change the row of a job and lock it until the transaction ends."""
    conn.execute(
        update(jobs).where(jobs.c.id == job_id).values(updated_at=datetime.now(UTC), **values)
    )


def _remove_chunk(conn: Connection, chunk: Chunk) -> None:
    """Remove a finished chunk; complete the job if it was the last one.

    The caller has locked the row of the job.
    """
    held = (job_chunks.c.number == chunk.number, job_chunks.c.worker == chunk.worker)
    if (
        conn.execute(delete(job_chunks).where(job_chunks.c.job_id == chunk.job_id, *held)).rowcount
        != 1
    ):
        raise LeaseLost(chunk.job_id, chunk.number)
    left = select(job_chunks.c.number).where(job_chunks.c.job_id == chunk.job_id).limit(1)
    if conn.execute(left).one_or_none() is None:
        _set(
            conn,
            chunk.job_id,
            state=JobState.COMPLETED.value,
            finished_at=datetime.now(UTC),
            error=None,
        )


def _require_lease(conn: Connection, chunk: Chunk) -> None:
    held = select(job_chunks.c.worker).where(
        job_chunks.c.job_id == chunk.job_id,
        job_chunks.c.number == chunk.number,
        job_chunks.c.worker == chunk.worker,
    )
    if conn.execute(held).one_or_none() is None:
        raise LeaseLost(chunk.job_id, chunk.number)


def _free(conn: Connection) -> Any:  # noqa: ANN401 -- a clause
    return or_(job_chunks.c.leased_until.is_(None), job_chunks.c.leased_until < _now(conn))


def _listed_or_listing(job_id: int) -> Any:  # noqa: ANN401 -- a clause
    listed = select(jobs.c.listed).where(jobs.c.id == job_id).scalar_subquery()
    return or_(job_chunks.c.number == LISTING, listed)


def _now(conn: Connection) -> datetime:
    """Return the time by the clock that all workers share: that of the database.

    The workers of a SQLite file are on one machine.
    """
    if conn.dialect.name == "postgresql":
        now: datetime = conn.execute(select(func.clock_timestamp())).scalar_one()
        return now
    return datetime.now(UTC)


_JOBS = (
    select(
        jobs,
        corpora.c.name.label("corpus"),
        embedding_spaces.c.id.label("of_space"),
        *embedding_spaces.c[1:6],
    )
    .join(corpora, corpora.c.id == jobs.c.corpus_id, isouter=True)
    .join(embedding_spaces, embedding_spaces.c.id == jobs.c.space_id)
)


def _job(row: Row[Any]) -> Job:
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
        created_at=row.created_at,
        updated_at=row.updated_at,
        finished_at=row.finished_at,
    )


def _storable(text: str) -> str:
    """Return text that both databases can store; the name of an item may hold any character."""
    return text.replace("\x00", r"\x00").encode("utf-8", "backslashreplace").decode()


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
