"""Chunks of a job: leased to a worker, finished exactly once.

A worker leases a chunk for some seconds and renews the lease while it works. One transaction writes
the entries of a chunk, the results of its items, and removes the chunk. So every item is counted
exactly once, also if several workers begin the same chunk. Chunk 0 lists the source and creates the
other chunks. When they are finished, a job of some kinds gets a closing chunk: one worker does what
follows the last item, and another one takes over if it dies. Only then is the job completed.

All code takes locks in this order, so that two workers cannot deadlock: corpus, change log, job,
chunk.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, delete, func, or_, select, update

from index.errors import LeaseLost
from index.failpoints import Failpoint, reach
from index.jsontext import JSON, canonical_json
from index.truth.job_items import JobItem, insert_items
from index.truth.jobs import (
    CLOSING,
    JOBS,
    KINDS_WITH_CLOSING,
    LISTING,
    OPEN_STATES,
    Job,
    JobCounts,
    JobKind,
    JobState,
    job_from_row,
    lock_job,
    update_job,
)
from index.truth.schema import embedding_spaces, job_chunks, jobs
from index.truth.spaces import Space
from index.truth.statements import insert_rows


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some items of a job, leased to a worker; chunk 0 is the listing, `CLOSING` the closing."""

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
    query = JOBS.where(
        jobs.c.state.in_(OPEN_STATES),
        or_(embedding_spaces.c.fingerprint == space.fingerprint, jobs.c.kind == JobKind.REEMBED),
        jobs.c.id.not_in(but),
        free,
    )
    if abandoned:
        query = query.where(~of_job.where(~_free(conn)).exists())
    row = conn.execute(query.order_by(jobs.c.id).limit(1)).one_or_none()
    return None if row is None else job_from_row(row)


def claim_chunk(conn: Connection, job_id: int, worker: str, lease_seconds: float) -> Chunk | None:
    """Lease the first free chunk of a job, or return None if no chunk is free now.

    A chunk is free if it has no lease or its lease has expired. `get_job` shows whether the job has
    ended.
    """
    state = conn.execute(select(jobs.c.state).where(jobs.c.id == job_id)).scalar_one()
    if JobState(state) not in OPEN_STATES:
        return None
    if state == JobState.QUEUED:
        update_job(conn, job_id, state=JobState.RUNNING.value)
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


def begin_listing(conn: Connection, listing: Chunk) -> None:
    """Delete the chunks of an interrupted listing.

    Raises:
        LeaseLost: another worker has taken over the listing.

    """
    update_job(conn, listing.job_id, found=0)
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
    update_job(conn, listing.job_id, found=position)
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
    """Let workers claim the chunks; a job without chunks is closed or completed.

    Raises:
        LeaseLost: another worker has taken over the listing.

    """
    update_job(conn, listing.job_id, listed=True)
    _remove_chunk(conn, listing)


def finish_chunk(conn: Connection, chunk: Chunk, result: ChunkResult) -> None:
    """Write the results of a chunk and remove it; the last chunk closes or completes the job.

    Call it after the entries are added.

    Raises:
        LeaseLost: another worker has taken over the chunk, or the job was cancelled; the caller
            must roll back.

    """
    added = {
        each.name: getattr(jobs.c, each.name) + getattr(result.counts, each.name)
        for each in fields(JobCounts)
    }
    update_job(conn, chunk.job_id, **added)
    if result.items:
        insert_items(conn, chunk.job_id, result.items)
    _remove_chunk(conn, chunk)
    reach(Failpoint.CHUNK_FINISHED)


def finish_closing(conn: Connection, closing: Chunk) -> None:
    """Complete the job.

    Raises:
        LeaseLost: another worker has taken over the chunk, or the job was cancelled.

    """
    lock_job(conn, closing.job_id)
    _remove_chunk(conn, closing)


def _remove_chunk(conn: Connection, chunk: Chunk) -> None:
    """Remove a finished chunk; if it was the last one, close or complete the job.

    The caller has locked the row of the job.
    """
    held = (job_chunks.c.number == chunk.number, job_chunks.c.worker == chunk.worker)
    if (
        conn.execute(delete(job_chunks).where(job_chunks.c.job_id == chunk.job_id, *held)).rowcount
        != 1
    ):
        raise LeaseLost(chunk.job_id, chunk.number)
    left = select(job_chunks.c.number).where(job_chunks.c.job_id == chunk.job_id).limit(1)
    if conn.execute(left).one_or_none() is not None:
        return
    job = conn.execute(select(jobs.c.kind, jobs.c.found).where(jobs.c.id == chunk.job_id)).one()
    if chunk.number != CLOSING and JobKind(job.kind) in KINDS_WITH_CLOSING:
        closing = {
            "job_id": chunk.job_id,
            "number": CLOSING,
            "first_position": job.found,
            "item_count": 0,
            "span": "null",
        }
        insert_rows(conn, job_chunks, [closing])
        return
    update_job(
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
