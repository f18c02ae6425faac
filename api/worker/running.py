"""Work on one job, for commands, worker processes and the server."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from typing import assert_never

from api.calibrations.first import calibrate_first
from api.calibrations.shipped import ShippedPhotographs
from api.calibrations.stored_pictures import PictureReader
from api.calibrations.task import CalibrateTask
from api.corpora.removing import finish_removing
from api.errors import EarlierWeights, ServiceError
from api.ingest.uploads import release
from api.jobs.failures import JobDefect, Patience
from api.jobs.leases import Leases, release_all
from api.jobs.task import AnyTask, Progress
from api.jobs.working import JobRun, StreamEmbedder, name_defect, require_wanted
from api.lineup import Lineup
from api.worker.backfill import BackfillTask, DescriptorStream
from api.worker.expendable import LeftBehind, run_expendable
from api.worker.reembed import ReembedTask
from embedder.errors import DecodersUnavailable, EmbedderError
from embedder.network.registry import EARLIER_BUILTIN_WEIGHTS
from index.errors import CorpusError, DatabaseUnavailable
from index.truth.databases.database import Database
from index.truth.jobs.chunks import ChunkResult
from index.truth.jobs.job import (
    OPEN_STATES,
    Job,
    JobCounts,
    JobKind,
    JobState,
    fail_job,
    get_job,
    pause_job,
)
from index.truth.removal import Batch

# Errors that end the work on a job and are no defect: the source, the disk, the model or the
# database needs somebody's attention.
EXPECTED = (CorpusError, ServiceError, EmbedderError, OSError)
# Those of them that pass by themselves: the job stays open.
PASSING = (DatabaseUnavailable, DecodersUnavailable)
log = logging.getLogger(__name__)


def ignore_progress(job: Job, result: ChunkResult) -> None:
    """Progress that nobody watches."""


def work_on(
    lineup: Lineup,
    job: Job,
    on_progress: Progress = ignore_progress,
    stop: threading.Event | None = None,
    *,
    owner: bool = True,
    gives_way: Callable[[], bool] = lambda: False,
) -> Job:
    """Work on a job until it has ended, failed or is paused, or until `stop` is set.

    `gives_way` says whether another job waits, before work that failed is tried again.

    After a completed ingest or re-embedding, a first calibration is measured if one is due. Returns
    the job as it then stands. Raises `ForeignSpace` and what `run_task` raises.
    """
    if job.kind is JobKind.REMOVE:
        return _remove(lineup, job, on_progress, stop)
    if job.kind is JobKind.BACKFILL:
        return _backfill(lineup, job, on_progress, stop, owner=owner, gives_way=gives_way)
    lineup.space.require(job.space.fingerprint)
    stop = stop or threading.Event()
    rested = run_task(
        lineup.database,
        lineup.model,
        lambda: _task(lineup, job, stop),
        job.id,
        on_progress,
        stop,
        owner=owner,
        gives_way=gives_way,
    )
    Patience(stop)(lineup.index.absorb)
    lineup.copies.absorb()
    if rested.state.ended:
        release(lineup.database, rested, lineup.settings.upload_dir)
    if rested.state is JobState.COMPLETED and rested.kind is not JobKind.CALIBRATE:
        calibrate_first(lineup.database, lineup.space, find_shipped(lineup))
    return rested


def work_watched(
    lineup: Lineup, job: Job, on_progress: Progress = ignore_progress, *, owner: bool = True
) -> Job:
    """Work on a job as `work_on` does, in a thread that cannot hold up this one.

    It ends within the grace period after KeyboardInterrupt, and within 5 seconds after the job was
    cancelled, whatever the work does. Raises what `work_on` raises.
    """
    try:
        return run_expendable(
            lambda stop: work_on(lineup, job, on_progress, stop, owner=owner),
            partial(is_cancelled, lineup.database, job.id),
            threading.Event(),
            grace_seconds=lineup.settings.shutdown_grace_seconds,
        )
    except LeftBehind:
        release_all(lineup.database)
        with lineup.database.read() as conn:
            return get_job(conn, job.id)
    except KeyboardInterrupt:
        release_all(lineup.database)
        if owner:
            pause_if_open(lineup.database, job.id)
        raise


def _remove(lineup: Lineup, job: Job, on_progress: Progress, stop: threading.Event | None) -> Job:
    """Work on a removal, which embeds nothing. Raises `CorpusError`, OSError."""

    def report(batch: Batch) -> None:
        on_progress(batch.job, ChunkResult(JobCounts(removed=batch.removed)))

    rested = finish_removing(lineup.database, lineup.blob_stores, job, report, stop)
    lineup.index.absorb()
    lineup.copies.absorb()
    return rested


def _backfill(
    lineup: Lineup,
    job: Job,
    on_progress: Progress,
    stop: threading.Event | None,
    *,
    owner: bool,
    gives_way: Callable[[], bool],
) -> Job:
    """Work on a back-fill, which needs a copy descriptor and no model.

    Raises `ForeignSpace`, `ModelError` and what `run_task` raises.
    """
    describer = lineup.copies.open_describer(str(job.request["descriptor"]))
    describer.space.require(job.space.fingerprint)
    rested = run_task(
        lineup.database,
        DescriptorStream(lineup.decoders, describer),
        lambda: BackfillTask(lineup.database, describer, lineup.blob_stores, lineup.limits),
        job.id,
        on_progress,
        stop or threading.Event(),
        owner=owner,
        gives_way=gives_way,
    )
    lineup.copies.absorb()
    return rested


def run_task(
    database: Database,
    embedder: StreamEmbedder,
    open_task: Callable[[], AnyTask],
    job_id: int,
    on_progress: Progress,
    stop: threading.Event,
    *,
    owner: bool,
    gives_way: Callable[[], bool] = lambda: False,
    patience: Patience | None = None,
) -> Job:
    """Run a task under leases.

    An owner pauses the job on KeyboardInterrupt and fails it when it cannot continue; a helper only
    leaves. A defect in what is done once for a whole job fails it, whoever works on it. Raises
    `UnusableSource`, `CorpusError`, `ServiceError`, `EmbedderError`, OSError, KeyboardInterrupt.
    """
    try:
        with Leases.held(database) as leases, closing(open_task()) as task:
            run = JobRun(database, embedder, task, leases, on_progress, stop, gives_way, patience)
            return run.run(job_id)
    except KeyboardInterrupt:
        if owner:
            pause_if_open(database, job_id)
        raise
    except EXPECTED as err:
        if owner and not isinstance(err, PASSING):
            with database.write() as conn:
                fail_job(conn, job_id, str(err))
        raise
    except Exception as err:
        return fail_by_defect(database, job_id, err)


def fail_by_defect(database: Database, job_id: int, err: Exception) -> Job:
    """Stop an open job because of an error that nobody foresaw; return it.

    The traceback goes to the log, and only the kind of the error into the job.
    """
    log.error("job %d fails: this is a defect of Lineup", job_id, exc_info=err)
    reason = str(err) if isinstance(err, JobDefect) else f"a defect of Lineup: {name_defect(err)}"
    with database.write() as conn:
        fail_job(conn, job_id, f"{reason}; the log of the worker says more")
        return get_job(conn, job_id)


def is_cancelled(database: Database, job_id: int) -> bool:
    """Whether a job is cancelled; False where the database does not say."""
    try:
        with database.read() as conn:
            return get_job(conn, job_id).state is JobState.CANCELLED
    except CorpusError:  # the next look will tell
        return False


def find_job(lineup: Lineup, job_id: int) -> Job:
    """Return a job. Raises `UnknownJob`."""
    with lineup.database.read() as conn:
        return get_job(conn, job_id)


def help_with(lineup: Lineup, job_id: int, stop: threading.Event | None = None) -> Job:
    """Work on one job beside its other workers, and return it as it then stands.

    Raises `UnknownJob` and what `work_on` raises.
    """
    return work_on(lineup, find_job(lineup, job_id), stop=stop, owner=False)


@contextmanager
def opened_for(lineup: Lineup, job: Job) -> Iterator[Lineup]:
    """The product with the model of a job: a re-embedding names its model.

    Raises `ModelError`, `EarlierWeights`.
    """
    model = job.request.get("model")
    is_open = job.space.fingerprint == lineup.space.fingerprint
    if job.kind is JobKind.REEMBED and isinstance(model, str) and not is_open:
        if job.space.weights_sha256 in EARLIER_BUILTIN_WEIGHTS:
            raise EarlierWeights(job.space.fingerprint)
        settings = lineup.settings.model_copy(update={"model": model})
        with Lineup.open(settings, as_named=True, decoders=lineup.decoders) as other:
            yield other
    else:
        yield lineup


def pause_if_open(database: Database, job_id: int) -> None:
    """Pause a job unless it has ended, failed or is paused."""
    with database.write() as conn:
        if get_job(conn, job_id).state in OPEN_STATES:
            pause_job(conn, job_id)


def find_shipped(lineup: Lineup) -> ShippedPhotographs | None:
    """The photographs that came with the model; None without any."""
    return ShippedPhotographs.of(lineup.model.references, lineup.space.model)


def _task(lineup: Lineup, job: Job, stop: threading.Event) -> AnyTask:
    match job.kind:
        case JobKind.INGEST:
            from api.ingest.task import IngestTask  # noqa: PLC0415 -- pyarrow takes 30 MB, and a server may never ingest

            return IngestTask(
                lineup.database,
                lineup.space,
                lineup.blob_stores,
                lineup.decoders,
                lineup.picture_order,
                lineup.settings.upload_dir,
                job,
                lambda: lineup.computation,
                lineup.copies.find_describer,
            )
        case JobKind.REEMBED:
            return ReembedTask(
                lineup.database,
                lineup.space,
                lineup.blob_stores.originals,
                lineup.picture_order,
                lineup.computation,
            )
        case JobKind.CALIBRATE:
            return CalibrateTask(
                lineup.database,
                lineup.space,
                lineup.blob_stores.originals,
                lineup.picture_order,
                job,
                lineup.computation,
                find_shipped(lineup),
                PictureReader(
                    lineup.database,
                    lineup.blob_stores.originals,
                    lineup.stored_features,
                    lineup.decoders,
                    lineup.picture_order.limits,
                    partial(require_wanted, lineup.database, job.id, stop),
                ),
            )
        case JobKind.REMOVE | JobKind.BACKFILL:
            raise ValueError(f"a job of the kind {job.kind} has no task of a model")
        case _:
            assert_never(job.kind)
