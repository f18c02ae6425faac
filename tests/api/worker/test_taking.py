"""Which open jobs a worker takes, and which it leaves to others."""

from __future__ import annotations

import threading

import pytest

from api.worker.taking import Refusals, take_open_jobs
from index.truth.databases.database import Database
from index.truth.jobs.chunks import add_chunks, begin_listing, claim_chunk, finish_listing
from index.truth.jobs.job import (
    Job,
    JobKind,
    JobState,
    cancel_job,
    create_job,
)
from tests.api.modelless import (
    OTHER_SPACE,
    SPACE,
    queue_job,
    read_job,
)


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


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
