"""Begin, resume and cancel jobs: what `lineup ingest`, `lineup reembed` and the server call.

The same request is the same job: one that has not ended is continued, not doubled.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from sqlalchemy import Connection

from api.calibrations.measuring import choose_sample
from api.calibrations.request import CalibrationRequest
from api.ingest.request import IngestRequest
from api.ingest.uploads import release
from api.jobs.json import JobAnswer
from index.jsontext import JSON
from index.truth.corpora import Keep, ensure_corpus, lock_corpus
from index.truth.databases.database import Database
from index.truth.jobs.job import (
    OPEN_STATES,
    Job,
    JobKind,
    cancel_job,
    create_job,
    find_unfinished_job,
    get_job,
    resume_job,
)
from index.truth.spaces import Space


def start_ingest(
    database: Database, space: Space, request: IngestRequest, keep: Keep | None = None
) -> Job:
    """Return the job of a request: the unfinished one of the same request, or a new one.

    The corpus is created if it does not exist. Raises `InvalidRequest`, `CorpusKindConflict`,
    `CorpusKeepConflict`.
    """
    _ = request.parsed_pattern  # raises if the pattern is invalid
    words = request.model_dump(mode="json", exclude_defaults=True)
    with database.write() as conn:
        ensure_corpus(conn, request.corpus, request.kind, keep=keep)
        return _begin(conn, JobKind.INGEST, lock_corpus(conn, request.corpus), space, words)


def start_reembed(database: Database, space: Space, model: str) -> Job:
    """Return the unfinished job that embeds every missing image in a space, or a new one.

    Workers open the model by the name `model`.
    """
    with database.write() as conn:
        return _begin(conn, JobKind.REEMBED, None, space, {"model": model})


def start_backfill(database: Database, copy_space: Space, descriptor: str) -> Job:
    """Return the unfinished job that describes every image without a vector in a copy space, or a
    new one.

    Workers open the descriptor by the name or path `descriptor`.
    """
    with database.write() as conn:
        return _begin(conn, JobKind.BACKFILL, None, copy_space, {"descriptor": descriptor})


def start_calibration(database: Database, space: Space, request: CalibrationRequest) -> Job:
    """Return the unfinished job of the same calibration, or a new one.

    Raises `NothingToCalibrate`, `UnknownCorpus`, `CorpusKindConflict`.
    """
    with database.write() as conn:
        choose_sample(conn, space, request)  # raises if there is nothing to calibrate
        return _begin(conn, JobKind.CALIBRATE, None, space, request.model_dump(mode="json"))


def reopen(database: Database, job_id: int) -> Job:
    """Return an open job as it is; queue a paused or failed one.

    Raises `UnknownJob`; `JobStateConflict` for a job that has ended.
    """
    with database.write() as conn:
        job = get_job(conn, job_id)
        return job if job.state in OPEN_STATES else resume_job(conn, job_id)


def needs_network(job: Job) -> bool:
    """Whether the work on a job embeds images. A source that cannot be opened may hold some."""
    match job.kind:
        case JobKind.REMOVE | JobKind.BACKFILL:
            return False
        case JobKind.INGEST:
            from api.ingest.opening import holds_only_embeddings  # noqa: PLC0415 -- pyarrow takes 40 MB, which no server needs

            return not holds_only_embeddings(IngestRequest.read(job.request))
        case _:
            return True


def cancel(database: Database, upload_dir: Path, job_id: int) -> JobAnswer:
    """End a job for good and remove its uploads; what it added stays.

    Raises `UnknownJob`, `JobStateConflict`.
    """
    with database.write() as conn:
        job = cancel_job(conn, job_id)
    release(database, job, upload_dir)
    return JobAnswer.of(job)


def _begin(
    conn: Connection, kind: JobKind, corpus_id: int | None, space: Space, words: Mapping[str, JSON]
) -> Job:
    found = find_unfinished_job(conn, corpus_id, space, words)
    if found is None:
        return create_job(conn, kind, corpus_id, space, words)
    return found if found.state in OPEN_STATES else resume_job(conn, found.id)
