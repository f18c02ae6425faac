"""Several processes on one job: their progress is one, and the job fails when all of them die."""

from __future__ import annotations

from collections.abc import Callable

from api.worker.pool import MOST_RESTARTS, WorkerProcess, end, watch
from index.truth.databases.database import Database
from index.truth.jobs.chunks import (
    ChunkResult,
    add_chunks,
    begin_listing,
    claim_chunk,
    finish_chunk,
    finish_listing,
)
from index.truth.jobs.job import Job, JobCounts, JobState, pause_job
from tests.api.modelless import queue_job, read_job


class Process:
    """A process as the pool sees it: it lives for some looks, or until it is made to end."""

    def __init__(self, lives: int = 10**6, *, stubborn: bool = False, exitcode: int = 1) -> None:
        self.lives = lives
        self.stubborn = stubborn
        self._exitcode = exitcode
        self.calls: list[str] = []

    @property
    def exitcode(self) -> int | None:
        return None if self.lives > 0 else self._exitcode

    def is_alive(self) -> bool:
        self.lives -= 1
        return self.lives >= 0

    def terminate(self) -> None:
        self.calls.append("terminate")
        self.lives = self.lives if self.stubborn else 0

    def kill(self) -> None:
        self.calls.append("kill")
        self.lives = 0

    def join(self, timeout: float | None = None) -> None:  # noqa: ARG002 -- as the pool calls it
        self.calls.append("join")


def listed(database: Database, *counts: int) -> Job:
    job = queue_job(database)
    with database.write() as conn:
        listing = claim_chunk(conn, job.id, "w", 60.0)
        assert listing is not None
        begin_listing(conn, listing)
        add_chunks(conn, listing, None, [(count, None) for count in counts])
        finish_listing(conn, listing)
    return read_job(database, job.id)


def finish_one(database: Database, job: Job, **counts: int) -> None:
    with database.write() as conn:
        chunk = claim_chunk(conn, job.id, "w", 60.0)
        assert chunk is not None
        finish_chunk(conn, chunk, ChunkResult(JobCounts(**counts)))


def watched(
    database: Database, job: Job, process: Process, *turns: Callable[[], None]
) -> tuple[Job, list[JobCounts]]:
    """Watch while the turns pass, one at each sleep."""
    reports, left = list[JobCounts](), list(turns)
    ended = watch(
        database,
        job,
        [process],
        lambda _job, result: reports.append(result.counts),
        sleep=lambda _seconds: left.pop(0)(),
    )
    assert not left
    return ended, reports


def test_each_look_reports_what_was_counted_since_the_last(database: Database) -> None:
    job = listed(database, 3, 2, 1)

    ended, reports = watched(
        database,
        job,
        Process(),
        lambda: finish_one(database, job, added=2, failed=1),
        lambda: None,
        lambda: (finish_one(database, job, linked=2), finish_one(database, job, skipped=1)),
    )

    assert ended.state is JobState.COMPLETED
    assert reports == [JobCounts(added=2, failed=1), JobCounts(linked=2, skipped=1)]


def test_a_job_that_was_paused_elsewhere_ends_the_watch(database: Database) -> None:
    job = listed(database, 1)

    def pause() -> None:
        with database.write() as conn:
            pause_job(conn, job.id)

    ended, reports = watched(database, job, Process(), pause)

    assert (ended.state, reports) == (JobState.PAUSED, [])


def test_a_job_fails_when_every_process_has_ended_before_it(database: Database) -> None:
    job = listed(database, 1)
    processes: list[WorkerProcess] = [
        Process(0, exitcode=-9),
        Process(0, exitcode=1),
        Process(0, exitcode=-9),
    ]

    ended = watch(database, job, processes, lambda *_: None)

    assert ended.state is JobState.FAILED
    assert ended.error is not None
    assert ended.error.endswith("with the exit codes [-9, 1]")


def test_a_process_that_died_is_started_again_some_times(database: Database) -> None:
    job, started = listed(database, 1), list[int]()

    def start(number: int) -> WorkerProcess:
        started.append(number)
        return Process(0, exitcode=1)

    ended = watch(database, job, [Process(0)], lambda *_: None, lambda _: None, start)

    assert ended.state is JobState.FAILED
    assert started == [0] * MOST_RESTARTS


def test_processes_that_ended_with_their_job_do_not_fail_it(database: Database) -> None:
    job = listed(database, 1)
    finish_one(database, job, added=1)

    assert watch(database, job, [Process(0)], lambda *_: None).state is JobState.COMPLETED


def test_processes_are_asked_to_end_and_a_stubborn_one_is_killed() -> None:
    willing, stubborn = Process(), Process(stubborn=True)

    end([willing, stubborn], grace_seconds=0)

    assert willing.calls == ["terminate", "join"]
    assert stubborn.calls == ["terminate", "join", "kill", "join"]
