"""Jobs started and worked on: what `lineup ingest`, `lineup worker`, `lineup reembed` and the
server call.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from typing import assert_never

from sqlalchemy import Connection

from api.calibrations.measuring import sampled
from api.calibrations.request import CalibrationRequest
from api.calibrations.task import CalibrateTask
from api.errors import EarlierWeights, ServiceError
from api.ingest.request import IngestRequest
from api.ingest.task import IngestTask
from api.jobs.interpreter import set_for_rows
from api.jobs.leases import Leases
from api.jobs.spool import forget_uploads
from api.jobs.task import AnyTask, Progress
from api.jobs.working import Working
from api.lineup import Lineup
from api.worker.reembed import ReembedTask
from embedder.errors import EmbedderError
from embedder.network.registry import EARLIER_BUILTIN_WEIGHTS
from index.errors import CorpusError, DatabaseUnavailable
from index.jsontext import JSON
from index.truth.corpora import Keep, ensure_corpus, lock_corpus
from index.truth.database import Database
from index.truth.jobs import (
    OPEN_STATES,
    ChunkResult,
    Job,
    JobKind,
    JobState,
    create_job,
    fail_job,
    find_open_job,
    find_unfinished_job,
    get_job,
    pause_job,
    resume_job,
)
from index.truth.spaces import Space

IDLE_SECONDS = 1.0  # between two looks for a job
# What ends the work on a job, and is no defect: somebody must do something about the source, the
# disk or the database.
EXPECTED = (CorpusError, ServiceError, OSError)
log = logging.getLogger(__name__)


def nothing(job: Job, ended: ChunkResult) -> None:
    """Progress that nobody watches."""


def start_ingest(lineup: Lineup, request: IngestRequest, keep: Keep | None = None) -> Job:
    """The job of a request: the one that was begun with the same words and has not ended, or a new
    one.

    The corpus is made where there is none. Raises `InvalidRequest`, `CorpusKindConflict`,
    `CorpusKeepConflict`.
    """
    _ = request.parsed_pattern  # raises now what is wrong with it
    words = request.model_dump(mode="json", exclude_defaults=True)
    with lineup.database.write() as conn:
        ensure_corpus(conn, request.corpus, request.kind, keep=keep)
        return _begun(conn, JobKind.INGEST, lock_corpus(conn, request.corpus), lineup.space, words)


def start_reembed(database: Database, space: Space, model: str) -> Job:
    """The job that embeds in a space whatever is not: the one that has not ended, or a new one.

    `model` is how whoever works on it opens the model.
    """
    with database.write() as conn:
        return _begun(conn, JobKind.REEMBED, None, space, {"model": model})


def start_calibration(lineup: Lineup, request: CalibrationRequest) -> Job:
    """The job of a calibration: the one of the same words that has not ended, or a new one.

    Raises `NothingToCalibrate`, `UnknownCorpus`, `CorpusKindConflict`.
    """
    with lineup.database.write() as conn:
        sampled(conn, lineup.space, request)
        return _begun(conn, JobKind.CALIBRATE, None, lineup.space, request.model_dump(mode="json"))


@contextmanager
def opened_for(lineup: Lineup, job: Job) -> Iterator[Lineup]:
    """The product with the model of a job: a re-embedding says which; any other job is of the
    opened one.

    Raises `ModelError`.
    """
    model = job.request.get("model")
    opened_already = job.space.fingerprint == lineup.space.fingerprint
    if job.kind is JobKind.REEMBED and isinstance(model, str) and not opened_already:
        if job.space.weights_sha256 in EARLIER_BUILTIN_WEIGHTS:
            raise EarlierWeights(job.space.fingerprint)
        settings = lineup.settings.model_copy(update={"model": model})
        with Lineup.open(settings, as_named=True) as other:
            yield other
    else:
        yield lineup


def work_on(
    lineup: Lineup,
    job: Job,
    on_progress: Progress = nothing,
    stop: threading.Event | None = None,
    *,
    owner: bool = True,
) -> Job:
    """Work on a job until it rests; how it stands then.

    The owner pauses the job when it is interrupted, and fails it when it cannot go on; a helper
    only goes away. Raises `ForeignSpace`, `UnusableSource`, `CorpusError`, OSError,
    KeyboardInterrupt.
    """
    lineup.space.require(job.space.fingerprint)
    try:
        with Leases.held(lineup.database) as leases, closing(_task(lineup, job)) as task:
            working = Working(
                lineup.database,
                lineup.embedder,
                task,
                leases,
                on_progress,
                stop or threading.Event(),
            )
            ended = working.run(job.id)
            if ended.state is JobState.COMPLETED:
                task.completed()
    except KeyboardInterrupt:
        if owner:
            _pause(lineup, job.id)
        raise
    except EXPECTED as err:
        if owner and not isinstance(err, DatabaseUnavailable):
            with lineup.database.write() as conn:
                fail_job(conn, job.id, str(err))
        raise
    with set_for_rows():
        lineup.index.absorb()
    if ended.state.ended:
        forget_uploads(lineup.settings.upload_dir, ended)
    return ended


def work_on_open_jobs(
    lineup: Lineup, stop: threading.Event, *, helping: bool, once: bool = False
) -> int:
    """Work on open jobs, of this model or re-embeddings by any, until told to stop; how many.

    `once`: until there is none. A helper joins jobs that others are at; without `helping` only what
    nobody is at is taken. A job whose source cannot be read from here, or whose model cannot be
    opened, is left to others.
    """
    done, refused = 0, set[int]()
    while not stop.is_set():
        with lineup.database.read() as conn:
            job = find_open_job(conn, lineup.space, frozenset(refused), abandoned=not helping)
        if job is None:
            if once:
                break
            stop.wait(IDLE_SECONDS)
            continue
        owner = _is_ours(job)
        try:
            with opened_for(lineup, job) as own:
                work_on(own, job, stop=stop, owner=owner)
            done += 1
        except (*EXPECTED, EmbedderError) as err:
            log.warning("job %d: %s", job.id, err)
            if not owner:
                refused.add(job.id)
            stop.wait(IDLE_SECONDS)
    return done


def help_with(lineup: Lineup, job_id: int, stop: threading.Event | None = None) -> Job:
    """Work on one job beside others; how it stands then.

    Raises `UnknownJob` and what `work_on` raises.
    """
    with lineup.database.read() as conn:
        job = get_job(conn, job_id)
    return work_on(lineup, job, stop=stop, owner=False)


def go_on(lineup: Lineup, job_id: int) -> Job:
    """A job to be worked on again: one that is paused or failed is queued, one that is open is what
    it is.

    Raises `UnknownJob`; `JobStateConflict` for one that has ended.
    """
    with lineup.database.write() as conn:
        job = get_job(conn, job_id)
        return job if job.state in OPEN_STATES else resume_job(conn, job_id)


def _begun(
    conn: Connection, kind: JobKind, corpus_id: int | None, space: Space, words: Mapping[str, JSON]
) -> Job:
    """The job of these words that has not ended, or a new one."""
    found = find_unfinished_job(conn, corpus_id, space, words)
    if found is None:
        return create_job(conn, kind, corpus_id, space, words)
    return found if found.state in OPEN_STATES else resume_job(conn, found.id)


def _is_ours(job: Job) -> bool:
    """Whether it was asked of a server, which then answers for it; a command's job may be of
    another machine.
    """
    return job.request.get("roots") is not None


def _pause(lineup: Lineup, job_id: int) -> None:
    with lineup.database.write() as conn:
        if get_job(conn, job_id).state in OPEN_STATES:
            pause_job(conn, job_id)


def _task(lineup: Lineup, job: Job) -> AnyTask:
    match job.kind:
        case JobKind.INGEST:
            return IngestTask(lineup, job)
        case JobKind.REEMBED:
            return ReembedTask(lineup)
        case JobKind.CALIBRATE:
            return CalibrateTask(lineup, job)
        case _:
            assert_never(job.kind)
