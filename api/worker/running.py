"""Work on jobs: on one, or on any that is open, for commands, worker processes and the server."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import assert_never

from api.calibrations.first import calibrate_first
from api.calibrations.shipped import ShippedPhotographs
from api.calibrations.task import CalibrateTask
from api.errors import EarlierWeights, ServiceError
from api.ingest.task import IngestTask
from api.ingest.uploads import release
from api.jobs.leases import Leases
from api.jobs.task import AnyTask, Progress
from api.jobs.working import JobRun, StreamEmbedder
from api.lineup import Lineup
from api.worker.reembed import ReembedTask
from embedder.errors import EmbedderError
from embedder.network.registry import EARLIER_BUILTIN_WEIGHTS
from index.errors import CorpusError, DatabaseUnavailable
from index.truth.database import Database
from index.truth.job_chunks import ChunkResult, find_open_job
from index.truth.jobs import OPEN_STATES, Job, JobKind, JobState, fail_job, get_job, pause_job
from index.truth.spaces import Space

IDLE_SECONDS = 1.0  # between two looks for a job
# Errors that end the work on a job and are no defect: the source, the disk or the database needs
# somebody's attention.
EXPECTED = (CorpusError, ServiceError, OSError)
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
) -> Job:
    """Work on a job until it has ended, failed or is paused, or until `stop` is set.

    After a completed ingest or re-embedding, a first calibration is measured if one is due. Returns
    the job as it then stands. Raises `ForeignSpace` and what `run_task` raises.
    """
    lineup.space.require(job.space.fingerprint)
    rested = run_task(
        lineup.database,
        lineup.embedder,
        lambda: _task(lineup, job),
        job.id,
        on_progress,
        stop or threading.Event(),
        owner=owner,
    )
    lineup.index.absorb()
    if rested.state.ended:
        release(lineup.database, rested, lineup.settings.upload_dir)
    if rested.state is JobState.COMPLETED and rested.kind is not JobKind.CALIBRATE:
        calibrate_first(lineup.database, lineup.space, find_shipped(lineup))
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
) -> Job:
    """Run a task under leases.

    An owner pauses the job on KeyboardInterrupt and fails it when it cannot continue; a helper only
    leaves. Raises `UnusableSource`, `CorpusError`, `ServiceError`, OSError, KeyboardInterrupt.
    """
    try:
        with Leases.held(database) as leases, closing(open_task()) as task:
            return JobRun(database, embedder, task, leases, on_progress, stop).run(job_id)
    except KeyboardInterrupt:
        if owner:
            pause_if_open(database, job_id)
        raise
    except EXPECTED as err:
        if owner and not isinstance(err, DatabaseUnavailable):
            with database.write() as conn:
                fail_job(conn, job_id, str(err))
        raise


def work_on_open_jobs(
    lineup: Lineup, stop: threading.Event, *, helping: bool, once: bool = False
) -> int:
    """Work on open jobs of this model, and on re-embeddings by any model; return how many.

    The arguments are those of `take_open_jobs`.
    """

    def work(job: Job, *, owner: bool) -> None:
        with opened_for(lineup, job) as product:
            work_on(product, job, stop=stop, owner=owner)

    return take_open_jobs(lineup.database, lineup.space, work, stop, helping=helping, once=once)


def take_open_jobs(
    database: Database,
    space: Space,
    work: Callable[..., object],
    stop: threading.Event,
    *,
    helping: bool,
    once: bool = False,
    idle_seconds: float = IDLE_SECONDS,
) -> int:
    """Call ``work(job, owner=...)`` for one open job after another until `stop` is set.

    A helper joins jobs that others work on; otherwise only jobs without a worker are taken. `once`
    ends when no job is open. A job whose source cannot be read here, or whose model cannot be
    opened, is left to other workers. Returns how many jobs were worked on.
    """
    done, refused = 0, set[int]()
    while not stop.is_set():
        with database.read() as conn:
            job = find_open_job(conn, space, frozenset(refused), abandoned=not helping)
        if job is None:
            if once:
                break
            stop.wait(idle_seconds)
            continue
        owner = _is_of_server(job)
        try:
            work(job, owner=owner)
            done += 1
        except (*EXPECTED, EmbedderError) as err:
            log.warning("job %d: %s", job.id, err)
            if not owner:
                refused.add(job.id)
            stop.wait(idle_seconds)
    return done


def help_with(lineup: Lineup, job_id: int, stop: threading.Event | None = None) -> Job:
    """Work on one job beside its other workers, and return it as it then stands.

    Raises `UnknownJob` and what `work_on` raises.
    """
    with lineup.database.read() as conn:
        job = get_job(conn, job_id)
    return work_on(lineup, job, stop=stop, owner=False)


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
        with Lineup.open(settings, as_named=True) as other:
            yield other
    else:
        yield lineup


def pause_if_open(database: Database, job_id: int) -> None:
    """Pause a job unless it has ended, failed or is paused."""
    with database.write() as conn:
        if get_job(conn, job_id).state in OPEN_STATES:
            pause_job(conn, job_id)


def _is_of_server(job: Job) -> bool:
    """Whether a server accepted the job and so answers for it.

    The sources of a command's job may be on another machine.
    """
    return job.request.get("roots") is not None


def find_shipped(lineup: Lineup) -> ShippedPhotographs | None:
    """The photographs that came with the model; None without any."""
    return ShippedPhotographs.of(lineup.embedder.references, lineup.space.model)


def _task(lineup: Lineup, job: Job) -> AnyTask:
    match job.kind:
        case JobKind.INGEST:
            return IngestTask(
                lineup.database,
                lineup.space,
                lineup.blob_stores,
                lineup.limits,
                lineup.settings.upload_dir,
                job,
                lineup.computation,
            )
        case JobKind.REEMBED:
            return ReembedTask(
                lineup.database,
                lineup.space,
                lineup.blob_stores.originals,
                lineup.limits.max_image_bytes,
                lineup.computation,
            )
        case JobKind.CALIBRATE:
            return CalibrateTask(
                lineup.database,
                lineup.space,
                lineup.blob_stores.originals,
                lineup.limits.max_image_bytes,
                job,
                lineup.computation,
                find_shipped(lineup),
            )
        case _:
            assert_never(job.kind)
