"""Who pauses, fails and completes a job."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from api.jobs.failures import Patience
from api.jobs.task import Progress
from api.sources.item import UnusableSource
from api.worker.running import ignore_progress, pause_if_open, run_task
from embedder.errors import DecodersUnavailable, ModelUnavailable
from index.errors import DatabaseUnavailable
from index.truth.databases.database import Database
from index.truth.jobs.job import (
    Job,
    JobCounts,
    JobKind,
    JobState,
    cancel_job,
    resume_job,
)
from tests.api.modelless import (
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
