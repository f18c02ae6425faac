"""Take one open job after another, for a worker and the server.

What cannot be worked on here is left to others for a while, and the job says why.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from functools import partial

from api.errors import ServiceError
from api.jobs.failures import Patience
from api.jobs.leases import release_all, release_dead_workers
from api.lineup import Lineup
from api.worker.expendable import LeftBehind, run_expendable
from api.worker.running import fail_by_defect, is_cancelled, opened_for, work_on
from embedder.errors import EmbedderError
from index.errors import CorpusError, DatabaseReadOnly, DatabaseUnavailable
from index.truth.databases.database import Database
from index.truth.jobs.chunks import find_open_job
from index.truth.jobs.job import Job, note_foreign_jobs, note_obstacle
from index.truth.spaces import Space

IDLE_SECONDS = 1.0  # between two looks for a job
TIDY_SECONDS = 10.0  # between two looks for processes that died
# A job that cannot be worked on here is tried again after this, then after twice as long ...
FIRST_REFUSAL_SECONDS = 5.0
LONGEST_REFUSAL_SECONDS = 300.0
log = logging.getLogger(__name__)


def work_on_open_jobs(
    lineup: Lineup, stop: threading.Event, *, helping: bool, once: bool = False
) -> int:
    """Work on open jobs of this model, and on re-embeddings by any model; return how many.

    The arguments are those of `take_open_jobs`. Raises `DatabaseReadOnly` where nothing may be
    written.
    """
    if lineup.database.read_only:
        raise DatabaseReadOnly("a worker of a read-only Lineup could write no result")

    def work(job: Job, *, owner: bool) -> None:
        def work_until(stop: threading.Event) -> None:
            with opened_for(lineup, job) as product:
                gives_way = partial(_others_wait, lineup.database, lineup.space, job.id, helping)
                work_on(product, job, stop=stop, owner=owner, gives_way=gives_way)

        run_expendable(
            work_until,
            partial(is_cancelled, lineup.database, job.id),
            stop,
            grace_seconds=lineup.settings.shutdown_grace_seconds,
        )

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
    opened, says so, and is left to other workers for a while that doubles each time. A database
    that does not answer is waited for. Returns how many jobs were worked on.
    """
    done, refusals, search = 0, Refusals(), _JobSearch(database, space, stop, helping=helping)
    while not stop.is_set():
        try:
            job = search.find(refusals.current())
        except DatabaseUnavailable as err:  # for longer than patience lasts, or `stop` is set
            log.warning("%s", err)
            stop.wait(idle_seconds)
            continue
        if job is None:
            if once:
                break
            stop.wait(idle_seconds)
            continue
        try:
            work(job, owner=_is_of_server(job))
        except Exception as err:
            refusals.add(job.id)
            _explain(database, job, err)
            stop.wait(idle_seconds)
        else:
            done += 1
            refusals.forget(job.id)
    return done


class Refusals:
    """The jobs that this process leaves to others for a while, which doubles each time."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._until: dict[int, tuple[float, float]] = {}  # when it is tried again, and the pause

    def add(self, job_id: int) -> None:
        """Leave a job alone, for twice as long as the last time."""
        _, before = self._until.get(job_id, (0.0, FIRST_REFUSAL_SECONDS / 2))
        pause = min(2 * before, LONGEST_REFUSAL_SECONDS)
        self._until[job_id] = (self._clock() + pause, pause)

    def forget(self, job_id: int) -> None:
        """Begin anew with a job that could be worked on."""
        self._until.pop(job_id, None)

    def current(self) -> frozenset[int]:
        """Return the jobs that are left alone now."""
        now = self._clock()
        return frozenset(job_id for job_id, (until, _) in self._until.items() if until > now)


class _JobSearch:
    """Finds the next job, and tidies up after processes that died."""

    def __init__(
        self, database: Database, space: Space, stop: threading.Event, *, helping: bool
    ) -> None:
        self._database = database
        self._space = space
        self._helping = helping
        self._persist = Patience(stop)
        self._tidy_at = time.monotonic()

    def find(self, but: frozenset[int]) -> Job | None:
        """Return the next job, without those in `but`. Raises `DatabaseUnavailable`."""
        if time.monotonic() >= self._tidy_at:
            self._tidy_at = time.monotonic() + TIDY_SECONDS
            self._persist(self._tidy)
        return self._persist(partial(self._find, but))

    def _find(self, but: frozenset[int]) -> Job | None:
        with self._database.read() as conn:
            return find_open_job(conn, self._space, but, abandoned=not self._helping)

    def _tidy(self) -> None:
        """Take over from processes that died, and say which jobs need another model."""
        release_dead_workers(self._database)
        with self._database.write() as conn:
            note_foreign_jobs(conn, self._space)


def _others_wait(database: Database, space: Space, job_id: int, helping: bool) -> bool:
    """Whether another job waits whose work did not fail yet."""
    with database.read() as conn:
        found = find_open_job(conn, space, frozenset([job_id]), abandoned=not helping, untried=True)
    return found is not None


def _explain(database: Database, job: Job, err: Exception) -> None:
    """Let the job say why this worker leaves it; a defect fails it."""
    try:
        match err:
            case LeftBehind():
                log.warning("job %d: %s", job.id, err)
                release_all(database)
            case CorpusError() | ServiceError() | EmbedderError() | OSError():
                log.warning("job %d: %s", job.id, err)
                with database.write() as conn:
                    note_obstacle(conn, job.id, str(err))
            case _:
                fail_by_defect(database, job.id, err)
    except CorpusError as failure:  # leases run out, and the next attempt explains itself
        log.warning("job %d: %s", job.id, failure)


def _is_of_server(job: Job) -> bool:
    """Whether a server accepted the job and so answers for it.

    The sources of a command's job may be on another machine.
    """
    return job.request.get("roots") is not None
