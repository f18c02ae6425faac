"""Jobs in the states that tests start from."""

from __future__ import annotations

from sqlalchemy import Connection, update

from index.truth.jobs.chunks import Chunk, add_chunks, begin_listing, claim_chunk, finish_listing
from index.truth.jobs.job import Job, JobKind, create_job, get_job
from index.truth.schema import job_chunks
from index.truth.spaces import Space

SPACE = Space("1" * 64, "tests", "2" * 64, "3" * 64, 8)
OTHER = Space("4" * 64, "others", "5" * 64, "6" * 64, 8)
REQUEST = {"sources": ["somewhere"]}
LONG = 60.0


def queued(conn: Connection, space: Space = SPACE, kind: JobKind = JobKind.INGEST) -> Job:
    return create_job(conn, kind, None, space, REQUEST)


def listed(conn: Connection, *counts: int, kind: JobKind = JobKind.INGEST) -> Job:
    """A job whose source is listed into chunks of the given sizes."""
    job = queued(conn, kind=kind)
    listing = claimed(conn, job)
    begin_listing(conn, listing)
    add_chunks(
        conn, listing, None, [(count, {"at": number}) for number, count in enumerate(counts)]
    )
    finish_listing(conn, listing)
    return get_job(conn, job.id)


def claimed(conn: Connection, job: Job, worker: str = "w") -> Chunk:
    chunk = claim_chunk(conn, job.id, worker, LONG)
    assert chunk is not None
    return chunk


def expire_leases(conn: Connection, job: Job) -> None:
    conn.execute(
        update(job_chunks).where(job_chunks.c.job_id == job.id).values(leased_until=job.created_at)
    )
