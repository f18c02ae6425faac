"""Chunks of a job: leased to a worker, finished exactly once.

A worker leases a chunk for some seconds and renews the lease while it works. One transaction writes
the entries of a chunk, the results of its items, and removes the chunk. So every item is counted
exactly once, also if several workers begin the same chunk. Chunk 0 lists the source and creates the
other chunks. When they are finished, a job of some kinds gets a closing chunk: one worker does what
follows the last item, and another one takes over if it dies. Only then is the job completed.

Each lease is an attempt. A worker that gives a chunk back unharmed takes its attempt back, too.
What is left are the attempts that ended in an error or with their process, and the current one.
Chunks that were tried before come after those that were not, in their job and among jobs. A chunk
can be split, so that one bad item does not hold back the others; `api.jobs.working` decides when.

All code takes locks in this order, so that two workers cannot deadlock: corpus, change log, job,
chunk.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, case, delete, func, or_, select, update

from index.errors import LeaseLost
from index.failpoints import Failpoint, reach
from index.jsontext import JSON, canonical_json
from index.truth.jobs.items import JobItem, escape_unstorable, insert_items
from index.truth.jobs.job import (
    CLOSING,
    JOBS,
    KINDS_OF_ANY_SPACE,
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

# Workers lease for a minute and renew four times in it. A lease that ends much later was written
# before the clock of the machine went back: of a worker that died it would hold up the job until
# the clock is there again.
LONGEST_LEASE_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some items of a job, leased to a worker; chunk 0 is the listing, `CLOSING` the closing.

    `attempts` counts this lease, and those before it that were not given back unharmed. `error`
    ended the last one; None if there was none, or its process ended. `item_name` is the name of
    the only item, if an earlier attempt read it.
    """

    job_id: int
    number: int
    worker: str
    first_position: int
    item_count: int
    span: JSON
    attempts: int = 1
    error: str | None = None
    item_name: str | None = None


@dataclass(frozen=True, slots=True)
class ChunkResult:
    """The results of a chunk: counts to add, and the items to record."""

    counts: JobCounts = field(default_factory=JobCounts)
    items: Sequence[JobItem] = ()


def find_open_job(
    conn: Connection,
    space: Space,
    but: frozenset[int] = frozenset(),
    *,
    abandoned: bool = False,
    untried: bool = False,
) -> Job | None:
    """Return the oldest queued or running job that has a free chunk, or None.

    A job whose free chunks were all tried before comes after the others: what ends the work on one
    job again and again delays no other. Only jobs of this space are considered, and those of the
    `KINDS_OF_ANY_SPACE`, without those in `but`. `abandoned` selects only jobs on which no
    worker is working, `untried` only those with a free chunk that was not tried before. While the
    source is being listed, no other chunk is free.
    """
    of_job = select(job_chunks.c.number).where(job_chunks.c.job_id == jobs.c.id)
    free = of_job.where(_free(conn), or_(jobs.c.listed, job_chunks.c.number == LISTING))
    is_untried = free.where(job_chunks.c.attempts == 0).exists()
    query = JOBS.where(
        jobs.c.state.in_(OPEN_STATES),
        or_(
            embedding_spaces.c.fingerprint == space.fingerprint,
            jobs.c.kind.in_(KINDS_OF_ANY_SPACE),
        ),
        jobs.c.id.not_in(but),
        is_untried if untried else free.exists(),
    )
    if abandoned:
        query = query.where(~of_job.where(~_free(conn)).exists())
    order = (case((is_untried, 0), else_=1), jobs.c.id)
    row = conn.execute(query.order_by(*order).limit(1)).one_or_none()
    return None if row is None else job_from_row(row)


def claim_chunk(
    conn: Connection, job_id: int, worker: str, lease_seconds: float, *, untried: bool = False
) -> Chunk | None:
    """Lease the first free chunk of a job, or return None if no chunk is free now.

    A chunk is free if it has no lease or its lease has expired. Those that were tried before come
    last, the least tried first; `untried` leaves them out. `get_job` shows whether the job has
    ended.
    """
    state = conn.execute(select(jobs.c.state).where(jobs.c.id == job_id)).scalar_one()
    if JobState(state) not in OPEN_STATES:
        return None
    if state == JobState.QUEUED:
        update_job(conn, job_id, state=JobState.RUNNING.value)
    free = (
        select(job_chunks)
        .where(job_chunks.c.job_id == job_id, _free(conn), _listed_or_listing(job_id))
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    attempts, number = job_chunks.c.attempts, job_chunks.c.number
    row = conn.execute(free.where(attempts == 0).order_by(number)).one_or_none()
    if row is None and not untried:
        row = conn.execute(free.where(attempts > 0).order_by(attempts, number)).one_or_none()
    if row is None:
        return None
    until = _now(conn) + timedelta(seconds=lease_seconds)
    conn.execute(
        update(job_chunks)
        .where(job_chunks.c.job_id == job_id, number == row.number)
        .values(worker=worker, leased_until=until, attempts=row.attempts + 1, error=None)
    )
    return Chunk(
        job_id,
        row.number,
        worker,
        row.first_position,
        row.item_count,
        json.loads(row.span),
        row.attempts + 1,
        row.error,
        row.item_name,
    )


def renew_leases(conn: Connection, worker: str, lease_seconds: float) -> None:
    """Extend all leases of a worker to `lease_seconds` from now."""
    until = _now(conn) + timedelta(seconds=lease_seconds)
    conn.execute(update(job_chunks).where(job_chunks.c.worker == worker).values(leased_until=until))


def release_chunks(conn: Connection, worker: str) -> None:
    """End all leases of a worker that gives its chunks back unharmed: they are no attempts."""
    fewer = case((job_chunks.c.attempts > 0, job_chunks.c.attempts - 1), else_=0)
    _end_leases(conn, job_chunks.c.worker == worker, attempts=fewer)


def abandon_chunks(conn: Connection, worker: str) -> None:
    """End all leases of a worker whose process has ended; its attempts count."""
    _end_leases(conn, job_chunks.c.worker == worker)


def return_chunk(conn: Connection, chunk: Chunk, error: str) -> None:
    """End the lease of a chunk whose work ended in an error; the attempt counts.

    A lease that another worker has taken over stays.
    """
    _end_leases(
        conn,
        *_held(chunk),
        error=escape_unstorable(error),
    )


def split_chunk(
    conn: Connection, chunk: Chunk, parts: Sequence[tuple[int, JSON]], attempts: Sequence[int]
) -> None:
    """Replace a chunk by parts of it, (item count, span) in order, with these attempts counted.

    Raises:
        LeaseLost: another worker has taken over the chunk, or the job was cancelled.

    """
    lock_job(conn, chunk.job_id)
    _require_lease(conn, chunk)
    of_job = job_chunks.c.job_id == chunk.job_id
    last = conn.execute(select(func.max(job_chunks.c.number)).where(of_job)).scalar_one()
    conn.execute(delete(job_chunks).where(of_job, job_chunks.c.number == chunk.number))
    position = chunk.first_position
    rows: list[dict[str, Any]] = []
    for (count, span), tried in zip(parts, attempts, strict=True):
        rows.append(
            {
                "job_id": chunk.job_id,
                "number": last + len(rows) if rows else chunk.number,
                "first_position": position,
                "item_count": count,
                "span": canonical_json(span),
                "attempts": tried,
            }
        )
        position += count
    insert_rows(conn, job_chunks, rows)


def note_item_name(conn: Connection, chunk: Chunk, name: str) -> None:
    """Keep the name of a chunk's only item, in case the work on it ends the process."""
    named = update(job_chunks).where(*_held(chunk))
    conn.execute(named.values(item_name=escape_unstorable(name)))


def read_item_name(conn: Connection, chunk: Chunk) -> str | None:
    """Return the name of a chunk's only item, if it was noted."""
    noted = select(job_chunks.c.item_name).where(*_held(chunk))
    return conn.execute(noted).scalar_one_or_none()


def count_tried_again(conn: Connection, job_id: int) -> int:
    """Return the number of items whose work ended in an error or with its process, and that wait
    for another attempt.
    """
    running = case((_free(conn), 0), else_=1)
    query = select(func.coalesce(func.sum(job_chunks.c.item_count), 0)).where(
        job_chunks.c.job_id == job_id, job_chunks.c.attempts > running
    )
    return int(conn.execute(query).scalar_one())


def count_workers(conn: Connection, job_id: int) -> int:
    """Return the number of workers that hold a current lease of this job."""
    query = select(func.count(job_chunks.c.worker.distinct())).where(
        job_chunks.c.job_id == job_id, ~_free(conn)
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
    update_job(conn, listing.job_id, listed=True, obstacle=None)
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
    update_job(conn, chunk.job_id, obstacle=None, **added)
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
    if conn.execute(delete(job_chunks).where(*_held(chunk))).rowcount != 1:
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


def _end_leases(
    conn: Connection,
    *which: ColumnElement[bool],
    **values: Any,  # noqa: ANN401 -- any value that a column takes
) -> None:
    conn.execute(update(job_chunks).where(*which).values(worker=None, leased_until=None, **values))


def _held(chunk: Chunk) -> tuple[ColumnElement[bool], ...]:
    return (
        job_chunks.c.job_id == chunk.job_id,
        job_chunks.c.number == chunk.number,
        job_chunks.c.worker == chunk.worker,
    )


def _require_lease(conn: Connection, chunk: Chunk) -> None:
    held = select(job_chunks.c.worker).where(*_held(chunk))
    if conn.execute(held).one_or_none() is None:
        raise LeaseLost(chunk.job_id, chunk.number)


def _free(conn: Connection) -> Any:  # noqa: ANN401 -- a clause
    """Whether a chunk has no lease, or one that has ended, or one from before the clock went back.

    A worker whose lease is taken from it for that finishes nothing twice: `LeaseLost`.
    """
    now = _now(conn)
    until = job_chunks.c.leased_until
    latest = now + timedelta(seconds=LONGEST_LEASE_SECONDS)
    return or_(until.is_(None), until < now, until > latest)


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
