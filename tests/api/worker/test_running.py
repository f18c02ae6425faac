"""Who pauses, fails and completes a job, and which open jobs a worker takes."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from api.jobs.failures import Patience
from api.jobs.task import Progress
from api.sources.item import UnusableSource
from api.worker.running import Refusals, ignore_progress, pause_if_open, run_task, take_open_jobs
from embedder.errors import DecodersUnavailable, ModelUnavailable
from index.errors import DatabaseUnavailable
from index.truth.databases.database import Database
from index.truth.jobs.chunks import add_chunks, begin_listing, claim_chunk, finish_listing
from index.truth.jobs.job import (
    Job,
    JobCounts,
    JobKind,
    JobState,
    cancel_job,
    create_job,
    resume_job,
)
from tests.api.modelless import (
    OTHER_SPACE,
    SPACE,
    ImageEmbedder,
    TinyTask,
    queue_job,
    read_job,
)


def run(
    database: Database,
    job: Job,
    open_task: Callable[[], TinyTask],
    *,
    owner: bool = True,
    on_progress: Progress = ignore_progress,
) -> Job:
    stop = threading.Event()
    return run_task(
        database,
        ImageEmbedder(),
        open_task,
        job.id,
        on_progress,
        stop,
        owner=owner,
        patience=Patience(stop, 0.1, 0.001),
    )


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def test_a_task_that_cannot_go_on_fails_the_owners_job_with_the_reason(database: Database) -> None:
    job = queue_job(database)
    task = TinyTask(["a"], fail_spans=UnusableSource("/x", "it is gone"))

    with pytest.raises(UnusableSource):
        run(database, job, lambda: task, owner=False)
    assert read_job(database, job.id).state is JobState.RUNNING  # a helper only leaves
    with pytest.raises(UnusableSource):
        run(database, job, lambda: task)

    failed = read_job(database, job.id)
    assert (failed.state, failed.error) == (JobState.FAILED, "/x: it is gone")
    assert (task.closed, task.completed) == (2, 0)


@pytest.mark.parametrize("kind", [OSError, ModelUnavailable])
def test_a_task_that_cannot_be_opened_fails_the_job(
    database: Database, kind: type[Exception]
) -> None:
    def unopenable() -> TinyTask:
        raise kind("no such folder")

    job = queue_job(database)
    with pytest.raises(kind, match="no such folder"):
        run(database, job, unopenable)

    assert read_job(database, job.id).error == "no such folder"


@pytest.mark.parametrize(
    "err", [DatabaseUnavailable("it restarts"), DecodersUnavailable("no process can be started")]
)
def test_what_passes_by_itself_fails_no_job(database: Database, err: Exception) -> None:
    job = queue_job(database)
    task = TinyTask(["a"], fail_spans=err)

    with pytest.raises(type(err)):
        run(database, job, lambda: task)

    assert read_job(database, job.id).state is JobState.RUNNING


@pytest.mark.parametrize("owner", [True, False])
def test_a_defect_in_the_listing_fails_the_job_and_ends_no_worker(
    database: Database, owner: bool, caplog: pytest.LogCaptureFixture
) -> None:
    job = queue_job(database)

    failed = run(
        database, job, lambda: TinyTask(["a"], fail_spans=ZeroDivisionError("secret")), owner=owner
    )

    assert failed.state is JobState.FAILED
    assert failed.error == (
        "a defect of Lineup while listing the sources: ZeroDivisionError; the log of the worker "
        "says more"
    )
    assert "secret" in caplog.text


def test_a_defect_in_the_closing_fails_the_job(database: Database) -> None:
    def fail() -> None:
        raise ZeroDivisionError

    job = queue_job(database, JobKind.CALIBRATE)
    failed = run(database, job, lambda: TinyTask(["a"], on_complete=fail))

    assert failed.state is JobState.FAILED
    assert failed.error is not None
    assert "while finishing the job: ZeroDivisionError" in failed.error


@pytest.mark.parametrize(("owner", "state"), [(True, "paused"), (False, "running")])
def test_an_interrupted_owner_pauses_its_job_and_a_helper_does_not(
    database: Database, owner: bool, state: str
) -> None:
    job = queue_job(database)

    with pytest.raises(KeyboardInterrupt):
        run(database, job, lambda: TinyTask(["a", "b"], on_read=interrupt), owner=owner)

    assert read_job(database, job.id).state == state


def test_a_completed_job_is_completed_by_its_task_once_and_closed(database: Database) -> None:
    job = queue_job(database, JobKind.CALIBRATE)
    task = TinyTask(["a", "bad"])

    done = run(database, job, lambda: task)

    assert (done.state, done.counts) == (JobState.COMPLETED, JobCounts(found=2, added=1, failed=1))
    assert (task.completed, task.closed) == (1, 1)


def test_a_job_without_a_closing_is_not_completed_by_its_task(database: Database) -> None:
    job = queue_job(database, JobKind.REEMBED)
    task = TinyTask(["a"])

    assert run(database, job, lambda: task).state is JobState.COMPLETED
    assert task.completed == 0


def test_a_job_that_is_interrupted_while_it_completes_is_resumed(database: Database) -> None:
    """Once the job was completed before it had measured, and could not be resumed."""
    job = queue_job(database, JobKind.CALIBRATE)
    with pytest.raises(KeyboardInterrupt):
        run(database, job, lambda: TinyTask(["a"], on_complete=interrupt))
    assert read_job(database, job.id).state is JobState.PAUSED

    with database.write() as conn:
        resume_job(conn, job.id)
    task = TinyTask(["a"])
    done = run(database, job, lambda: task)

    assert (done.state, done.counts) == (JobState.COMPLETED, JobCounts(found=1, added=1))
    assert (task.completed, task.written) == (1, [])


def test_a_job_that_cannot_complete_fails_with_the_reason(database: Database) -> None:
    def fail() -> None:
        raise UnusableSource("measuring", "nothing is there")

    job = queue_job(database, JobKind.CALIBRATE)
    with pytest.raises(UnusableSource):
        run(database, job, lambda: TinyTask(["a"], on_complete=fail))

    assert read_job(database, job.id).state is JobState.FAILED


def test_a_job_that_is_paused_before_its_end_is_not_completed(database: Database) -> None:
    job = queue_job(database, JobKind.CALIBRATE)
    task = TinyTask([*"abcd"], on_read=lambda: pause_if_open(database, job.id))

    rested = run(database, job, lambda: task)

    assert rested.state is JobState.PAUSED
    assert (task.completed, task.closed) == (0, 1)


def test_only_an_open_job_is_paused(database: Database) -> None:
    job = queue_job(database)
    with database.write() as conn:
        cancel_job(conn, job.id)

    pause_if_open(database, job.id)

    assert read_job(database, job.id).state is JobState.CANCELLED


def taken(database: Database, *, helping: bool = False, failing: tuple[int, ...] = ()) -> list[int]:
    """The jobs that a worker takes until none is left; each is cancelled unless it fails."""
    took: list[int] = []

    def work(job: Job, *, owner: bool) -> None:
        took.append(job.id)
        assert owner is (job.request.get("roots") is not None)
        if job.id in failing:
            raise OSError("not readable from here")
        with database.write() as conn:
            cancel_job(conn, job.id)

    count = take_open_jobs(
        database, SPACE, work, threading.Event(), helping=helping, once=True, idle_seconds=0
    )
    assert count == len(took) - len(failing)
    return took


def test_open_jobs_are_taken_oldest_first_and_those_of_another_space_are_left(
    database: Database,
) -> None:
    ids = [queue_job(database, JobKind.INGEST, {"n": n}).id for n in range(3)]
    with database.write() as conn:
        create_job(conn, JobKind.INGEST, None, OTHER_SPACE, {"n": 4})
        reembed = create_job(conn, JobKind.REEMBED, None, OTHER_SPACE, {"model": "m"}).id

    assert taken(database) == [*ids, reembed]


def test_a_job_that_cannot_be_done_here_is_left_to_others(database: Database) -> None:
    first, second = (queue_job(database, JobKind.INGEST, {"n": n}).id for n in range(2))

    assert taken(database, failing=(first,)) == [first, second]
    left = read_job(database, first)
    assert (left.state, left.obstacle) == (JobState.QUEUED, "not readable from here")


@pytest.mark.parametrize("helping", [True, False])
def test_only_a_helper_joins_a_job_that_has_a_worker(database: Database, helping: bool) -> None:
    job = queue_job(database)
    with database.write() as conn:
        listing = claim_chunk(conn, job.id, "elsewhere:1:a", 60.0)
        assert listing is not None
        begin_listing(conn, listing)
        add_chunks(conn, listing, None, [(1, None), (1, None)])
        finish_listing(conn, listing)
        claim_chunk(conn, job.id, "elsewhere:1:a", 60.0)

    assert taken(database, helping=helping) == ([job.id] if helping else [])


def test_a_worker_that_is_stopped_takes_nothing(database: Database) -> None:
    queue_job(database)
    stop = threading.Event()
    stop.set()

    assert take_open_jobs(database, SPACE, interrupt, stop, helping=True) == 0


def test_a_refused_job_is_left_alone_for_twice_as_long_each_time_and_not_for_ever() -> None:
    now = [0.0]
    refusals = Refusals(lambda: now[0])
    pauses = []
    for _ in range(8):
        refusals.add(7)
        began = now[0]
        while 7 in refusals.current():
            now[0] += 1
        pauses.append(now[0] - began)

    assert pauses == [5, 10, 20, 40, 80, 160, 300, 300]
    refusals.forget(7)
    refusals.add(7)
    now[0] += 5
    assert refusals.current() == frozenset()


def test_a_job_that_needs_another_model_says_so(database: Database) -> None:
    with database.write() as conn:
        foreign = create_job(conn, JobKind.INGEST, None, OTHER_SPACE, {"n": 1}).id

    assert taken(database) == []

    obstacle = read_job(database, foreign).obstacle
    assert obstacle == "needs a worker with the model another; the one that looked has modelless"


def test_a_defect_of_the_work_fails_the_job_and_the_next_one_is_done(database: Database) -> None:
    first, second = (queue_job(database, JobKind.INGEST, {"n": n}).id for n in range(2))

    def work(job: Job, *, owner: bool) -> None:
        assert not owner
        if job.id == first:
            raise ZeroDivisionError
        with database.write() as conn:
            cancel_job(conn, job.id)

    count = take_open_jobs(
        database, SPACE, work, threading.Event(), helping=False, once=True, idle_seconds=0
    )

    assert count == 1
    assert read_job(database, first).state is JobState.FAILED
    assert read_job(database, second).state is JobState.CANCELLED
